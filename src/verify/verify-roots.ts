import type { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import { messageOf, withDeadline } from '../base/index.ts'
import { type GetBlock, linksOf } from '../dag/index.ts'
import { treeDifferences } from '../history/index.ts'
import type { LoggedCommit } from '../writeback/index.ts'
import type { Findings } from './findings.ts'
import { rethrowIfEnded } from './heal-leaves.ts'
import type { VerifyParts } from './verify-parts.ts'
import type { RemoteContent } from './verify-placeholders.ts'

/** An older kept root that is not complete any more; that is no damage. */
export interface IncompleteRoot {
  root: string
  missing: string[]
}

const MAX_MISSING = 100
/** A mount in which files are removed all the time is never still. */
const MAX_ATTEMPTS = 3

/**
 * Looks whether everything that the current root names is here or known to be remote, and which of
 * the older kept ones are incomplete.
 */
export async function verifyRoots(
  parts: VerifyParts,
  remote: RemoteContent,
  findings: Findings,
  signal?: AbortSignal,
): Promise<IncompleteRoot[]> {
  const { kept, keptFiles } = parts
  await verifyCurrent(parts, remote, findings, signal)
  const incomplete: IncompleteRoot[] = []
  for (const root of kept.older()) {
    findings.counts.roots += 1
    const missing = await keptFiles.missing(root)
    if (missing.length > 0) {
      incomplete.push({ root: root.root.toString(), missing: missing.slice(0, MAX_MISSING) })
    }
  }
  return incomplete
}

/** Files that a root names and that are not here, by path. */
type MissingFiles = Map<string, CID>

/**
 * What is missing may have been removed since the root was made, or may lie in a file that nobody
 * knows: a root of the whole tree, for which such files are hashed, tells.
 */
async function verifyCurrent(
  parts: VerifyParts,
  remote: RemoteContent,
  findings: Findings,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    const root = parts.log.current()
    if (root === undefined) {
      return
    }
    const missing = await new RootWalk(parts, remote, findings, signal).verify(root)
    const isSettled = missing.size === 0 && parts.log.current() === root
    if (isSettled || attempt === MAX_ATTEMPTS) {
      findings.counts.roots += 1
      for (const [path, cid] of missing) {
        const what = 'the current root has it, and its bytes are not on this machine'
        findings.add({ kind: 'missing-file', path, cid: cid.toString(), what, healed: false })
      }
      return
    }
    if (missing.size > 0) {
      await parts.rebuild()
    }
  }
}

class RootWalk {
  readonly #parts: VerifyParts
  readonly #remote: RemoteContent
  readonly #findings: Findings
  readonly #signal: AbortSignal | undefined
  #rebuilt = false
  #root: LoggedCommit | undefined

  constructor(
    parts: VerifyParts,
    remote: RemoteContent,
    findings: Findings,
    signal: AbortSignal | undefined,
  ) {
    this.#parts = parts
    this.#remote = remote
    this.#findings = findings
    this.#signal = signal
  }

  async verify(root: LoggedCommit): Promise<MissingFiles> {
    const missing: MissingFiles = new Map()
    this.#root = root
    const carried = await this.#carried()
    const getNode: GetBlock = (cid) => this.#node(cid, 'a directory of the current root')
    const isRemote = (cid: CID) => this.#remote.has(cid.toString())
    try {
      await getNode(root.root)
      if (isRemote(root.tree)) {
        return missing
      }
      for await (const { path, before } of treeDifferences(getNode, root, undefined, isRemote)) {
        const hidden =
          before === undefined ? undefined : this.#parts.names.reason(path, before.type)
        if (hidden !== undefined) {
          const what = `the current root has it, and it is local-only (${hidden.reason}); commit`
          this.#findings.add({ kind: 'local-only-name', path, what, healed: false })
        }
        if (before?.type === 'f' && before.sizeBytes > 0) {
          const isHere = await this.#verifyFile(path, before.cid, carried)
          if (!isHere) {
            missing.set(path, before.cid)
          }
        }
      }
    } catch (error) {
      rethrowIfEnded(error, this.#signal)
      if (this.#parts.log.current() !== root) {
        // It was lost altogether, and there is a new one.
        return missing
      }
      this.#findings.add({
        kind: 'missing-node',
        path: '.',
        cid: root.root.toString(),
        what: `a node of the current root is missing, and nobody has it: ${messageOf(error)}`,
        healed: false,
      })
    }
    return missing
  }

  /** False for a file that should be here and is not. */
  async #verifyFile(path: string, file: CID, carried: ReadonlySet<string>): Promise<boolean> {
    const key = file.toString()
    if (this.#remote.has(key)) {
      return true
    }
    if ((await this.#parts.keptFiles.objectOf(file)) !== undefined) {
      await this.#verifyFileNodes(path, file)
      return true
    }
    // Its earlier version: it is open, or was written to since, and has its old entry.
    return carried.has(key) || (await this.#isBeingChanged(file))
  }

  /** Inner nodes of a file that is here were made again with it; only their presence is asked. */
  async #verifyFileNodes(path: string, file: CID): Promise<void> {
    const pending = [file]
    for (let cid = pending.pop(); cid !== undefined; cid = pending.pop()) {
      const bytes = cid.code === raw.code ? undefined : await this.#node(cid, path)
      if (bytes !== undefined) {
        pending.push(...linksOf(cid, bytes).links)
      }
    }
  }

  /** A row was taken away since the commit: the file is written to, and not settled again yet. */
  async #isBeingChanged(file: CID): Promise<boolean> {
    const { files, objects } = this.#parts.database
    for (const { id } of await objects.byCid(file)) {
      const row = await files.get(id)
      if (row === undefined || !row.cid.equals(file)) {
        return true
      }
    }
    return false
  }

  async #carried(): Promise<ReadonlySet<string>> {
    const found = new Set<string>()
    for await (const [, { carried }] of this.#parts.database.directories.entries()) {
      for (const { cid } of carried) {
        found.add(cid.toString())
      }
    }
    return found
  }

  /** A node, of this store or fetched to heal it. */
  async #node(cid: CID, path: string): Promise<Uint8Array> {
    const { clock, fetchDeadlineMs, getLocal, rebuild, sources } = this.#parts
    const own = await getLocal(cid, this.#signal)
    if (own !== undefined) {
      return own
    }
    if (!this.#rebuilt) {
      // The tree is here: what a root says of it can be said again.
      this.#rebuilt = true
      await rebuild()
      const again = await getLocal(cid, this.#signal)
      if (again !== undefined || this.#parts.log.current() !== this.#root) {
        const what = 'nodes were missing; they were made again from the tree'
        this.#findings.add({ kind: 'missing-node', path, cid: `${cid}`, what, healed: true })
      }
      if (again !== undefined) {
        return again
      }
    }
    const patience = withDeadline(this.#signal, fetchDeadlineMs, clock)
    const bytes = await sources.getBlock(cid, patience)
    const what = 'a node was missing; it was fetched'
    this.#findings.add({ kind: 'missing-node', path, cid: cid.toString(), what, healed: true })
    return bytes
  }
}
