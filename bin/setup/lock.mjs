// One set-up at a time: two that install into the same folder spoil it for both.

import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { ROOT } from '../runtime.mjs'
import { say } from './progress.mjs'

const FOLDER = join(ROOT, '.modelcache')
const LOCK = join(FOLDER, 'setup.lock')

/** Runs `job` while no other set-up of this clone runs. */
export async function withLock(job) {
  mkdirSync(FOLDER, { recursive: true })
  let told = false
  while (!tryLock()) {
    if (!told) {
      say(`waits for another set-up of this clone (process ${holder()})`)
      told = true
    }
    await wait(200)
  }
  const release = () => rmSync(LOCK, { force: true })
  process.once('exit', release)
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.once(signal, () => process.exit(1))
  }
  try {
    await job()
  } finally {
    release()
    process.removeListener('exit', release)
  }
}

/** The lock appears whole, with its holder in it, or not at all: it is a link to a finished file. */
function tryLock() {
  const own = `${LOCK}.${process.pid}`
  writeFileSync(own, String(process.pid))
  try {
    linkSync(own, LOCK)
    return true
  } catch (error) {
    if (error.code !== 'EEXIST') {
      throw error
    }
    dropDeadLock(own)
    return false
  } finally {
    rmSync(own, { force: true })
  }
}

/** A set-up that was killed leaves its lock. Renaming it away can succeed for one waiter only. */
function dropDeadLock(own) {
  const pid = holder()
  if (pid === undefined || isAlive(pid)) {
    return
  }
  try {
    renameSync(LOCK, `${own}.dead`)
    rmSync(`${own}.dead`, { force: true })
  } catch (error) {
    if (error.code !== 'ENOENT') {
      throw error
    }
  }
}

function holder() {
  try {
    return Number(readFileSync(LOCK, 'utf8'))
  } catch (error) {
    if (error.code === 'ENOENT') {
      return undefined
    }
    throw error
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}
