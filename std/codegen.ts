// Source text of generated functions: an indenting writer, and the one place where text meets the JavaScript
// compiler. What a generator writes is its own templates and numbers; a name that came from a user may only
// appear where `identifier` let it through.

const IDENTIFIER = /^[A-Za-z_][A-Za-z0-9_]{0,254}$/

/** `name` unchanged when it is a plain ASCII identifier; throws otherwise (a defect of the caller, which had to validate). */
export function identifier(name: string): string {
  if (!IDENTIFIER.test(name)) throw new TypeError(`not an identifier: ${JSON.stringify(name)}`)
  return name
}

/** Lines with two spaces of indentation a level. */
export class SourceWriter {
  #text = ''
  #indent = ''
  #names = 0

  line(text: string): this {
    this.#text += `${this.#indent}${text}\n`
    return this
  }

  /** Writes `head {`, the body, `}`. */
  block(head: string, body: () => void): this {
    this.line(`${head} {`)
    this.#indent += '  '
    body()
    this.#indent = this.#indent.slice(2)
    return this.line('}')
  }

  /** A name not given out before: `prefix` and a number. */
  unique(prefix: string): string {
    return `${prefix}${this.#names++}`
  }

  toString(): string {
    return this.#text
  }
}

/**
 * Compiles `source`, the body of a strict-mode function whose parameters are the keys of `scope`, and returns
 * what it returns. Each call makes functions of its own, so that inline caches are not shared between schemas.
 */
export function compileSource<Result>(source: string, scope: Record<string, unknown>): Result {
  const names = Object.keys(scope).map(identifier)
  const make = new Function(...names, `'use strict'\n${source}`) as (...values: unknown[]) => Result
  return make(...Object.values(scope))
}
