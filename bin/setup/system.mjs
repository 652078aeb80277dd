// What comes from the system: FUSE's helper, a Rust toolchain, a linker. As root on Debian and its
// like it is installed with apt, saying so; else the command is named.

import { isInPath, outputOf, run, SetupError, say } from './progress.mjs'

/** The rust-version of native/Cargo.toml: with an older one cargo refuses to build the keeper. */
export const NEEDED_RUST = [1, 88]

/** As `provideFuse`; where that cannot be, mounts work without FUSE, and this says so. */
export async function provideFuseIfPossible() {
  try {
    await provideFuse()
  } catch (error) {
    if (!(error instanceof SetupError)) {
      throw error
    }
    say(error.message)
    say('goes on without it: a mount is a link to the files on disk, and fetches nothing by itself')
  }
}

/** fusermount3 mounts for an ordinary user; root mounts without it. */
export async function provideFuse() {
  if (isInPath('fusermount3')) {
    return
  }
  if (canUseApt()) {
    say('fusermount3 is missing: installs fuse3 with apt')
    if (await aptInstall(['fuse3'])) {
      return
    }
    say('fuse3 could not be installed; root can mount without it, other users cannot')
  } else if (process.getuid() !== 0) {
    throw new SetupError(
      'fusermount3 is missing: run `sudo apt-get install fuse3` (or your system’s way), and this again',
      5,
    )
  }
}

/** cargo for the keeper, and the C compiler that it links with. */
export async function provideRust() {
  if (!isRustNewEnough()) {
    await installRust()
  }
  if (!isInPath('cc')) {
    if (!canUseApt() || !(await aptInstallSaying('a linker (cc)', ['gcc', 'libc6-dev']))) {
      throw new SetupError(
        'cc is missing: run `sudo apt-get install gcc libc6-dev`, and this again',
        5,
      )
    }
  }
}

/** The formatter and the linter that the tests run; rustup names its own command. */
export async function provideRustTools() {
  const missing = ['rustfmt', 'cargo-clippy'].filter((name) => !isInPath(name))
  if (missing.length === 0) {
    return
  }
  const names = outputOf('cargo', ['--version'])?.startsWith('cargo') && isInPath('rustup')
  if (names) {
    say(`${missing.join(' and ')} missing: adds them with rustup`)
    if (await run('rustup', ['component', 'add', 'rustfmt', 'clippy'])) {
      return
    }
  } else if (canUseApt()) {
    const web = candidateOf('cargo-web') !== undefined && outputOf('dpkg', ['-s', 'cargo-web'])
    const packages = web ? ['rustfmt-web', 'rust-web-clippy'] : ['rustfmt', 'rust-clippy']
    if (await aptInstallSaying(missing.join(' and '), packages)) {
      return
    }
  }
  throw new SetupError(
    `${missing.join(' and ')} missing: run \`rustup component add rustfmt clippy\`, and this again`,
    5,
  )
}

/** Whether cargo is there and can build the keeper. */
export function isRustNewEnough() {
  const version = outputOf('cargo', ['--version'])?.match(/^cargo (\d+)\.(\d+)/)
  return version != null && isNewEnough(version)
}

function isNewEnough([, major, minor]) {
  const [needMajor, needMinor] = NEEDED_RUST
  return Number(major) > needMajor || (Number(major) === needMajor && Number(minor) >= needMinor)
}

/** Debian 12 has Rust 1.63, and a newer one for its browsers as rustc-web and cargo-web. */
async function installRust() {
  const have = outputOf('cargo', ['--version'])
  const what = `Rust ${NEEDED_RUST.join('.')} or later (${have ?? 'no cargo here'})`
  if (canUseApt()) {
    // Package lists may be empty in an image; without them there is no candidate.
    await run('apt-get', ['update', '-q'])
    const choice = [
      ['cargo', ['cargo', 'rustc']],
      ['cargo-web', ['cargo-web', 'rustc-web']],
    ].find(([name]) => isCandidateNewEnough(name))
    if (choice && (await aptInstallSaying(what, choice[1])) && isRustNewEnough()) {
      return
    }
  }
  throw new SetupError(
    `${what} is needed to build the keeper: install it with rustup (https://rustup.rs) or, as root ` +
      'on Debian 12, `apt-get install cargo-web rustc-web`, and run this again',
    5,
  )
}

function isCandidateNewEnough(name) {
  const version = candidateOf(name)?.match(/^(?:\d+:)?(\d+)\.(\d+)/)
  return version != null && isNewEnough(version)
}

/** The version that apt would install, or undefined. */
function candidateOf(name) {
  const found = outputOf('apt-cache', ['policy', name])?.match(/Candidate: (\S+)/)?.[1]
  return found === '(none)' ? undefined : found
}

function canUseApt() {
  return process.getuid() === 0 && isInPath('apt-get')
}

function aptInstallSaying(what, packages) {
  say(`needs ${what}: installs ${packages.join(' ')} with apt`)
  return aptInstall(packages)
}

async function aptInstall(packages) {
  const env = { DEBIAN_FRONTEND: 'noninteractive' }
  const args = [
    'install',
    '-y',
    '-qq',
    '-o=Dpkg::Use-Pty=0',
    '--no-install-recommends',
    ...packages,
  ]
  if (await run('apt-get', args, env)) {
    return true
  }
  say('apt found them not: refreshes its lists and tries again')
  return (await run('apt-get', ['update', '-q'], env)) && (await run('apt-get', args, env))
}
