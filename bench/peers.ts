// The brokers that a case measures beside Millrace: aedes always, Debian's mosquitto where it is installed, those
// given by --peer, and one that runs already, given by --url. Each on the server's core, at its best settings.
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { packageVersion } from './harness.ts'
import { BenchProcess, freePort, isListening, SERVER_CORE, temporaryFolder } from './processes.ts'

export interface Broker {
  name: string
  version: string
  url: string
  port: number
  /** Undefined for one that was not started here. */
  process: BenchProcess | undefined
}

export interface PeerChoice {
  /** `NAME=COMMAND` or `NAME@VERSION=COMMAND`, with `{port}`. */
  peers: readonly string[]
  url: string | undefined
  webSocket: boolean
}

/** Without `set_tcp_nodelay` small windows are ten times slower; without the rest it queues and logs. */
const MOSQUITTO_SETTINGS = `allow_anonymous true
set_tcp_nodelay true
persistence false
log_dest none
max_inflight_messages 0
max_queued_messages 0
sys_interval 0
`

async function started(
  name: string,
  version: string,
  scheme: string,
  make: (port: number) => BenchProcess,
): Promise<Broker> {
  const port = await freePort()
  const process = make(port)
  await process.until(name, async () => ((await isListening(port)) ? true : undefined))
  return { name, version, url: `${scheme}://127.0.0.1:${port}`, port, process }
}

/** Debian puts it into a folder that is not in everybody's PATH. */
function findMosquitto(): { file: string; version: string } | undefined {
  for (const file of ['mosquitto', '/usr/sbin/mosquitto']) {
    const { stdout } = spawnSync(file, ['-h'], { encoding: 'utf8' })
    const match = /mosquitto version (\S+)/.exec(stdout ?? '')
    if (match !== null) return { file, version: match[1]! }
  }
  return undefined
}

function startMosquitto(file: string, version: string, webSocket: boolean): Promise<Broker> {
  return started(
    version.startsWith('2.1') ? 'mosquitto-2.1' : 'mosquitto',
    version,
    webSocket ? 'ws' : 'mqtt',
    (port) => {
      const config = path.join(temporaryFolder(), 'mosquitto.conf')
      const listener = `listener ${port} 127.0.0.1\n${webSocket ? 'protocol websockets\n' : ''}`
      fs.writeFileSync(config, listener + MOSQUITTO_SETTINGS)
      return new BenchProcess(file, ['-c', config], SERVER_CORE)
    },
  )
}

function startCommand(text: string, scheme: string): Promise<Broker> {
  const equals = text.indexOf('=')
  const [name = '', version = ''] = text.slice(0, equals).split('@')
  const command = text.slice(equals + 1)
  if (equals < 1 || !command.includes('{port}'))
    throw new Error(`--peer: read '${text}', expected NAME='command with {port}'`)
  return started(name, version, scheme, (port) => {
    const shell = `exec ${command.replaceAll('{port}', String(port))}`
    return new BenchProcess('/bin/sh', ['-c', shell], SERVER_CORE)
  })
}

export async function startPeers(choice: PeerChoice): Promise<Broker[]> {
  const { webSocket } = choice
  const scheme = webSocket ? 'ws' : 'mqtt'
  const brokers: Broker[] = []
  // aedes has no WebSocket of its own.
  if (!webSocket)
    brokers.push(
      await started('aedes', packageVersion('aedes'), scheme, (port) => {
        const file = path.join(import.meta.dirname, 'peer-aedes.ts')
        return new BenchProcess(process.execPath, [file, String(port)], SERVER_CORE)
      }),
    )
  const mosquitto = findMosquitto()
  if (mosquitto !== undefined)
    brokers.push(await startMosquitto(mosquitto.file, mosquitto.version, webSocket))
  for (const text of choice.peers) brokers.push(await startCommand(text, scheme))
  if (choice.url !== undefined) {
    const { host, port, protocol } = new URL(choice.url)
    if (protocol === `${scheme}:`)
      brokers.push({ name: host, version: '', url: choice.url, port: Number(port), process: undefined })
  }
  return brokers
}
