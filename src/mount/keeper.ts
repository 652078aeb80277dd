import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { InodeId, Stamp } from '../tree/index.ts'
import { decodeChanges } from './changes.ts'
import { Connection, type Receiver } from './connection.ts'
import type {
  Engine,
  EngineHandlers,
  EngineStats,
  Hello,
  Lease,
  Snapshot,
  Subject,
} from './engine.ts'
import { asMessage, type Message, protocolError } from './frames.ts'
import { SnapshotParts } from './snapshot-parts.ts'
import {
  decodeArray,
  decodeCount,
  decodeFlag,
  decodeInodeId,
  decodeName,
  decodeSize,
  decodeStamp,
  decodeText,
  encodeInodeId,
  encodeName,
  type WireName,
} from './wire.ts'

/** The protocol's version that this client speaks; the keeper's must be the same. */
export const PROTOCOL_VERSION = 1
/** The descriptor that the keeper gives the daemon. */
export const KEEPER_FD = 3

/**
 * Takes over the socket to the keeper and waits for its first message.
 *
 * @param endpoint the descriptor, or a stream in its place (tests)
 * @throws ModelcacheError of code `protocol` for another version or a malformed first message
 */
export async function connectKeeper(
  endpoint: number | Duplex = KEEPER_FD,
): Promise<{ hello: Hello; keeper: Engine }> {
  const stream =
    typeof endpoint === 'number'
      ? new Socket({ fd: endpoint, readable: true, writable: true })
      : endpoint
  const connection = new Connection(stream)
  const hello = await firstMessage(connection)
  return { hello, keeper: new Keeper(connection, hello.keeperPid) }
}

function firstMessage(connection: Connection): Promise<Hello> {
  return new Promise((resolve, reject) => {
    connection.ended.then((error) => reject(error ?? protocolError('it ended before hello')))
    connection.receive({
      event(name, message) {
        if (name !== 'hello') {
          throw protocolError(`${name} came before hello`)
        }
        const hello = decodeHello(message)
        connection.pause()
        resolve(hello)
      },
      request: async (name) => {
        throw protocolError(`${name} came before hello`)
      },
    })
  })
}

function decodeHello(message: Message): Hello {
  if (message.version !== PROTOCOL_VERSION) {
    throw protocolError(`version ${JSON.stringify(message.version)}, not ${PROTOCOL_VERSION}`)
  }
  const passthrough = asMessage(message.passthrough, 'hello.passthrough')
  return {
    engine: 'native',
    keeperPid: decodeCount(message.keeperPid, 'hello.keeperPid'),
    mountpoint: decodeText(message.mountpoint, 'hello.mountpoint'),
    store: decodeText(message.store, 'hello.store'),
    readOnly: decodeFlag(message.readOnly, 'hello.readOnly'),
    clean: decodeFlag(message.clean, 'hello.clean'),
    restarts: decodeCount(message.restarts, 'hello.restarts'),
    config: message.config,
    passthrough: {
      active: decodeFlag(passthrough.active, 'hello.passthrough.active'),
      reason: decodeText(passthrough.reason, 'hello.passthrough.reason'),
    },
  }
}

/** The keeper at the other end of the socket (docs/protocol.md). */
class Keeper implements Engine {
  readonly #connection: Connection
  readonly #keeperPid: number
  readonly #parts = new Map<unknown, SnapshotParts>()

  constructor(connection: Connection, keeperPid: number) {
    this.#connection = connection
    this.#keeperPid = keeperPid
  }

  get ended(): Promise<Error | undefined> {
    return this.#connection.ended
  }

  on(handlers: EngineHandlers): void {
    this.#connection.receive(new Dispatcher(handlers, this.#parts, this.#keeperPid))
  }

  ready(): void {
    this.#connection.event('ready')
  }

  failed(exitCode: number, message: string): Promise<void> {
    return this.#connection.eventSent('failed', { exit: exitCode, message })
  }

  async lease(path: WireName, id: InodeId): Promise<Lease> {
    const { ok, sequence } = await this.#connection.request('lease', {
      path: encodeName(path),
      ...encodeInodeId(id),
    })
    return {
      number: decodeCount(ok.lease, 'lease.lease'),
      path: descriptorPath(this.#keeperPid, ok.fd, 'lease.fd'),
      stamp: decodeStamp(ok.stamp, 'lease.stamp'),
      sequence,
    }
  }

  async settled(lease: number, oid: bigint | null): Promise<Stamp> {
    const number = oid === null ? null : Number(oid)
    const { ok } = await this.#connection.request('settled', { lease, oid: number })
    return decodeStamp(ok.stamp, 'settled.stamp')
  }

  unlease(lease: number): void {
    this.#connection.event('unlease', { lease })
  }

  async unlinkObjects(oids: readonly bigint[]): Promise<void> {
    await this.#connection.request('unlink-objects', { oids: oids.map(Number) })
  }

  async snapshot(all: boolean): Promise<Snapshot> {
    const id = this.#connection.nextId()
    const parts = new SnapshotParts()
    this.#parts.set(id, parts)
    try {
      const { ok, sequence } = await this.#connection.requestAs(id, 'snapshot', { all })
      const number = decodeCount(ok.snapshot, 'snapshot.snapshot')
      return { number, directories: parts.finish(), sequence }
    } finally {
      this.#parts.delete(id)
    }
  }

  committed(snapshot: number, again: readonly InodeId[]): void {
    this.#connection.event('committed', { snapshot, again: again.map(encodeInodeId) })
  }

  notifyInode(id: InodeId): void {
    this.#connection.event('notify', { k: 'inode', ...encodeInodeId(id) })
  }

  notifyComplete(id: InodeId): void {
    this.#connection.event('notify', { k: 'complete', ...encodeInodeId(id) })
  }

  notifyEntry(directory: WireName, name: WireName): void {
    this.#connection.event('notify', {
      k: 'entry',
      path: encodeName(directory),
      name: encodeName(name),
    })
  }

  async stats(): Promise<EngineStats> {
    const { ok } = await this.#connection.request('stats')
    return {
      reads: decodeSize(ok.reads, 'stats.reads'),
      readBytes: decodeSize(ok.readBytes, 'stats.readBytes'),
      writes: decodeSize(ok.writes, 'stats.writes'),
      passthroughOpens: decodeSize(ok.passthroughOpens, 'stats.passthroughOpens'),
      openFiles: decodeCount(ok.openFiles, 'stats.openFiles'),
      openForWriting: decodeCount(ok.openForWriting, 'stats.openForWriting'),
      dirty: decodeArray(ok.dirty, 'stats.dirty').map((value) =>
        decodeInodeId(asMessage(value, 'stats.dirty[]')),
      ),
    }
  }

  async unmount(lazy: boolean): Promise<void> {
    await this.#connection.request('unmount', { lazy })
  }

  done(dirty: number): Promise<void> {
    return this.#connection.eventSent('done', { dirty })
  }
}

/** Turns the keeper's messages into calls of the handlers. */
class Dispatcher implements Receiver {
  readonly #handlers: EngineHandlers
  readonly #parts: ReadonlyMap<unknown, SnapshotParts>
  readonly #keeperPid: number

  constructor(
    handlers: EngineHandlers,
    parts: ReadonlyMap<unknown, SnapshotParts>,
    keeperPid: number,
  ) {
    this.#handlers = handlers
    this.#parts = parts
    this.#keeperPid = keeperPid
  }

  event(name: string, message: Message, sequence: number): void {
    switch (name) {
      case 'changed':
        this.#handlers.changed(decodeChanges(message.items), sequence)
        break
      case 'broken':
        this.#handlers.broken(decodeCount(message.lease, 'broken.lease'))
        break
      case 'part':
        this.#takePart(message)
        break
      case 'drain':
        this.#handlers.drain(
          decodeText(message.reason, 'drain.reason'),
          decodeFlag(message.unmounted, 'drain.unmounted'),
        )
        break
      default:
        throw protocolError(`version ${PROTOCOL_VERSION} has no event ${name}`)
    }
  }

  async request(name: string, message: Message): Promise<Message> {
    switch (name) {
      case 'list':
        await this.#handlers.list(this.#subject(message, name))
        return {}
      case 'fill':
        return { ...(await this.#fill(message)) }
      case 'detach':
        await this.#handlers.detach(decodeInodeId(message))
        return {}
      case 'cid':
        return { cid: (await this.#handlers.cid(this.#subject(message, name))).toString() }
      default:
        throw protocolError(`version ${PROTOCOL_VERSION} has no request ${name}`)
    }
  }

  #fill(message: Message): Promise<{ complete: boolean }> {
    return this.#handlers.fill(
      this.#subject(message, 'fill'),
      decodeSize(message.offset, 'fill.offset'),
      decodeSize(message.length, 'fill.length'),
    )
  }

  #subject(message: Message, what: string): Subject {
    const at =
      message.fd === undefined || message.fd === null
        ? undefined
        : descriptorPath(this.#keeperPid, message.fd, `${what}.fd`)
    return { path: decodeName(message.path, `${what}.path`), id: decodeInodeId(message), at }
  }

  #takePart(message: Message): void {
    const parts = this.#parts.get(message.id)
    if (parts === undefined) {
      throw protocolError(`a part of the snapshot request ${JSON.stringify(message.id)}`)
    }
    parts.add(message)
  }
}

/** By this name any process of the same user opens what a descriptor of the keeper is. */
function descriptorPath(keeperPid: number, fd: unknown, what: string): string {
  return `/proc/${keeperPid}/fd/${decodeCount(fd, what)}`
}
