import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { isErrno, ModelcacheError, writeFileDurable } from '../base/index.ts'

/**
 * The public key of a store: 32 bytes of Ed25519. The private key is made at the first use.
 *
 * @param path `StorePaths.key`; PKCS#8 PEM, mode 0600
 * @throws ModelcacheError `key` where the file holds another kind of key
 */
export async function publicKeyOf(path: string): Promise<Uint8Array> {
  const { x } = createPublicKey(await privateKey(path)).export({ format: 'jwk' })
  if (x === undefined) {
    throw new ModelcacheError(`key ${path}: it is no Ed25519 key`, { code: 'key', exitCode: 1 })
  }
  return new Uint8Array(Buffer.from(x, 'base64url'))
}

async function privateKey(path: string): Promise<KeyObject> {
  try {
    return createPrivateKey(await readFile(path, 'utf8'))
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) {
      throw new ModelcacheError(`key ${path}: it cannot be read`, {
        code: 'key',
        exitCode: 1,
        cause: error,
      })
    }
  }
  const { privateKey } = generateKeyPairSync('ed25519')
  await writeFileDurable(path, privateKey.export({ format: 'pem', type: 'pkcs8' }), 0o600)
  return privateKey
}
