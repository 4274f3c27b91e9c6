// The configuration of a process: its options (config-options.ts), read from where they stand, checked and merged.
//
// Precedence: flag > variable > file > default. `sink-commit-age-ms` is `--sink-commit-age-ms`,
// `MILLRACE_SINK_COMMIT_AGE_MS`, and in the file `sink-commit-age-ms: 3000`, with `_` for `-` if preferred,
// or nested: `sink: { commit_age_ms: 3000 }`. Only this file reads the environment.
import fs from 'node:fs'
import path from 'node:path'
import { LineCounter, parseDocument } from 'yaml'
import { OPTIONS, type OptionName, type OptionSpec, optionNames, variableOf } from './config-options.ts'
import { MillraceError } from './std/errors.ts'
import { nearest } from './std/nearest.ts'

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
  logPartitions: number
  logBacklogBytes: number
  logReserveBytes: number
  mqttPacketBytesMax: number
  mqttReceiveMaximum: number
  mqttConnectionsMax: number
  deviceRateMax: number
  ingestBytesMax: number
  sockets: 'auto' | 'handle' | 'documented'
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

const fail = (message: string, details: Record<string, unknown> = {}): never => {
  throw new MillraceError('option_invalid', message, details)
}

/** Checks one value; `where` optionNames it as the user wrote it (`--mqtt`, `MILLRACE_MQTT`, `millrace.yaml: mqtt`). */
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
          `${where}: no such option; the nearest is ${nearest(name, optionNames)}`,
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
        `--${name}: no such option; the nearest is --${nearest(name, optionNames)}`,
      )
  const configText = flags['config'] ?? environment[variableOf('config')]
  const file = configText === undefined ? new Map() : readFile(path.resolve(String(configText)))
  return optionNames.map((name): MergedOption => {
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
  const known = new Set(optionNames.map(variableOf))
  return Object.keys(environment)
    .filter((variable) => variable.startsWith('MILLRACE_') && !known.has(variable))
    .map((variable) => {
      const name = variable.slice('MILLRACE_'.length).toLowerCase().replaceAll('_', '-')
      return `${variable} is no option; the nearest is ${variableOf(nearest(name, optionNames))}`
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
