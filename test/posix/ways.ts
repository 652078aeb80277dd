import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { type Mount, repositoryRoot, runOk, tempDir, withMount } from '../support/index.ts'
import type { Place, WayIn } from './contract.ts'
import type { Pause } from './rows.ts'

const rowsIn = (mount: Mount) => join(mount.mountpoint, 'rows')

/** Others than the one who mounted are part of the table. */
const ARGS = ['--allow-other']

async function act(mount: Mount, what: Pause): Promise<void> {
  if (what === 'commit') await mount.commit()
  else if (what === 'commit-all') await mount.commitAll()
  else await mount.killDaemon()
}

function placeIn(mount: Mount, settle = async () => rowsIn(mount)): Place {
  return { root: rowsIn(mount), settle, onPause: (what) => act(mount, what) }
}

/** Files that were made a moment ago and never settled, with passthrough where it is granted. */
export const fresh: WayIn = {
  name: 'fresh',
  open: async (t) => placeIn(await withMount(t, { args: ARGS })),
}

/** The same without passthrough, as an ordinary user has it: all reads and writes are served. */
export const served: WayIn = {
  name: 'served',
  open: async (t) => {
    const env = { MODELCACHE_KEEPER: keeperWithoutPassthrough(t) }
    return placeIn(await withMount(t, { args: ARGS, env }))
  },
}

/** Files that are settled: clean, with a row and an object, their attributes cached. */
export const committed: WayIn = {
  name: 'committed',
  preparedOnly: true,
  open: async (t) => {
    const mount = await withMount(t, { args: ARGS })
    return placeIn(mount, async () => {
      await mount.commitAll()
      return rowsIn(mount)
    })
  },
}

/** Placeholders: another mount, with an empty store, of the root that was committed in the first. */
export const remote: WayIn = {
  name: 'remote',
  preparedOnly: true,
  open: async (t) => {
    const origin = await withMount(t)
    let mount = origin
    const settle = async () => {
      const { root } = await origin.commitAll()
      const { address } = await origin.share()
      mount = await withMount(t, { args: ['--from', root, '--peer', address, ...ARGS] })
      return rowsIn(mount)
    }
    return { root: rowsIn(origin), settle, onPause: (what) => act(mount, what) }
  },
}

/** A mount with --read-only; the oracle is the plain directory, bind-mounted read-only. */
export const readOnly: WayIn = {
  name: 'read-only',
  open: async (t) => {
    const mount = await withMount(t)
    return placeIn(mount, async () => {
      await mount.unmount()
      await mount.mount(['--read-only'])
      return rowsIn(mount)
    })
  },
  oracle: async (t, plain) => {
    const base = tempDir(t)
    const bound = join(base, 'read-only')
    mkdirSync(bound)
    const run = (...command: string[]) =>
      runOk(command[0] ?? '', command.slice(1), { env: { PATH: process.env.PATH ?? '' } })
    await run('mount', '--bind', plain, bound)
    const release = () => run('umount', bound)
    await run('mount', '-o', 'remount,bind,ro', bound)
    return { root: bound, release }
  },
}

/**
 * A keeper that is told `passthrough: off`: it reads its configuration from stdin, and the command
 * line has no option for what only tests want.
 */
function keeperWithoutPassthrough(t: TestContext): string {
  const keeper =
    process.env.MODELCACHE_KEEPER ?? join(repositoryRoot, 'native/target/release/modelcache-keeper')
  const path = join(tempDir(t), 'keeper')
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
