// How figures of stored results are put into Markdown (docs-blocks.ts, docs-sizing.ts).
import type { CaseResult } from './result.ts'

/** Results by the name of their case. */
export type Results = ReadonlyMap<string, CaseResult>

/** The text of a part. Throws MissingResult where a case has not been measured. */
export type Block = (results: Results) => string

export class MissingResult extends Error {}

export function need(results: Results, name: string): CaseResult {
  const result = results.get(name)
  if (result === undefined) throw new MissingResult(`no result of ${name}`)
  return result
}

export function rate(value: number): string {
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)} M`
  return value >= 1e3 ? `${(value / 1e3).toFixed(0)} k` : String(Math.round(value))
}

export const micros = (value: number): string => `${value.toFixed(value < 10 ? 2 : 1)} µs`

export function whereOf(results: readonly CaseResult[]): string {
  const places = new Set(results.map((one) => `${one.machine}, Node ${one.node.replace('v', '')}`))
  return `Machine: ${[...places].join('; ')}.`
}

export function markdown(
  columns: readonly string[],
  rows: readonly (readonly (string | number)[])[],
): string {
  const isNumber = columns.map((_, i) => rows.every((row) => /^(\*\*)?[\d–]/.test(String(row[i]))))
  const line = (cells: readonly (string | number)[]): string => `| ${cells.map(text).join(' | ')} |\n`
  return line(columns) + line(isNumber.map((right) => (right ? '---:' : '---'))) + rows.map(line).join('')
}

const text = (value: string | number): string =>
  typeof value === 'number' ? value.toLocaleString('en-US', { maximumFractionDigits: 4 }) : value

/** As the documents are wrapped. */
export function wrap(sentences: string): string {
  const lines = ['']
  for (const word of sentences.split(' ')) {
    if (lines.at(-1)!.length + word.length > 118) lines.push('')
    lines[lines.length - 1] += lines.at(-1) === '' ? word : ` ${word}`
  }
  return `${lines.join('\n')}\n`
}
