// What a subcommand is, and the parsing and error texts that all of them share.
import { once } from 'node:events'
import { type ParseArgsOptionsConfig, parseArgs } from 'node:util'
import { EXIT, isMillraceError, MillraceError } from '../std/errors.ts'
import { nearest } from '../std/nearest.ts'

export interface Command {
  name: string
  /** One line for the list of commands. */
  summary: string
  /** Whole text of `millrace NAME --help`. */
  help: string
  /** Runs it with the arguments after its name; returns the exit code. */
  run(args: string[]): Promise<number>
}

/**
 * Parses flags and positionals strictly. Errors, all of exit code 2 and in the words of all our options: option_unknown
 * with the nearest name, option_invalid for a missing value or one too many.
 */
export function parse<T extends ParseArgsOptionsConfig>(args: string[], options: T, positionalsMax = 0) {
  const known: ParseArgsOptionsConfig = { ...options, help: { type: 'boolean', short: 'h' } }
  const config = { args, options: known, allowPositionals: true } as const
  const { tokens } = parseArgs({ ...config, strict: false, tokens: true })
  let positionals = 0
  for (const token of tokens)
    if (token.kind === 'option') checkOption(token, known)
    else if (token.kind === 'positional' && ++positionals > positionalsMax)
      throw new MillraceError('option_invalid', `unexpected argument ${JSON.stringify(token.value)}`)
  return parseArgs({ ...config, strict: false }) as ReturnType<
    typeof parseArgs<{ args: string[]; options: T; allowPositionals: true }>
  >
}

function checkOption(
  { name, rawName, value }: { name: string; rawName: string; value: string | undefined },
  known: ParseArgsOptionsConfig,
): void {
  const option = Object.hasOwn(known, name) ? known[name]! : undefined
  if (option === undefined)
    throw new MillraceError(
      'option_unknown',
      `${rawName}: no such option; the nearest is --${nearest(name, Object.keys(known))}`,
    )
  if (option.type === 'boolean' && value !== undefined)
    throw new MillraceError(
      'option_invalid',
      `${rawName}: read ${JSON.stringify(value)}, expected no value: the option stands alone`,
    )
  // `--config --workers 2` forgot the file: no value of ours begins with two dashes.
  if (option.type === 'string' && (value === undefined || value.startsWith('--')))
    throw new MillraceError('option_invalid', `${rawName}: read no value, expected one after it`)
}

/** The address that an option gives, without a slash at its end. Throws option_invalid where it is none of that protocol. */
export function addressOf(option: string, value: string, protocol: 'http' | 'mqtt'): string {
  const protocols = protocol === 'http' ? ['http:', 'https:'] : [`${protocol}:`]
  if (!URL.canParse(value) || !protocols.includes(new URL(value).protocol))
    throw new MillraceError(
      'option_invalid',
      `${option}: read ${JSON.stringify(value)}, expected ${protocol}://HOST:PORT`,
    )
  return value.replace(/\/$/, '')
}

/** Prints the error as one line (or as it stands where it is a list) and gives the exit code. */
export function reportError(error: unknown, command: string): number {
  if (isMillraceError(error)) {
    process.stderr.write(`millrace ${command}: ${error.message} [${error.code}]\n`)
    return error.exitCode
  }
  process.stderr.write(`millrace ${command}: ${(error as Error)?.stack ?? String(error)}\n`)
  return EXIT.internal
}

/** Rows as an aligned table; numbers to the right. */
export function textTable(header: readonly string[], rows: readonly (readonly unknown[])[]): string {
  const cells = rows.map((row) => row.map(cellText))
  const numeric = header.map(
    (_, i) =>
      rows.length > 0 &&
      rows.every((row) => typeof row[i] === 'number' || typeof row[i] === 'bigint' || row[i] === null),
  )
  const widths = header.map((name, i) => Math.max(name.length, ...cells.map((row) => row[i]!.length)))
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => (numeric[i] ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
      .join('  ')
      .trimEnd()
  return [line(header), widths.map((width) => '─'.repeat(width)).join('  '), ...cells.map(line)].join('\n')
}

function cellText(value: unknown): string {
  if (value === null || value === undefined) return 'NULL'
  if (typeof value === 'object')
    return JSON.stringify(value, (_, inner: unknown) =>
      typeof inner === 'bigint' ? inner.toString() : inner,
    )
  return String(value)
}

export const count = (value: number): string => Math.round(value).toLocaleString('en-US')

export function bytesText(value: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let unit = 0
  let size = value
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024
    unit++
  }
  return `${unit === 0 ? size : size.toFixed(1)} ${units[unit]}`
}

const WRITE_BYTES_MIN = 64 * 1024

/** Writes lines as fast as they are read: a million single writes that wait for a slow reader fail with EINVAL. */
export async function writeLines<Item>(
  items: readonly Item[],
  lineOf: (item: Item) => string,
): Promise<void> {
  let text = ''
  for (const item of items) {
    text += `${lineOf(item)}\n`
    if (text.length < WRITE_BYTES_MIN) continue
    if (!process.stdout.write(text)) await once(process.stdout, 'drain')
    text = ''
  }
  process.stdout.write(text)
}
