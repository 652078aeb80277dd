import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { nodePath } from '../support/index.ts'

/**
 * Writes a program that a command can start as its keeper. It keeps what it was told in
 * `told.json` of its own folder, then does what `script` says, with `told` at hand.
 *
 * @returns its path, for MODELCACHE_KEEPER
 */
export function writeFakeKeeper(folder: string, script: string): string {
  const path = join(folder, 'fake-keeper')
  writeFileSync(
    path,
    `#!${nodePath()}
const { readFileSync, writeFileSync } = require('node:fs')
const told = JSON.parse(readFileSync(0, 'utf8'))
writeFileSync(${JSON.stringify(join(folder, 'told.json'))}, JSON.stringify({
  told, cwd: process.cwd(), env: process.env, pid: process.pid,
  session: readFileSync('/proc/self/stat', 'latin1').split(') ')[1].split(' ')[3],
}))
${script}
`,
    { mode: 0o755 },
  )
  return path
}
