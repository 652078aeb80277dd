// A reporter of node:test that writes the runner's own summaries, one JSON line a file and one
// for all (without a file), so that nobody has to read numbers out of text for people.

// biome-ignore lint/style/noDefaultExport: node:test takes a reporter only so.
export default async function* summaries(source) {
  for await (const { type, data } of source) {
    if (type === 'test:summary') {
      const { file, counts, duration_ms } = data
      yield `${JSON.stringify({ file, counts, duration_ms })}\n`
    }
  }
}
