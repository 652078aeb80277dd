/** What a blob of a Hugging Face cache has to hash to, by its name. */
export interface ExpectedDigest {
  algorithm: 'sha256' | 'git-sha1'
  /** Lower case. */
  hex: string
}

const BLOB = /(?:^|\/)(?:models|datasets|spaces)--[^/]+\/blobs\/(?:([0-9a-f]{64})|([0-9a-f]{40}))$/

/**
 * The digest that the name of a blob promises: huggingface_hub names blobs by their etag, which
 * is the SHA-256 of a file in LFS or Xet, and the git blob SHA-1 of all others.
 *
 * @param path relative to the tree
 */
export function expectedDigest(path: string): ExpectedDigest | undefined {
  const [, sha256, gitSha1] = BLOB.exec(path) ?? []
  if (sha256 !== undefined) {
    return { algorithm: 'sha256', hex: sha256 }
  }
  return gitSha1 === undefined ? undefined : { algorithm: 'git-sha1', hex: gitSha1 }
}
