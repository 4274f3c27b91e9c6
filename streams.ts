// The contracts that a process serves, and their streams: those that ship, those of the operator's folder, and those
// that were registered over HTTP (kept in DATA/contracts). A contract is checked against everything that it must agree
// with before anything of it is stored: the registry's compatibility, the columns of its table, the partitions of
// its topics. So no contract that was accepted can stop a stage.
import fs from 'node:fs'
import path from 'node:path'
import type { Config } from './config.ts'
import type { Log, TopicConfig } from './log/log.ts'
import {
  type CompiledStream,
  type Contract,
  compileContracts,
  type PlacedStream,
  parseContract,
} from './schemas/contract.ts'
import { isSameContract, keepContract, newestOfEachFamily, readContracts } from './schemas/contract-folder.ts'
import { normalizedTopic, presenceTopic, rawTopic, rejectedTopic } from './schemas/names.ts'
import type { SchemaRegistry } from './schemas/registry.ts'
import { describeStream, registerStreams } from './schemas/registry-streams.ts'
import type { StreamDescriptor } from './schemas/stream.ts'
import { openTables, type TablesReader, tablesExist } from './sink/open-tables.ts'
import { tableEvolutionProblem } from './sink/table-schema.ts'
import { isMillraceError, MillraceError } from './std/errors.ts'

const ROLES = ['ingest', 'normalize', 'sink'] as const
const SHIPPED_CONTRACTS = path.join(import.meta.dirname, 'contracts')
/** Folder of the data folder that keeps what was registered. */
const REGISTERED_CONTRACTS = 'contracts'
/** How often it is said that a catalog or a warehouse is waited for. */
const WAIT_TOLD_MS = 2000

export class ServedStreams {
  contracts: readonly Contract[] = []
  streams: StreamDescriptor[] = []
  #compiled: readonly CompiledStream[] = []
  readonly #config: Config
  readonly #log: Log
  readonly #registry: SchemaRegistry
  readonly #changed: () => Promise<void>
  readonly #say: (message: string) => void
  /** Registrations run one after the other. */
  #tail: Promise<unknown> = Promise.resolve()

  private constructor(
    config: Config,
    log: Log,
    registry: SchemaRegistry,
    changed: () => Promise<void>,
    say: (message: string) => void,
  ) {
    this.#config = config
    this.#log = log
    this.#registry = registry
    this.#changed = changed
    this.#say = say
  }

  /**
   * Reads all contracts, registers their schemas and makes their topics. `changed` is called after every later change,
   * and resolves when all who read `streams` know it; `say` tells what is waited for. Errors: contract_invalid, schema_incompatible, option_invalid.
   */
  static async open(
    config: Config,
    log: Log,
    registry: SchemaRegistry,
    changed: () => Promise<void>,
    say: (message: string) => void,
  ): Promise<ServedStreams> {
    const served = new ServedStreams(config, log, registry, changed, say)
    const contracts = readContracts(contractFolders(config))
    await served.#serve(contracts, compileContracts(contracts))
    // A schema that a client registers is one more that its stream's devices may write with.
    registry.onChange(({ subject }) => {
      if (!served.streams.some((stream) => stream.subject === subject)) return
      served.streams = served.streams.map((stream) => describeStream(registry, stream))
      void changed()
    })
    return served
  }

  find(tenant: string, stream: string): StreamDescriptor | undefined {
    return this.streams.find((one) => one.tenant === tenant && one.stream === stream)
  }

  /**
   * Registers a contract, or a new version of one; in force everywhere when it resolves. The same document again is
   * no change. Errors: contract_invalid, schema_incompatible, table_foreign, topic_conflict, and the log's.
   */
  register(text: string): Promise<Contract> {
    const registered = this.#tail.then(() => this.#register(text))
    this.#tail = registered.catch(() => {})
    return registered
  }

  async #register(text: string): Promise<Contract> {
    if (this.#config.log !== 'embedded' && !ROLES.every((role) => this.#config.roles.includes(role)))
      throw new MillraceError(
        'contract_invalid',
        'contract: the stages run in several processes: give it to each in its --contracts folder, sink and normalize first',
      )
    const contract = parseContract(text, 'contract')
    const current = this.contracts.find(
      (one) => one.tenant === contract.tenant && one.family === contract.family,
    )
    if (current !== undefined && contract.version <= current.version) {
      if (contract.version === current.version && isSameContract(contract, current)) return current
      throw new MillraceError(
        'contract_invalid',
        `version: family ${contract.family} is at version ${current.version}: a changed contract needs a higher one, this is ${contract.version}`,
      )
    }
    const contracts = newestOfEachFamily([...this.contracts, contract])
    await this.#serve(contracts, compileContracts(contracts))
    keepContract(path.join(this.#config.data, REGISTERED_CONTRACTS), contract, text)
    await this.#changed()
    return contract
  }

  async #serve(contracts: readonly Contract[], compiled: readonly CompiledStream[]): Promise<void> {
    await this.#registry.refresh()
    // What is served already fits, and has its schema and topics: one contract among thousands costs only itself.
    const served = new Set(this.#compiled)
    const fresh = compiled.filter((stream) => !served.has(stream))
    await this.#requireAllFit(fresh)
    const placed: PlacedStream[] = []
    for (const stream of fresh) placed.push({ ...stream, partitions: await this.#partitionsOf(stream) })
    const registered = await registerStreams(this.#registry, placed)
    await this.#createTopics(registered)
    const bySubject = new Map([...this.streams, ...registered].map((stream) => [stream.subject, stream]))
    this.contracts = contracts
    this.#compiled = compiled
    this.streams = compiled.map((stream) => bySubject.get(stream.subject)!)
  }

  /** What the contract says; else what its topics have, or those that are made get. */
  async #partitionsOf({ tenant, stream, partitions }: CompiledStream): Promise<number> {
    if (partitions !== undefined) return partitions
    const topic = await this.#log.describeTopic(rawTopic(tenant, stream))
    return topic?.config.partitions ?? this.#config.logPartitions
  }

  async #requireAllFit(streams: readonly CompiledStream[]): Promise<void> {
    // Opened where one is asked for, and once: a catalog that does not answer is known to by the second stream.
    let tables: TablesReader | undefined
    const open = (): TablesReader | undefined => {
      if (tablesExist(this.#config)) tables ??= openTables(this.#config)
      return tables
    }
    try {
      for (const stream of streams) await this.#requireFit(stream, open)
    } finally {
      await tables?.close()
    }
  }

  /** Throws where a changed stream cannot follow what is stored already. */
  async #requireFit(stream: CompiledStream, open: () => TablesReader | undefined): Promise<void> {
    const name = `stream ${stream.tenant}.${stream.stream}`
    const topic = await this.#log.describeTopic(rawTopic(stream.tenant, stream.stream))
    const { partitions } = stream
    if (topic !== undefined && partitions !== undefined && topic.config.partitions !== partitions)
      throw new MillraceError(
        'topic_conflict',
        `${name}: partitions: read ${partitions}, expected ${topic.config.partitions}: the topics exist, and the number is fixed when they are made, because another moves devices between partitions; on Kafka, \`millrace streams repartition\` raises it once the stream is drained`,
      )
    const previous = this.find(stream.tenant, stream.stream)
    const isRegistered = this.#isRegistered(stream)
    if (isRegistered && (previous === undefined || isSameLayout(previous, stream))) return
    if (!isRegistered) await this.#registry.ensureCompatible(stream.subject, stream.schema)
    // At start nobody knows what was in force; where rows may wait in the log, it was the newest version.
    const before = previous?.schema ?? (topic && this.#newestSchema(stream.subject))
    const problem = before && tableEvolutionProblem(before, stream.schema)
    if (problem !== undefined) throw new MillraceError('schema_incompatible', `${name}: ${problem}`)
    const tables = open()
    if (tables === undefined) return
    const { catalog, warehouse } = this.#config
    const begunMs = Date.now()
    const timer = setInterval(() => {
      const seconds = Math.round((Date.now() - begunMs) / 1000)
      const where = warehouse === undefined ? '' : `, warehouse ${warehouse}`
      this.#say(`${name}: waiting for its table, ${seconds} s so far (catalog ${catalog}${where})`)
    }, WAIT_TOLD_MS)
    try {
      await tables.requireFit(stream)
    } catch (error) {
      // A catalog that cannot be read is the sink's to wait for, and a foreign table at start its to report.
      if (!isMillraceError(error) || (previous === undefined && error.code !== 'schema_incompatible')) return
      throw new MillraceError(error.code, `${name}: ${error.message}`, {}, error)
    } finally {
      clearInterval(timer)
    }
  }

  #isRegistered(stream: CompiledStream): boolean {
    try {
      this.#registry.lookup(stream.subject, stream.schema)
      return true
    } catch (error) {
      if (isMillraceError(error, 'schema_unknown')) return false
      throw error
    }
  }

  #newestSchema(subject: string): string | undefined {
    try {
      return this.#registry.version(subject, 'latest', true).schema
    } catch (error) {
      if (isMillraceError(error, 'schema_unknown')) return undefined
      throw error
    }
  }

  async #createTopics(streams: readonly StreamDescriptor[]): Promise<void> {
    const { logRetentionAgeMs, logRetentionBytes, logBacklogBytes } = this.#config
    const retention = {
      cleanup: 'delete',
      retentionAgeMs: logRetentionAgeMs,
      retentionBytes: logRetentionBytes,
    } as const
    for (const { tenant, stream, partitions } of streams) {
      const topic: TopicConfig = { ...retention, partitions, backlogBytesMax: logBacklogBytes }
      const names = [rawTopic, normalizedTopic, rejectedTopic].map((name) => name(tenant, stream))
      await Promise.all(names.map((name) => this.#log.createTopic(name, topic)))
    }
    const presence: TopicConfig = { ...retention, partitions: 1, backlogBytesMax: Number.POSITIVE_INFINITY }
    for (const tenant of new Set(streams.map((stream) => stream.tenant)))
      await this.#log.createTopic(presenceTopic(tenant), presence)
  }
}

/** Whether two versions of a stream want a table of the same columns, in the same partitions. */
function isSameLayout(a: CompiledStream, b: CompiledStream): boolean {
  const layout = ({ schema, fields, table }: CompiledStream): string =>
    JSON.stringify([schema, fields.map(({ name, role, aliases }) => [name, role, aliases]), table])
  return layout(a) === layout(b)
}

function contractFolders({ contracts, data }: Config): string[] {
  const registered = path.join(data, REGISTERED_CONTRACTS)
  if (contracts === undefined) return [SHIPPED_CONTRACTS, registered]
  if (!fs.existsSync(contracts))
    throw new MillraceError(
      'option_invalid',
      `--contracts: read ${JSON.stringify(contracts)}, expected a folder that exists`,
    )
  return [SHIPPED_CONTRACTS, contracts, registered]
}
