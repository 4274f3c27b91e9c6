import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { compileMapping, readMapping } from './csv-mapping.ts'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-map-'))
after(() => fs.rmSync(folder, { recursive: true, force: true }))

function fileOf(yaml: string): string {
  const file = path.join(folder, 'map.yaml')
  fs.writeFileSync(file, yaml)
  return file
}

const DOCUMENT = fs.readFileSync(path.join(import.meta.dirname, '../docs/replay.md'), 'utf8')

test('the mapping of docs/replay.md, cell by cell', () => {
  const mapping = readMapping(fileOf(/```yaml\n([\s\S]*?)```/.exec(DOCUMENT)![1]!))
  assert.deepEqual([mapping.stream, mapping.device, mapping.delimiter], ['telemetry', 'room-4', ';'])
  const header = ['When', 'Temp', 'RH', 'Pressure', 'Air', 'Door', 'Battery']
  const record = compileMapping(mapping, header, 'a.csv')
  const row = (cells: string) => record(cells.split(';'), 7)
  assert.deepEqual(row('2026-07-01 12:00:00.250;215;40;1012;3.6;open;88%'), {
    // Summer time: two hours ahead of UTC.
    event_time: Date.UTC(2026, 6, 1, 10, 0, 0, 250) * 1000,
    seq: 7,
    temperature: 21.5,
    humidity: 40,
    pressure: 1012.5,
    air_quality: 4,
    occupancy: 'occupied',
    firmware: '1.0.0',
    battery: 88,
  })
  // What is missing is null, what cannot be converted stays for the contract to refuse.
  assert.deepEqual(row('yesterday;warm;N/A;;;ajar;'), {
    event_time: 'yesterday',
    seq: 7,
    temperature: 'warm',
    humidity: null,
    pressure: null,
    air_quality: null,
    occupancy: 'ajar',
    firmware: '1.0.0',
    battery: null,
  })
})

test('booleans, microseconds and columns of one name', () => {
  const yaml = `fields:
  on: { column: a, type: boolean }
  at: { column: "a#2", time: UTC }`
  const record = compileMapping(readMapping(fileOf(yaml)), ['a', 'a'], 'a.csv')
  assert.deepEqual(record(['Yes', '1969-12-31 23:59:59.999999'], 1), { on: true, at: -1 })
  assert.deepEqual(record(['off', '2026-01-01T00:00:00.000001'], 1), {
    on: false,
    at: Date.UTC(2026, 0, 1) * 1000 + 1,
  })
  assert.deepEqual(record(['maybe'], 1), { on: 'maybe', at: null })
})

const wrong: [yaml: string, message: RegExp][] = [
  ['- a', /expected a mapping with `fields`/],
  ['fields: 3', /`fields` is missing/],
  ['colour: red\nfields: {}', /no such key colour; allowed: stream, device, delimiter, fields/],
  ['fields: { a: 3 }', /fields\.a: expected a mapping/],
  ['fields: { a: { colum: x } }', /fields\.a: no such key colum; allowed: column, row/],
  ['fields: { a: { row: true, value: 3 } }', /fields\.a: give exactly one of column, row, value/],
  ['fields: { a: { column: x, type: nubmer } }', /fields\.a\.type: read "nubmer", expected one of number,/],
  ['fields: { a: { column: x, time: Mars } }', /fields\.a\.time: read "Mars", expected UTC, an offset/],
  ['fields: { a: { column: x, missing: N/A } }', /fields\.a\.missing: read "N\/A", expected a list of texts/],
  ['fields: { a: { column: x, scale: ten } }', /fields\.a\.scale: read "ten", expected a number/],
  ['fields: { a: { column: 3 } }', /fields\.a\.column: read 3, expected a text/],
]
for (const [yaml, message] of wrong)
  test(`refused: ${yaml.replaceAll('\n', ' ')}`, () => {
    assert.throws(() => readMapping(fileOf(yaml)), { code: 'option_invalid', message })
  })

test('a column that the file lacks is named with those it has', () => {
  const mapping = readMapping(fileOf('fields: { a: { column: x } }'))
  assert.throws(() => compileMapping(mapping, ['y', 'z'], 'a.csv'), {
    code: 'option_invalid',
    message: 'a.csv: no column "x" for field a; it has "y", "z"',
  })
})
