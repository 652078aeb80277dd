/** Where a command speaks: the answer to standard output, all else to standard error. */
export interface Terminal {
  /** One line of the answer. */
  answer(line: string): void
  /** One line for the person who watches: progress, warnings, errors. */
  tell(line: string): void
  /** Takes what was answered so far off a screen; nothing where the output is no screen. */
  clear(): void
  /** Whether standard input is a terminal, so that its keys reach children as signals. */
  readonly hasKeyboard: boolean
}

/** The process's own streams. */
export const processTerminal: Terminal = {
  answer: (line) => void process.stdout.write(`${line}\n`),
  tell: (line) => void process.stderr.write(`${line}\n`),
  clear: () => {
    if (process.stdout.isTTY) {
      // Cursor to the top left, then everything below it away.
      process.stdout.write('\u001b[H\u001b[J')
    }
  },
  hasKeyboard: process.stdin.isTTY === true,
}

/** An answer of facts: as one JSON value, or as the lines that people read. */
export function answerFacts(
  terminal: Terminal,
  json: boolean | undefined,
  facts: unknown,
  lines: readonly string[],
): void {
  if (json) {
    terminal.answer(JSON.stringify(facts, null, 2))
    return
  }
  for (const line of lines) {
    terminal.answer(line)
  }
}

/** A number of things for people: `1 file`, `2 files`, `2 directories`. */
export function countText(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const

/** A size for people: `0 B`, `1.5 GiB`. */
export function sizeText(bytes: number): string {
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024
    unit += 1
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`
}
