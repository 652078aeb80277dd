// Run as an ordinary user: `node observe-as-user.ts FOLDER` writes into the folder what is seen of
// each way in. They are tests, so that everything is cleaned up however they end, and run in one
// process, so that the plain directory is looked at once.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { observe } from './contract.ts'
import { statesOf, USER_WAY } from './tested-ways.ts'

const [folder = '.'] = process.argv.slice(2)

for (const way of statesOf(USER_WAY)) {
  test(`observe ${way.name}`, async (t) => {
    writeFileSync(join(folder, `${way.name}.json`), JSON.stringify(await observe(t, way)))
  })
}
