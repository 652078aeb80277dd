import { constants } from 'node:os'
import { codeOf, errnoOf } from '../../base/index.ts'

/** Names that a local disk does not know of a request, and what a program is told instead. */
const TOLD: Readonly<Record<string, number>> = {
  // A fetch was let go, which is our affair.
  ECANCELED: constants.errno.EIO,
  // The limit that was reached is this process's; EMFILE would speak of the program's own.
  EMFILE: constants.errno.ENFILE,
  // Node and libuv have their own words for these two.
  ERR_OUT_OF_RANGE: constants.errno.EFBIG,
  ERR_FS_FILE_TOO_LARGE: constants.errno.EFBIG,
}
/** libuv's text where it has no name for a number, as for EUCLEAN. */
const UNNAMED = /^Unknown system error -?([0-9]+)$/

/** The negative number that libfuse is answered with for anything that was thrown. */
export function answerOf(error: unknown): number {
  const code = codeOf(error)
  const name = errnoOf(error)
  const number = TOLD[code ?? ''] ?? TOLD[name] ?? unnamed(code) ?? numberOf(name)
  return -(number ?? constants.errno.EIO)
}

function numberOf(name: string): number | undefined {
  const numbers: Readonly<Record<string, number>> = constants.errno
  return numbers[name]
}

function unnamed(code: string | undefined): number | undefined {
  const digits = UNNAMED.exec(code ?? '')?.[1]
  return digits === undefined ? undefined : Number(digits)
}
