/** A keeper in TypeScript: a real directory tree and the real protocol, without a mount. */
import {
  type BigIntStats,
  chmodSync,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import type { Duplex } from 'node:stream'
import { getxattr, linkFd } from '../../src/base/index.ts'
import { encodeFrame, FrameDecoder, type Message } from '../../src/mount/index.ts'
import {
  decodeRecord,
  type InodeId,
  inodeIdOf,
  inodeKey,
  RECORD_XATTR,
  type Stamp,
  type StorePaths,
  stampOf,
} from '../../src/tree/index.ts'

export interface FakeKeeperOptions {
  clean?: boolean
  restarts?: number
  readOnly?: boolean
  config?: unknown
  mountpoint?: string
  /** Entries of one `part` event. */
  partEntries?: number
}

interface HeldLease {
  fd: number
  id: InodeId
  broken: boolean
}

/** Something a program has open for writing. */
export interface Writer {
  write(bytes: Uint8Array | string, position?: number): void
  close(): void
}

type Handler = (message: Message) => unknown

export class FakeKeeper {
  readonly #stream: Duplex
  readonly #paths: StorePaths
  readonly #options: FakeKeeperOptions
  readonly #decoder = new FrameDecoder()
  readonly #pending = new Map<number, { resolve(ok: Message): void; reject(e: Error): void }>()
  readonly #leases = new Map<number, HeldLease>()
  readonly #writers = new Map<string, number>()
  /** Inodes that the daemon settled: opening them for writing makes them dirty. */
  readonly #settled = new Set<string>()
  /** Directories by path; a rename of one marks both parents, so paths stay true enough. */
  readonly #changed = new Map<number, Set<string>>()
  #open = new Set<string>([''])
  #lastId = 0
  #lastLease = 0
  #lastSnapshot = 0
  /** Directories that it may not read: they are entries and never parts. */
  readonly unreadable = new Set<string>()
  /** Called before a request of the daemon is answered; a test can act, or throw. */
  readonly before = new Map<string, Handler>()
  /** Called when the answer is made and not sent yet: what it sends overtakes the answer. */
  readonly after = new Map<string, Handler>()
  readonly sent: Message[] = []
  readonly received: Message[] = []
  mounted = true
  busy = false
  doneDirty: number | undefined
  failure: { exit: number; message: string } | undefined
  readonly ready = Promise.withResolvers<void>()
  readonly ended = Promise.withResolvers<void>()

  constructor(stream: Duplex, paths: StorePaths, options: FakeKeeperOptions = {}) {
    this.#stream = stream
    this.#paths = paths
    this.#options = options
    stream.on('data', (chunk: Uint8Array) =>
      this.#decoder.push(chunk, (message) => this.#take(message)),
    )
    stream.on('close', () => this.ended.resolve())
    stream.on('end', () => this.ended.resolve())
    stream.on('error', () => this.ended.resolve())
    if (options.clean === false) {
      this.markAll()
    }
    this.send({
      t: 'hello',
      version: 1,
      keeperPid: process.pid,
      mountpoint: options.mountpoint ?? '/nowhere/mount',
      store: paths.store,
      readOnly: options.readOnly ?? false,
      clean: options.clean ?? true,
      restarts: options.restarts ?? 0,
      config: options.config ?? null,
      passthrough: { active: false, reason: 'a fake' },
    })
  }

  send(message: Message): void {
    this.sent.push(message)
    this.#stream.write(encodeFrame(message))
  }

  request(t: string, fields: Message): Promise<Message> {
    this.#lastId += 1
    const { promise, resolve, reject } = Promise.withResolvers<Message>()
    this.#pending.set(this.#lastId, { resolve, reject })
    this.send({ ...fields, t, id: this.#lastId })
    return promise
  }

  close(): void {
    for (const { fd } of this.#leases.values()) {
      closeSync(fd)
    }
    this.#leases.clear()
    this.#stream.destroy()
  }

  // What programs do through the mount.

  write(path: string, bytes: Uint8Array | string): void {
    const writer = this.openWriter(path, constants.O_TRUNC)
    writer.write(bytes)
    writer.close()
  }

  openWriter(path: string, flags = 0): Writer {
    const place = this.#at(path)
    const isNew = !existsSync(place)
    if (!isNew) {
      this.#dirty(this.idOf(path))
    }
    const fd = openSync(place, constants.O_WRONLY | constants.O_CREAT | flags, 0o644)
    const key = inodeKey(inodeIdOf(fstatSync(fd, { bigint: true })))
    this.#writers.set(key, (this.#writers.get(key) ?? 0) + 1)
    this.#touch(path)
    return {
      write: (bytes, position) => {
        const data = typeof bytes === 'string' ? Buffer.from(bytes) : bytes
        writeSync(fd, data, 0, data.length, position ?? null)
      },
      close: () => {
        const stats = fstatSync(fd, { bigint: true })
        closeSync(fd)
        const left = (this.#writers.get(key) ?? 1) - 1
        this.#writers.set(key, left)
        this.#touch(path)
        if (left === 0 && existsSync(place)) {
          this.#changes({ k: 'final', ...wireId(inodeIdOf(stats)), path, by: 'writer' })
        }
      },
    }
  }

  mkdir(path: string): void {
    mkdirSync(this.#at(path), { recursive: true })
    for (let folder = path; folder !== ''; folder = parentOf(folder)) {
      this.#open.add(folder)
    }
    this.#touch(path)
  }

  symlink(target: string, path: string): void {
    symlinkSync(target, this.#at(path))
    this.#touch(path)
  }

  /** @param below the directories beneath count as changed too, which a real keeper does not say */
  rename(from: string, to: string, below = true): void {
    const replaced = existsSync(this.#at(to)) ? this.#lstat(to) : undefined
    this.#attribute(from, () => renameSync(this.#at(from), this.#at(to)), to)
    if (replaced !== undefined) {
      this.#gone(replaced)
    }
    if (this.#lstat(to).isDirectory() && below) {
      this.markAll(to)
    } else if (this.#lstat(to).isDirectory()) {
      this.#open.add(to)
    }
    this.#touch(from)
    this.#touch(to)
    if (this.#lstat(to).isFile()) {
      this.#changes({ k: 'final', ...wireId(this.idOf(to)), path: to, by: 'name' })
    }
  }

  link(from: string, to: string): void {
    this.#attribute(from, () => linkSync(this.#at(from), this.#at(to)))
    this.#touch(to)
    this.#changes({ k: 'final', ...wireId(this.idOf(to)), path: to, by: 'name' })
  }

  chmod(path: string, mode: number): void {
    this.#attribute(path, () => chmodSync(this.#at(path), mode))
    this.#touch(path)
  }

  unlink(path: string): void {
    const stats = this.#lstat(path)
    unlinkSync(this.#at(path))
    this.#touch(path)
    this.#gone(stats)
  }

  rmdir(path: string): void {
    const stats = this.#lstat(path)
    rmdirSync(this.#at(path))
    this.#open.delete(path)
    this.#touch(path)
    this.#changes({ k: 'gone', ...wireId(inodeIdOf(stats)) })
  }

  list(path: string): Promise<Message> {
    return this.request('list', { path, ...wireId(this.idOf(path)) })
  }

  cid(path: string): Promise<Message> {
    return this.request('cid', { path, ...wireId(this.idOf(path)) })
  }

  drain(reason: string, unmounted: boolean): void {
    this.send({ t: 'drain', reason, unmounted })
  }

  idOf(path: string): InodeId {
    return inodeIdOf(this.#lstat(path))
  }

  objects(): string[] {
    return readdirSync(this.#paths.objects)
  }

  /** As after an unclean stop: every directory may have changed. */
  markAll(below = ''): void {
    this.#open.add(below)
    for (const entry of readdirSync(this.#at(below), { withFileTypes: true })) {
      if (entry.isDirectory()) {
        this.markAll(below === '' ? entry.name : `${below}/${entry.name}`)
      }
    }
  }

  // The daemon's side.

  #take(message: Message): void {
    this.received.push(message)
    if (message.t === 're') {
      const pending = this.#pending.get(Number(message.id))
      this.#pending.delete(Number(message.id))
      const { ok, err } = message
      if (err === undefined) {
        pending?.resolve(ok as Message)
      } else {
        const { errno, message: text } = err as { errno: string; message: string }
        pending?.reject(Object.assign(new Error(text), { code: errno }))
      }
      return
    }
    if (message.id === undefined) {
      this.#event(message)
      return
    }
    try {
      this.before.get(String(message.t))?.(message)
      const ok = this.#answer(message)
      this.after.get(String(message.t))?.(message)
      this.send({ t: 're', id: message.id, ok })
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? 'EIO'
      this.send({ t: 're', id: message.id, err: { errno: code, message: String(error) } })
    }
  }

  #event(message: Message): void {
    switch (message.t) {
      case 'ready':
        this.ready.resolve()
        break
      case 'failed':
        this.failure = { exit: Number(message.exit), message: String(message.message) }
        this.ready.reject(new Error(String(message.message)))
        break
      case 'unlease':
        this.#dropLease(Number(message.lease))
        break
      case 'committed':
        this.#committed(message)
        break
      case 'done':
        this.doneDirty = Number(message.dirty)
        break
      case 'notify':
        break
      default:
        throw new Error(`unexpected event ${message.t}`)
    }
  }

  #answer(message: Message): Message {
    switch (message.t) {
      case 'lease':
        return this.#lease(message)
      case 'settled':
        return this.#settle(message)
      case 'unlink-objects':
        for (const oid of message.oids as number[]) {
          unlinkSync(join(this.#paths.objects, String(oid)))
        }
        return {}
      case 'snapshot':
        return this.#snapshot(message)
      case 'stats':
        return {
          reads: 0,
          readBytes: 0,
          writes: 0,
          passthroughOpens: 0,
          openFiles: 0,
          openForWriting: [...this.#writers.values()].filter((count) => count > 0).length,
          dirty: [],
        }
      case 'unmount':
        if (this.busy && message.lazy !== true) {
          throw failure('EBUSY')
        }
        this.mounted = false
        return {}
      default:
        throw failure('ENOSYS')
    }
  }

  #lease(message: Message): Message {
    const path = String(message.path)
    if (!existsSync(this.#at(path))) {
      throw failure('ESTALE')
    }
    const id = this.idOf(path)
    if (id.ino !== BigInt(String(message.ino)) || id.btimeNs !== BigInt(String(message.btime))) {
      throw failure('ESTALE')
    }
    const held = [...this.#leases.values()].some((one) => !one.broken && one.id.ino === id.ino)
    if ((this.#writers.get(inodeKey(id)) ?? 0) > 0 || held) {
      throw failure('EAGAIN')
    }
    const fd = openSync(this.#at(path), constants.O_RDONLY | constants.O_NOFOLLOW)
    this.#lastLease += 1
    this.#leases.set(this.#lastLease, { fd, id, broken: false })
    return {
      lease: this.#lastLease,
      fd,
      stamp: wireStamp(stampOf(fstatSync(fd, { bigint: true }))),
    }
  }

  #settle({ lease: number, oid }: Message): Message {
    const lease = this.#leases.get(Number(number))
    if (lease === undefined || lease.broken) {
      this.#dropLease(Number(number))
      throw failure('ECANCELED')
    }
    if (oid !== null) {
      const object = join(this.#paths.objects, String(oid))
      if (!existsSync(object)) {
        linkFd(lease.fd, object)
      }
    }
    fsyncSync(lease.fd)
    const stamp = wireStamp(stampOf(fstatSync(lease.fd, { bigint: true })))
    this.#settled.add(inodeKey(lease.id))
    this.#dropLease(Number(number))
    return { stamp }
  }

  #snapshot(message: Message): Message {
    this.#lastSnapshot += 1
    const changed = this.#open
    this.#changed.set(this.#lastSnapshot, changed)
    const listed = new Set<string>()
    for (const path of message.all === true ? this.#everyFolder('') : changed) {
      for (let folder = path; ; folder = parentOf(folder)) {
        if (existsSync(this.#at(folder)) && !this.#isHidden(folder)) {
          listed.add(folder)
        }
        if (folder === '') {
          break
        }
      }
    }
    for (const path of [...listed].sort((a, b) => depth(a) - depth(b))) {
      this.#part(message.id, path)
    }
    return { snapshot: this.#lastSnapshot }
  }

  #part(id: unknown, path: string): void {
    const stats = this.#lstat(path)
    const entries = readdirSync(this.#at(path)).map((name) => this.#entry(path, name))
    const size = this.#options.partEntries ?? 1000
    for (let start = 0; start === 0 || start < entries.length; start += size) {
      this.send({
        t: 'part',
        id,
        path,
        ...wireId(inodeIdOf(stats)),
        mode: Number(stats.mode & 0o7777n),
        mtime: stats.mtimeNs.toString(),
        explicit: false,
        entries: entries.slice(start, start + size),
        more: start + size < entries.length,
      })
    }
  }

  #entry(folder: string, name: string): unknown[] {
    const path = folder === '' ? name : `${folder}/${name}`
    const stats = this.#lstat(path)
    const xattr =
      stats.isFile() || stats.isDirectory() ? getxattr(this.#at(path), RECORD_XATTR) : undefined
    const record = xattr === undefined ? undefined : decodeRecord(xattr)
    const type = stats.isFile()
      ? 'f'
      : stats.isDirectory()
        ? 'd'
        : stats.isSymbolicLink()
          ? 'l'
          : 'o'
    const target = type === 'l' ? readlinkSync(this.#at(path)) : null
    return [
      name,
      type,
      stats.ino.toString(),
      stats.birthtimeNs.toString(),
      record?.mode ?? Number(stats.mode & 0o7777n),
      (record?.sizeBytes ?? stats.size).toString(),
      (record?.mtimeNs ?? stats.mtimeNs).toString(),
      stats.ctimeNs.toString(),
      xattr === undefined ? target : Buffer.from(xattr).toString('base64'),
    ]
  }

  #committed({ snapshot, again }: Message): void {
    const done = this.#changed.get(Number(snapshot))
    this.#changed.clear()
    if (done !== undefined) {
      const later = [...this.#open].filter((path) => !done.has(path) || this.#since.has(path))
      this.#open = new Set(later)
      this.#since.clear()
    }
    const ids = (again as { ino: string }[]).map(({ ino }) => BigInt(ino))
    for (const path of this.#everyFolder('')) {
      if (ids.includes(this.idOf(path).ino)) {
        this.#open.add(path)
      }
    }
  }

  /** Directories that changed after the newest snapshot. */
  readonly #since = new Set<string>()

  #touch(path: string): void {
    this.#open.add(parentOf(path))
    this.#since.add(parentOf(path))
  }

  /** Changes attributes or names of a file and tells the stamps before and after. */
  #attribute(path: string, change: () => void, to = path): void {
    const before = this.#lstat(path)
    change()
    const after = this.#lstat(to)
    if (before.isFile() && this.#settled.has(inodeKey(inodeIdOf(before)))) {
      this.#changes({
        k: 'stamp',
        ...wireId(inodeIdOf(before)),
        old: wireStamp(stampOf(before)),
        new: wireStamp(stampOf(after)),
      })
    }
  }

  #dirty(id: InodeId): void {
    for (const [number, lease] of this.#leases) {
      if (lease.id.ino === id.ino && !lease.broken) {
        lease.broken = true
        this.send({ t: 'broken', lease: number })
      }
    }
    this.#settled.delete(inodeKey(id))
    this.#changes({ k: 'dirty', ...wireId(id) })
  }

  #gone(stats: BigIntStats): void {
    const own = existsSync(this.#paths.objects)
      ? readdirSync(this.#paths.objects).filter(
          (name) => statSync(join(this.#paths.objects, name), { bigint: true }).ino === stats.ino,
        ).length
      : 0
    const names = Number(stats.nlink) - 1 - own
    if (stats.isFile() && names <= 0) {
      this.#changes({ k: 'gone', ...wireId(inodeIdOf(stats)) })
    }
  }

  #changes(item: Message): void {
    this.send({ t: 'changed', items: [item] })
  }

  #dropLease(number: number): void {
    const lease = this.#leases.get(number)
    if (lease !== undefined) {
      this.#leases.delete(number)
      closeSync(lease.fd)
    }
  }

  #isHidden(path: string): boolean {
    return this.unreadable.has(path) || this.#isUnlisted(path)
  }

  #isUnlisted(path: string): boolean {
    return getxattr(this.#at(path), RECORD_XATTR) !== undefined
  }

  *#everyFolder(path: string): Generator<string> {
    yield path
    for (const entry of readdirSync(this.#at(path), { withFileTypes: true })) {
      if (entry.isDirectory()) {
        yield* this.#everyFolder(path === '' ? entry.name : `${path}/${entry.name}`)
      }
    }
  }

  #lstat(path: string): BigIntStats {
    return lstatSync(this.#at(path), { bigint: true })
  }

  #at(path: string): string {
    return join(this.#paths.tree, path)
  }
}

function parentOf(path: string): string {
  const parent = dirname(path)
  return parent === '.' ? '' : parent
}

function depth(path: string): number {
  return path === '' ? 0 : path.split('/').length
}

function wireId(id: InodeId): Message {
  return { ino: id.ino.toString(), btime: id.btimeNs.toString() }
}

function wireStamp(stamp: Stamp): Message {
  return {
    size: stamp.sizeBytes.toString(),
    mtime: stamp.mtimeNs.toString(),
    ctime: stamp.ctimeNs.toString(),
  }
}

function failure(code: string): Error {
  return Object.assign(new Error(code), { code })
}
