// What a subcommand is, and the parsing and error texts that all of them share.
import { type ParseArgsOptionsConfig, parseArgs } from 'node:util'
import { EXIT, isMillraceError, MillraceError } from '../std/errors.ts'

export interface Command {
  name: string
  /** One line for the list of commands. */
  summary: string
  /** Whole text of `millrace NAME --help`. */
  help: string
  /** Runs it with the arguments after its name; returns the exit code. */
  run(args: string[]): Promise<number>
}

/** Parses flags and positionals strictly; an unknown flag or a missing value is option_unknown/option_invalid (exit 2). */
export function parse<T extends ParseArgsOptionsConfig>(args: string[], options: T, positionalsMax = 0) {
  try {
    const parsed = parseArgs({
      args,
      options: { ...options, help: { type: 'boolean', short: 'h' } },
      allowPositionals: true,
    })
    if (parsed.positionals.length > positionalsMax)
      throw new MillraceError(
        'option_invalid',
        `unexpected argument ${JSON.stringify(parsed.positionals[positionalsMax])}`,
      )
    return parsed as ReturnType<typeof parseArgs<{ args: string[]; options: T; allowPositionals: true }>>
  } catch (error) {
    if (isMillraceError(error)) throw error
    const code = (error as NodeJS.ErrnoException).code
    throw new MillraceError(
      code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION' ? 'option_unknown' : 'option_invalid',
      (error as Error).message.split('. ')[0]!,
    )
  }
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
