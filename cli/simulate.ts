// A simulated fleet against a running Millrace.
import { EXIT, MillraceError } from '../std/errors.ts'
import type { Command } from './command.ts'
import { addressOf, count, parse } from './command.ts'
import { progressBar } from './progress.ts'
import { type FleetAccount, simulateFleet } from './simulate-fleet.ts'

export function printFleet(account: FleetAccount): string {
  return [
    `sent          ${count(account.sent)} messages by ${count(account.devices)} devices over ${count(account.connections)} connections`,
    `acknowledged  ${count(account.acknowledged)}`,
    `of these      ${count(account.duplicatesSent)} duplicates, ${count(account.outOfRangeSent)} out of range, ${count(account.lateSent)} late, ${count(account.implausibleSent)} with an impossible clock`,
    `resent        ${count(account.resent)} after ${count(account.disconnects)} broken connections`,
  ].join('\n')
}

export const simulate: Command = {
  name: 'simulate',
  summary: 'Run a simulated fleet of sensors',
  help: `Usage: millrace simulate [options]

Simulates sensors of the environment contract (seeded) over MQTT, QoS 1: random walks with a daily curve, some
resends, values out of range, late readings, lost clocks and broken connections, so that every branch is seen.
Ends with the account of what was sent and acknowledged; exit code 0 when everything was acknowledged.

  --devices N     devices [1000]
  --seconds S     duration [20]
  --rate N        messages a second of the whole fleet [10000]
  --seed N        seed [1]
  --url URL       mqtt://HOST:PORT [mqtt://127.0.0.1:1883]
  --http URL      where the schema registry is [http://127.0.0.1:8080]
  --json          the account as one JSON line`,
  async run(args) {
    const { values } = parse(args, {
      devices: { type: 'string', default: '1000' },
      seconds: { type: 'string', default: '20' },
      rate: { type: 'string', default: '10000' },
      seed: { type: 'string', default: '1' },
      url: { type: 'string', default: 'mqtt://127.0.0.1:1883' },
      http: { type: 'string', default: 'http://127.0.0.1:8080' },
      json: { type: 'boolean' },
    })
    const number = (name: 'devices' | 'seconds' | 'rate' | 'seed'): number => {
      const value = Number(values[name])
      if (!(value > 0 && value < 1e9))
        throw new MillraceError(
          'option_invalid',
          `--${name}: read ${JSON.stringify(values[name])}, expected a number above 0`,
        )
      return value
    }
    const url = new URL(addressOf('--url', values.url!, 'mqtt'))
    const bar = progressBar('simulating')
    const account = await simulateFleet({
      mqtt: { host: url.hostname, port: Number(url.port || 1883) },
      registry: `${addressOf('--http', values.http!, 'http')}/schema-registry`,
      devices: Math.floor(number('devices')),
      seconds: number('seconds'),
      messagesPerSecond: number('rate'),
      seed: Math.floor(number('seed')),
      onProgress: (progress) => bar.update(progress.part, 1),
    })
    bar.end()
    process.stdout.write(values.json === true ? `${JSON.stringify(account)}\n` : `${printFleet(account)}\n`)
    return account.acknowledged === account.sent ? EXIT.ok : EXIT.failure
  },
}
