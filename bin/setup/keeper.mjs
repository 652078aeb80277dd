// The keeper for `npm start`: with it mounts are fastest, and without it they work too.

import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../runtime.mjs'
import { buildKeeper, KEEPER } from './build.mjs'
import { SetupError, say } from './progress.mjs'
import { isRustNewEnough, provideRust } from './system.mjs'

/** There after a set-up that could not get Rust: the next one does not ask the network again. */
const GIVEN_UP = join(ROOT, '.modelcache/without-keeper')

/**
 * Builds the keeper where Rust is there or can be had. Where not, mounts are served by the portable
 * engine (fuse-native), and this says so; a keeper that is there already is used as it is.
 */
export async function provideKeeper() {
  if (existsSync(GIVEN_UP) && !isRustNewEnough()) {
    sayWithout(`no Rust yet; install it, or remove ${GIVEN_UP} to have it tried again`)
    return
  }
  try {
    await provideRust()
  } catch (error) {
    if (!(error instanceof SetupError)) {
      throw error
    }
    mkdirSync(join(ROOT, '.modelcache'), { recursive: true })
    writeFileSync(GIVEN_UP, `${error.message}\n`)
    sayWithout(error.message)
    return
  }
  rmSync(GIVEN_UP, { force: true })
  await buildOrGoWithout()
}

/** An old keeper must not serve a newer program by accident: then a failed build is an error. */
async function buildOrGoWithout() {
  try {
    await buildKeeper()
  } catch (error) {
    if (!(error instanceof SetupError) || existsSync(KEEPER)) {
      throw error
    }
    sayWithout(error.message)
  }
}

function sayWithout(reason) {
  say(reason)
  say(
    existsSync(KEEPER)
      ? 'goes on with the keeper that is there, which may be of older sources'
      : 'goes on without the keeper: mounts are served by the portable engine (fuse-native), ' +
          'slower; run this again when Rust is there',
  )
}
