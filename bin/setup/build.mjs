// The two builds: the keeper (Rust) and the program (TypeScript), each only when its sources changed.

import { existsSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT, suitableNode } from '../runtime.mjs'
import { hashOf, isStamped, outputOf, run, SetupError, say } from './progress.mjs'

/** What `buildKeeper` makes. */
export const KEEPER = join(ROOT, 'native/target/release/modelcache-keeper')

/** Builds the keeper, unless it is there and of these sources. */
export async function buildKeeper() {
  const target = join(ROOT, 'native/target')
  const stampFile = join(target, '.stamp')
  const stamp = hashOf(
    ['native/Cargo.toml', 'native/Cargo.lock', 'native/.cargo', 'native/build.rs', 'native/src'],
    outputOf('cargo', ['--version']),
  )
  if (isStamped(stampFile, stamp) && existsSync(KEEPER)) {
    return
  }
  say('builds the keeper (Rust; about a minute the first time)')
  const manifest = join(ROOT, 'native/Cargo.toml')
  const args = ['build', '--release', '--locked', '--manifest-path', manifest]
  if (!(await run('cargo', [...args, '--target-dir', target]))) {
    throw new SetupError('the keeper could not be built: see above, and run this again')
  }
  writeFileSync(stampFile, stamp)
}

/**
 * Builds dist/ beside the old one and then swaps them: a daemon that runs from dist/ while this
 * happens may be restarted at any moment.
 */
export async function buildProgram() {
  const dist = join(ROOT, 'dist')
  const stamp = hashOf(['tsconfig.json', 'src', 'node_modules/typescript/package.json'])
  if (isStamped(join(dist, '.stamp'), stamp)) {
    return
  }
  say('builds the program (TypeScript)')
  const next = join(ROOT, 'dist.next')
  const old = join(ROOT, 'dist.old')
  rmSync(next, { recursive: true, force: true })
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc')
  const node = suitableNode() ?? process.execPath
  if (!(await run(node, [tsc, '-p', join(ROOT, 'src/tsconfig.json'), '--outDir', next]))) {
    throw new SetupError('the program could not be built: see above')
  }
  writeFileSync(join(next, '.stamp'), stamp)
  rmSync(old, { recursive: true, force: true })
  if (existsSync(dist)) {
    renameSync(dist, old)
  }
  renameSync(next, dist)
  rmSync(old, { recursive: true, force: true })
}
