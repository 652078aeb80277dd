import type { Duplex } from 'node:stream'
import { errnoOf, ModelcacheError, messageOf } from '../base/index.ts'
import { asMessage, encodeFrame, FrameDecoder, type Message, protocolError } from './frames.ts'

/** Requests of ours that wait for an answer; settling and commits stay far below. */
const MAX_PENDING_REQUESTS = 4096

interface Pending {
  name: string
  resolve: (answer: Answer) => void
  reject: (error: unknown) => void
}

/** An answer and its place among everything that the other side sent. */
export interface Answer {
  ok: Message
  sequence: number
}

/** Answers a request of the other side, or takes an event. Called in the order of arrival. */
export interface Receiver {
  request(name: string, message: Message): Promise<Message>
  event(name: string, message: Message, sequence: number): void
}

/**
 * One end of the socket pair: frames, requests and their answers. Messages are handed over
 * synchronously in the order of arrival, so that an answer and the events around it keep theirs
 * (`sequence` tells it also after an await).
 */
export class Connection {
  readonly #stream: Duplex
  readonly #decoder = new FrameDecoder()
  readonly #pending = new Map<number, Pending>()
  readonly #ended = Promise.withResolvers<Error | undefined>()
  #receiver: Receiver | undefined
  /** Messages of the chunk in which the delivery was paused: one chunk's worth at most. */
  #held: Message[] = []
  #lastId = 0
  #sequence = 0
  #closed = false

  constructor(stream: Duplex) {
    this.#stream = stream
    stream.pause()
    stream.on('data', (chunk: Uint8Array) => this.#take(chunk))
    stream.once('end', () => this.#end(undefined))
    stream.once('close', () => this.#end(undefined))
    stream.once('error', (error: Error) => this.#end(error))
  }

  /** Resolves once, when no message can come any more. */
  get ended(): Promise<Error | undefined> {
    return this.#ended.promise
  }

  /** Starts the delivery; may be called again to hand over to another receiver. */
  receive(receiver: Receiver): void {
    this.#receiver = receiver
    const held = this.#held
    this.#held = []
    this.#guard(() => {
      for (const message of held) {
        this.#deliver(message)
      }
    })
    this.#stream.resume()
  }

  /** Stops the delivery until the next `receive`; what arrives waits in the socket. */
  pause(): void {
    this.#receiver = undefined
    this.#stream.pause()
  }

  request(name: string, fields: Message = {}): Promise<Answer> {
    return this.requestAs(this.nextId(), name, fields)
  }

  /** A request under a number that was taken before, for those whose events name it. */
  requestAs(id: number, name: string, fields: Message): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>()
    if (this.#closed) {
      reject(gone(name))
    } else if (this.#pending.size >= MAX_PENDING_REQUESTS) {
      reject(new ModelcacheError(`${name}: too many requests wait`, { code: 'too-many-requests' }))
    } else {
      this.#pending.set(id, { name, resolve, reject })
      this.#send({ ...fields, t: name, id })
    }
    return promise
  }

  nextId(): number {
    this.#lastId += 1
    return this.#lastId
  }

  event(name: string, fields: Message = {}): void {
    if (!this.#closed) {
      this.#send({ ...fields, t: name })
    }
  }

  /** An event whose handing over to the system can be waited for. */
  eventSent(name: string, fields: Message = {}): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#stream.write(encodeFrame({ ...fields, t: name }), (error) =>
        error ? reject(error) : resolve(),
      )
    })
  }

  close(): void {
    this.#end(undefined)
  }

  #send(message: Message): void {
    this.#stream.write(encodeFrame(message))
  }

  #take(chunk: Uint8Array): void {
    this.#guard(() => this.#decoder.push(chunk, (message) => this.#deliver(message)))
  }

  /** What one side cannot understand ends the connection; the keeper starts another daemon. */
  #guard(deliver: () => void): void {
    try {
      deliver()
    } catch (error) {
      this.#end(error instanceof Error ? error : new Error(String(error)))
    }
  }

  #deliver(message: Message): void {
    const receiver = this.#receiver
    if (receiver === undefined) {
      this.#held.push(message)
      return
    }
    this.#sequence += 1
    const { t: name, id } = message
    if (typeof name !== 'string') {
      throw protocolError('a message has no name')
    }
    if (name === 're') {
      this.#settle(message)
      return
    }
    if (id === undefined || name === 'part') {
      receiver.event(name, message, this.#sequence)
      return
    }
    receiver.request(name, message).then(
      (ok) => this.#answer(id, { ok }),
      (error: unknown) =>
        this.#answer(id, { err: { errno: errnoOf(error), message: messageOf(error) } }),
    )
  }

  #answer(id: unknown, fields: Message): void {
    if (!this.#closed) {
      this.#send({ t: 're', id, ...fields })
    }
  }

  #settle(message: Message): void {
    const { id } = message
    const pending = typeof id === 'number' ? this.#pending.get(id) : undefined
    if (typeof id !== 'number' || pending === undefined) {
      throw protocolError(`an answer to ${JSON.stringify(id)}, which was not asked`)
    }
    this.#pending.delete(id)
    if (message.err === undefined) {
      pending.resolve({ ok: asMessage(message.ok ?? {}, 'an answer'), sequence: this.#sequence })
      return
    }
    const { errno, message: text } = asMessage(message.err, 'an error')
    const name = typeof errno === 'string' ? errno : 'EIO'
    pending.reject(
      new ModelcacheError(`${pending.name}: ${String(text ?? name)}`, { code: name, errno: name }),
    )
  }

  #end(error: Error | undefined): void {
    if (this.#closed) {
      return
    }
    this.#closed = true
    for (const { name, reject } of this.#pending.values()) {
      reject(gone(name))
    }
    this.#pending.clear()
    this.#stream.destroy()
    this.#ended.resolve(error)
  }
}

function gone(name: string): ModelcacheError {
  return new ModelcacheError(`${name}: the keeper is gone`, { code: 'keeper-gone', errno: 'EIO' })
}
