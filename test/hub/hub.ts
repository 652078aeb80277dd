import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
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
 * HTTP: files have no `X-Xet-Hash` unless a CAS server is named with {@link Hub.offerXet}.
 */
export interface Hub {
  /** `http://127.0.0.1:PORT`, for HF_ENDPOINT. */
  readonly url: string
  /** Every request since the start or the last {@link Hub.forget}. */
  readonly requests: RequestRecord[]
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

/** A fixed date: what the tests compare must not depend on the day. */
const DATE = '2026-01-02T03:04:05.000Z'
/** Starts a hub on a free port of loopback. */
export async function startHub(): Promise<Hub> {
  const repositories = new Map<string, Repository>()
  const requests: RequestRecord[] = []
  const rules: TransferRules = {}
  const state: HubState = { repositories, rules, base: '', xet: undefined }
  const server = createServer((request, response) => {
    const record: RequestRecord = { method: request.method ?? '', path: request.url ?? '' }
    if (request.headers.range !== undefined) record.range = request.headers.range
    requests.push(record)
    answer(state, request, response).catch((error: Error) => {
      response.destroy(error)
      process.emitWarning(`hub: ${record.method} ${record.path}: ${error.stack}`)
    })
  })
  // A client that keeps an idle connection must not see it closed under its next request.
  server.keepAliveTimeout = 60_000
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, '127.0.0.1', resolve)
  })
  state.base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    url: state.base,
    requests,
    rules,
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
    },
    close: () =>
      new Promise((resolve, reject) => {
        server.close((error) => (error === undefined ? resolve() : reject(error)))
        server.closeAllConnections()
      }),
  }
}
