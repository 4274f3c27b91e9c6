// The mapping of a CSV file's columns to the fields of a stream, as a YAML document:
//
//   stream: weather            # default telemetry
//   device: station-0          # default: the file's name without its ending
//   delimiter: ","
//   fields:
//     event_time: { column: "DateUTC<br />", strip: "<br />", time: UTC }
//     seq: { row: true }                             # the row's number, from 1
//     temperature: { column: TemperatureC, missing: ["-", "N/A", "-9999", ""] }
//     humidity: { column: Humidity, missing: [""] }
//     occupancy: { value: unknown }                  # a constant
//     conditions: { column: Conditions, type: string, missing: [""] }
//
// `type` is number (default), integer, string or boolean; `time` is UTC, an offset (+02:00) or a zone
// (America/Denver) and gives microseconds since 1970; `scale` and `offset` act on numbers; `map` replaces texts.
// A column that occurs twice is named `timestamp` the first time and `timestamp#2` the second.
import fs from 'node:fs'
import { parse as parseYaml } from 'yaml'
import { MillraceError } from '../std/errors.ts'

export interface FieldMapping {
  column?: string
  row?: boolean
  value?: unknown
  type?: 'number' | 'integer' | 'string' | 'boolean'
  time?: string
  strip?: string
  missing?: string[]
  map?: Record<string, unknown>
  scale?: number
  offset?: number
}

export interface CsvMapping {
  stream: string
  device: string | undefined
  delimiter: string
  fields: Record<string, FieldMapping>
}

const FIELD_KEYS = new Set([
  'column',
  'row',
  'value',
  'type',
  'time',
  'strip',
  'missing',
  'map',
  'scale',
  'offset',
])

const TYPES = ['number', 'integer', 'string', 'boolean']

const invalid = (file: string, message: string): never => {
  throw new MillraceError('option_invalid', `${file}: ${message}`, { file })
}

/** Reads and checks a mapping; errors are option_invalid and name the file and the field. */
export function readMapping(file: string): CsvMapping {
  let document: unknown
  try {
    document = parseYaml(fs.readFileSync(file, 'utf8'))
  } catch (error) {
    return invalid(file, (error as Error).message.split('\n')[0]!)
  }
  if (typeof document !== 'object' || document === null || Array.isArray(document))
    return invalid(file, 'expected a mapping with `fields`')
  const {
    stream = 'telemetry',
    device,
    delimiter = ',',
    fields,
    ...rest
  } = document as Record<string, unknown>
  const unknown = Object.keys(rest)[0]
  if (unknown !== undefined)
    invalid(file, `no such key ${unknown}; allowed: stream, device, delimiter, fields`)
  if (typeof fields !== 'object' || fields === null) return invalid(file, '`fields` is missing')
  for (const [name, mapping] of Object.entries(fields as Record<string, FieldMapping>)) {
    if (typeof mapping !== 'object' || mapping === null) invalid(file, `fields.${name}: expected a mapping`)
    const wrong = Object.keys(mapping).find((key) => !FIELD_KEYS.has(key))
    if (wrong !== undefined)
      invalid(file, `fields.${name}: no such key ${wrong}; allowed: ${[...FIELD_KEYS].join(', ')}`)
    const sources = [mapping.column !== undefined, mapping.row === true, 'value' in mapping].filter(
      Boolean,
    ).length
    if (sources !== 1) invalid(file, `fields.${name}: give exactly one of column, row, value`)
    for (const [key, value] of Object.entries(mapping)) {
      const expected = problemOf(key, value)
      if (expected !== undefined)
        invalid(file, `fields.${name}.${key}: read ${JSON.stringify(value)}, expected ${expected}`)
    }
  }
  return {
    stream: String(stream),
    device: device === undefined ? undefined : String(device),
    delimiter: String(delimiter),
    fields: fields as Record<string, FieldMapping>,
  }
}

/** What a key of a field's mapping should be, undefined where it is. */
function problemOf(key: string, value: unknown): string | undefined {
  switch (key) {
    case 'type':
      return TYPES.includes(value as string) ? undefined : `one of ${TYPES.join(', ')}`
    case 'time':
      return isZone(value) ? undefined : 'UTC, an offset (+02:00) or a zone (America/Denver)'
    case 'missing':
      return Array.isArray(value) && value.every((one) => typeof one === 'string')
        ? undefined
        : 'a list of texts'
    case 'map':
      return typeof value === 'object' && value !== null && !Array.isArray(value)
        ? undefined
        : 'a mapping of texts to values'
    case 'scale':
    case 'offset':
      return typeof value === 'number' && Number.isFinite(value) ? undefined : 'a number'
    case 'row':
      return value === true ? undefined : 'true'
    case 'column':
    case 'strip':
      return typeof value === 'string' && value !== '' ? undefined : 'a text'
    default:
      return undefined
  }
}

function isZone(zone: unknown): boolean {
  try {
    Temporal.PlainDateTime.from('2000-01-01').toZonedDateTime(String(zone))
    return typeof zone === 'string'
  } catch {
    return false
  }
}

/** Column names with repeats numbered from 2. */
export function uniqueColumns(header: readonly string[]): string[] {
  const seen = new Map<string, number>()
  return header.map((name) => {
    const nth = (seen.get(name) ?? 0) + 1
    seen.set(name, nth)
    return nth === 1 ? name : `${name}#${nth}`
  })
}

/** Compiles the mapping for a header; throws option_invalid for a column that the file lacks. */
export function compileMapping(
  mapping: CsvMapping,
  header: readonly string[],
  file: string,
): (row: readonly string[], rowNumber: number) => Record<string, unknown> {
  const columns = uniqueColumns(header)
  const parts = Object.entries(mapping.fields).map(([name, field]) => {
    if (field.row === true)
      return { name, read: (_row: readonly string[], rowNumber: number): unknown => rowNumber }
    if (field.column === undefined) return { name, read: (): unknown => field.value }
    const index = columns.indexOf(field.column)
    if (index < 0)
      return invalid(
        file,
        `no column ${JSON.stringify(field.column)} for field ${name}; it has ${columns.map((column) => JSON.stringify(column)).join(', ')}`,
      )
    const missing = new Set(field.missing ?? [''])
    return { name, read: (row: readonly string[]): unknown => convert(row[index] ?? '', field, missing) }
  })
  return (row, rowNumber) => {
    const record: Record<string, unknown> = {}
    for (const { name, read } of parts) record[name] = read(row, rowNumber)
    return record
  }
}

function convert(cell: string, field: FieldMapping, missing: ReadonlySet<string>): unknown {
  let text = cell.trim()
  if (field.strip !== undefined) text = text.replaceAll(field.strip, '').trim()
  if (missing.has(text)) return null
  if (field.map !== undefined && Object.hasOwn(field.map, text)) return field.map[text]
  if (field.time !== undefined) return microsOf(text, field.time)
  switch (field.type ?? 'number') {
    case 'string':
      return text
    case 'boolean':
      return /^(true|yes|1|on)$/i.test(text) ? true : /^(false|no|0|off)$/i.test(text) ? false : text
    default: {
      // What is no number goes through as text: the contract refuses it and says why, instead of a guess here. So
      // does what is no boolean, and no time.
      const value = Number(text)
      if (text === '' || Number.isNaN(value)) return text
      const scaled = value * (field.scale ?? 1) + (field.offset ?? 0)
      return field.type === 'integer' ? Math.round(scaled) : scaled
    }
  }
}

/** `2015-01-01 07:51:00` in the zone, as microseconds since 1970; text that is no time goes through as it is. */
function microsOf(text: string, zone: string): unknown {
  try {
    const local = Temporal.PlainDateTime.from(text.replace(' ', 'T'))
    return local.toZonedDateTime(zone).epochMilliseconds * 1000 + local.microsecond
  } catch {
    return text
  }
}
