import { ModelcacheError } from '../base/index.ts'

/** Fields of an answer of the daemon, checked: one of another version is an error and no riddle. */
export class DaemonAnswer {
  readonly #fields: ReadonlyMap<string, unknown>

  constructor(value: unknown) {
    if (typeof value !== 'object' || value === null) {
      throw badAnswer('it is no object')
    }
    this.#fields = new Map(Object.entries(value))
  }

  /** A list of objects. */
  static list(value: unknown): DaemonAnswer[] {
    if (!Array.isArray(value)) {
      throw badAnswer('it is no list')
    }
    return value.map((one) => new DaemonAnswer(one))
  }

  text(name: string): string {
    const value = this.#fields.get(name)
    if (typeof value !== 'string') {
      throw badAnswer(`${name} is missing`)
    }
    return value
  }

  number(name: string): number {
    const value = this.#fields.get(name)
    if (typeof value !== 'number') {
      throw badAnswer(`${name} is missing`)
    }
    return value
  }

  flag(name: string): boolean {
    return this.#fields.get(name) === true
  }

  texts(name: string): string[] {
    const value = this.#fields.get(name)
    if (!Array.isArray(value)) {
      throw badAnswer(`${name} is missing`)
    }
    return value.map(String)
  }

  part(name: string): DaemonAnswer {
    return new DaemonAnswer(this.#fields.get(name))
  }

  list(name: string): DaemonAnswer[] {
    return DaemonAnswer.list(this.#fields.get(name))
  }
}

function badAnswer(why: string): ModelcacheError {
  return new ModelcacheError(
    `the daemon’s answer cannot be read: ${why}; it is of another version`,
    {
      code: 'bad-answer',
      exitCode: 1,
    },
  )
}
