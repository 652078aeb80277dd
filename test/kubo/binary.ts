import { spawn } from 'node:child_process'
import { access, mkdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { env, pid } from 'node:process'
import { fileURLToPath } from 'node:url'
import { testCacheDir } from '../support/index.ts'

const moduleDirectory = fileURLToPath(new URL('.', import.meta.url))
const command = 'github.com/ipfs/kubo/cmd/ipfs'

/** The release that test/kubo/go.mod pins, without its leading `v`, for example `0.40.1`. */
export async function kuboVersion(): Promise<string> {
  const text = await readFile(join(moduleDirectory, 'go.mod'), 'utf8')
  const version = /^\s*github\.com\/ipfs\/kubo v(\S+)/m.exec(text)?.[1]
  if (version === undefined) throw new Error('go.mod of test/kubo pins no github.com/ipfs/kubo')
  return version
}

/** Where the binary of the pinned release is kept: outside the clone, by version. */
export async function kuboPath(): Promise<string> {
  return join(testCacheDir(), `kubo-${await kuboVersion()}`, 'ipfs')
}

/** The cached binary, or undefined where nobody has built it on this machine yet. */
export async function findKubo(): Promise<string | undefined> {
  const path = await kuboPath()
  return (await isThere(path)) ? path : undefined
}

/**
 * The cached binary, built first if need be: some minutes of two slow cores, so it runs nice
 * and one package at a time. The name appears by rename, so that two builders never see half
 * a binary. Needs Go; modules and build cache stay in the test cache as well.
 */
export async function buildKubo(): Promise<string> {
  const path = await kuboPath()
  if (await isThere(path)) return path
  const cache = testCacheDir()
  const partial = `${path}.${pid}.tmp`
  await mkdir(join(path, '..'), { recursive: true })
  const goEnvironment = {
    GOCACHE: join(cache, 'go-build'),
    GOMODCACHE: join(cache, 'go-mod'),
    GOFLAGS: '-mod=readonly -modcacherw -p=1 -buildvcs=false -trimpath',
    GOTOOLCHAIN: 'local',
    CGO_ENABLED: '0',
  }
  try {
    await run('nice', ['-n', '19', 'go', 'build', '-o', partial, command], goEnvironment)
    await rename(partial, path)
  } finally {
    await rm(partial, { force: true })
  }
  return path
}

function run(program: string, args: string[], extra: Record<string, string>): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: moduleDirectory,
      env: { ...env, ...extra },
      stdio: ['ignore', 'inherit', 'inherit'],
    })
    child.once('error', reject)
    child.once('exit', (code, signal) => {
      if (code === 0) resolve()
      else reject(new Error(`${program} ${args.join(' ')}: ended with ${signal ?? code}`))
    })
  })
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}

if (import.meta.main) {
  process.stdout.write(`${await buildKubo()}\n`)
}
