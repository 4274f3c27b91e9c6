// Sends the rows of a CSV file as one device's messages over MQTT 5, QoS 1, and accounts for every row.
import fs from 'node:fs'
import path from 'node:path'
import { parse as csvParser } from 'csv-parse'
import { connectAsync, type MqttClient } from 'mqtt'
import { EXIT, MillraceError } from '../std/errors.ts'
import type { Command } from './command.ts'
import { count, parse } from './command.ts'
import { compileMapping, readMapping } from './csv-mapping.ts'
import { progressBar } from './progress.ts'

export interface ReplayOptions {
  file: string
  mapping: string
  url: string
  device?: string
  username?: string
  password?: string
  /** Rows a second; undefined: as fast as the server acknowledges. */
  rate?: number
  limit?: number
  progress?: (done: number, total: number) => void
}

export interface ReplayAccount {
  device: string
  rows: number
  acknowledged: number
  /** Rows refused, by reason. */
  refused: Record<string, number>
  seconds: number
}

/** Messages that wait for their PUBACK at any time; the server's Receive Maximum may lower it. */
const IN_FLIGHT_MAX = 1000

/** Replays the file; every row ends up acknowledged or refused, or this throws. */
export async function replayFile(options: ReplayOptions): Promise<ReplayAccount> {
  const mapping = readMapping(options.mapping)
  const device = options.device ?? mapping.device ?? path.parse(options.file).name
  const topic = `devices/${device}/${mapping.stream}`
  const client = await connect(options, device)
  const started = performance.now()
  const account: ReplayAccount = { device, rows: 0, acknowledged: 0, refused: {}, seconds: 0 }
  const total = fs.statSync(options.file).size
  let read = 0
  let inFlight = 0
  let wake: (() => void) | undefined
  let failure: Error | undefined
  client.on('error', (error) => {
    failure = error
    wake?.()
  })
  const settled = (): void => {
    inFlight--
    if (inFlight < IN_FLIGHT_MAX / 2) wake?.()
  }
  const waitBelow = async (most: number): Promise<void> => {
    while (inFlight > most && failure === undefined) {
      await new Promise<void>((resolve) => {
        wake = resolve
        setTimeout(resolve, 100)
      })
    }
    if (failure !== undefined)
      throw new MillraceError('server_unreachable', `${options.url}: ${failure.message}`)
  }
  const source = fs.createReadStream(options.file)
  source.on('data', (chunk) => {
    read += chunk.length
  })
  const rows = source.pipe(csvParser({ delimiter: mapping.delimiter, relax_column_count: true, bom: true }))
  let toRecord: ReturnType<typeof compileMapping> | undefined
  try {
    for await (const row of rows as AsyncIterable<string[]>) {
      if (toRecord === undefined) {
        toRecord = compileMapping(mapping, row, options.file)
        continue
      }
      if (options.limit !== undefined && account.rows >= options.limit) break
      account.rows++
      if (options.rate !== undefined) await paced(started, account.rows, options.rate)
      if (inFlight >= IN_FLIGHT_MAX) await waitBelow(IN_FLIGHT_MAX / 2)
      inFlight++
      client.publish(topic, JSON.stringify(toRecord(row, account.rows)), { qos: 1 }, (error) => {
        if (error) account.refused[error.message] = (account.refused[error.message] ?? 0) + 1
        else account.acknowledged++
        settled()
      })
      if (account.rows % 500 === 0) options.progress?.(read, total)
    }
    await waitBelow(0)
  } finally {
    source.destroy()
    await client.endAsync(failure !== undefined)
  }
  options.progress?.(total, total)
  account.seconds = (performance.now() - started) / 1000
  return account
}

async function connect(options: ReplayOptions, device: string): Promise<MqttClient> {
  try {
    return await connectAsync(
      options.url,
      {
        protocolVersion: 5,
        clientId: device,
        clean: true,
        reconnectPeriod: 500,
        ...(options.username === undefined
          ? {}
          : { username: options.username, password: options.password ?? '' }),
      },
      false,
    )
  } catch (error) {
    throw new MillraceError(
      'server_unreachable',
      `${options.url}: ${(error as Error).message || 'no answer'}; start one with \`millrace up\``,
    )
  }
}

async function paced(started: number, rows: number, rate: number): Promise<void> {
  const ahead = (rows / rate) * 1000 - (performance.now() - started)
  if (ahead > 5) await new Promise((resolve) => setTimeout(resolve, ahead))
}

export const replay: Command = {
  name: 'replay',
  summary: 'Send a CSV file as a device’s messages',
  help: `Usage: millrace replay FILE.csv --map MAP.yaml [--url mqtt://127.0.0.1:1883]

Publishes each row as JSON to devices/DEVICE/STREAM (MQTT 5, QoS 1) and accounts for every row: acknowledged or
refused, with the reasons. Exit code 0 when every row was acknowledged, 1 when some were refused.

  --map FILE        mapping of columns to fields (YAML; docs/replay.md explains it)
  --device ID       the device [the mapping's, else the file's name without its ending]
  --url URL         mqtt://HOST:PORT or ws://HOST:PORT/mqtt [mqtt://127.0.0.1:1883]
  --username NAME, --password TEXT
  --rate N          rows a second [as fast as they are acknowledged]
  --limit N         rows at most
  --json            the account as one JSON line`,
  async run(args) {
    const { values, positionals } = parse(
      args,
      {
        map: { type: 'string' },
        device: { type: 'string' },
        url: { type: 'string', default: 'mqtt://127.0.0.1:1883' },
        username: { type: 'string' },
        password: { type: 'string' },
        rate: { type: 'string' },
        limit: { type: 'string' },
        json: { type: 'boolean' },
      },
      1,
    )
    const file = positionals[0]
    if (file === undefined)
      throw new MillraceError('option_invalid', 'name the CSV file: millrace replay FILE.csv --map MAP.yaml')
    if (values.map === undefined)
      throw new MillraceError('option_invalid', '--map: missing; it names the mapping of columns to fields')
    if (!fs.existsSync(file)) throw new MillraceError('option_invalid', `${file}: no such file`)
    const number = (name: 'rate' | 'limit'): number | undefined => {
      const text = values[name]
      if (text === undefined) return undefined
      const value = Number(text)
      if (!(value > 0))
        throw new MillraceError(
          'option_invalid',
          `--${name}: read ${JSON.stringify(text)}, expected a number above 0`,
        )
      return value
    }
    const bar = progressBar(path.basename(file))
    const rate = number('rate')
    const limit = number('limit')
    const account = await replayFile({
      file,
      mapping: values.map,
      url: values.url!,
      progress: bar.update,
      ...(values.device === undefined ? {} : { device: values.device }),
      ...(values.username === undefined ? {} : { username: values.username }),
      ...(values.password === undefined ? {} : { password: values.password }),
      ...(rate === undefined ? {} : { rate }),
      ...(limit === undefined ? {} : { limit }),
    })
    bar.end()
    const refused = Object.values(account.refused).reduce((sum, n) => sum + n, 0)
    if (values.json === true) process.stdout.write(`${JSON.stringify(account)}\n`)
    else {
      process.stdout.write(
        `${account.device}: ${count(account.rows)} rows = ${count(account.acknowledged)} acknowledged + ${count(refused)} refused, in ${account.seconds.toFixed(1)} s\n`,
      )
      for (const [reason, times] of Object.entries(account.refused))
        process.stdout.write(`  refused ${count(times)} ×: ${reason}\n`)
    }
    return refused === 0 ? EXIT.ok : EXIT.failure
  },
}
