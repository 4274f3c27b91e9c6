// Checks contracts and shows what they compile to.
import fs from 'node:fs'
import path from 'node:path'
import {
  type Contract,
  checkContractText,
  describeContract,
  formatProblem,
  type StreamDescription,
} from '../schemas/contract.ts'
import { EXIT, MillraceError } from '../std/errors.ts'
import type { Command } from './command.ts'
import { parse, textTable } from './command.ts'
import { connectSink, flinkTable, sparkReader } from './schema-export.ts'

export const SHIPPED_CONTRACTS = path.resolve(import.meta.dirname, '../contracts')

export const schema: Command = {
  name: 'schema',
  summary: 'Check a contract, or show what it compiles to',
  help: `Usage: millrace schema check FILE...
       millrace schema show [FILE | FAMILY] [--avro | --json | --flink | --spark | --kafka-connect]

check  reads contracts and prints every problem with file, line and field; exit code 0 when there is none, 2 otherwise.
show   prints fields, rules and table columns of a contract; FAMILY is a shipped one (environment, machine),
       all of them when nothing is named.

  --avro            the Avro schema of each stream, as JSON
  --json            all of it, as JSON
  --flink           a Flink SQL table over each normalized topic
  --spark           a PySpark reader of each normalized topic
  --kafka-connect   a sink connector of each normalized topic, as JSON
  --bootstrap HOST:PORT   where those find the topics: the Kafka door, or a broker (127.0.0.1:9092)
  --registry URL          where those find the schemas (http://127.0.0.1:8080/schema-registry)
  --log-kafka-prefix PREFIX   before the names of topics, where millrace up was told one

docs/contracts.md explains the document, docs/consumers.md how its topics are read.`,
  async run(args) {
    const { values, positionals } = parse(
      args,
      {
        avro: { type: 'boolean' },
        json: { type: 'boolean' },
        flink: { type: 'boolean' },
        spark: { type: 'boolean' },
        'kafka-connect': { type: 'boolean' },
        bootstrap: { type: 'string' },
        registry: { type: 'string' },
        'log-kafka-prefix': { type: 'string' },
      },
      100,
    )
    const [action, ...files] = positionals
    if (action === 'check') return check(files)
    if (action === 'show') return show(files, values)
    throw new MillraceError('option_invalid', `read ${JSON.stringify(action ?? '')}, expected check or show`)
  },
}

function check(files: readonly string[]): number {
  if (files.length === 0)
    throw new MillraceError('option_invalid', 'name the contract: millrace schema check FILE')
  let worst: number = EXIT.ok
  for (const file of files) {
    const { ok, contract, problems } = checkContractText(readText(file), file)
    if (ok && contract !== undefined) {
      const streams = contract.streams.map((stream) => `${contract.tenant}.${stream.name}`).join(', ')
      process.stdout.write(`${file}: family ${contract.family}, version ${contract.version}: ${streams}\n`)
    } else {
      worst = EXIT.usage
      for (const problem of problems) process.stderr.write(`${formatProblem(problem)}\n`)
    }
  }
  return worst
}

interface ShowOptions {
  avro?: boolean | undefined
  json?: boolean | undefined
  flink?: boolean | undefined
  spark?: boolean | undefined
  'kafka-connect'?: boolean | undefined
  bootstrap?: string | undefined
  registry?: string | undefined
  'log-kafka-prefix'?: string | undefined
}

const FORMATS = ['avro', 'json', 'flink', 'spark', 'kafka-connect'] as const

function show(names: readonly string[], how: ShowOptions): number {
  const formats = FORMATS.filter((format) => how[format] === true)
  if (formats.length > 1)
    throw new MillraceError(
      'option_invalid',
      `${formats.map((format) => `--${format}`).join(' and ')}: expected one of them, schema show prints one form`,
    )
  const at = {
    bootstrap: how.bootstrap ?? '127.0.0.1:9092',
    registry: how.registry ?? 'http://127.0.0.1:8080/schema-registry',
    prefix: how['log-kafka-prefix'] ?? '',
  }
  const exporters = [how.flink && flinkTable, how.spark && sparkReader, how['kafka-connect'] && connectSink]
  const exporter = exporters.find((one) => typeof one === 'function')
  const files =
    names.length > 0
      ? names.map(contractFile)
      : fs.readdirSync(SHIPPED_CONTRACTS).map((name) => path.join(SHIPPED_CONTRACTS, name))
  for (const file of files.sort()) {
    const { contract, problems } = checkContractText(readText(file), file)
    if (contract === undefined)
      throw new MillraceError('contract_invalid', problems.map(formatProblem).join('\n'))
    const streams = describeContract(contract)
    if (exporter !== undefined)
      for (const { stream, avro } of streams)
        process.stdout.write(`${exporter({ tenant: contract.tenant, stream, avro }, at)}\n`)
    else if (how.json === true)
      process.stdout.write(
        `${JSON.stringify({ tenant: contract.tenant, family: contract.family, version: contract.version, streams })}\n`,
      )
    else if (how.avro === true) for (const stream of streams) process.stdout.write(`${stream.avro}\n`)
    else process.stdout.write(`${describe(contract, streams)}\n`)
  }
  return EXIT.ok
}

function describe(contract: Contract, streams: readonly StreamDescription[]): string {
  const lines = [`family ${contract.family}, version ${contract.version}, tenant ${contract.tenant}`]
  if (contract.description !== undefined) lines.push(contract.description.trim())
  for (const stream of streams) {
    lines.push(
      '',
      `stream ${stream.stream}: subject ${stream.subject}, table ${contract.tenant}.${stream.stream}`,
      '',
    )
    lines.push(
      textTable(
        ['field', 'type', 'null', 'unit', 'role', 'range', 'meaning'],
        stream.fields.map((field) => [
          field.path,
          field.type,
          field.nullable ? 'yes' : '',
          field.unit,
          field.role,
          field.range,
          field.doc,
        ]),
      ),
    )
    for (const { firmware, steps } of stream.ruleSets) {
      lines.push('', `firmware ${firmware}: ${steps.length === 0 ? 'as sent' : ''}`.trimEnd())
      for (const step of steps) lines.push(`  ${step}`)
    }
  }
  return lines.join('\n')
}

function contractFile(name: string): string {
  const shipped = path.join(SHIPPED_CONTRACTS, `${name}.yaml`)
  return /^[a-z0-9_]+$/.test(name) && fs.existsSync(shipped) ? shipped : name
}

function readText(file: string): string {
  try {
    return fs.readFileSync(file, 'utf8')
  } catch (error) {
    throw new MillraceError('option_invalid', `${file}: ${(error as Error).message}`)
  }
}
