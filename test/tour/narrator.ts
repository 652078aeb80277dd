import { styleText } from 'node:util'

/** Tells the story: numbered steps, what was run, and facts with their figures. */
export class Narrator {
  readonly #write: (text: string) => void
  readonly #steps: number
  #step = 0

  /** @param steps how many there will be, for `[2/8]` */
  constructor(write: (text: string) => void, steps: number) {
    this.#write = write
    this.#steps = steps
  }

  step(title: string): void {
    this.#step += 1
    this.#write(`\n${styleText('bold', `[${this.#step}/${this.#steps}] ${title}`)}\n`)
  }

  /** A command, as a user would type it. */
  command(words: readonly string[]): void {
    this.#write(styleText('cyan', `      $ ${words.map(quote).join(' ')}\n`))
  }

  fact(text: string): void {
    this.#write(`      ${text}\n`)
  }

  end(text: string): void {
    this.#write(`\n${styleText('bold', text)}\n`)
  }

  fail(what: string, error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error)
    this.#write(`\n${styleText(['bold', 'red'], `${what}:`)} ${reason}\n`)
  }
}

/** `67,108,864 bytes (64.0 MiB)` */
export function describeBytes(sizeBytes: number): string {
  const plain = `${sizeBytes.toLocaleString('en-US')} bytes`
  const mib = sizeBytes / 2 ** 20
  return mib < 0.1 ? plain : `${plain} (${mib.toFixed(1)} MiB)`
}

function quote(word: string): string {
  return /^[\w./:@=%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}
