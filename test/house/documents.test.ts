import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8')

/** Every Markdown file of the repository's own. */
const DOCUMENTS = [
  'README.md',
  'CHANGELOG.md',
  ...readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
]

function missingIn(document: string, words: readonly string[]): string[] {
  const text = read(document)
  return words.filter((word) => !text.includes(word))
}

describe('the documents', () => {
  it('link to files that exist', () => {
    const broken = DOCUMENTS.flatMap((document) =>
      [...read(document).matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)]
        .map((match) => match[1] ?? '')
        .filter((target) => !existsSync(resolve(ROOT, dirname(document), target)))
        .map((target) => `${document}: ${target}`),
    )
    assert.deepEqual(broken, [])
  })

  it('name every command and its options', () => {
    const commands = readdirSync(join(ROOT, 'src/cli'))
      .map((name) => read(`src/cli/${name}`))
      .flatMap((text) => [...text.matchAll(/\.command\('(\w+)'\)/g)])
      .map((match) => `\`${match[1]}`)
    assert.ok(commands.length >= 10)
    assert.deepEqual(missingIn('README.md', commands), [])
    const options = [...read('src/cli/mount.ts').matchAll(/\.option\('(--[\w-]+)/g)]
    assert.deepEqual(
      missingIn(
        'docs/configuration.md',
        options.map((match) => match[1] ?? ''),
      ),
      [],
    )
  })

  it('name every field of a status', () => {
    const fields = [...read('src/cli/mount-status.ts').matchAll(/\breadonly (\w+)\??:/g)]
    assert.ok(fields.length >= 40)
    const text = read('docs/configuration.md')
    const missing = fields
      .map((match) => match[1] ?? '')
      .filter((name) => !text.includes(`"${name}"`) && !text.includes(`\`${name}\``))
    assert.deepEqual([...new Set(missing)], [])
  })

  it('name every variable that is read', () => {
    const sources = ['src/config', 'src/attach']
      .flatMap((folder) => readdirSync(join(ROOT, folder)).map((name) => `${folder}/${name}`))
      .map(read)
      .join('\n')
    const names = [...sources.matchAll(/\b(?:env|caller)\.([A-Z][A-Z_]+)\b/g)]
    assert.deepEqual(
      missingIn(
        'docs/configuration.md',
        names.map((match) => match[1] ?? ''),
      ),
      [],
    )
  })

  it('give a reason for every dependency', () => {
    const { dependencies, devDependencies } = JSON.parse(read('package.json'))
    const packages = Object.keys({ ...dependencies, ...devDependencies })
    const crates = [...read('native/Cargo.toml').matchAll(/^([\w-]+) = [{"]/gm)]
      .map((match) => match[1] ?? '')
      .filter((name) => !['name', 'version', 'edition', 'license', 'description'].includes(name))
      .filter((name) => !['rust-version', 'panic', 'path'].includes(name))
    assert.deepEqual(
      missingIn(
        'docs/dependencies.md',
        [...packages, ...crates].map((name) => `\`${name}\``),
      ),
      [],
    )
  })

  it('show the same folders as the layers', () => {
    const folders = readdirSync(join(ROOT, 'src'), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => `src/${entry.name}`)
    assert.deepEqual(missingIn('docs/architecture.md', folders), [])
  })

  it('name tests that exist', () => {
    const named = DOCUMENTS.flatMap((document) =>
      [...read(document).matchAll(/`(test\/[\w./-]+)`/g)].map((match) => match[1] ?? ''),
    )
    assert.ok(named.length > 50)
    const forms = (name: string) => [name, `${name}.test.ts`]
    const missing = named.filter((name) => !forms(name).some((one) => existsSync(join(ROOT, one))))
    assert.deepEqual([...new Set(missing)], [])
  })

  it('say of each scenario which test is its own', () => {
    const rows = [
      ...read('docs/evidence/issue-3.md').matchAll(
        /^\| `(test\/scenarios\/\S+)` \| ([^:|(]+)(?:[:(][^|]*)?\|$/gm,
      ),
    ].map(([, file = '', numbers = '']) => ({ file, numbers: numbers.split(',').map(Number) }))
    const named = rows.flatMap(({ numbers }) => numbers).sort((one, other) => one - other)
    assert.deepEqual(
      named,
      [...Array(36).keys()].map((index) => index + 1),
    )
    // 34 and 35 are no programs, but what is done to the daemon and to its environment.
    const programs = readdirSync(join(ROOT, 'test/scenarios/python'))
      .map((name) => /^s(\d\d)_\w+(?=\.py$)/.exec(name))
      .filter((match) => match !== null)
    assert.equal(programs.length, 34)
    for (const [program, number] of programs) {
      const row = rows.find(({ numbers }) => numbers.includes(Number(number)))
      assert.ok(row && read(row.file).includes(program), `${program} in ${row?.file}`)
    }
    for (const number of [34, 35]) {
      const row = rows.find(({ numbers }) => numbers.includes(number))
      assert.ok(row && read(row.file).includes(`// Scenario ${number}:`), `${number}`)
    }
  })

  it('keep nothing of the machine that they were written on', () => {
    const places = /\/(work|home|root)\/|\b127\.0\.0\.1:48\d\d\b/
    const found = DOCUMENTS.filter((document) => places.test(read(document)))
    assert.deepEqual(found, [])
  })
})
