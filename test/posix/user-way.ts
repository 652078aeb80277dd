import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { type CommitAnswer, type Mount, waitFor, withMount } from '../support/index.ts'
import type { Place, WayIn } from './contract.ts'
import type { Exemptions } from './exempt.ts'

/** What an ordinary user can close to himself. */
const CLOSED_NAMES = ['0000', 'd0000']

/** Without a privilege it is slower, and nothing else, but for what its owner may not read either. */
export const USER_EXEMPT: Exemptions = {
  rows: {
    modes: {
      answer:
        'on another machine: the names that their owner can neither read nor list are not there; ' +
        '`commit` names them',
      reason: 'no process of an ordinary user can read them, so that nobody can hash them',
      facts: (name, plain) =>
        name !== 'found' || typeof plain !== 'object' || plain === null
          ? plain
          : Object.fromEntries(
              Object.entries(plain).filter(([one]) => !CLOSED_NAMES.includes(one)),
            ),
    },
  },
}

/**
 * Ways in of an ordinary user: what uses them runs as one, in a mount namespace of his own, the
 * oracle included (`observe-as-user.ts`). The mount is made by fusermount3, without --allow-other,
 * which he may not ask for, and without passthrough, which needs a privilege.
 */
export const USER_WAYS: readonly WayIn[] = [
  /** The whole table, on files that were made a moment ago. */
  { name: 'native-user', open: openFresh },
  /** What was there before, as placeholders of a root that another mount shares. */
  { name: 'remote', preparedOnly: true, exempt: USER_EXEMPT, open: openRemote },
]

async function openFresh(t: TestContext): Promise<Place> {
  const mount = await withMount(t, { engine: 'native' })
  return placeIn(mount, async () => mount)
}

async function openRemote(t: TestContext): Promise<Place> {
  const origin = await withMount(t, { engine: 'native' })
  return placeIn(origin, async () => {
    const { root } = await commitReadable(origin)
    const { address } = await origin.share()
    return withMount(t, { engine: 'native', args: ['--from', root, '--peer', address] })
  })
}

function placeIn(origin: Mount, settle: () => Promise<Mount>): Place {
  const rowsIn = ({ mountpoint }: Mount) => join(mountpoint, 'rows')
  let mount = origin
  return {
    root: rowsIn(origin),
    settle: async () => {
      mount = await settle()
      return rowsIn(mount)
    },
    onPause: async (what) => {
      if (what === 'commit') await mount.commit()
      else if (what === 'commit-all') await commitReadable(mount)
      else await mount.killDaemon()
    },
  }
}

/** Why an ordinary user's file stays out of a root: it is closed to himself, by its mode or above. */
const CLOSED = /Permission denied|it cannot be listed/

/** Commits until nothing is dirty but what its owner closed to himself; the answer lists that. */
async function commitReadable(mount: Mount): Promise<CommitAnswer> {
  let last: CommitAnswer | undefined
  try {
    return await waitFor('everything readable to be committed', async () => {
      last = await mount.commit()
      const open = last.open as { path: string; reason: string }[]
      return open.every(({ reason }) => CLOSED.test(reason)) ? last : undefined
    })
  } catch (error) {
    throw new Error(`not committed: ${JSON.stringify(last)}`, { cause: error })
  }
}
