// Runs a script of this repository in a Node that is new enough:
//   node bin/with-node.mjs SCRIPT [ARGUMENT…]

import { resolve } from 'node:path'
import { fail, runInSuitableNode } from './runtime.mjs'

const [script, ...args] = process.argv.slice(2)
if (script === undefined) {
  fail('name the script to run: node bin/with-node.mjs SCRIPT [ARGUMENT…]')
} else {
  await runInSuitableNode(resolve(script), args)
}
