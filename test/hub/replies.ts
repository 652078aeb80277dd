import type { ServerResponse } from 'node:http'

/** Answers with JSON. */
export function sendJson(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  const text = JSON.stringify(body)
  const described = {
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(text),
  }
  response.writeHead(status, { ...described, ...headers }).end(text)
}

/** Answers an error as the hub does: a code and a message in the headers, and JSON. */
export function sendError(
  response: ServerResponse,
  status: number,
  code: string | undefined,
  message: string,
  headers: Record<string, string> = {},
): void {
  if (code !== undefined) headers['X-Error-Code'] = code
  headers['X-Error-Message'] = message.replace(/[^\x20-\x7e]/g, '?')
  sendJson(response, status, { error: message }, headers)
}
