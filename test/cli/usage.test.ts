import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { shell } from './command.ts'

/** What was typed, and the one line that answers it. */
const WRONG: [words: string[], message: RegExp][] = [
  [['mout'], /^modelcache: unknown command 'mout' \(Did you mean mount\?\)$/],
  [['frobnicate'], /unknown command 'frobnicate'; see `modelcache --help`$/],
  [['mount', '--stroe', 'x'], /unknown option '--stroe' \(Did you mean --store\?\)$/],
  [['mount', '--store'], /option '--store <DIR>' argument missing; see `modelcache mount --help`$/],
  [['mount', 'a', 'b'], /too many arguments.*see `modelcache mount --help`$/],
  [['unmount'], /missing required argument 'DIR'; see `modelcache unmount --help`$/],
  [['unmount', 'm', '--timeout', 'soon'], /--timeout "soon": give whole seconds from 0 to 86400$/],
  [['unmount', 'm', '--timeout', '1.5'], /--timeout "1.5": give whole seconds/],
  [['unmount', ''], /the directory "": give the mountpoint/],
  [['cid'], /missing required argument 'PATH'/],
  [['env', 'm', '--shell', 'csh'], /--shell "csh": give one of sh, fish, json$/],
  [['run'], /missing required argument 'COMMAND'/],
  [['mount', '--gate', 'ajar'], /--gate "ajar": give one of auto, open, closed$/],
  [['mount', '--from', 'bafynope'], /--from "bafynope" is no CID/],
  [['mount', '--peer', 'ftp://h/'], /peer ftp:\/\/h\/: is no http address; use the address that/],
]

describe('wrong usage', () => {
  for (const [words, message] of WRONG) {
    it(`of \`${words.join(' ')}\` is one line and exit code 2`, async (t) => {
      const { code, stdout, stderr } = await shell(t).run(words)
      assert.match(stderr.trimEnd(), message)
      assert.equal(stderr.trimEnd().split('\n').length, 1)
      assert.equal(stdout, '')
      assert.equal(code, 2)
    })
  }

  it('without a command shows the help on standard error', async (t) => {
    const { code, stdout, stderr } = await shell(t).run([])
    assert.match(stderr, /Usage: modelcache/)
    assert.equal(stdout, '')
    assert.equal(code, 2)
  })
})

describe('the help', () => {
  const commands = 'mount unmount status commit cid share env run infer doctor'.split(' ')
  for (const command of commands) {
    it(`of ${command} has an example and is an answer`, async (t) => {
      const { code, stdout, stderr } = await shell(t).run([command, '--help'])
      assert.match(stdout, new RegExp(`Examples?:\\n +.*modelcache ${command}`))
      assert.equal(stderr, '')
      assert.equal(code, 0)
    })
  }

  it('names the exit codes', async (t) => {
    assert.match((await shell(t).run(['--help'])).stdout, /Exit codes: 0 done; .*2 wrong usage/)
  })
})

describe('commands about a mount that is not there', () => {
  it('unmount says so and is done', async (t) => {
    const { run } = shell(t)
    for (const [directory, what] of [
      ['.', 'is not mounted'],
      ['none', 'does not exist'],
      ['none/at/all', 'does not exist'],
    ]) {
      const { code, stdout, stderr } = await run(['unmount', `${directory}`])
      assert.deepEqual([code, stdout, stderr], [0, '', `"${directory}" ${what}\n`])
    }
  })

  for (const words of [
    ['status', '.'],
    ['commit', '.'],
    ['share', '.'],
    ['cid', '/etc/passwd'],
  ]) {
    it(`${words.join(' ')} fails with exit code 1`, async (t) => {
      const { code, stdout, stderr } = await shell(t).run(words)
      assert.match(stderr, /^modelcache: .* is not (mounted|in a mount)/)
      assert.deepEqual([code, stdout], [1, ''])
    })
  }

  it('env prints it all the same, and warns', async (t) => {
    const { run, base } = shell(t)
    const { code, stdout, stderr } = await run(['env', 'm', '--shell', 'json'])
    assert.equal(JSON.parse(stdout).HF_HOME, `${base}/m`)
    assert.match(stderr, /"m" is not mounted now/)
    assert.equal(code, 0)
  })
})
