// Every option of a Millrace process, declared once: name, kind, default, range, one sentence. The command
// line, the variables, the configuration file, `--help`, `millrace config` and docs/config.md derive from it.
//
// Precedence: flag > variable > file > default. `sink-commit-age-ms` is `--sink-commit-age-ms`,
// `MILLRACE_SINK_COMMIT_AGE_MS`, and in the file `sink-commit-age-ms: 3000`, with `_` for `-` if preferred,
// or nested: `sink: { commit_age_ms: 3000 }`. Only this file reads the environment.
import fs from 'node:fs'
import path from 'node:path'
import { LineCounter, parseDocument } from 'yaml'
import { MillraceError } from './std/errors.ts'
import { nearest } from './std/nearest.ts'

export type OptionKind = 'address' | 'path' | 'text' | 'secret' | 'integer' | 'choice' | 'choices' | 'boolean'

interface OptionSpec {
  kind: OptionKind
  default: string | number | boolean | readonly string[] | undefined
  /** What the value is, in one sentence, for --help and docs/config.md. */
  doc: string
  unit?: string
  min?: number
  max?: number
  choices?: readonly string[]
  /** An address that may also be `off`. */
  mayBeOff?: boolean
  /** What a text must be, and how it is said. */
  pattern?: RegExp
  expected?: string
}

const MIB = 1024 * 1024

export const OPTIONS = {
  data: {
    kind: 'path',
    default: './data',
    doc: 'Folder of the log and, where nothing else is said, of the catalog and the warehouse. Made if missing.',
  },
  config: { kind: 'path', default: undefined, doc: 'Configuration file (YAML) with any of these options.' },
  mqtt: {
    kind: 'address',
    default: '127.0.0.1:1883',
    mayBeOff: true,
    doc: 'Where MQTT over TCP listens. Port 0 picks a free one.',
  },
  ws: {
    kind: 'address',
    default: '127.0.0.1:8083',
    mayBeOff: true,
    doc: 'Where MQTT over WebSocket listens (path /mqtt).',
  },
  http: {
    kind: 'address',
    default: '127.0.0.1:8080',
    doc: 'Where HTTP listens: health, metrics, schema registry, API.',
  },
  kafka: {
    kind: 'address',
    default: 'off',
    mayBeOff: true,
    doc: 'Where the embedded log answers the Kafka protocol (usually port 9092).',
  },
  'kafka-advertised': {
    kind: 'address',
    default: 'off',
    mayBeOff: true,
    doc: 'Address that Kafka clients are told to use; `off`: the one by which each has come.',
  },
  log: {
    kind: 'text',
    default: 'embedded',
    pattern: /^(embedded|kafka:\/\/[^\s/:,]+:\d{1,5}(,[^\s/:,]+:\d{1,5})*)$/,
    expected: 'embedded, or kafka://HOST:PORT,HOST:PORT…',
    doc: 'Where the log is: `embedded` (the journal in the data folder), or the brokers of a Kafka cluster.',
  },
  'log-kafka-prefix': {
    kind: 'text',
    default: undefined,
    pattern: /^[A-Za-z0-9._-]{1,64}$/,
    expected: '1 to 64 of A–Z a–z 0–9 . _ -',
    doc: 'Before the name of every topic, consumer group and transactional id on Kafka.',
  },
  'log-kafka-replication': {
    kind: 'integer',
    default: 0,
    min: 0,
    max: 16,
    unit: 'copies, 0 = as many as there are brokers, 3 at most',
    doc: 'Copies of each partition of a topic that is made; one less must have a record before it is acknowledged.',
  },
  'log-kafka-compression': {
    kind: 'choice',
    default: 'none',
    choices: ['none', 'lz4', 'zstd'],
    doc: 'How batches are packed for Kafka.',
  },
  'log-kafka-tls': {
    kind: 'choice',
    default: 'off',
    choices: ['off', 'on'],
    doc: 'Whether connections to Kafka are encrypted.',
  },
  'log-kafka-tls-ca': {
    kind: 'path',
    default: undefined,
    doc: 'PEM file of the authorities that Kafka’s certificates are checked against; the system’s where absent.',
  },
  'log-kafka-tls-cert': {
    kind: 'path',
    default: undefined,
    doc: 'PEM file of the certificate that this process shows to Kafka.',
  },
  'log-kafka-tls-key': { kind: 'path', default: undefined, doc: 'PEM file of its key.' },
  'log-kafka-sasl': {
    kind: 'choice',
    default: 'off',
    choices: ['off', 'PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'],
    doc: 'How this process says to Kafka who it is.',
  },
  'log-kafka-username': { kind: 'text', default: undefined, doc: 'Name for SASL.' },
  'log-kafka-password': { kind: 'secret', default: undefined, doc: 'Password for SASL. Not as a flag.' },
  'log-kafka-password-file': { kind: 'path', default: undefined, doc: 'File that holds it.' },
  'schema-registry': {
    kind: 'text',
    default: 'off',
    pattern: /^(off|https?:\/\/[^\s@]+)$/,
    expected: 'off, or http(s)://HOST[:PORT][/PATH]',
    doc: 'External schema registry with Confluent’s API, which gives the ids and judges compatibility; `off`: the embedded one does.',
  },
  'schema-registry-username': { kind: 'text', default: undefined, doc: 'User name for the registry.' },
  'schema-registry-password': {
    kind: 'secret',
    default: undefined,
    doc: 'Password for the registry. Not as a flag.',
  },
  'schema-registry-password-file': { kind: 'path', default: undefined, doc: 'File that holds it.' },
  'schema-registry-ca': {
    kind: 'path',
    default: undefined,
    doc: 'PEM file of the authorities that the registry’s certificate is checked against; the system’s where absent.',
  },
  'schema-registry-unknown': {
    kind: 'choice',
    default: 'wait',
    choices: ['wait', 'refuse'],
    doc: 'What becomes of a schema that is not known here yet while the registry does not answer: its registration waits, or is refused.',
  },
  roles: {
    kind: 'choices',
    default: ['ingest', 'normalize', 'sink'],
    choices: ['ingest', 'normalize', 'sink'],
    doc: 'Stages that this process runs.',
  },
  workers: {
    kind: 'integer',
    default: 1,
    min: 1,
    max: 64,
    doc: 'Ingest worker threads; each serves its share of the connections.',
  },
  contracts: {
    kind: 'path',
    default: undefined,
    doc: 'Folder with contracts (*.yaml) beside the shipped ones.',
  },
  credentials: {
    kind: 'path',
    default: undefined,
    doc: 'Credentials file. Without one, anonymous clients are accepted from loopback addresses only.',
  },
  'log-level': {
    kind: 'choice',
    default: 'info',
    choices: ['debug', 'info', 'warn', 'error', 'silent'],
    doc: 'Least severity that is written to standard error.',
  },
  'log-segment-bytes': {
    kind: 'integer',
    default: 128 * MIB,
    min: MIB,
    max: 1024 * MIB,
    unit: 'bytes',
    doc: 'Size of one preallocated segment file of the journal.',
  },
  'log-retention-age-ms': {
    kind: 'integer',
    default: 24 * 3_600_000,
    min: 1000,
    max: Number.MAX_SAFE_INTEGER,
    unit: 'milliseconds',
    doc: 'How long a stream’s topics keep records that every stage has dealt with.',
  },
  'log-retention-bytes': {
    kind: 'integer',
    default: 4096 * MIB,
    min: MIB,
    max: Number.MAX_SAFE_INTEGER,
    unit: 'bytes per partition',
    doc: 'How much of a partition is kept of what every stage has dealt with.',
  },
  'log-backlog-bytes': {
    kind: 'integer',
    default: 8192 * MIB,
    min: MIB,
    max: Number.MAX_SAFE_INTEGER,
    unit: 'bytes per partition',
    doc: 'How far a partition’s slowest stage may fall behind before its devices are slowed.',
  },
  'log-reserve-bytes': {
    kind: 'integer',
    default: 512 * MIB,
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    unit: 'bytes',
    doc: 'Free disk below which the log refuses appends.',
  },
  'mqtt-packet-bytes-max': {
    kind: 'integer',
    default: 262_144,
    min: 1024,
    max: 16 * MIB,
    unit: 'bytes',
    doc: 'Largest MQTT packet that is accepted; announced to MQTT 5 clients.',
  },
  'mqtt-receive-maximum': {
    kind: 'integer',
    default: 2048,
    min: 1,
    max: 65_535,
    unit: 'messages',
    doc: 'QoS 1 messages an MQTT 5 client may have unacknowledged; announced in CONNACK.',
  },
  'mqtt-connections-max': {
    kind: 'integer',
    default: 100_000,
    min: 1,
    max: 10_000_000,
    unit: 'connections per worker',
    doc: 'Connections above this are refused.',
  },
  'device-rate-max': {
    kind: 'integer',
    default: 0,
    min: 0,
    max: 10_000_000,
    unit: 'messages per second, 0 = none',
    doc: 'Rate above which one connection is slowed.',
  },
  'ingest-bytes-max': {
    kind: 'integer',
    default: 64 * MIB,
    min: MIB,
    max: 4096 * MIB,
    unit: 'bytes per worker',
    doc: 'Received and not yet durable bytes that a worker holds before it stops reading.',
  },
  'sink-commit-age-ms': {
    kind: 'integer',
    default: 3000,
    min: 100,
    max: 3_600_000,
    unit: 'milliseconds',
    doc: 'Age of a table’s oldest uncommitted row at which it is committed.',
  },
  'sink-commit-bytes': {
    kind: 'integer',
    default: 128 * MIB,
    min: MIB,
    max: 2048 * MIB,
    unit: 'bytes',
    doc: 'Uncommitted bytes of a table at which it is committed.',
  },
  'sink-encoders': {
    kind: 'integer',
    default: 1,
    min: 0,
    max: 64,
    unit: 'threads',
    doc: 'Threads that encode Parquet; 0 encodes in the sink’s own thread.',
  },
  'table-maintenance-ms': {
    kind: 'integer',
    default: 300_000,
    min: 0,
    max: 86_400_000,
    unit: 'milliseconds, 0 = never',
    doc: 'How often tables are looked at for small files and orphans. Manifests and snapshots are tended after commits in any case.',
  },
  'table-file-bytes': {
    kind: 'integer',
    default: 128 * MIB,
    min: MIB,
    max: 512 * MIB,
    unit: 'bytes',
    doc: 'Size that compaction brings data files to.',
  },
  'table-snapshot-age-ms': {
    kind: 'integer',
    default: 3_600_000,
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    unit: 'milliseconds',
    doc: 'Age from which a snapshot expires; the current one and those of branches and tags stay.',
  },
  'table-snapshots-max': {
    kind: 'integer',
    default: 200,
    min: 1,
    max: 100_000,
    unit: 'snapshots',
    doc: 'Newest snapshots of a table that may stay.',
  },
  'table-orphan-age-ms': {
    kind: 'integer',
    default: 86_400_000,
    min: 3_600_000,
    max: Number.MAX_SAFE_INTEGER,
    unit: 'milliseconds',
    doc: 'Age from which a file of ours that no snapshot refers to is removed.',
  },
  catalog: {
    kind: 'text',
    default: 'sqlite',
    pattern: /^(sqlite(:.+)?|https?:\/\/[^\s?#@]+)$/,
    expected:
      'sqlite, sqlite:FILE, or the address of an Iceberg REST catalog (http://HOST:PORT/PATH, without /v1)',
    doc: 'Where the tables’ catalog is: `sqlite` (catalog.db in the data folder), `sqlite:FILE` (for several processes of one machine), or the address of an Iceberg REST catalog, as far as its /v1.',
  },
  warehouse: {
    kind: 'text',
    default: undefined,
    pattern: /^(s3:\/\/[a-z0-9][a-z0-9.-]+(\/[^/]+)*\/?|(?!\w+:\/\/).+)$/,
    expected: 'a folder, s3://BUCKET/PREFIX, or the name of a warehouse of the REST catalog',
    doc: 'Where the tables’ files go: a folder (default: `warehouse` in the data folder) or s3://BUCKET/PREFIX. With a REST catalog the name of the warehouse that is asked for there; the catalog decides where its tables lie.',
  },
  'warehouse-timeout-ms': {
    kind: 'integer',
    default: 20_000,
    min: 100,
    max: 600_000,
    unit: 'milliseconds',
    doc: 'How long one request to a REST catalog or to S3 may take, before it counts as failed and is tried again.',
  },
  'catalog-credential': {
    kind: 'secret',
    default: undefined,
    doc: 'OAuth2 client credentials for the REST catalog, `CLIENT_ID:CLIENT_SECRET`. Not as a flag.',
  },
  'catalog-credential-file': {
    kind: 'path',
    default: undefined,
    doc: 'File that holds them.',
  },
  'catalog-token': {
    kind: 'secret',
    default: undefined,
    doc: 'Bearer token for the REST catalog, in place of client credentials. Not as a flag.',
  },
  'catalog-token-file': { kind: 'path', default: undefined, doc: 'File that holds it.' },
  'catalog-oauth2-uri': {
    kind: 'text',
    default: undefined,
    pattern: /^https?:\/\/[^\s@]+$/,
    expected: 'an http(s) address',
    doc: 'Token endpoint for the client credentials. Default: /v1/oauth/tokens of the catalog.',
  },
  'catalog-oauth2-scope': {
    kind: 'text',
    default: 'catalog',
    doc: 'Scope that is asked for with the client credentials.',
  },
  's3-path-style': {
    kind: 'choice',
    default: 'auto',
    choices: ['auto', 'on', 'off'],
    doc: 'Whether requests to S3 name the bucket in the path, and not in the host. `auto`: where AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL names a server. Endpoint, region and credentials are AWS’s standard variables and files.',
  },
  status: {
    kind: 'choice',
    default: 'auto',
    choices: ['auto', 'live', 'lines', 'off'],
    doc: 'The status line: live on a terminal, a line every 10 s otherwise (auto).',
  },
} as const satisfies Record<string, OptionSpec>

export type OptionName = keyof typeof OPTIONS
export type Origin = 'flag' | 'variable' | 'file' | 'default'

export interface Address {
  host: string
  port: number
}

export type Role = 'ingest' | 'normalize' | 'sink'

/** The merged configuration, checked. Paths are absolute. */
export interface Config {
  data: string
  config: string | undefined
  mqtt: Address | undefined
  ws: Address | undefined
  http: Address
  kafka: Address | undefined
  /** `embedded`, or `kafka://…`. */
  log: string
  logKafkaPrefix: string | undefined
  logKafkaReplication: number
  logKafkaCompression: 'none' | 'lz4' | 'zstd'
  logKafkaTls: 'off' | 'on'
  logKafkaTlsCa: string | undefined
  logKafkaTlsCert: string | undefined
  logKafkaTlsKey: string | undefined
  logKafkaSasl: 'off' | 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512'
  logKafkaUsername: string | undefined
  logKafkaPassword: string | undefined
  kafkaAdvertised: Address | undefined
  /** `off`, or its URL. */
  schemaRegistry: string
  schemaRegistryUsername: string | undefined
  schemaRegistryPassword: string | undefined
  schemaRegistryCa: string | undefined
  schemaRegistryUnknown: 'wait' | 'refuse'
  roles: Role[]
  workers: number
  contracts: string | undefined
  credentials: string | undefined
  logLevel: 'debug' | 'info' | 'warn' | 'error' | 'silent'
  logSegmentBytes: number
  logRetentionAgeMs: number
  logRetentionBytes: number
  logBacklogBytes: number
  logReserveBytes: number
  mqttPacketBytesMax: number
  mqttReceiveMaximum: number
  mqttConnectionsMax: number
  deviceRateMax: number
  ingestBytesMax: number
  sinkCommitAgeMs: number
  sinkCommitBytes: number
  sinkEncoders: number
  tableMaintenanceMs: number
  tableFileBytes: number
  tableSnapshotAgeMs: number
  tableSnapshotsMax: number
  tableOrphanAgeMs: number
  /** `sqlite`, or an address. */
  catalog: string
  /** `s3://…` or a folder; with a REST catalog the name of its warehouse. */
  warehouse: string | undefined
  warehouseTimeoutMs: number
  catalogCredential: string | undefined
  catalogToken: string | undefined
  catalogOauth2Uri: string | undefined
  catalogOauth2Scope: string
  s3PathStyle: boolean
  status: 'auto' | 'live' | 'lines' | 'off'
}

export interface MergedOption {
  name: OptionName
  value: unknown
  origin: Origin
  /** What was read, before it was checked; of a secret only that there is one. */
  text: string
}

const SECRET = '(secret)'

const names = Object.keys(OPTIONS) as OptionName[]

export const variableOf = (name: string): string => `MILLRACE_${name.replaceAll('-', '_').toUpperCase()}`

const fail = (message: string, details: Record<string, unknown> = {}): never => {
  throw new MillraceError('option_invalid', message, details)
}

/** Checks one value; `where` names it as the user wrote it (`--mqtt`, `MILLRACE_MQTT`, `millrace.yaml: mqtt`). */
export function parseOption(name: OptionName, raw: unknown, where: string): unknown {
  const spec: OptionSpec = OPTIONS[name]
  const text = Array.isArray(raw) ? raw.join(',') : String(raw)
  const read = `${where}: read ${JSON.stringify(text)}`
  switch (spec.kind) {
    case 'path':
      return text === '' ? fail(`${read}, expected a path`) : path.resolve(text)
    case 'text':
      return text === '' || spec.pattern?.test(text) === false
        ? fail(`${read}, expected ${spec.expected ?? 'a text that is not empty'}`)
        : text
    case 'secret':
      if (where.startsWith('--'))
        fail(
          `${where}: a secret in a command line is seen by every process of the machine: give it as ${variableOf(name)}, or in a file with ${where}-file`,
        )
      return text.trim() === '' ? fail(`${where}: expected a text that is not empty`) : text.trim()
    case 'boolean':
      return text === 'true' || text === '1' || text === ''
        ? true
        : text === 'false' || text === '0'
          ? false
          : fail(`${read}, expected true or false`)
    case 'integer': {
      const value =
        typeof raw === 'number'
          ? raw
          : /^\d+(_\d+)*$/.test(text)
            ? Number(text.replaceAll('_', ''))
            : Number.NaN
      const { min = 0, max = Number.MAX_SAFE_INTEGER } = spec
      if (!Number.isSafeInteger(value) || value < min || value > max)
        fail(`${read}, expected a whole number from ${min} to ${max}${spec.unit ? ` (${spec.unit})` : ''}`)
      return value
    }
    case 'choice':
      return spec.choices!.includes(text)
        ? text
        : fail(`${read}, expected one of ${spec.choices!.join(', ')}`)
    case 'choices': {
      const parts = text.split(',').map((part) => part.trim())
      const wrong = parts.find((part) => !spec.choices!.includes(part))
      if (wrong !== undefined || new Set(parts).size !== parts.length)
        fail(`${read}, expected a list of ${spec.choices!.join(', ')} separated by commas, each once`)
      return parts
    }
    case 'address':
      return parseAddress(text, spec.mayBeOff === true, read)
  }
}

function parseAddress(text: string, mayBeOff: boolean, read: string): Address | undefined {
  if (mayBeOff && text === 'off') return undefined
  const match = /^(\[[0-9a-fA-F:.]+\]|[^:]*):(\d{1,5})$/.exec(text)
  const port = match ? Number(match[2]) : Number.NaN
  if (match === null || !(port <= 65_535))
    return fail(`${read}, expected HOST:PORT with a port from 0 to 65535${mayBeOff ? ', or off' : ''}`)
  const host = match[1]!.replace(/^\[|\]$/g, '')
  return { host: host === '' ? '127.0.0.1' : host, port }
}

/** Reads the file into option texts, with the line of each. Nested keys join with `-`; `_` is `-`. */
function readFile(file: string): Map<OptionName, { raw: unknown; where: string }> {
  let text: string
  try {
    text = fs.readFileSync(file, 'utf8')
  } catch (error) {
    throw new MillraceError('config_unreadable', `--config ${file}: ${(error as Error).message}`, { file })
  }
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const first = document.errors[0]
  if (first) {
    const at = lines.linePos(first.pos[0])
    throw new MillraceError(
      'config_unreadable',
      `${file}:${at.line}:${at.col}: ${first.message.split('\n')[0]}`,
      { file },
    )
  }
  const root: unknown = document.toJS()
  const result = new Map<OptionName, { raw: unknown; where: string }>()
  if (root === null || root === undefined) return result
  if (typeof root !== 'object' || Array.isArray(root))
    throw new MillraceError('config_unreadable', `${file}:1:1: expected a mapping of options`, { file })
  const walk = (node: object, prefix: string, keys: string[]): void => {
    for (const [key, raw] of Object.entries(node)) {
      const name = (prefix === '' ? key : `${prefix}-${key}`).replaceAll('_', '-')
      const path = [...keys, key]
      const item = document.getIn(path, true) as { range?: [number, number, number] } | undefined
      const at = item?.range ? lines.linePos(item.range[0]) : { line: 1, col: 1 }
      const where = `${file}:${at.line}:${at.col}: ${path.join('.')}`
      if (raw !== null && typeof raw === 'object' && !Array.isArray(raw)) walk(raw, name, path)
      else if (name in OPTIONS && name !== 'config') result.set(name as OptionName, { raw, where })
      else
        throw new MillraceError(
          'option_unknown',
          `${where}: no such option; the nearest is ${nearest(name, names)}`,
        )
    }
  }
  walk(root, '', [])
  return result
}

/**
 * Merges flags (already split by the command line, by option name), variables, file and defaults.
 * Throws option_invalid, option_unknown or config_unreadable, each naming where the value stood.
 */
export function mergeOptions(
  flags: Readonly<Record<string, string | boolean | undefined>>,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): MergedOption[] {
  for (const name of Object.keys(flags))
    if (!(name in OPTIONS))
      throw new MillraceError(
        'option_unknown',
        `--${name}: no such option; the nearest is --${nearest(name, names)}`,
      )
  const configText = flags['config'] ?? environment[variableOf('config')]
  const file = configText === undefined ? new Map() : readFile(path.resolve(String(configText)))
  return names.map((name): MergedOption => {
    const entry = file.get(name) as { raw: unknown; where: string } | undefined
    const variable = environment[variableOf(name)]
    const found =
      flags[name] !== undefined
        ? { raw: flags[name], where: `--${name}`, origin: 'flag' as const }
        : variable !== undefined
          ? { raw: variable, where: variableOf(name), origin: 'variable' as const }
          : entry !== undefined
            ? { ...entry, origin: 'file' as const }
            : { raw: OPTIONS[name].default, where: name, origin: 'default' as const }
    if (found.raw === undefined) return { name, value: undefined, origin: 'default', text: '' }
    const text = OPTIONS[name].kind === 'secret' ? SECRET : String(found.raw)
    return { name, value: parseOption(name, found.raw, found.where), origin: found.origin, text }
  })
}

/** Variables that look like options and are none: said as a warning, because an environment is shared. */
export function unknownVariables(
  environment: Readonly<Record<string, string | undefined>> = process.env,
): string[] {
  const known = new Set(names.map(variableOf))
  return Object.keys(environment)
    .filter((variable) => variable.startsWith('MILLRACE_') && !known.has(variable))
    .map((variable) => {
      const name = variable.slice('MILLRACE_'.length).toLowerCase().replaceAll('_', '-')
      return `${variable} is no option; the nearest is ${variableOf(nearest(name, names))}`
    })
}

/** The typed configuration of merged options, with what only their combination can tell. */
export function configOf(
  merged: readonly MergedOption[],
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Config {
  const values = Object.fromEntries(
    merged.map(({ name, value }) => [
      name.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase()),
      value,
    ]),
  )
  const config = values as unknown as Config
  const {
    catalogCredentialFile,
    catalogTokenFile,
    logKafkaPasswordFile,
    schemaRegistryPasswordFile,
    ...rest
  } = values as Record<string, string | undefined>
  const pathStyle = rest['s3PathStyle']
  const endpoint = environment['AWS_ENDPOINT_URL_S3'] ?? environment['AWS_ENDPOINT_URL']
  const result: Config = {
    ...(rest as unknown as Config),
    warehouse: warehouseOf(config),
    catalogCredential: secretOf('catalog-credential', config.catalogCredential, catalogCredentialFile),
    catalogToken: secretOf('catalog-token', config.catalogToken, catalogTokenFile),
    schemaRegistryPassword: secretOf(
      'schema-registry-password',
      config.schemaRegistryPassword,
      schemaRegistryPasswordFile,
    ),
    logKafkaPassword: secretOf('log-kafka-password', config.logKafkaPassword, logKafkaPasswordFile),
    s3PathStyle: pathStyle === 'on' || (pathStyle === 'auto' && endpoint !== undefined),
  }
  if (result.catalogCredential !== undefined && result.catalogToken !== undefined)
    fail('catalog-credential and catalog-token are both given, expected one of them')
  const { logKafkaSasl, logKafkaUsername, logKafkaPassword } = result
  if (logKafkaSasl !== 'off' && (logKafkaUsername === undefined || logKafkaPassword === undefined))
    fail('--log-kafka-sasl: expected log-kafka-username and log-kafka-password with it')
  if (result.kafka !== undefined && result.log !== 'embedded')
    fail(
      `--kafka: read ${JSON.stringify(addressText(result.kafka))}, expected off: with --log ${result.log} clients read from the brokers themselves`,
    )
  return result
}

function warehouseOf({ catalog, warehouse, data }: Config): string | undefined {
  if (!catalog.startsWith('sqlite')) return warehouse
  if (warehouse === undefined) return path.join(data, 'warehouse')
  return warehouse.startsWith('s3://') ? warehouse.replace(/\/+$/, '') : path.resolve(warehouse)
}

/** A secret that was given, or the content of its file. */
function secretOf(name: OptionName, value: string | undefined, file: string | undefined): string | undefined {
  if (file === undefined) return value
  if (value !== undefined) fail(`${name} and ${name}-file are both given, expected one of them`)
  try {
    return fs.readFileSync(file, 'utf8').trim() || fail(`--${name}-file: ${file} is empty`)
  } catch (error) {
    if (error instanceof MillraceError) throw error
    return fail(`--${name}-file: ${(error as Error).message}`)
  }
}

export const addressText = (address: Address): string =>
  address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`

/** `--help` lines of the options, two columns. */
export function optionsHelp(): string {
  const rows = names.map((name) => {
    const spec: OptionSpec = OPTIONS[name]
    const value =
      spec.kind === 'address'
        ? `HOST:PORT${spec.mayBeOff ? '|off' : ''}`
        : spec.kind === 'path'
          ? 'PATH'
          : spec.kind === 'text'
            ? 'TEXT'
            : spec.kind === 'integer'
              ? 'N'
              : spec.kind === 'boolean'
                ? ''
                : spec.kind === 'choice'
                  ? spec.choices!.join('|')
                  : 'LIST'
    const fallback = spec.default === undefined ? '' : ` [${String(spec.default)}]`
    // A secret is not taken as a flag.
    const left = spec.kind === 'secret' ? `  ${variableOf(name)}` : `  --${name} ${value}`
    return [left, `${spec.doc}${spec.unit ? ` (${spec.unit})` : ''}${fallback}`] as const
  })
  return rows
    .map(([left, right]) =>
      left.length > 30 ? `${left}\n${' '.repeat(32)}${right}` : `${left.padEnd(32)}${right}`,
    )
    .join('\n')
}

/** docs/config.md, whole. */
export function configMarkdown(): string {
  const rows = names.map((name) => {
    const spec: OptionSpec = OPTIONS[name]
    const range =
      spec.kind === 'integer'
        ? `${spec.min} – ${spec.max}`
        : spec.choices
          ? spec.choices.join(', ')
          : spec.mayBeOff
            ? 'HOST:PORT or off'
            : (spec.expected ?? '')
    const flag = spec.kind === 'secret' ? '' : `\`--${name}\``
    return `| ${flag} | \`${variableOf(name)}\` | ${spec.default === undefined ? '' : `\`${String(spec.default)}\``} | ${range} | ${spec.unit ?? ''} | ${spec.doc} |`
  })
  return [
    '# Configuration',
    '',
    '<!-- Generated by `make docs` from config.ts; a test compares. Do not edit. -->',
    '',
    'Flag > variable > file > default. In the file an option is a key: `sink-commit-age-ms: 3000`,',
    '`sink_commit_age_ms: 3000` or nested, `sink: { commit_age_ms: 3000 }`. `millrace config` prints the merged',
    'values with the origin of each.',
    '',
    '| flag | variable | default | allowed | unit | meaning |',
    '| --- | --- | --- | --- | --- | --- |',
    ...rows,
    '',
  ].join('\n')
}
