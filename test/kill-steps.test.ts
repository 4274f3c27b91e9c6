// kill -9 at each step by which the real process writes a table: every file that is made, written (half of it) and synced, the
// swap of the catalog's pointer, every file that is deleted. First of a commit of the sink, then of `tables maintain`, which
// compacts, merges manifests and expires snapshots. After each the table is read, the process started again, and
// the table is exact. All steps with MILLRACE_LONG=1, else some of them; test/kill.test.ts kills at random moments, under load.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import mqtt from 'mqtt'
import { runQuery } from '../cli/query.ts'
import { warehouseOfFlags } from '../cli/warehouse-options.ts'
import { environmentCodec, reading } from './environment.ts'
import { account, LAUNCHER, startProcess, temporaryFolder, until } from './millrace-process.ts'

const IS_LONG = process.env['MILLRACE_LONG'] === '1'
/** Of so many steps one is tried, where not all are; no multiple of the steps of a file, so that all kinds are met. */
const STRIDE = IS_LONG ? 1 : 7
const DAY_MS = 86_400_000
const FILES_OF_A_DAY = 4
/** Messages that are in the log, and in no table yet. */
const WAITING = 4

interface Life {
  /** By SIGKILL; else it came to its end. */
  killed: boolean
  steps: string[]
}

class World {
  readonly data: string
  readonly place: string[]
  readonly #steps: string
  readonly #warehouse: string
  readonly #before: string
  sent = 0

  constructor(folder: string) {
    this.data = path.join(folder, 'data')
    this.#warehouse = path.join(folder, 'warehouse')
    this.#before = path.join(folder, 'before')
    this.#steps = path.join(folder, 'steps')
    fs.mkdirSync(this.#warehouse)
    const catalog = path.join(this.#warehouse, 'catalog.db')
    this.place = ['--catalog', `sqlite:${catalog}`, '--warehouse', path.join(this.#warehouse, 'files')]
  }

  /** Warehouse and catalog as they are now are those that `restore` brings back. */
  keep(): void {
    fs.cpSync(this.#warehouse, this.#before, { recursive: true })
  }

  restore(): void {
    fs.rmSync(this.#warehouse, { recursive: true })
    fs.cpSync(this.#before, this.#warehouse, { recursive: true })
  }

  /** The messages that are rows, read through the catalog from every file of the table. */
  async rows(): Promise<number[]> {
    const [, catalog, , warehouse] = this.place
    const { rows } = await runQuery(
      warehouseOfFlags({ data: this.data, catalog: catalog!, warehouse: warehouse! }),
      'SELECT seq::INT FROM telemetry ORDER BY seq',
    )
    return rows.map(([seq]) => seq as number)
  }

  /** Runs a command that is killed at a step, or at none; `up` is drained as soon as it is ready. */
  async live(args: readonly string[], at: number): Promise<Life> {
    fs.rmSync(this.#steps, { force: true })
    const child = spawn(LAUNCHER, [...args, '--data', this.data, ...this.place], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...process.env,
        NODE_OPTIONS: `--import=${new URL('kill-at.ts', import.meta.url).href}`,
        MILLRACE_TEST_KILL_BELOW: this.#warehouse,
        MILLRACE_TEST_KILL_STEPS: this.#steps,
        MILLRACE_TEST_KILL_AT: String(at),
      },
    })
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (chunk: string) => {
        output += chunk
      })
    const ended = new Promise<[number | null, string | null]>((resolve) =>
      child.once('close', (...how) => resolve(how)),
    )
    if (args[0] === 'up') {
      const isOver = () => child.exitCode !== null || child.signalCode !== null
      await until('a life to be ready, or over', async () => {
        const http = /HTTP\s+(http:\S+)/.exec(output)?.[1]
        const isReady = http !== undefined && (await fetch(`${http}/readyz`).catch(() => undefined))?.ok
        return isOver() || isReady || undefined
      })
      child.kill('SIGTERM')
    }
    const [code, signal] = await ended
    assert.ok(code === 0 || signal === 'SIGKILL', `ended with ${code ?? signal}:\n${output}`)
    const steps = fs.existsSync(this.#steps) ? fs.readFileSync(this.#steps, 'utf8').trim().split('\n') : []
    return { killed: signal === 'SIGKILL', steps }
  }
}

const all = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

/** A table of some files in each of two days that are closed, and behind it rows in the log that no table has. */
async function makeWorld(t: { after(callback: () => void): void }): Promise<World> {
  const world = new World(temporaryFolder(t))
  const { data, place } = world
  const maintained = ['--table-maintenance-ms', '0']
  const first = await startProcess(data, ['--sink-commit-age-ms', '100', ...maintained, ...place])
  t.after(() => first.kill())
  const { encode } = await environmentCodec(first.http)
  const publish = async (url: string, count: number): Promise<void> => {
    const client = await mqtt.connectAsync(url, { clientId: 'dut', protocolVersion: 5 })
    for (let i = 0; i < count; i++) {
      const at = Date.now() - (2 + (world.sent % 2)) * DAY_MS
      await client.publishAsync('devices/dut/telemetry', encode(reading(world.sent++, at)), { qos: 1 })
    }
    await client.endAsync()
  }
  for (let i = 0; i < FILES_OF_A_DAY; i++) {
    await publish(first.url, 2)
    await until('rows', async () => ((await account(first.http))['rows'] === world.sent ? true : undefined))
  }
  assert.equal(await first.stop(), 0)
  world.keep()
  const second = await startProcess(data, ['--roles', 'ingest,normalize', ...place])
  t.after(() => second.kill())
  await publish(second.url, WAITING)
  assert.equal(await second.stop(), 0)
  return world
}

/** `write manifest`: what a step does, and to what kind of file. */
function kindOf(step: string): string {
  const [verb = '', file = ''] = step.split(' ')
  const name = path.basename(file)
  if (file === '') return verb
  if (name.endsWith('.parquet')) return `${verb} data`
  if (name.endsWith('.metadata.json')) return `${verb} metadata`
  if (name.endsWith('.avro')) return `${verb} ${name.startsWith('snap-') ? 'manifest list' : 'manifest'}`
  return `${verb} folder`
}

const WRITTEN = ['data', 'manifest', 'manifest list', 'metadata'].flatMap((kind) =>
  ['create', 'write', 'sync'].map((verb) => `${verb} ${kind}`),
)
const COMMIT = [...WRITTEN, 'sync folder', 'swap', 'swapped']
const MAINTENANCE = [...COMMIT, 'delete data', 'delete manifest', 'delete manifest list']

interface Work {
  args: readonly string[]
  /** Rows before it and after it. */
  rows: readonly [before: number, after: number]
  /** Of its steps. */
  kinds: readonly string[]
}

/** Kills it at one step after the other, until it comes to its end; returns how often that was. */
async function killAtEachStep(world: World, { args, rows: [before, after], kinds }: Work): Promise<number> {
  for (let kills = 0; ; kills++) {
    world.restore()
    const { killed, steps } = await world.live(args, 1 + kills * STRIDE)
    const rows = await world.rows()
    if (!killed) {
      // A step that is no longer seen proves nothing.
      assert.deepEqual([...new Set(steps.map(kindOf))].sort(), [...kinds].sort())
      assert.deepEqual(rows, all(after))
      return kills
    }
    const where = `killed at step ${steps.length}, ${steps.at(-1)}`
    assert.deepEqual(rows, all(rows.length === before ? before : after), where)
    const again = await world.live(args, Infinity)
    assert.ok(!again.killed)
    assert.deepEqual(await world.rows(), all(after), where)
  }
}

test('kill -9 at each step of a commit and of maintenance: the table is exact', {
  timeout: 900_000,
}, async (t) => {
  const world = await makeWorld(t)
  const before = world.sent - WAITING
  const up = ['up', '--http', '127.0.0.1:0', '--mqtt', 'off', '--ws', 'off', '--status', 'off']
  const ofCommit = await killAtEachStep(world, {
    args: [...up, '--sink-encoders', '0', '--table-maintenance-ms', '0'],
    rows: [before, world.sent],
    kinds: COMMIT,
  })
  const maintain = ['tables', 'maintain', 'telemetry', '--table-snapshots-max', '1']
  const ofMaintenance = await killAtEachStep(world, {
    args: [...maintain, '--table-snapshot-age-ms', '1'],
    rows: [before, before],
    kinds: MAINTENANCE,
  })
  t.diagnostic(`${ofCommit} kills in a commit, ${ofMaintenance} in maintenance`)
})
