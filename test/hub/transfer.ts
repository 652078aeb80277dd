import { createReadStream } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as delay } from 'node:timers/promises'

/** How the hub treats the bodies of files. */
export interface TransferRules {
  /** Bytes a second for each connection; unlimited if undefined. */
  bytesPerSecond?: number | undefined
  /** The next `times` bodies longer than `afterBytes` are cut there by a reset connection. */
  cut?: { afterBytes: number; times: number } | undefined
}

/** The range of a request: `bytes=a-b`, `bytes=a-`, `bytes=-n`; undefined without one. */
export function parseRange(
  header: string | undefined,
  sizeBytes: number,
): { start: number; end: number } | 'unsatisfiable' | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? '')
  if (match === null) return undefined
  const [, from = '', to = ''] = match
  if (from === '' && to === '') return undefined
  const start = from === '' ? Math.max(0, sizeBytes - Number(to)) : Number(from)
  const end = from === '' || to === '' ? sizeBytes : Math.min(sizeBytes, Number(to) + 1)
  return start < end ? { start, end } : 'unsatisfiable'
}

/** Answers GET with a file's bytes: 200, 206 or 416, by the rules, and counts them. HEAD gets the headers only. */
export async function sendFile(
  request: IncomingMessage,
  response: ServerResponse,
  file: { source: string; sizeBytes: number },
  headers: Record<string, string>,
  account: { rules: TransferRules; sentBytes: number },
): Promise<void> {
  const range = parseRange(request.headers.range, file.sizeBytes)
  if (range === 'unsatisfiable') {
    response.writeHead(416, { ...headers, 'Content-Range': `bytes */${file.sizeBytes}` }).end()
    return
  }
  const { start, end } = range ?? { start: 0, end: file.sizeBytes }
  const described: Record<string, string> = { 'Accept-Ranges': 'bytes', ...headers }
  described['Content-Length'] = String(end - start)
  if (range !== undefined) {
    described['Content-Range'] = `bytes ${start}-${end - 1}/${file.sizeBytes}`
  }
  response.writeHead(range === undefined ? 200 : 206, described)
  if (request.method === 'HEAD' || start === end) {
    response.end()
    return
  }
  const source = createReadStream(file.source, { start, end: end - 1, highWaterMark: 64 * 1024 })
  source.on('data', (chunk) => {
    account.sentBytes += chunk.length
  })
  const stages = [source, ...transferStages(account.rules, end - start, response), response]
  try {
    await pipeline(stages)
  } catch (error) {
    // Clients hang up, and cut connections end here: both are what the tests ask for.
    if (!['ERR_STREAM_PREMATURE_CLOSE', 'ECONNRESET', 'EPIPE', 'CUT'].includes(codeOf(error))) {
      throw error
    }
    response.destroy()
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : ''
}

function transferStages(
  rules: TransferRules,
  length: number,
  response: ServerResponse,
): Transform[] {
  const stages: Transform[] = []
  const { bytesPerSecond } = rules
  if (bytesPerSecond !== undefined) stages.push(throttle(bytesPerSecond))
  if (rules.cut !== undefined && rules.cut.times > 0 && length > rules.cut.afterBytes) {
    rules.cut.times -= 1
    stages.push(cutAfter(rules.cut.afterBytes, response))
  }
  return stages
}

function throttle(bytesPerSecond: number): Transform {
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      delay((chunk.length / bytesPerSecond) * 1000).then(() => done(null, chunk), done)
    },
  })
}

function cutAfter(afterBytes: number, response: ServerResponse): Transform {
  let left = afterBytes
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      if (chunk.length <= left) {
        left -= chunk.length
        done(null, chunk)
        return
      }
      // What was promised must have left before the reset, or the cut comes at another place.
      response.write(chunk.subarray(0, left), () => {
        response.socket?.destroy()
        done(Object.assign(new Error('connection cut by the test'), { code: 'CUT' }))
      })
    },
  })
}
