// Two processes, each with its own log, write to one table of a REST catalog in S3 at the same time; then one of them
// loses its log and starts over while the table stays. Every record is there once, in order of its own log.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import mqtt from 'mqtt'
import { environmentCodec, reading } from '../environment.ts'
import { type MillraceProcess, startProcess, temporaryFolder, until } from '../millrace-process.ts'
import { readPyIceberg } from './readers.ts'
import { s3Environment, startRestCatalog, startS3 } from './servers.ts'

const ROUNDS = 8
const PER_ROUND = 25

async function publish(site: MillraceProcess, device: string, from: number, to: number): Promise<void> {
  const { encode } = await environmentCodec(site.http)
  const client = await mqtt.connectAsync(site.url, { clientId: device, protocolVersion: 5 })
  for (let seq = from; seq < to; seq++)
    await client.publishAsync(`devices/${device}/telemetry`, encode(reading(seq)), { qos: 1 })
  await client.endAsync()
}

/** Counter of the sink, from /metrics. */
async function counter(site: MillraceProcess, name: string): Promise<number> {
  const text = await (await fetch(`${site.http}/metrics`)).text()
  const line = text.split('\n').find((one) => one.startsWith(`millrace_sink_${name}`))
  assert.ok(line !== undefined, `no millrace_sink_${name}:\n${text.slice(0, 2000)}`)
  return Number(line.split(' ').at(-1))
}

test('two processes write to one table, and a log that is lost is begun anew', async (t) => {
  const folder = temporaryFolder(t)
  const s3 = await startS3(t, path.join(folder, 's3'))
  const env = s3Environment(s3.url)
  const warehouse = 's3://warehouse/lake'
  const rest = await startRestCatalog(t, { folder: path.join(folder, 'rest'), warehouse, s3Endpoint: s3.url })
  const start = async (name: string): Promise<MillraceProcess> => {
    const args = ['--catalog', rest.url, '--sink-commit-age-ms', '150']
    const site = await startProcess(path.join(folder, name), args, env)
    t.after(() => site.kill())
    return site
  }
  const drained = (site: MillraceProcess, rows: number): Promise<true> =>
    until(`${rows} rows`, async () => ((await counter(site, 'rows')) === rows ? true : undefined), 60_000)

  const a = await start('a')
  const b = await start('b')
  const total = ROUNDS * PER_ROUND
  for (let round = 0; round < ROUNDS; round++)
    await Promise.all([
      publish(a, 'at-a', round * PER_ROUND, (round + 1) * PER_ROUND),
      publish(b, 'at-b', round * PER_ROUND, (round + 1) * PER_ROUND),
    ])
  await drained(a, total)
  await drained(b, total)
  t.diagnostic(
    `commits ${await counter(a, 'commits')} and ${await counter(b, 'commits')}, conflicts ${await counter(a, 'conflicts')} and ${await counter(b, 'conflicts')}`,
  )
  assert.equal(await a.stop(), 0)

  fs.rmSync(path.join(folder, 'a', 'log'), { recursive: true })
  const again = await start('a')
  await publish(again, 'at-a', total, total + 50)
  await publish(b, 'at-b', total, total + 50)
  await drained(again, 50)
  await drained(b, total + 50)
  assert.match(
    again.output(),
    /default\.telemetry holds rows, but none of this log .*reading .* from its beginning/,
  )
  assert.equal(await again.stop(), 0)
  assert.equal(await b.stop(), 0)

  const rows = await readPyIceberg(rest.url, 'default.telemetry', env)
  for (const device of ['at-a', 'at-b'])
    assert.deepEqual(
      rows
        .filter((row) => row['device_id'] === device)
        .map((row) => Number(row['seq']))
        .sort((x, y) => x - y),
      Array.from({ length: total + 50 }, (_, seq) => seq),
      device,
    )
})
