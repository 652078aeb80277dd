// What set-up says, how it runs other programs, and how it knows that a step is done.

import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, dirname, join, relative } from 'node:path'
import { PROVIDED_PATH, ROOT } from '../runtime.mjs'

/** Something that set-up cannot do by itself; the message names the remedy. */
export class SetupError extends Error {
  constructor(message, exitCode = 1) {
    super(message)
    this.exitCode = exitCode
  }
}

/** One line for the person who waits. Standard output belongs to the program that comes after. */
export function say(line) {
  process.stderr.write(`set-up: ${line}\n`)
}

/**
 * The environment of the programs that set-up runs: npm's own variables for the script that is
 * running now would make a nested npm believe that it runs for that script.
 */
export function toolEnvironment(extra = {}) {
  const env = { ...process.env, ...extra }
  for (const name of Object.keys(env)) {
    if (/^npm_(lifecycle|package|command|config_local_prefix|config_prefix)/.test(name)) {
      delete env[name]
    }
  }
  delete env.INIT_CWD
  const own = existsSync(PROVIDED_PATH) ? [dirname(PROVIDED_PATH)] : []
  env.PATH = [...own, env.PATH, join(homedir(), '.cargo/bin')].filter(Boolean).join(delimiter)
  return env
}

/**
 * Runs a program and shows what it says.
 *
 * @returns {Promise<boolean>} whether it ended with 0
 */
export function run(command, args, extraEnv) {
  return new Promise((done, reject) => {
    // What the tools print is progress, not an answer: all of it goes to standard error.
    const child = spawn(command, args, {
      cwd: ROOT,
      env: toolEnvironment(extraEnv),
      stdio: ['ignore', 2, 2],
    })
    child.on('error', (error) => {
      reject(new SetupError(`cannot run ${command}: ${error.message}`))
    })
    child.on('exit', (code) => done(code === 0))
  })
}

/** The standard output of a program, or undefined if it is not there or fails. */
export function outputOf(command, args) {
  const result = spawnSync(command, args, { env: toolEnvironment(), encoding: 'utf8' })
  return result.status === 0 ? result.stdout.trim() : undefined
}

/** Whether a program of this name can be found. */
export function isInPath(name) {
  const folders = toolEnvironment().PATH.split(delimiter)
  return [...folders, '/usr/sbin', '/sbin'].some((folder) => existsSync(join(folder, name)))
}

/**
 * SHA-256 over the names and contents of files and folders, in hex: the same sources make the same
 * stamp, wherever and whenever they were checked out.
 *
 * @param {string[]} places - relative to the root; missing ones count as missing
 * @param {string} salt - what else the result depends on
 */
export function hashOf(places, salt = '') {
  const hash = createHash('sha256').update(salt)
  for (const file of places.flatMap((place) => filesBelow(join(ROOT, place)))) {
    hash.update(`\0${relative(ROOT, file)}\0`).update(readFileSync(file))
  }
  return hash.digest('hex')
}

function filesBelow(place) {
  if (!existsSync(place)) {
    return []
  }
  if (!statSync(place).isDirectory()) {
    return [place]
  }
  return readdirSync(place)
    .sort()
    .flatMap((name) => filesBelow(join(place, name)))
}

/** Whether a stamp file holds this stamp. */
export function isStamped(file, stamp) {
  return existsSync(file) && readFileSync(file, 'utf8') === stamp
}
