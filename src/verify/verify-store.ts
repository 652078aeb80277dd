import { type Finding, Findings, type VerifyCounts } from './findings.ts'
import { verifyNodes } from './verify-nodes.ts'
import { verifyObjects } from './verify-objects.ts'
import type { VerifyParts } from './verify-parts.ts'
import { verifyPlaceholders } from './verify-placeholders.ts'
import { type IncompleteRoot, verifyRoots } from './verify-roots.ts'

/** What verifying came to. */
export interface VerifyReport {
  counts: VerifyCounts
  findings: readonly Finding[]
  /** How many there were, and how many of them could not be healed. */
  found: number
  broken: number
  /** Older kept roots that lost files to writes in place; no damage. */
  incompleteRoots: IncompleteRoot[]
}

const PROGRESS_EVERY_MS = 1000

/**
 * Hashes everything in a store that is in use, and compares what its parts say of each other. What
 * can be made again or fetched is healed on the way; the rest is named. Programs go on meanwhile.
 *
 * @param progress - told now and then
 */
export async function verifyStore(
  parts: VerifyParts,
  progress: (counts: VerifyCounts) => void,
  signal?: AbortSignal,
): Promise<VerifyReport> {
  const findings = new Findings(({ healed, ...finding }) =>
    parts.logger[healed ? 'warn' : 'error'](healed ? 'verify: healed' : 'verify: damage', finding),
  )
  let timer = parts.clock.setTimeout(tell, PROGRESS_EVERY_MS)
  function tell() {
    progress(findings.counts)
    timer = parts.clock.setTimeout(tell, PROGRESS_EVERY_MS)
  }
  try {
    // What somebody took away is put again.
    parts.nodes.doubt()
    await parts.commit()
    await verifyNodes(parts, findings, signal)
    // Files before roots: their inner nodes are made again on the way.
    await verifyObjects(parts, findings, signal)
    const remote = await verifyPlaceholders(parts, findings, signal)
    const incompleteRoots = await verifyRoots(parts, remote, findings, signal)
    const { broken, counts, list, total } = findings
    return { counts, findings: list, found: total, broken, incompleteRoots }
  } finally {
    timer.cancel()
  }
}
