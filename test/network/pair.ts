import type { TestContext } from 'node:test'
import { type CommitAnswer, type Mount, type MountOptions, withMount } from '../support/index.ts'
import { type TcpRelay, tcpRelay } from './tcp-relay.ts'

/** A mount that was filled, committed and shared. */
export interface Origin {
  readonly mount: Mount
  readonly committed: CommitAnswer
  readonly address: string
}

/** A filled mount and another one, on a store of its own, opened from the first one's root. */
export interface Pair {
  readonly first: Mount
  readonly second: Mount
  readonly committed: CommitAnswer
}

/** Mounts, lets `fill` put files in, commits all of it and shares it. */
export async function sharedOrigin(
  t: TestContext,
  fill: (directory: string) => Promise<void>,
  options: MountOptions = {},
): Promise<Origin> {
  const mount = await withMount(t, options)
  await fill(mount.mountpoint)
  const committed = await mount.commitAll()
  const { address } = await mount.share()
  return { mount, committed, address }
}

/** The words of `mount` that open what an origin shares, through `address` or its own. */
export function from({ committed, address }: Origin, through = address): string[] {
  return ['--from', committed.root, '--peer', through]
}

/** A pair that is connected without anything between. */
export async function mountPair(
  t: TestContext,
  fill: (directory: string) => Promise<void>,
): Promise<Pair> {
  const origin = await sharedOrigin(t, fill)
  const second = await withMount(t, { args: from(origin) })
  return { first: origin.mount, second, committed: origin.committed }
}

/** A pair with a relay between, whose second mount gives a fetch up after `deadlineS` seconds. */
export async function relayedPair(
  t: TestContext,
  fill: (directory: string) => Promise<void>,
  deadlineS: number,
): Promise<Pair & { relay: TcpRelay }> {
  const origin = await sharedOrigin(t, fill)
  const relay = await tcpRelay(t, origin.address)
  const second = await withMount(t, {
    args: [...from(origin, relay.address), '--fetch-deadline', String(deadlineS)],
  })
  return { first: origin.mount, second, committed: origin.committed, relay }
}
