// A real Kafka for tests and for `make kafka-up`: brokers in KRaft mode from Maven Central's jars, each both broker
// and controller, on free loopback ports, with their data in one temporary folder. Needs Java 17 and Maven; the
// jars (54 MB) are copied once, into .interop/kafka/libs.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const ROOT = join(import.meta.dirname, '../..')
export const KAFKA_CACHE = join(ROOT, '.interop/kafka')
const LIBS = join(KAFKA_CACHE, 'libs')
/** Of the jars that pom.xml names. */
export const KAFKA_VERSION = '4.3.1'
const READY_MS_MAX = 150_000

/** Why no broker can be started here, or undefined where one can. */
export function kafkaMissing(): string | undefined {
  if (!runs('java', ['-version']))
    return 'Java is missing: install a Java 17 runtime (Debian: openjdk-17-jre-headless)'
  if (!existsSync(join(LIBS, 'complete')) && !runs('mvn', ['-version']))
    return 'Maven is missing: install it (Debian: maven) so that the broker can be fetched'
  return undefined
}

function runs(command: string, args: string[]): boolean {
  try {
    execFileSync(command, args, { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** Copies the jars where they are not there yet; returns the class path. */
export function kafkaClassPath(): string {
  const complete = join(LIBS, 'complete')
  if (!existsSync(complete)) {
    mkdirSync(LIBS, { recursive: true })
    const pom = join(import.meta.dirname, 'pom.xml')
    execFileSync(
      'mvn',
      ['-q', '-B', '-f', pom, 'dependency:copy-dependencies', `-DoutputDirectory=${LIBS}`],
      {
        // What a bench case writes to stdout is its result.
        stdio: ['ignore', process.stderr, 'inherit'],
      },
    )
    writeFileSync(complete, '')
  }
  return join(LIBS, '*')
}

/** A port of the loopback interface that nobody listens on now. */
async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

export interface BrokerOptions {
  /** Default 1. With three, topics are replicated three times and two copies acknowledge. */
  brokers?: number
  /** A second listener of one broker, on localhost, with TLS and SASL (PLAIN, SCRAM) for this user. */
  secured?: { username: string; password: string }
  /** Levels of features other than this version's own, as `name=level`. */
  features?: readonly string[]
  /** Settings beside those of a test, as lines of a properties file. */
  properties?: readonly string[]
  /** Whether the brokers outlive this process. */
  detached?: boolean
  /** For measurements: compiled as Kafka's own scripts have it, which costs a slower start; 1 GiB of memory. */
  measured?: boolean
}

/** Quick to start; and as in production. */
const JAVA_OPTIONS = ['-Xmx512m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1']
const JAVA_OPTIONS_MEASURED = ['-Xmx1g', '-XX:+UseSerialGC']

/** Running brokers. */
export class KafkaBrokers {
  /** `host:port`, comma-separated. */
  readonly bootstrap: string
  readonly folder: string
  /** `localhost:port` of the secured listener, and the file of its authority. */
  secured: { address: string; ca: string } | undefined
  readonly #processes: (ChildProcess | undefined)[] = []
  readonly #ports: number[]
  readonly #detached: boolean
  readonly #javaOptions: readonly string[]

  constructor(folder: string, ports: number[], { detached, measured }: BrokerOptions) {
    this.folder = folder
    this.#ports = ports
    this.#detached = detached ?? false
    this.#javaOptions = measured ? JAVA_OPTIONS_MEASURED : JAVA_OPTIONS
    this.bootstrap = ports.map((port) => `127.0.0.1:${port}`).join(',')
  }

  get pids(): number[] {
    return this.#processes.flatMap((process) => (process?.pid === undefined ? [] : [process.pid]))
  }

  /** Starts the broker, or starts it again on its old data; settles at once. */
  start(index: number): void {
    const out = openSync(join(this.folder, `broker-${index}.out`), 'a')
    const child = spawn(
      'java',
      [
        ...this.#javaOptions,
        // A broker that is killed leaves the libraries that it unpacked.
        `-Djava.io.tmpdir=${this.folder}`,
        '-cp',
        kafkaClassPath(),
        'kafka.Kafka',
        join(this.folder, `broker-${index}.properties`),
      ],
      { stdio: ['ignore', out, out], detached: this.#detached },
    )
    if (this.#detached) child.unref()
    this.#processes[index] = child
  }

  /** kill -9 (or another signal); settles when the process has ended. */
  async kill(index: number, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#processes[index]
    if (child === undefined) return
    this.#processes[index] = undefined
    if (child.exitCode !== null || child.signalCode !== null) return
    const ended = new Promise((resolve) => child.once('exit', resolve))
    child.kill(signal)
    await ended
  }

  /** Stops the broker without ending it, as a long pause would; `SIGCONT` goes on. */
  signal(index: number, signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#processes[index]?.kill(signal)
  }

  /** Settles when every running broker answers on its port. */
  async ready(): Promise<void> {
    const deadline = Date.now() + READY_MS_MAX
    for (let i = 0; i < this.#ports.length; i++) {
      if (this.#processes[i] === undefined) continue
      while (!(await listens(this.#ports[i]!))) {
        const ended = this.#processes[i]!.exitCode
        if (ended !== null || Date.now() > deadline)
          throw new Error(
            `broker ${i} ${ended === null ? 'is not ready' : `ended with ${ended}`}:\n${this.output(i).slice(-3000)}`,
          )
        await sleep(100)
      }
    }
  }

  /** What the broker has printed. */
  output(index: number): string {
    return readFileSync(join(this.folder, `broker-${index}.out`), 'utf8')
  }

  /** Ends all brokers and removes their data, unless it is kept. */
  async stop(keep = false): Promise<void> {
    await Promise.all(this.#processes.map((_, index) => this.kill(index)))
    if (!keep) rmSync(this.folder, { recursive: true, force: true })
  }
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

/** Formats and starts brokers, and waits until they answer. Throws where Java or Maven is missing. */
export async function startKafka(options: BrokerOptions = {}): Promise<KafkaBrokers> {
  const missing = kafkaMissing()
  if (missing !== undefined) throw new Error(missing)
  const count = options.brokers ?? 1
  const classPath = kafkaClassPath()
  const folder = mkdtempSync(join(tmpdir(), 'millrace-kafka-'))
  const ports = await Promise.all(Array.from({ length: count * 2 }, freePort))
  const voters = Array.from({ length: count }, (_, i) => `${i + 1}@127.0.0.1:${ports[count + i]}`).join(',')
  const replication = Math.min(3, count)
  // One that begins with a dash would be taken for an option.
  const clusterId = Buffer.from(randomUUID().replaceAll('-', ''), 'hex')
    .toString('base64url')
    .replace(/^-/, 'A')
  const brokers = new KafkaBrokers(folder, ports.slice(0, count), options)
  const secured = options.secured === undefined ? undefined : await securedListener(folder, options.secured)
  brokers.secured = secured
  for (let i = 0; i < count; i++) {
    const file = join(folder, `broker-${i}.properties`)
    writeFileSync(
      file,
      `process.roles=broker,controller
node.id=${i + 1}
controller.quorum.voters=${voters}
listeners=PLAINTEXT://127.0.0.1:${ports[i]},CONTROLLER://127.0.0.1:${ports[count + i]}${secured ? `,SASL_SSL://${secured.address}` : ''}
advertised.listeners=PLAINTEXT://127.0.0.1:${ports[i]}${secured ? `,SASL_SSL://${secured.address}` : ''}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL
${secured?.properties ?? ''}log.dirs=${join(folder, `data-${i}`)}
offsets.topic.replication.factor=${replication}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=${replication}
transaction.state.log.min.isr=${Math.max(1, replication - 1)}
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
broker.session.timeout.ms=6000
group.consumer.min.session.timeout.ms=6000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=1000
group.consumer.heartbeat.interval.ms=1000
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
${(options.properties ?? []).join('\n')}
`,
    )
    execFileSync(
      'java',
      [
        '-cp',
        classPath,
        'kafka.tools.StorageTool',
        'format',
        '-t',
        clusterId,
        '-c',
        file,
        ...(secured?.format ?? []),
        ...(options.features ?? []).flatMap((feature) => ['--feature', feature]),
      ],
      {
        stdio: 'ignore',
      },
    )
    brokers.start(i)
  }
  try {
    await brokers.ready()
  } catch (error) {
    await brokers.stop()
    throw error
  }
  return brokers
}

/** What makes a listener with TLS and SASL: a certificate of its own, and one user known to PLAIN and SCRAM. */
async function securedListener(
  folder: string,
  { username, password }: { username: string; password: string },
): Promise<{ address: string; ca: string; properties: string; format: string[] }> {
  const key = join(folder, 'key.pem')
  const ca = join(folder, 'cert.pem')
  const request = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-keyout', key, '-out', ca]
  execFileSync('openssl', [...request, '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'], {
    stdio: 'ignore',
  })
  const oneLine = (file: string): string => readFileSync(file, 'utf8').trim().replaceAll('\n', '\\n')
  const module = 'org.apache.kafka.common.security'
  const users = `username="broker" password="${password}" user_${username}="${password}"`
  const properties = [
    'sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512',
    'ssl.keystore.type=PEM',
    `ssl.keystore.key=${oneLine(key)}`,
    `ssl.keystore.certificate.chain=${oneLine(ca)}`,
    `listener.name.sasl_ssl.plain.sasl.jaas.config=${module}.plain.PlainLoginModule required ${users};`,
    ...['scram-sha-256', 'scram-sha-512'].map(
      (name) => `listener.name.sasl_ssl.${name}.sasl.jaas.config=${module}.scram.ScramLoginModule required;`,
    ),
    '',
  ].join('\n')
  const scram = ['SCRAM-SHA-256', 'SCRAM-SHA-512'].flatMap((name) => [
    '--add-scram',
    `${name}=[name=${username},password=${password}]`,
  ])
  return { address: `localhost:${await freePort()}`, ca, properties, format: scram }
}
