import { realpathSync } from 'node:fs'
import { type Logger, ModelcacheError, messageOf } from '../../base/index.ts'
import {
  type Addon,
  type AddonHandler,
  loadAddon,
  OPERATION_NAMES,
  type OperationName,
} from './binding.ts'
import { answerOf } from './errno.ts'
import { acceptSingleTimes } from './libfuse.ts'
import { LOCALS_BYTES, Request } from './request.ts'
import { FuseThreads } from './threads.ts'

/**
 * Answers one kind of request with libfuse's result: 0, a count, a handle. What it throws or
 * rejects with becomes the errno.
 */
export type Operation = (request: Request) => number | Promise<number>
export type Operations = { readonly [name in OperationName]: Operation }

export interface SessionOptions {
  mountpoint: string
  /** `-o…`, see mount-options.ts. */
  options: string
  operations: Operations
  logger: Logger
}

/** The addon's table of operations has places for these and for `access`, `flush`, … */
const TABLE_SIZE = 35

/** Memory that threads of libfuse use as long as the process lives. */
const kept = new Set<unknown>()

/**
 * Mounts and answers requests, in this thread, which has to be the main one: the addon knows
 * libuv's default loop only. Resolves when the kernel has said hello.
 *
 * @throws ModelcacheError `mount-failed`; libfuse says more on stderr
 */
export function openSession(session: SessionOptions): Promise<void> {
  const { mountpoint, options, logger } = session
  const addon = loadAddon()
  const ready = Promise.withResolvers<void>()
  const allocate = (size: number) => {
    const locals = Buffer.alloc(size)
    kept.add(locals)
    if (size !== LOCALS_BYTES) {
      ready.reject(mountFailed(`fuse-native keeps a request in ${size} bytes`))
    }
    return locals
  }
  const threads = new FuseThreads((locals) => kept.delete(locals))
  const handlers: AddonHandler[] = new Array(TABLE_SIZE).fill(() => undefined)
  const implemented = new Uint32Array(TABLE_SIZE)
  for (const name of OPERATION_NAMES) {
    const opcode = addon[`op_${name}`]
    implemented[opcode] = 1
    handlers[opcode] = answering(addon, name, session.operations[name], threads, logger)
  }
  implemented[addon.op_init] = 1
  handlers[addon.op_init] = (locals) => {
    addon.fuse_native_signal_init(locals, 0)
    ready.resolve()
  }
  const thread = Buffer.alloc(addon.sizeof_fuse_thread_t)
  kept.add(thread).add(handlers)
  const place = realpathSync(mountpoint)
  try {
    addon.fuse_native_mount(place, options, thread, session, allocate, handlers, implemented)
    acceptSingleTimes(thread, place)
  } catch (error) {
    ready.reject(mountFailed(`${mountpoint}: ${messageOf(error)}`, error))
  }
  return ready.promise
}

/** Whatever happens in an operation, its thread is answered exactly once. */
function answering(
  addon: Addon,
  name: OperationName,
  operation: Operation,
  threads: FuseThreads,
  logger: Logger,
): AddonHandler {
  return (locals, _opcode, ...values) => {
    const request = new Request(name, locals, values)
    const failed = (error: unknown) => answer(addon, request, errnoFor(request, error, logger))
    let result: number | Promise<number>
    try {
      threads.seen(request)
      result = operation(request)
    } catch (error) {
      failed(error)
      return
    }
    if (typeof result === 'number') {
      answer(addon, request, result)
    } else {
      result.then((value) => answer(addon, request, value), failed)
    }
  }
}

/** The last thing that is done with a request: its thread runs on, and uses the memory again. */
function answer(addon: Addon, request: Request, result: number): void {
  const { name, thread } = request
  if (name === 'read' || name === 'write') {
    // The addon takes its buffer from this thread, which must not use it any more.
    addon[`fuse_native_signal_${name}`](thread, result, 0, request.payload.buffer)
  } else if (request.hasPayload) {
    addon[`fuse_native_signal_${name}`](thread, result, request.payload.buffer)
  } else if ((name === 'open' || name === 'create') && result > 0) {
    addon.fuse_native_signal_open(thread, 0, result)
  } else {
    // This one takes nothing but the result. Those of `getattr` and others would overwrite what
    // was put into the memory of libfuse.
    addon.fuse_native_signal_unlink(thread, result)
  }
}

function errnoFor(request: Request, error: unknown, logger: Logger): number {
  const result = answerOf(error)
  if (!(error instanceof ModelcacheError) && !isSystemError(error)) {
    // A bug of ours: the program gets EIO, and the log the place.
    logger.error(`${request.name}: failed`, { reason: messageOf(error), error })
  }
  return result
}

function isSystemError(error: unknown): boolean {
  return error instanceof Error && 'code' in error
}

function mountFailed(reason: string, cause?: unknown): ModelcacheError {
  return new ModelcacheError(`mount ${reason}`, { code: 'mount-failed', exitCode: 1, cause })
}
