import type { IncomingMessage, ServerResponse } from 'node:http'
import { sendError, sendJson } from './replies.ts'
import { directoryEntries, type RepoCommit, type RepoFile, treeEntry } from './repository.ts'
import { sendFile, type TransferRules } from './transfer.ts'

/** What the hub says of files that a content-addressed store serves. */
export interface XetOffer {
  casUrl: string
  /** The Xet hash of a file by its SHA-256, or undefined if the store has not got it. */
  hashOf(sha256: string): string | undefined
}

/** A repository with all commits that were published to it. */
export interface Repository {
  id: string
  refs: Map<string, string>
  commits: Map<string, RepoCommit>
}

/** What the routes read; the hub owns and changes it. */
export interface HubState {
  /** By `kind/owner/name`. */
  repositories: Map<string, Repository>
  rules: TransferRules
  /** `http://127.0.0.1:PORT` */
  base: string
  /** Where what is in LFS comes from: the same routes at another address of loopback. */
  cdn: string
  xet: XetOffer | undefined
  /** Bytes of files that were handed to connections. */
  sentBytes: number
}

/** Entries in one page of a tree; small, so that ordinary test repositories need several. */
const TREE_PAGE = 50

const RESOLVE = /^\/(?:(datasets|spaces)\/)?([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/
const API = /^\/api\/(models|datasets|spaces)\/([^/]+\/[^/]+)(?:\/(.*))?$/

/** Answers one request; the routes are those that clients of a cache use. */
export async function answer(state: HubState, request: IncomingMessage, response: ServerResponse) {
  const url = new URL(request.url ?? '/', state.base)
  const path = decodeURIComponent(url.pathname)
  // The revision is matched encoded: `refs/pr/1` comes as one segment `refs%2Fpr%2F1`.
  const resolve = RESOLVE.exec(url.pathname)
  if (resolve !== null) return answerResolve(state, request, response, resolve)
  if (path.startsWith('/lfs/')) return answerLfs(state, request, response, path.slice(5))
  const api = API.exec(url.pathname)
  if (api !== null) return answerApi(state, request, response, url, api)
  if (path === '/api/agent-harnesses') return sendJson(response, 200, {})
  if (path === '/api/whoami-v2') return sendJson(response, 401, { error: 'Unauthorized' })
  return sendError(response, 404, undefined, `no route ${path}`)
}

function findRepository(state: HubState, kind: string, id: string): Repository | undefined {
  return state.repositories.get(`${kind}/${id}`)
}

function findCommit(repository: Repository, revision: string): RepoCommit | undefined {
  const name = decodeURIComponent(revision)
  return repository.commits.get(repository.refs.get(name) ?? name)
}

async function answerResolve(
  state: HubState,
  request: IncomingMessage,
  response: ServerResponse,
  match: RegExpExecArray,
): Promise<void> {
  const [, kind = 'models', id = '', revision = '', encodedPath = ''] = match
  const repository = findRepository(state, kind, id)
  if (repository === undefined) return sendError(response, 401, 'RepoNotFound', `no ${id}`)
  const commit = findCommit(repository, revision)
  if (commit === undefined) return sendError(response, 404, 'RevisionNotFound', revision)
  const path = decodeURIComponent(encodedPath)
  const file = commit.files.find((one) => one.path === path)
  if (file === undefined) {
    return sendError(response, 404, 'EntryNotFound', path, { 'X-Repo-Commit': commit.sha })
  }
  const headers: Record<string, string> = {
    'X-Repo-Commit': commit.sha,
    ETag: `"${file.lfsOid ?? file.oid}"`,
    'Content-Disposition': `inline; filename="${path.split('/').at(-1)}"`,
    'Access-Control-Expose-Headers': 'X-Repo-Commit,X-Linked-ETag,X-Linked-Size,ETag',
  }
  if (file.lfsOid === undefined) return sendFile(request, response, file, headers, state)
  headers['X-Linked-Etag'] = `"${file.lfsOid}"`
  headers['X-Linked-Size'] = String(file.sizeBytes)
  addXetHeaders(state, request, headers, file, `/api/${kind}/${id}`, commit.sha)
  // As on the real hub, what is in LFS comes from another place.
  headers.Location = `${state.cdn}/lfs/${file.lfsOid}`
  response.writeHead(302, { ...headers, 'Content-Length': '0' }).end()
}

function addXetHeaders(
  state: HubState,
  request: IncomingMessage,
  headers: Record<string, string>,
  file: RepoFile,
  api: string,
  sha: string,
): void {
  const hash = state.xet?.hashOf(file.lfsOid ?? '')
  if (hash === undefined || request.headers.range !== undefined) return
  headers['X-Xet-Hash'] = hash
  headers.Link = `<${state.base}${api}/xet-read-token/${sha}>; rel="xet-auth"`
}

async function answerLfs(
  state: HubState,
  request: IncomingMessage,
  response: ServerResponse,
  sha256: string,
): Promise<void> {
  for (const repository of state.repositories.values()) {
    for (const commit of repository.commits.values()) {
      const file = commit.files.find((one) => one.lfsOid === sha256)
      if (file === undefined) continue
      return sendFile(request, response, file, { ETag: `"${sha256}"` }, state)
    }
  }
  return sendError(response, 404, undefined, `no LFS object ${sha256}`)
}

async function answerApi(
  state: HubState,
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
  match: RegExpExecArray,
): Promise<void> {
  const [, kind = '', id = '', rest = ''] = match
  const repository = findRepository(state, kind, id)
  if (repository === undefined) return sendError(response, 401, 'RepoNotFound', `no ${kind} ${id}`)
  const [route = '', revision = 'main', ...below] = rest.split('/')
  if (route === 'refs') return sendJson(response, 200, refsOf(repository))
  const commit = findCommit(repository, route === '' ? 'main' : revision)
  if (commit === undefined) return sendError(response, 404, 'RevisionNotFound', revision)
  switch (route) {
    case '':
    case 'revision':
      return sendJson(response, 200, repositoryInfo(repository, commit))
    case 'tree':
      return sendTree(state, response, url, commit, decodeURIComponent(below.join('/')))
    case 'paths-info':
      return sendPathsInfo(state, request, response, commit)
    case 'xet-read-token':
      return sendXetToken(state, response)
    default:
      return sendError(response, 404, undefined, `no route ${url.pathname}`)
  }
}

function refsOf(repository: Repository): Record<string, unknown> {
  const branches = [...repository.refs].map(([name, sha]) => ({
    name,
    ref: `refs/heads/${name}`,
    targetCommit: sha,
  }))
  return { branches, converts: [], tags: [] }
}

function repositoryInfo(repository: Repository, commit: RepoCommit): Record<string, unknown> {
  return {
    _id: commit.sha.slice(0, 24),
    id: repository.id,
    modelId: repository.id,
    author: repository.id.split('/')[0],
    sha: commit.sha,
    private: false,
    gated: false,
    disabled: false,
    likes: 0,
    downloads: 0,
    tags: [],
    lastModified: commit.date,
    createdAt: commit.date,
    siblings: commit.files.map((file) => ({ rfilename: file.path })),
  }
}

/** An entry with the Xet hash of what a content-addressed store has. */
function describe(state: HubState, file: RepoFile): Record<string, unknown> {
  const xetHash = state.xet?.hashOf(file.lfsOid ?? '')
  return xetHash === undefined ? treeEntry(file) : { ...treeEntry(file), xetHash }
}

function sendTree(
  state: HubState,
  response: ServerResponse,
  url: URL,
  commit: RepoCommit,
  below: string,
): void {
  const recursive = /^(true|1)$/i.test(url.searchParams.get('recursive') ?? '')
  const prefix = below === '' ? '' : `${below}/`
  const all = [
    ...directoryEntries(commit.files),
    ...commit.files.map((file) => describe(state, file)),
  ].filter((entry) => {
    const path = String(entry.path)
    return path.startsWith(prefix) && (recursive || !path.slice(prefix.length).includes('/'))
  })
  if (below !== '' && all.length === 0) {
    sendError(response, 404, 'EntryNotFound', below, { 'X-Repo-Commit': commit.sha })
    return
  }
  const offset = Number(url.searchParams.get('cursor') ?? 0)
  const headers: Record<string, string> = {}
  if (offset + TREE_PAGE < all.length) {
    const next = new URL(url)
    next.searchParams.set('cursor', String(offset + TREE_PAGE))
    headers.Link = `<${state.base}${next.pathname}${next.search}>; rel="next"`
  }
  sendJson(response, 200, all.slice(offset, offset + TREE_PAGE), headers)
}

async function sendPathsInfo(
  state: HubState,
  request: IncomingMessage,
  response: ServerResponse,
  commit: RepoCommit,
): Promise<void> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  const text = Buffer.concat(chunks).toString('utf8')
  const paths = (request.headers['content-type'] ?? '').includes('json')
    ? (JSON.parse(text) as { paths: string[] | string }).paths
    : new URLSearchParams(text).getAll('paths')
  const wanted = new Set([paths].flat())
  const lastCommit = { id: commit.sha, title: 'Publish', date: commit.date }
  const found = commit.files
    .filter((file) => wanted.has(file.path))
    .map((file) => ({ ...describe(state, file), lastCommit }))
  sendJson(response, 200, found)
}

function sendXetToken(state: HubState, response: ServerResponse): void {
  if (state.xet === undefined) {
    sendError(response, 404, undefined, 'no xet storage')
    return
  }
  const exp = Math.floor(Date.now() / 1000) + 3600
  const body = { casUrl: state.xet.casUrl, accessToken: 'loopback', exp }
  sendJson(response, 200, body, {
    'X-Xet-Cas-Url': state.xet.casUrl,
    'X-Xet-Access-Token': 'loopback',
    'X-Xet-Token-Expiration': String(exp),
  })
}
