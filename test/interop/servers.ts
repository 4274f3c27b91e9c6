// Servers of others for the interop suite, on free ports of the loopback interface: an S3 server (versitygw over a
// folder), the REST catalog of the Iceberg project, Apicurio's registry and a worker of Kafka Connect, installed by
// test/interop/setup. Each ends with the test that started it, and can be stopped and started again in between.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import fs from 'node:fs'
import { createServer } from 'node:net'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'
import { kafkaClassPath } from '../kafka/broker.ts'
import { until } from '../millrace-process.ts'

const INSTALLED = path.resolve(import.meta.dirname, '../../.interop')
const READY_MS_MAX = 60_000

export const S3_ACCESS_KEY = 'millrace-access'
export const S3_SECRET_KEY = 'millrace-secret-key'
const S3_REGION = 'us-east-1'

interface AfterTest {
  after(callback: () => Promise<void> | void): void
}

/** Variables by which AWS's clients of every language find a server, and who they are. */
export function s3Environment(endpoint: string): Record<string, string> {
  return {
    AWS_ENDPOINT_URL_S3: endpoint,
    AWS_ACCESS_KEY_ID: S3_ACCESS_KEY,
    AWS_SECRET_ACCESS_KEY: S3_SECRET_KEY,
    AWS_REGION: S3_REGION,
  }
}

/** A port that nobody listens on now. */
async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** A process that answers HTTP when it is ready. */
export class Server {
  readonly port: number
  readonly url: string
  readonly #command: string
  readonly #args: readonly string[]
  readonly #env: NodeJS.ProcessEnv
  readonly #probe: string
  #child: ChildProcess | undefined
  #output = ''

  constructor(port: number, command: string, args: readonly string[], env: NodeJS.ProcessEnv, probe: string) {
    this.port = port
    this.url = `http://127.0.0.1:${port}`
    this.#command = command
    this.#args = args
    this.#env = env
    this.#probe = probe
  }

  async start(): Promise<void> {
    const child = spawn(this.#command, this.#args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...this.#env },
    })
    this.#child = child
    const keep = (chunk: string): void => {
      this.#output = (this.#output + chunk).slice(-20_000)
    }
    child.stdout.setEncoding('utf8').on('data', keep)
    child.stderr.setEncoding('utf8').on('data', keep)
    child.on('error', (error) => keep(String(error)))
    const deadline = Date.now() + READY_MS_MAX
    while ((await fetch(this.url + this.#probe).catch(() => undefined)) === undefined) {
      if (child.exitCode !== null || child.pid === undefined || Date.now() > deadline)
        assert.fail(`${this.#command} did not get ready:\n${this.#output}`)
      await sleep(50)
    }
  }

  /** Ends it as a crash would. */
  async stop(): Promise<void> {
    const child = this.#child
    this.#child = undefined
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const exited = new Promise((resolve) => child.once('exit', resolve))
    child.kill('SIGKILL')
    await exited
  }
}

/** An S3 server over `folder`, with a bucket `warehouse`. */
export async function startS3(t: AfterTest, folder: string): Promise<Server> {
  const port = await freePort()
  fs.mkdirSync(folder, { recursive: true })
  const server = new Server(
    port,
    path.join(INSTALLED, 'bin/versitygw'),
    ['--port', `127.0.0.1:${port}`, 'posix', folder],
    { ROOT_ACCESS_KEY: S3_ACCESS_KEY, ROOT_SECRET_KEY: S3_SECRET_KEY },
    '/',
  )
  await server.start()
  t.after(() => server.stop())
  const client = new S3Client({
    endpoint: server.url,
    forcePathStyle: true,
    region: S3_REGION,
    credentials: { accessKeyId: S3_ACCESS_KEY, secretAccessKey: S3_SECRET_KEY },
  })
  await client.send(new CreateBucketCommand({ Bucket: 'warehouse' }))
  client.destroy()
  return server
}

export interface CatalogServerOptions {
  /** Holds its SQLite file. */
  folder: string
  /** `file://…` or `s3://…`. */
  warehouse: string
  /** Where the warehouse is in S3. */
  s3Endpoint?: string
}

/** The reference REST catalog of the Iceberg project. */
export async function startRestCatalog(t: AfterTest, options: CatalogServerOptions): Promise<Server> {
  const port = await freePort()
  fs.mkdirSync(options.folder, { recursive: true })
  const server = new Server(
    port,
    'java',
    [
      '-Xmx192m',
      '-XX:+UseSerialGC',
      '-XX:TieredStopAtLevel=1',
      `-Djava.io.tmpdir=${options.folder}`,
      '-cp',
      path.join(INSTALLED, 'iceberg-rest/libs/*'),
      'org.apache.iceberg.rest.RESTCatalogServer',
    ],
    {
      CATALOG_REST_PORT: String(port),
      CATALOG_WAREHOUSE: options.warehouse,
      CATALOG_URI: `jdbc:sqlite:file:${path.join(options.folder, 'rest-catalog.db')}`,
      CATALOG_CATALOG__IMPL: 'org.apache.iceberg.jdbc.JdbcCatalog',
      CATALOG_JDBC_SCHEMA__VERSION: 'V1',
      ...(options.s3Endpoint === undefined
        ? {}
        : {
            CATALOG_IO__IMPL: 'org.apache.iceberg.aws.s3.S3FileIO',
            CATALOG_S3_ENDPOINT: options.s3Endpoint,
            CATALOG_S3_PATH__STYLE__ACCESS: 'true',
            CATALOG_S3_ACCESS__KEY__ID: S3_ACCESS_KEY,
            CATALOG_S3_SECRET__ACCESS__KEY: S3_SECRET_KEY,
            CATALOG_CLIENT_REGION: S3_REGION,
          }),
    },
    '/v1/config',
  )
  await server.start()
  t.after(() => server.stop())
  return server
}

/** Apicurio Registry, in memory; Confluent's API is at /apis/ccompat/v7. */
export async function startApicurio(t: AfterTest): Promise<Server> {
  const port = await freePort()
  const folder = path.join(INSTALLED, 'apicurio')
  const [runner] = fs.readdirSync(folder).filter((name) => name.endsWith('-runner.jar'))
  assert.ok(runner, 'test/interop/setup installs Apicurio')
  const classPath = [path.join(folder, runner), path.join(folder, 'lib/*')].join(':')
  const server = new Server(
    port,
    'java',
    [...['-Xmx256m', '-XX:+UseSerialGC', '-cp', classPath], 'io.quarkus.runner.GeneratedMain'],
    { QUARKUS_HTTP_HOST: '127.0.0.1', QUARKUS_HTTP_PORT: String(port) },
    '/apis/ccompat/v7/subjects',
  )
  await server.start()
  t.after(() => server.stop())
  return server
}

/** A standalone worker of Kafka Connect; `properties` are those of its file but for its address and its plugins. */
export async function startConnect(t: AfterTest, folder: string, properties: string): Promise<Server> {
  const port = await freePort()
  const file = path.join(folder, 'worker.properties')
  const plugins = path.join(INSTALLED, 'connect')
  fs.writeFileSync(file, `${properties}\nlisteners=http://127.0.0.1:${port}\nplugin.path=${plugins}\n`)
  const server = new Server(
    port,
    'java',
    [
      ...['-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-cp', kafkaClassPath()],
      ...['org.apache.kafka.connect.cli.ConnectStandalone', file],
    ],
    {},
    '/connectors',
  )
  await server.start()
  t.after(() => server.stop())
  // It listens before it knows any path.
  await until('Connect', async () => ((await fetch(`${server.url}/connectors`)).ok ? true : undefined))
  return server
}
