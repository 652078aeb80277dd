/** The environment that sends clients into a mount. */
export * from './environment.ts'
export * from './shell.ts'
