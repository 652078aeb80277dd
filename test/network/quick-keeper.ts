import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { repositoryRoot } from '../support/index.ts'

const KEEPER = join(repositoryRoot, 'native/target/release/modelcache-keeper')

/**
 * A program that starts the real keeper with another fetch deadline than the command line gives:
 * half a minute is right for people and too long for every test of a peer that is gone.
 *
 * @returns what `MODELCACHE_KEEPER` takes
 */
export function quickKeeper(directory: string, deadlineMs: number): string {
  const keeper = process.env.MODELCACHE_KEEPER ?? KEEPER
  const program = join(directory, 'quick-keeper')
  const lines = [
    '#!/bin/sh',
    `config="${directory}/keeper-config.$$"`,
    `sed 's/"fetchDeadlineMs":[0-9]*/"fetchDeadlineMs":${deadlineMs}/g' >"$config"`,
    `exec "${keeper}" <"$config"`,
  ]
  writeFileSync(program, `${lines.join('\n')}\n`)
  chmodSync(program, 0o755)
  return program
}
