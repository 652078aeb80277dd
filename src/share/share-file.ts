import { readFile } from 'node:fs/promises'
import { isErrno, ModelcacheError, writeFileDurable } from '../base/index.ts'
import { TOKEN_PATTERN } from './token.ts'

/** What `share.json` keeps, so that an address that was given away stays right. */
export interface ShareRecord {
  token: string
  port: number
}

const VERSION = 1

/** Reads `share.json`; undefined where no share was opened. Throws `bad-share-file`. */
export async function readShareFile(path: string): Promise<ShareRecord | undefined> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if (isErrno(error, 'ENOENT')) {
      return undefined
    }
    throw error
  }
  const record = parsed(text)
  if (record === undefined) {
    throw new ModelcacheError(`read ${path}: it is damaged; remove it to share anew`, {
      code: 'bad-share-file',
      exitCode: 1,
    })
  }
  return record
}

/** Only its owner may read it: the token opens the share. */
export async function writeShareFile(path: string, record: ShareRecord): Promise<void> {
  await writeFileDurable(path, `${JSON.stringify({ version: VERSION, ...record })}\n`, 0o600)
}

function parsed(text: string): ShareRecord | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    if (error instanceof SyntaxError) {
      return undefined
    }
    throw error
  }
  if (typeof value !== 'object' || value === null || !('token' in value) || !('port' in value)) {
    return undefined
  }
  const { token, port } = value
  const fits =
    typeof token === 'string' &&
    TOKEN_PATTERN.test(token) &&
    typeof port === 'number' &&
    isPort(port)
  return fits ? { token, port } : undefined
}

/** True for a TCP port that can be listened on by number. */
export function isPort(port: number): boolean {
  return Number.isInteger(port) && port > 0 && port < 65_536
}
