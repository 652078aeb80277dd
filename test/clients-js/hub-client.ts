// A program that uses the hub's client for JavaScript as it is, with HF_HOME as the place of its
// cache:
//   node hub-client.ts download HUB REPO   takes a snapshot; what was there is not asked for again
//   node hub-client.ts read                reads all that is in the cache, without a network
// Prints one line of JSON.

import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { scanCacheDir, snapshotDownload } from '@huggingface/hub'

const home = process.env.HF_HOME ?? ''
const [mode, hubUrl = '', name = ''] = process.argv.slice(2)
// The client tells of each file on the console; stdout is for the answer.
console.debug = console.error
console.info = console.error

async function download(): Promise<unknown> {
  const path = await snapshotDownload({ repo: { type: 'model', name }, hubUrl })
  return { snapshot: relative(home, path) }
}

/** What the client itself finds in its cache, and what is in the files behind its links. */
async function read(): Promise<unknown> {
  const { repos, warnings, size } = await scanCacheDir(join(home, 'hub'))
  if (warnings.length > 0) throw new Error(`scan: ${warnings.join('; ')}`)
  const revisions = repos.flatMap((repo) => repo.revisions)
  const files = await Promise.all(
    revisions.flatMap(({ files }) =>
      files.map(async ({ path, blob }) => ({
        path: relative(home, path),
        blob: relative(home, blob.path),
        sha256: createHash('sha256')
          .update(await readFile(path))
          .digest('hex'),
      })),
    ),
  )
  return {
    size,
    repos: repos.map((repo) => repo.id.name).sort(),
    refs: revisions.flatMap((one) => one.refs.map((ref) => `${ref} ${one.commitOid}`)).sort(),
    files: files.sort((a, b) => (a.path < b.path ? -1 : 1)),
  }
}

process.stdout.write(`${JSON.stringify(mode === 'download' ? await download() : await read())}\n`)
