// The brokers that a case measures beside Millrace: aedes always, Debian's mosquitto where it is installed, those
// given by --peer, and one that runs already, given by --url. Each on the server's core, at its best settings
// (peer-settings.ts), its version as it says itself.
//
// --peer NAME='COMMAND': in the command, {port} becomes a free port and {config} a file with the best settings of
// a broker of that name. A command of a known name (flashmq, mosquitto, mosquitto-2.1) that has neither gets its
// option for the file at its end. A command without any of it is asked by its sockets where it listens.
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import mqtt from 'mqtt'
import { refuse } from './arguments.ts'
import { knownBroker } from './peer-settings.ts'
import {
  BenchProcess,
  freePort,
  isListening,
  listeningPorts,
  SERVER_CORE,
  temporaryFolder,
} from './processes.ts'

export interface Broker {
  name: string
  version: string
  url: string
  port: number
  /** Undefined for one that was not started here. */
  process: BenchProcess | undefined
}

export interface PeerChoice {
  /** `NAME=COMMAND`. */
  peers: readonly string[]
  noPeers: boolean
  url: string | undefined
  webSocket: boolean
  leftOut?: Readonly<Record<string, string>>
}

const VERSION = /(\d+\.\d+(?:\.\d+)*)/
const VERSION_MS_MAX = 2000
const AEDES = path.join(import.meta.dirname, 'peer-aedes.ts')

const schemeOf = (webSocket: boolean): string => (webSocket ? 'ws' : 'mqtt')

const urlOf = (webSocket: boolean, port: number): string =>
  `${schemeOf(webSocket)}://127.0.0.1:${port}${webSocket ? '/mqtt' : ''}`

/** What the program says of itself; '' where it says nothing. */
function programVersion(file: string, option: string): string {
  const { stdout, stderr } = spawnSync(file, [option], { encoding: 'utf8', timeout: VERSION_MS_MAX })
  return VERSION.exec(`${stdout ?? ''}${stderr ?? ''}`)?.[1] ?? ''
}

/** $SYS/broker/version, which most brokers have. */
async function brokerVersion(url: string): Promise<string> {
  const client = mqtt.connect(url, { reconnectPeriod: 0, connectTimeout: VERSION_MS_MAX })
  try {
    return await new Promise((resolve) => {
      setTimeout(() => resolve(''), VERSION_MS_MAX)
      client.on('error', () => resolve(''))
      client.on('connect', () => client.subscribe(['$SYS/broker/version', '$SYS/brokers/+/version']))
      client.on('message', (_, payload) => resolve(VERSION.exec(payload.toString())?.[1] ?? ''))
    })
  } finally {
    client.end(true)
  }
}

/** Debian puts it into a folder that is not in everybody's PATH. */
function mosquittoOfTheSystem(): { name: string; file: string } | undefined {
  for (const file of ['mosquitto', '/usr/sbin/mosquitto']) {
    const version = programVersion(file, '-h')
    if (version !== '') return { name: version.startsWith('2.1') ? 'mosquitto-2.1' : 'mosquitto', file }
  }
  return undefined
}

async function startAedes(webSocket: boolean): Promise<Broker> {
  const process_ = new BenchProcess(process.execPath, [AEDES, schemeOf(webSocket)], SERVER_CORE)
  const [port, version] = await process_.until('aedes', () =>
    /^(\d+) (\S+)$/m.exec(process_.output)?.slice(1),
  )
  return {
    name: 'aedes',
    version: version!,
    url: urlOf(webSocket, Number(port)),
    port: Number(port),
    process: process_,
  }
}

async function startCommand(name: string, command: string, webSocket: boolean): Promise<Broker> {
  const known = knownBroker(name)
  const port = await freePort()
  let text = command
  if (known !== undefined) {
    const folder = temporaryFolder()
    const config = path.join(folder, `${name}.conf`)
    // mosquitto gives up root's rights for a user of its own.
    fs.chmodSync(folder, 0o777)
    fs.writeFileSync(config, known.config(port, webSocket, folder))
    const isTold = /\{port\}|\{config\}/.test(text) || text.split(/\s+/).includes(known.configOption)
    text = `${text}${isTold ? '' : ` ${known.configOption} {config}`}`.replaceAll('{config}', config)
  } else if (text.includes('{config}'))
    throw new Error(`--peer ${name}: {config} is known for flashmq, mosquitto and mosquitto-2.1 only`)
  text = text.replaceAll('{port}', String(port))
  const broker = new BenchProcess('/bin/sh', ['-c', `exec ${text}`], SERVER_CORE)
  const found = await broker.until(`${name} to listen`, async () => {
    if (await isListening(port)) return port
    const [other] = broker.isRunning ? listeningPorts(broker.pid) : []
    return other
  })
  const url = urlOf(webSocket, found)
  const [program = ''] = text.trim().split(/\s+/)
  const version =
    known === undefined
      ? (await brokerVersion(url)) || programVersion(program, '--version')
      : programVersion(program, known.versionOption)
  return { name, version, url, port: found, process: broker }
}

export async function startPeers(choice: PeerChoice): Promise<Broker[]> {
  const { webSocket, leftOut = {} } = choice
  if (choice.noPeers) return []
  const brokers = 'aedes' in leftOut ? [] : [await startAedes(webSocket)]
  const named = choice.peers.map((text) => {
    const equals = text.indexOf('=')
    return { name: text.slice(0, equals), command: text.slice(equals + 1) }
  })
  const mosquitto = mosquittoOfTheSystem()
  if (mosquitto !== undefined && !named.some((one) => one.name === mosquitto.name))
    named.unshift({ name: mosquitto.name, command: mosquitto.file })
  for (const { name, command } of named)
    if (!(name in leftOut)) brokers.push(await startCommand(name, command, webSocket))
  if (choice.url !== undefined) {
    const { hostname, port, protocol } = new URL(choice.url)
    if (!(await isListening(Number(port), hostname))) refuse(`--url: nobody listens at ${hostname}:${port}`)
    if (protocol === `${schemeOf(webSocket)}:`)
      brokers.push({
        name: hostname,
        version: await brokerVersion(choice.url),
        url: choice.url,
        port: Number(port),
        process: undefined,
      })
  }
  return brokers
}
