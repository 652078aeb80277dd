import { readFile } from 'node:fs/promises'
import { isErrno, ModelcacheError, writeFileDurable } from '../base/index.ts'

const VERSION = 1
/** Peers' addresses hold tokens. */
const MODE = 0o600

/**
 * The peers of a mount: those that were named now, which are kept for later mounts, else those
 * that are kept.
 *
 * @param path `StorePaths.sources`
 * @throws ModelcacheError `malformed` where the file cannot be read as ours
 */
export async function peersOf(path: string, named: readonly string[]): Promise<string[]> {
  const kept = await readPeers(path)
  if (named.length === 0) {
    return kept
  }
  if (named.length !== kept.length || named.some((peer, index) => peer !== kept[index])) {
    await writeFileDurable(path, `${JSON.stringify({ version: VERSION, peers: named })}\n`, MODE)
  }
  return [...named]
}

async function readPeers(path: string): Promise<string[]> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if (isErrno(error, 'ENOENT')) {
      return []
    }
    throw error
  }
  try {
    const value: unknown = JSON.parse(text)
    const peers = typeof value === 'object' && value !== null && 'peers' in value ? value.peers : 0
    if (Array.isArray(peers) && peers.every((peer) => typeof peer === 'string')) {
      return peers
    }
  } catch (cause) {
    throw damaged(path, cause)
  }
  throw damaged(path, undefined)
}

function damaged(path: string, cause: unknown): ModelcacheError {
  return new ModelcacheError(`read ${path}: it is damaged; remove it and mount with --peer`, {
    code: 'malformed',
    exitCode: 1,
    cause,
  })
}
