import koffi from 'koffi'
import type { Request } from './request.ts'

/** fuse-native.c, fuse_thread_locals_t: `uv_async_t async`, at the end. */
const ASYNC_AT = 232
/**
 * Addresses of one operation's variables on the stacks of two threads that live are megabytes
 * apart; on one stack, used by one thread after the other, they are nearly the same.
 */
const SAME_STACK_BYTES = 64n * 1024n

const closeHandle = koffi
  .load(null)
  .func('void uv_close(uintptr_t handle, void *closed)') as unknown as (
  handle: bigint,
  closed: null,
) => void

/**
 * Threads of libfuse that have asked something. libfuse starts one when all are busy and ends those
 * that idle beyond ten; the addon never notices an end, and leaves its handle in libuv's loop, which
 * looks at each handle each time it is woken: after enough threads nothing else would get its turn.
 * A thread that runs on the stack of another one shows that the other has ended.
 */
export class FuseThreads {
  /** The stack of each, as an address in it. */
  readonly #stacks = new Map<Buffer, bigint>()
  readonly #onEnd: (thread: Buffer) => void

  /** @param onEnd the thread's memory is used no more, but for libuv's next turn */
  constructor(onEnd: (thread: Buffer) => void) {
    this.#onEnd = onEnd
  }

  /** Called with each request, before it is answered. */
  seen(request: Request): void {
    const { thread, stackAddress } = request
    if (stackAddress === undefined || this.#stacks.has(thread)) {
      return
    }
    for (const [other, address] of this.#stacks) {
      const distance = address > stackAddress ? address - stackAddress : stackAddress - address
      if (distance < SAME_STACK_BYTES) {
        this.#stacks.delete(other)
        closeHandle(koffi.address(other) + BigInt(ASYNC_AT), null)
        this.#onEnd(other)
      }
    }
    this.#stacks.set(thread, stackAddress)
  }
}
