// PyIceberg changes tables while Millrace writes them: rows deleted, snapshots rolled back and expired, columns added,
// renamed and dropped, the table dropped and another put in its place. Nothing of the log is lost or doubled, what
// cannot go on says what and where, and the other streams do.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import mqtt from 'mqtt'
import { Names } from '../../sink/file-names.ts'
import { removeOrphans } from '../../sink/maintenance-orphans.ts'
import { localWarehouse, openWarehouse } from '../../sink/open-warehouse.ts'
import { environmentCodec, reading } from '../environment.ts'
import { account, millrace, query, startProcess, temporaryFolder, until } from '../millrace-process.ts'

const PYTHON = path.resolve(import.meta.dirname, '../../.interop/venv/bin/python')
const SCRIPT = path.join(import.meta.dirname, 'foreign_engine.py')
const TABLE = 'default.telemetry'
const DAY_MS = 86_400_000

test('another engine between our commits', { timeout: 300_000 }, async (t) => {
  const data = temporaryFolder(t)
  const running = await startProcess(data, ['--sink-commit-age-ms', '100'])
  t.after(() => running.kill())
  const python = spawn(PYTHON, [SCRIPT, data, TABLE], { stdio: ['pipe', 'pipe', 'inherit'] })
  t.after(() => python.kill())
  const answers = createInterface({ input: python.stdout })[Symbol.asyncIterator]()
  const pyiceberg = async (...command: string[]): Promise<unknown> => {
    python.stdin.write(`${JSON.stringify(command)}\n`)
    const { value, done } = await answers.next()
    assert.ok(done !== true, `${command.join(' ')} failed`)
    return JSON.parse(value as string)
  }
  const { encode } = await environmentCodec(running.http)
  const client = await mqtt.connectAsync(running.url, { clientId: 'dut', protocolVersion: 5 })
  t.after(() => client.endAsync(true))
  let next = 0
  const send = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i++)
      await client.publishAsync('devices/dut/telemetry', encode(reading(next++)), { qos: 1 })
  }
  const seqs = async (): Promise<number[]> => {
    const { code, stdout } = await millrace([
      'query',
      `SELECT seq::INT AS seq FROM telemetry ORDER BY 1`,
      ...['--data', data, '--json'],
    ])
    if (code !== 0) return []
    const lines = stdout.split('\n').filter((line) => line !== '')
    return lines.map((line) => Number((JSON.parse(line) as { seq: number }).seq))
  }
  /** The number of rows is cheap to ask for; then what they are. */
  const holds = async (what: string, wanted: number[]): Promise<void> => {
    await until(
      what,
      async () => ((await account(running.http))['rows'] === wanted.length ? true : undefined),
      60_000,
    )
    assert.deepEqual(await seqs(), wanted, what)
  }
  const all = (): number[] => Array.from({ length: next }, (_, i) => i)
  const trouble = async (): Promise<string> => {
    const answer = await fetch(`${running.http}/readyz`)
    return answer.status === 200 ? '' : await answer.text()
  }
  /** The sink may look between two commands of the other engine, and say what it saw then, before it says this. */
  const says = (what: string, wanted: RegExp): Promise<true> =>
    until(what, async () => (wanted.test(await trouble()) ? true : undefined))

  await send(10)
  await holds('the first rows', all())
  const first = String(await pyiceberg('current'))

  // Rows that another engine deletes stay deleted; ours go on after its snapshot.
  await pyiceberg('delete', 'seq >= 3 and seq < 5')
  await send(5)
  await holds(
    'rows after a delete',
    all().filter((seq) => seq < 3 || seq >= 5),
  )
  // Only the newest snapshot is left, and it tells where to go on.
  await pyiceberg('expire')
  await send(5)
  await holds(
    'rows after an expiry',
    all().filter((seq) => seq < 3 || seq >= 5),
  )

  // A rollback brings back where the log was then: what came after is ingested again.
  const kept = String(await pyiceberg('current'))
  await send(5)
  await holds(
    'rows before a rollback',
    all().filter((seq) => seq < 3 || seq >= 5),
  )
  await pyiceberg('rollback', kept)
  await send(1)
  await holds(
    'rows after a rollback',
    all().filter((seq) => seq < 3 || seq >= 5),
  )
  assert.notEqual(kept, first)

  await pyiceberg('add-column', 'remark')
  await send(3)
  await holds(
    'rows after a column was added',
    all().filter((seq) => seq < 3 || seq >= 5),
  )
  assert.deepEqual(await query(data, 'SELECT count(remark)::INT AS n FROM telemetry'), [{ n: 0 }])

  await pyiceberg('rename-column', 'humidity', 'humid')
  await send(3)
  await says(
    'the renamed column',
    /default\.telemetry: another engine has renamed column humidity to humid: rename it back/,
  )
  // The log keeps them, and the other table goes on meanwhile.
  await assert.rejects(client.publishAsync('devices/dut/telemetry', Buffer.from('{'), { qos: 1 }))
  await until('a rejected row meanwhile', async () =>
    (await account(running.http))['rejectedRows'] === 1 ? true : undefined,
  )
  await pyiceberg('rename-column', 'humid', 'humidity')
  await holds(
    'rows after the column was renamed back',
    all().filter((seq) => seq < 3 || seq >= 5),
  )
  assert.equal(
    await until('ready again', async () => ((await trouble()) === '' ? 'ready' : undefined)),
    'ready',
  )

  await pyiceberg('drop')
  await send(2)
  // Made again, and filled from the log as far as it reaches back, here to its beginning.
  await holds('a table that was dropped', all())

  // One that was renamed stays as it is; its successor lies elsewhere, and orphan removal of neither sees the other's files.
  const rows = Number(await pyiceberg('count'))
  await pyiceberg('rename', 'default.telemetry_2025')
  await send(2)
  await holds('a table in place of one that was renamed', all())
  const inTwoDays = { now: () => Date.now() + 2 * DAY_MS, sleep: async () => {} }
  const warehouse = openWarehouse(localWarehouse(data))
  const tools = { ...warehouse, names: new Names(inTwoDays), clock: inTwoDays }
  for (const table of ['telemetry', 'telemetry_2025']) {
    const loaded = (await warehouse.catalog.load({ namespace: 'default', name: table }))!
    assert.deepEqual(await removeOrphans(tools, loaded, DAY_MS), { files: 0, bytes: 0, rows: 0 }, table)
  }
  await warehouse.close()
  assert.equal(await pyiceberg('count-of', 'default.telemetry_2025'), rows)
  assert.equal(await pyiceberg('count'), next)

  await pyiceberg('drop')
  await pyiceberg('create-foreign')
  await send(2)
  await says('a foreign table', /default\.telemetry exists and was not made by Millrace/)
  await pyiceberg('drop')
  await holds('the table after the foreign one is gone', all())
  assert.equal(await running.stop(), 0)
  assert.equal(await pyiceberg('count'), next)
})
