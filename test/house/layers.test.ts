import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { dirname, join, relative, resolve } from 'node:path'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const SOURCES = join(ROOT, 'src')

/**
 * The folders, the highest first; those in one line do not know each other. A folder imports only
 * from the lines below its own. docs/architecture.md shows the same table.
 */
const LAYERS: readonly (readonly string[])[] = [
  ['cli'],
  ['daemon'],
  ['share'],
  ['skillset'],
  ['verify'],
  ['history'],
  ['writeback', 'hydrate'],
  ['attach'],
  ['mount'],
  ['dag'],
  ['tree'],
  ['blocks'],
  ['ipfs'],
  ['config'],
  ['base'],
]

/** Programs: what is started as a process of its own, and so is imported by nobody. */
const PROGRAMS = new Set(['cli/main.ts', 'daemon/main.ts', 'daemon/serve.ts'])

interface Source {
  /** Relative to src. */
  readonly path: string
  readonly folder: string
  readonly text: string
}

async function readSources(): Promise<Source[]> {
  const names = await readdir(SOURCES, { recursive: true })
  return Promise.all(
    names
      .filter((name) => name.endsWith('.ts'))
      .sort()
      .map(async (path) => ({
        path,
        folder: path.split('/', 1)[0] ?? '',
        text: await readFile(join(SOURCES, path), 'utf8'),
      })),
  )
}

/** Everything that a file imports or re-exports, also lazily and as a type. */
function importsOf({ text }: Source): string[] {
  const found = text.matchAll(/(?:\bfrom\s+|\bimport\s*\(\s*|^import\s+)['"]([^'"]+)['"]/gm)
  return [...found].map((match) => match[1] ?? '')
}

function layerOf(folder: string): number {
  return LAYERS.findIndex((line) => line.includes(folder))
}

const sources = await readSources()

describe('the layers', () => {
  it('name every folder of src', () => {
    const unknown = new Set(sources.map(({ folder }) => folder).filter((name) => layerOf(name) < 0))
    assert.deepEqual([...unknown], [])
  })

  it('name no folder that is not there', () => {
    const folders = new Set(sources.map(({ folder }) => folder))
    assert.deepEqual(
      LAYERS.flat().filter((name) => !folders.has(name)),
      [],
    )
  })

  it('each have one door', () => {
    const folders = [...new Set(sources.map(({ folder }) => folder))]
    const doors = new Set(sources.map(({ path }) => path))
    assert.deepEqual(
      folders.filter((folder) => !doors.has(`${folder}/index.ts`)),
      [],
    )
  })

  it('are imported only downwards and through their doors', () => {
    const wrong: string[] = []
    for (const source of sources) {
      for (const specifier of importsOf(source).filter((name) => name.startsWith('.'))) {
        const target = relative(SOURCES, resolve(SOURCES, dirname(source.path), specifier))
        const folder = target.split('/', 1)[0] ?? ''
        if (folder === source.folder) {
          continue
        }
        if (layerOf(folder) <= layerOf(source.folder)) {
          wrong.push(`${source.path} imports ${target}, which is not below it`)
        }
        if (target !== `${folder}/index.ts`) {
          wrong.push(`${source.path} imports ${target} past the door of ${folder}`)
        }
      }
    }
    assert.deepEqual(wrong, [])
  })

  it('hold no circle of files within a folder', () => {
    assert.deepEqual(circles(), [])
  })

  it('start their programs by nobody’s import', () => {
    const wrong = sources.flatMap((source) =>
      importsOf(source)
        .filter((name) => name.startsWith('.'))
        .map((name) => relative(SOURCES, resolve(SOURCES, dirname(source.path), name)))
        .filter((target) => PROGRAMS.has(target))
        .map((target) => `${source.path} imports ${target}`),
    )
    assert.deepEqual(wrong, [])
  })

  it('import by name only what package.json declares', async () => {
    const manifest = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'))
    const declared = new Set(Object.keys(manifest.dependencies))
    const undeclared = sources.flatMap((source) =>
      importsOf(source)
        .filter((name) => !name.startsWith('.') && !name.startsWith('node:'))
        .map((name) => name.split('/', name.startsWith('@') ? 2 : 1).join('/'))
        .filter((name) => !declared.has(name))
        .map((name) => `${source.path} imports ${name}`),
    )
    assert.deepEqual(undeclared, [])
  })
})

/** Value imports within a folder must form a tree: with a circle, order of loading decides. */
function circles(): string[] {
  const edges = new Map<string, string[]>()
  for (const source of sources) {
    const values = {
      ...source,
      text: source.text.replace(/^(import|export) type [^;]*?from '.*'$/gms, ''),
    }
    edges.set(
      source.path,
      importsOf(values)
        .filter((name) => name.startsWith('.'))
        .map((name) => relative(SOURCES, resolve(SOURCES, dirname(source.path), name))),
    )
  }
  const found: string[] = []
  const state = new Map<string, 'open' | 'done'>()
  const visit = (path: string, way: string[]): void => {
    if (state.get(path) === 'open') {
      found.push([...way.slice(way.indexOf(path)), path].join(' > '))
      return
    }
    if (state.get(path) === 'done') {
      return
    }
    state.set(path, 'open')
    for (const next of edges.get(path) ?? []) {
      visit(next, [...way, path])
    }
    state.set(path, 'done')
  }
  for (const path of edges.keys()) {
    visit(path, [])
  }
  return found
}
