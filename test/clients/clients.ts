import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import {
  type EngineName,
  type PinSet,
  type Running,
  repositoryRoot,
  runOk,
  scrubbedEnvironment,
  start,
  testCacheDir,
  venv,
} from '../support/index.ts'

/** The pins of the Python clients, oldest first. */
export const PIN_SETS: PinSet[] = ['hub-append', 'hub-1x', 'hub-newest']

/** The set that plays the user where the client's version does not matter. */
export const USUAL_SET: PinSet = 'hub-1x'

/**
 * The sets that run everything on an engine: on the portable one the usual set, and all of them in
 * the long run, since what differs between the sets is the client and not the engine. Each set
 * downloads and loads on each engine in every run (`download`).
 */
export function pinSetsOn(engine: EngineName): PinSet[] {
  return engine === 'native' || process.env.MODELCACHE_TEST_LONG === '1' ? PIN_SETS : [USUAL_SET]
}

/** The set that makes models: tokenizers that transformers 5 saves cannot be read by 4. */
const MAKER_SET: PinSet = 'hub-append'

/** The models that the recipes make, by their name on the hub. */
export const MODELS = { bert: 'tiny/bert', gpt2: 'tiny/gpt2', big: 'tiny/big' } as const

const RECIPES = join(repositoryRoot, 'test/clients/recipes')
const PROGRAMS = join(repositoryRoot, 'test/clients/python')

/**
 * The environment of a Python client: HF_HOME is where its whole cache goes; its token is where no
 * test looks, and nothing leaves the machine but to the local hub.
 */
export function clientEnvironment(
  home: string,
  hfHome: string,
  extra: Record<string, string> = {},
): Record<string, string> {
  return scrubbedEnvironment(home, {
    HF_HOME: hfHome,
    HF_TOKEN_PATH: join(home, 'token'),
    HF_XET_CACHE: join(home, 'xet'),
    HF_HUB_DISABLE_TELEMETRY: '1',
    HF_HUB_DISABLE_UPDATE_CHECK: '1',
    HF_HUB_DISABLE_PROGRESS_BARS: '1',
    HF_HUB_OFFLINE: '1',
    DISABLE_SAFETENSORS_CONVERSION: '1',
    PYTHONDONTWRITEBYTECODE: '1',
    OMP_NUM_THREADS: '1',
    NO_PROXY: '127.0.0.0/8,127.0.0.1,127.0.0.2',
    ...extra,
  })
}

/** What turns {@link clientEnvironment} into one that downloads from `hub`. */
export function online(hub: { url: string }): Record<string, string> {
  return { HF_ENDPOINT: hub.url, HF_HUB_OFFLINE: '0' }
}

/** Starts one of the programs in test/clients/python with the interpreter of a set. */
export async function startProgram(
  set: PinSet,
  program: string,
  args: string[],
  env: Record<string, string>,
): Promise<Running> {
  const { python } = await venv(set)
  return start(python, [join(PROGRAMS, program), ...args], { env })
}

/** Runs one of the programs to its end and returns the JSON of its last line. */
export async function runProgram<T>(
  set: PinSet,
  program: string,
  args: string[],
  env: Record<string, string>,
): Promise<T> {
  return lastJson<T>(await startProgram(set, program, args, env), program)
}

/** Waits for a program's end, which must be exit 0, and parses its last line. */
export async function lastJson<T>(running: Running, program: string): Promise<T> {
  const { code, signal, stdout, stderr } = await running.finished
  if (code !== 0) throw new Error(`${program}: exit ${code ?? signal}\n${stdout}\n${stderr}`)
  const line = stdout.trimEnd().split('\n').at(-1) ?? ''
  return JSON.parse(line) as T
}

/**
 * A directory `tiny/NAME` with every model of the recipes, made once for a version of the recipes
 * and pins, and kept in the test cache.
 */
export async function madeModels(): Promise<string> {
  const { python } = await venv(MAKER_SET)
  const hash = createHash('sha256').update(python)
  for (const name of readdirSync(RECIPES).sort()) {
    if (name.endsWith('.py')) hash.update(readFileSync(join(RECIPES, name)))
  }
  const directory = join(testCacheDir(), `models-${hash.digest('hex').slice(0, 12)}`)
  if (existsSync(directory)) return directory
  const unfinished = `${directory}.${process.pid}`
  mkdirSync(join(unfinished, 'tiny'), { recursive: true })
  const env = clientEnvironment(join(unfinished, 'home'), join(unfinished, 'home/hf'))
  for (const name of Object.keys(MODELS)) {
    await runOk(python, [join(RECIPES, `${name}.py`), join(unfinished, 'tiny', name)], { env })
  }
  await rm(join(unfinished, 'home'), { recursive: true })
  try {
    await rename(unfinished, directory)
  } catch (error) {
    // Another test process was faster; its models are the same.
    if (!existsSync(directory)) throw error
    await rm(unfinished, { recursive: true })
  }
  return directory
}
