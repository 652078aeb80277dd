import { readdir } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { readCommit } from './repository.ts'
import { answer, type HubState, type Repository, type XetOffer } from './routes.ts'
import type { TransferRules } from './transfer.ts'

/** One request as it came in. */
export interface RequestRecord {
  method: string
  path: string
  range?: string
}

/** The kinds of repositories; they differ in their place below the hub's root. */
export type RepoKind = 'models' | 'datasets' | 'spaces'

/**
 * A Hugging Face hub on loopback, with the routes that clients of a cache use. Bodies come by plain
 * HTTP: files have no `X-Xet-Hash` unless a content-addressed store is named with
 * {@link Hub.offerXet}.
 */
export interface Hub {
  /** `http://127.0.0.1:PORT`, for HF_ENDPOINT. */
  readonly url: string
  /** Every request since the start or the last {@link Hub.forget}. */
  readonly requests: RequestRecord[]
  /** Bytes of files sent since the start or the last {@link Hub.forget}. */
  bytesServed(): number
  /** How bodies are sent from now on. */
  readonly rules: TransferRules
  /** Makes `directory` the state of `revision`; earlier commits stay reachable by their names. */
  publish(id: string, directory: string, options?: PublishOptions): Promise<string>
  /** Files in LFS get these headers in addition, and a token at the xet routes. */
  offerXet(offer: XetOffer): void
  forget(): void
  close(): Promise<void>
}

export interface PublishOptions {
  kind?: RepoKind
  revision?: string
}

const HUB_HOST = '127.0.0.1'
/** Clients take the metadata of a file from a redirect only if it leads to another host. */
const CDN_HOST = '127.0.0.2'
/** A fixed date: what the tests compare must not depend on the day. */
const DATE = '2026-01-02T03:04:05.000Z'
/**
 * Starts a hub on a free port of loopback.
 *
 * @param root a directory whose `OWNER/NAME` folders are published at once, as models
 */
export async function startHub(root?: string): Promise<Hub> {
  const hub = await listen()
  if (root === undefined) return hub
  for (const owner of await readdir(root)) {
    for (const name of await readdir(join(root, owner))) {
      await hub.publish(`${owner}/${name}`, join(root, owner, name))
    }
  }
  return hub
}

async function listen(): Promise<Hub> {
  const repositories = new Map<string, Repository>()
  const requests: RequestRecord[] = []
  const rules: TransferRules = {}
  const state: HubState = { repositories, rules, base: '', cdn: '', sentBytes: 0, xet: undefined }
  const serve = (request: IncomingMessage, response: ServerResponse) => {
    const record: RequestRecord = { method: request.method ?? '', path: request.url ?? '' }
    if (request.headers.range !== undefined) record.range = request.headers.range
    requests.push(record)
    answer(state, request, response).catch((error: Error) => {
      response.destroy(error)
      process.emitWarning(`hub: ${record.method} ${record.path}: ${error.stack}`)
    })
  }
  const main = await bind(serve, HUB_HOST)
  const cdn = await bind(serve, CDN_HOST)
  state.base = main.url
  state.cdn = cdn.url
  return {
    url: state.base,
    requests,
    rules,
    bytesServed: () => state.sentBytes,
    publish: async (id, directory, options = {}) => {
      const key = `${options.kind ?? 'models'}/${id}`
      const repository = repositories.get(key) ?? { id, refs: new Map(), commits: new Map() }
      const commit = await readCommit(directory, DATE)
      repository.commits.set(commit.sha, commit)
      repository.refs.set(options.revision ?? 'main', commit.sha)
      repositories.set(key, repository)
      return commit.sha
    },
    offerXet: (offer) => {
      state.xet = offer
    },
    forget: () => {
      requests.length = 0
      state.sentBytes = 0
    },
    close: async () => {
      await Promise.all([main.close(), cdn.close()])
    },
  }
}

async function bind(
  serve: (request: IncomingMessage, response: ServerResponse) => void,
  host: string,
): Promise<{ url: string; close(): Promise<void> }> {
  const server = createServer(serve)
  // A client that keeps an idle connection must not see it closed under its next request.
  server.keepAliveTimeout = 60_000
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, host, resolve)
  })
  return {
    url: `http://${host}:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve, reject) => {
        server.close((error) => (error === undefined ? resolve() : reject(error)))
        server.closeAllConnections()
      }),
  }
}
