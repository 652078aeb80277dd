/**
 * The daemon of one mount. `main.ts` is what the keeper starts; other programs only need the
 * client of its control socket, which is cheap to load.
 */
export { type CallOptions, type ControlClient, controlClient } from './control-client.ts'
