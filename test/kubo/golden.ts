import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { kuboVersion } from './binary.ts'
import { SHAPES } from './shapes.ts'

const run = promisify(execFile)

/** The import profile that the project promises (IPIP-499). */
export const PROFILE = 'unixfs-v1-2025'

/** What Kubo made of the shapes: test/kubo/golden.json. */
export interface Golden {
  /** Release of Kubo. */
  kubo: string
  /** The commands that made it, run beside the directory `shapes`. */
  commands: string[]
  /** CID by path below the root, `""` for the root itself; crowded directories without content. */
  cids: Record<string, string>
}

const INIT = ['init', `--profile=${PROFILE}`]
/** Modes and times are off by default; hidden files are not, and count as any other file. */
const ADD = ['add', '--recursive', '--hidden', '--offline', '--only-hash', '--progress=false']

/** Where the committed answer is. */
export const goldenPath = new URL('./golden.json', import.meta.url)

export async function readGolden(): Promise<Golden> {
  const golden: Golden = JSON.parse(await readFile(goldenPath, 'utf8'))
  return golden
}

/**
 * Asks a Kubo binary for the CIDs of everything below `directory`, in a repository of its own
 * that lives for this call; nothing is stored and nothing listens.
 */
export async function askKubo(kubo: string, directory: string): Promise<Golden> {
  const repository = await mkdtemp(join(tmpdir(), 'modelcache-kubo-'))
  const environment = { IPFS_PATH: join(repository, 'ipfs'), HOME: repository, PATH: '/bin' }
  const root = basename(directory)
  try {
    await run(kubo, INIT, { env: environment })
    const { stdout } = await run(kubo, [...ADD, root], {
      cwd: dirname(directory),
      env: environment,
      maxBuffer: 64 * 1024 * 1024,
    })
    const commands = [INIT, [...ADD, root]].map((words) => ['ipfs', ...words].join(' '))
    return { kubo: await kuboVersion(), commands, cids: readCids(stdout, root) }
  } finally {
    await rm(repository, { recursive: true, force: true })
  }
}

/** A line is `added CID PATH`; of our names Kubo escapes the backslash alone. */
function readCids(stdout: string, root: string): Record<string, string> {
  const crowded = SHAPES.filter((shape) => shape.crowded).map((shape) => `${shape.name}/`)
  const found: [string, string][] = []
  for (const line of stdout.split('\n').slice(0, -1)) {
    const [, cid, name] = /^added (\S+) (.*)$/.exec(line) ?? []
    if (cid === undefined || name === undefined) throw new Error(`ipfs add said: ${line}`)
    const path = name.replaceAll('\\\\', '\\').slice(root.length + 1)
    if (!crowded.some((prefix) => path.startsWith(prefix))) found.push([path, cid])
  }
  found.sort(([left], [right]) => (left < right ? -1 : 1))
  return Object.fromEntries(found)
}
