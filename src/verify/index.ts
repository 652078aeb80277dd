/** Hashing everything again, and healing what can be healed. */
export type { Finding, FindingKind, VerifyCounts } from './findings.ts'
export type { VerifyParts } from './verify-parts.ts'
export { type VerifyReport, verifyStore } from './verify-store.ts'
