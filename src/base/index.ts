/** Errors and errno, clock, log, durable files, ranges, locks, system calls. */
export * from './clock.ts'
export * from './concurrency.ts'
export * from './durable.ts'
export * from './errors.ts'
export * from './keyed-lock.ts'
export * from './logger.ts'
export * from './ranges.ts'
export * from './system.ts'
