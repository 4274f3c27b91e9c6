// Real recordings of eight weather stations, replayed through MQTT by `millrace replay`, one mapping per station
// and rules per firmware; every row accounted for, and every statistic equal to one computed straight from the
// files by other code.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { parse as parseCsv } from 'csv-parse/sync'
import { account, millrace, query, startProcess, temporaryFolder, until } from '../millrace-process.ts'

const HERE = import.meta.dirname
const RECORDINGS = path.resolve(HERE, '../../../shared/data/weather')
const MACHINES = path.resolve(HERE, '../../../shared/data/machine')
const COLUMNS = {
  temperature: 'TemperatureC',
  dew_point: 'Dew PointC',
  humidity: 'Humidity',
  pressure: 'Sea Level PressurehPa',
  visibility: 'VisibilityKm',
  wind_speed: 'Wind SpeedKm/h',
} as const

interface Statistics {
  n: number
  sum: number
  min: number
  max: number
}

/** What the file itself says of a column: -9999, "-", "N/A" and nothing are no values; Calm is no wind. */
function statisticsOf(rows: readonly string[][], header: readonly string[], column: string): Statistics {
  const index = header.indexOf(column)
  const result = { n: 0, sum: 0, min: Infinity, max: -Infinity }
  for (const row of rows) {
    const text = row[index]!.trim()
    const value = text === 'Calm' ? 0 : text === '' ? Number.NaN : Number(text)
    if (Number.isNaN(value) || value === -9999) continue
    result.n++
    result.sum += value
    result.min = Math.min(result.min, value)
    result.max = Math.max(result.max, value)
  }
  return result
}

test('eight stations, every row in the table, every statistic as in the files', {
  skip: fs.existsSync(RECORDINGS) ? false : 'the recordings are not here',
}, async (t) => {
  const data = temporaryFolder(t)
  const contracts = temporaryFolder(t)
  fs.copyFileSync(path.join(HERE, 'weather.yaml'), path.join(contracts, 'weather.yaml'))
  const running = await startProcess(data, ['--contracts', contracts])
  t.after(() => running.kill())
  const stations = fs.readdirSync(RECORDINGS).filter((name) => name.endsWith('.csv'))
  assert.equal(stations.length, 8)
  const expected = new Map<string, { rows: number; header: string[]; data: string[][] }>()
  let total = 0
  for (const file of stations) {
    const station = path.parse(file).name
    const [header, ...rows] = parseCsv(fs.readFileSync(path.join(RECORDINGS, file)), {
      relax_column_count: true,
    }) as string[][]
    expected.set(station, { rows: rows.length, header: header!, data: rows })
    const { code, stdout, stderr } = await millrace([
      'replay',
      path.join(RECORDINGS, file),
      '--map',
      path.join(HERE, `${station}.yaml`),
      '--url',
      running.url,
      '--json',
    ])
    assert.equal(code, 0, stderr + stdout)
    const told = JSON.parse(stdout) as { rows: number; acknowledged: number; refused: object }
    assert.deepEqual([told.rows, told.acknowledged, told.refused], [rows.length, rows.length, {}])
    total += rows.length
  }
  const after = await until(
    'all rows in the table',
    async () => {
      const now = await account(running.http)
      return now['rows'] === total ? now : undefined
    },
    60_000,
  )
  assert.equal(after['raw'], total)
  assert.equal(after['rejected'], 0)
  assert.equal(after['duplicates'], 0)
  const select = Object.keys(COLUMNS)
    .map(
      (name) =>
        `count(${name})::INT AS ${name}_n, sum(${name}) AS ${name}_sum, min(${name}) AS ${name}_min, max(${name}) AS ${name}_max`,
    )
    .join(', ')
  const rows = await query(
    data,
    `SELECT device_id, count(*)::INT AS n, count(DISTINCT seq)::INT AS distinct_seq, ${select} FROM weather GROUP BY device_id`,
  )
  assert.equal(rows.length, 8)
  for (const row of rows) {
    const station = expected.get(String(row['device_id']))!
    assert.equal(row['n'], station.rows)
    assert.equal(row['distinct_seq'], station.rows)
    for (const [name, column] of Object.entries(COLUMNS)) {
      const { n, sum, min, max } = statisticsOf(station.data, station.header, column)
      assert.equal(row[`${name}_n`], n, `${station.header[0]} ${name}`)
      if (n === 0) continue
      // Firmware 2 went to °F and back: equal to rounding.
      for (const [what, value] of Object.entries({ sum, min, max })) {
        const read = Number(row[`${name}_${what}`])
        const scale = what === 'sum' ? n * 100 : 100
        assert.ok(
          Math.abs(read - value) <= 1e-9 * scale,
          `${row['device_id']} ${name} ${what}: ${read} for ${value}`,
        )
      }
    }
  }
  assert.equal(await running.stop(), 0)
})

test('two thermometers with known failures: every row, mean and extremes as in the files, out of range marked', {
  skip: fs.existsSync(MACHINES) ? false : 'the recordings are not here',
}, async (t) => {
  const data = temporaryFolder(t)
  const contracts = temporaryFolder(t)
  fs.copyFileSync(path.join(HERE, 'machine-readings.yaml'), path.join(contracts, 'thermometer.yaml'))
  const running = await startProcess(data, ['--contracts', contracts])
  t.after(() => running.kill())
  const files = fs.readdirSync(MACHINES).filter((name) => name.endsWith('.csv'))
  assert.equal(files.length, 2)
  const expected = new Map<string, number[]>()
  let total = 0
  for (const file of files) {
    const [, ...rows] = parseCsv(fs.readFileSync(path.join(MACHINES, file))) as string[][]
    const values = rows.map((row) => ((Number(row[1]) - 32) * 5) / 9)
    expected.set(path.parse(file).name, values)
    total += values.length
    const { code, stdout, stderr } = await millrace([
      'replay',
      path.join(MACHINES, file),
      '--map',
      path.join(HERE, 'thermometer.yaml'),
      '--url',
      running.url,
      '--json',
    ])
    assert.equal(code, 0, stderr + stdout)
  }
  await until(
    'all rows in the table',
    async () => ((await account(running.http))['rows'] === total ? true : undefined),
    60_000,
  )
  const rows = await query(
    data,
    `SELECT device_id, count(*)::INT AS n, sum(temperature) AS sum, min(temperature) AS min, max(temperature) AS max, count(_quality)::INT AS marked FROM thermometer GROUP BY 1`,
  )
  assert.equal(rows.length, 2)
  for (const row of rows) {
    const values = expected.get(String(row['device_id']))!
    assert.equal(row['n'], values.length)
    assert.equal(row['marked'], values.filter((value) => value < -20 || value > 45).length)
    const sum = values.reduce((a, b) => a + b, 0)
    assert.ok(Math.abs(Number(row['sum']) - sum) < 1e-9 * values.length * 100)
    assert.ok(Math.abs(Number(row['min']) - Math.min(...values)) < 1e-9)
    assert.ok(Math.abs(Number(row['max']) - Math.max(...values)) < 1e-9)
  }
  assert.equal(await running.stop(), 0)
})
