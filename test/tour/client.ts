import { argv, exit, stdout } from 'node:process'
import { parseArgs } from 'node:util'
import { embed } from '../../src/skillset/index.ts'

/**
 * An ordinary program: it makes a cache directory, loads a model of a hub into it with
 * @huggingface/transformers as that is, and turns texts into vectors. A process of its own, so
 * that no descriptor of it outlives it. Prints one JSON object.
 *
 * `node test/tour/client.ts --cache DIR --hub URL --model OWNER/NAME TEXT…`
 */
const { values, positionals } = parseArgs({
  args: argv.slice(2),
  allowPositionals: true,
  options: {
    cache: { type: 'string' },
    hub: { type: 'string' },
    model: { type: 'string' },
    offline: { type: 'boolean', default: false },
  },
})
const { cache, hub, model, offline } = values
if (cache === undefined || model === undefined) {
  process.stderr.write('usage: client.ts --cache DIR --model OWNER/NAME [--hub URL] TEXT…\n')
  exit(2)
}
const embedding = await embed({
  modelId: model,
  cacheDir: cache,
  remoteHost: hub,
  localFilesOnly: offline,
  texts: positionals,
})
stdout.write(`${JSON.stringify(embedding)}\n`)
