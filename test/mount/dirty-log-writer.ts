/** Notes inodes on request, one a line of stdin, and says what came of it: `ok` or an errno. */
import { createInterface } from 'node:readline'
import { createLogger, errnoOf } from '../../src/base/index.ts'
import { DirtyLog } from '../../src/mount/local/dirty-log.ts'
import { storePaths } from '../../src/tree/index.ts'

const logger = createLogger({ level: 'warn', write: (line) => process.stderr.write(line) })
const log = new DirtyLog(storePaths(process.argv[2] ?? ''), logger)

function note(ino: bigint): string {
  try {
    log.note({ ino, btimeNs: ino * 10n })
    return 'ok'
  } catch (error) {
    return errnoOf(error)
  }
}

console.log('ready')
for await (const line of createInterface({ input: process.stdin })) {
  console.log(note(BigInt(line)))
}
