import { ModelcacheError } from '../base/index.ts'

/** A wrong value on the command line: one line that shows it and the right form; exit code 2. */
export function usageError(message: string, cause?: unknown): ModelcacheError {
  return new ModelcacheError(message, { code: 'usage', exitCode: 2, cause })
}

/** A value as it is shown in a message: quoted, and shortened where it would fill the screen. */
export function shown(value: string): string {
  const characters = [...value]
  const text = characters.length > 120 ? `${characters.slice(0, 117).join('')}…` : value
  return JSON.stringify(text)
}

/** One of a list of words. */
export function oneOf<T extends string>(option: string, value: string, words: readonly T[]): T {
  const found = words.find((word) => word === value)
  if (found === undefined) {
    throw usageError(`${option} ${shown(value)}: give one of ${words.join(', ')}`)
  }
  return found
}

/** Whole seconds between two limits, both allowed. */
export function seconds(option: string, value: string, min: number, max: number): number {
  return wholeNumber(option, value, min, max, 'whole seconds')
}

/** A whole number between two limits, both allowed. */
export function wholeNumber(
  option: string,
  value: string,
  min: number,
  max: number,
  what = 'a whole number',
): number {
  const number = /^[0-9]{1,9}$/.test(value) ? Number(value) : Number.NaN
  if (!(number >= min && number <= max)) {
    throw usageError(`${option} ${shown(value)}: give ${what} from ${min} to ${max}`)
  }
  return number
}
