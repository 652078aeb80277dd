// A program that uses @huggingface/transformers as it is:
//   node transformers-client.ts CACHE MODEL [HUB]   without HUB no network is used
// Prints the vectors of two texts as one line of JSON.

import { env, pipeline } from '@huggingface/transformers'

const [cache = '', model = '', hub] = process.argv.slice(2)
env.cacheDir = cache
env.allowRemoteModels = hub !== undefined
if (hub !== undefined) env.remoteHost = `${hub}/`

const extractor = await pipeline('feature-extraction', model, {
  dtype: 'fp32',
  device: 'cpu',
  local_files_only: hub === undefined,
})
const texts = ['the same model on two machines', 'a vector for each file']
const output = await extractor(texts, { pooling: 'mean', normalize: true })
process.stdout.write(`${JSON.stringify(output.tolist())}\n`)
await extractor.dispose()
