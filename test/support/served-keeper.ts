import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { repositoryRoot } from './modelcache.ts'

/**
 * Writes a program that starts the keeper with `passthrough: off`, for MODELCACHE_KEEPER: the
 * keeper reads its configuration from stdin, and the command line has no option for what only
 * tests want.
 *
 * @param directory where it is put
 * @returns its path
 */
export function servedKeeper(directory: string): string {
  const keeper =
    process.env.MODELCACHE_KEEPER ?? join(repositoryRoot, 'native/target/release/modelcache-keeper')
  const path = join(directory, 'keeper')
  const script = [
    '#!/usr/bin/env python3',
    'import json, os, sys',
    'config = json.load(sys.stdin)',
    'config["passthrough"] = "off"',
    'fd = os.memfd_create("config")',
    'os.write(fd, json.dumps(config).encode())',
    'os.lseek(fd, 0, os.SEEK_SET)',
    'os.dup2(fd, 0)',
    `os.execv(${JSON.stringify(keeper)}, sys.argv)`,
  ]
  writeFileSync(path, `${script.join('\n')}\n`)
  chmodSync(path, 0o755)
  return path
}
