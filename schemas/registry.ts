// The embedded schema registry, with the semantics of Confluent's: subjects with versions, ids that are global and
// never given out again, compatibility levels, soft and permanent deletes.
//
// Its truth is the topic `millrace._schemas` (registry-topic.ts), to which any number of processes may write.
//
// With an external registry (registry-external.ts) the topic is a mirror of it: ids, versions and compatibility come from
// there, what was seen once stays known when it does not answer, and deletes and levels are its own business.
import type { Log } from '../log/log.ts'
import { isMillraceError, MillraceError } from '../std/errors.ts'
import { parseAvroSchema } from './avro-schema.ts'
import { REJECTED_SUBJECT } from './names.ts'
import {
  COMPATIBILITY_LEVELS,
  type CompatibilityLevel,
  findIncompatibilities,
  type Incompatibility,
} from './registry-compatibility.ts'
import type { RegistryEvent } from './registry-events.ts'
import type { ExternalRegistry, ExternalVersion } from './registry-external.ts'
import {
  REGISTRY_CODE,
  type RegisteredVersion,
  RegistryState,
  registryError,
  schemaIdentity,
} from './registry-state.ts'
import { isStreamSubject, requireTable, resolveSubject } from './registry-table.ts'
import { type Plan, RegistryTopic } from './registry-topic.ts'

export type { CompatibilityLevel } from './registry-compatibility.ts'
export type { RegisteredVersion } from './registry-state.ts'

export interface RegistryOptions {
  /** Whether a subject belongs to a stream: its schemas must fit a table and are never deleted for good. Default: by its name. */
  isStream?: (subject: string) => boolean
  /** Milliseconds since the epoch. */
  now?: () => number
  /** The registry that this one mirrors. */
  external?: ExternalRegistry
}

/** What changed, for those who keep schemas elsewhere (workers, caches). */
export interface RegistryChange {
  subject: string
  version: number
  id: number
  schema: string
  /** `purged`: gone for good. */
  what: 'registered' | 'deleted' | 'purged'
}

const SUBJECT_LENGTH_MAX = 255
/** Longer schemas are refused, so that an event stays a small record. */
const SCHEMA_BYTES_MAX = 512 * 1024

export class SchemaRegistry {
  readonly #topic: RegistryTopic
  readonly #isStream: (subject: string) => boolean
  readonly #external: ExternalRegistry | undefined
  readonly #state = new RegistryState()
  readonly #listeners = new Set<(change: RegistryChange) => void>()

  private constructor(log: Log, options: RegistryOptions) {
    this.#topic = new RegistryTopic(log, (event) => this.#apply(event), options.now ?? Date.now)
    this.#isStream = options.isStream ?? isStreamSubject
    this.#external = options.external
  }

  /** Makes the topic where there is none, and reads it from its beginning. */
  static async open(log: Log, options: RegistryOptions = {}): Promise<SchemaRegistry> {
    const registry = new SchemaRegistry(log, options)
    await registry.#topic.open()
    return registry
  }

  /** Calls `listener` after each change, of this process or another's once it was read; returns what ends that. */
  onChange(listener: (change: RegistryChange) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Applies what other writers have appended. */
  refresh(): Promise<void> {
    return this.#topic.refresh()
  }

  // Reading

  subjects(includeDeleted = false): string[] {
    return [...this.#state.subjects()]
      .filter((one) => includeDeleted || this.#state.live(one).length > 0)
      .sort()
  }

  /** The subject's versions, ascending. Errors: 40401. */
  versions(name: string, includeDeleted = false): RegisteredVersion[] {
    const subject = this.resolve(name)
    const found = includeDeleted ? [...this.#state.versions(subject)] : this.#state.live(subject)
    if (found.length === 0) throw subjectUnknown(subject)
    return found
  }

  /** One version; `latest` is the highest. Errors: 40401, 40402. */
  version(name: string, version: number | 'latest', includeDeleted = false): RegisteredVersion {
    const versions = this.versions(name, includeDeleted)
    const found = version === 'latest' ? versions.at(-1) : versions.find((one) => one.version === version)
    if (found === undefined) throw versionUnknown(version)
    return found
  }

  /** The schema of an id, soft-deleted or not. Errors: 40403. */
  schemaOf(id: number): string {
    const found = this.#state.byId(id)
    if (found === undefined)
      throw registryError('schema_unknown', REGISTRY_CODE.schemaUnknown, `Schema ${id} not found.`)
    return found.schema
  }

  /** Where an id is used. Errors: 40403. */
  usesOf(id: number, includeDeleted = false): RegisteredVersion[] {
    this.schemaOf(id)
    return this.#state.byId(id)!.uses.filter((one) => includeDeleted || !one.deleted)
  }

  /** The version under which a subject has this very schema. Errors: 40401, 40403, 42201. */
  lookup(name: string, schema: string, includeDeleted = false): RegisteredVersion {
    requireAvro(schema)
    const id = this.#state.idOf(schema)
    const found = this.versions(name, includeDeleted).findLast((one) => one.id === id)
    if (found === undefined)
      throw registryError('schema_unknown', REGISTRY_CODE.schemaUnknown, 'Schema not found.')
    return found
  }

  /** The level that applies to a subject, or the global one. */
  level(name?: string): CompatibilityLevel {
    const own = name === undefined ? undefined : this.ownLevel(name)
    return own ?? this.#state.globalLevel
  }

  /** The level set for the subject itself. */
  ownLevel(name: string): CompatibilityLevel | undefined {
    return this.#state.levelOf(this.resolve(name))
  }

  /** Why `schema` may not follow: all versions by the subject's level, or one version. Errors: 40401, 40402, 42201. */
  incompatibilities(name: string, schema: string, version?: number | 'latest'): Incompatibility[] {
    const subject = this.resolve(name)
    this.#requireAllowed(subject, schema)
    const level = this.level(subject)
    if (version === undefined) return findIncompatibilities(level, schema, this.#state.live(subject))
    return findIncompatibilities(level, schema, [this.version(subject, version)])
  }

  /** Errors: schema_incompatible (409) where the schema is neither there nor may follow by the subject's level. */
  requireCompatible(name: string, schema: string): void {
    const subject = this.resolve(name)
    this.#requireAllowed(subject, schema)
    const live = this.#state.live(subject)
    const known = this.#state.idOf(schema)
    if (known !== undefined && live.some((one) => one.id === known)) return
    const level = this.level(subject)
    const found = findIncompatibilities(level, schema, live)
    if (found.length > 0) throw incompatible(subject, level, found)
  }

  /** As `requireCompatible`, asked of the external registry where there is one. Errors: also registry_unreachable. */
  async ensureCompatible(name: string, schema: string): Promise<void> {
    if (this.#external === undefined) return this.requireCompatible(name, schema)
    const found = await this.externalIncompatibilities(name, schema)
    if (found.length > 0)
      throw registryError(
        'schema_incompatible',
        REGISTRY_CODE.incompatible,
        `Schema being registered is incompatible with an earlier schema for subject "${this.resolve(name)}", says ${this.#external.url}: ${found.join('; ')}`,
      )
  }

  /** What the external registry has against the schema. */
  async externalIncompatibilities(name: string, schema: string): Promise<string[]> {
    const subject = this.resolve(name)
    this.#requireAllowed(subject, schema)
    if (this.#known(subject, schema) !== undefined) return []
    return this.#external!.inTime(`subject ${subject}`, () =>
      this.#external!.incompatibilities(subject, schema),
    )
  }

  get isExternal(): boolean {
    return this.#external !== undefined
  }

  #known(subject: string, schema: string): RegisteredVersion | undefined {
    const known = this.#state.idOf(schema)
    return known === undefined ? undefined : this.#state.live(subject).findLast((one) => one.id === known)
  }

  /** The subject that a name stands for: `<topic>-value` is the topic's stream. */
  resolve(name: string): string {
    return resolveSubject(name, REJECTED_SUBJECT)
  }

  // Writing

  /** Registers a schema, or finds it. Errors: schema_invalid (42201), schema_incompatible (409). */
  async register(name: string, schema: string): Promise<RegisteredVersion> {
    const subject = this.resolve(name)
    if (subject.length === 0 || subject.length > SUBJECT_LENGTH_MAX)
      throw registryError(
        'schema_invalid',
        REGISTRY_CODE.schemaInvalid,
        `a subject has 1 to ${SUBJECT_LENGTH_MAX} characters`,
      )
    this.#requireAllowed(subject, schema)
    if (this.#external !== undefined) return this.#registerExternally(this.#external, subject, schema)
    return this.#topic.change(() => this.#planRegister(subject, schema))
  }

  async #registerExternally(
    external: ExternalRegistry,
    subject: string,
    schema: string,
  ): Promise<RegisteredVersion> {
    await this.refresh()
    const known = this.#known(subject, schema)
    const ask = () => external.register(subject, schema)
    if (known === undefined) {
      const given = await external.inTime(`subject ${subject}`, ask)
      return this.#topic.change(() => this.#planMirror(given))
    }
    try {
      const given = await ask()
      return await this.#topic.change(() => this.#planMirror(given))
    } catch (error) {
      // What is known goes on without it.
      if (isMillraceError(error, 'registry_unreachable')) return known
      throw error
    }
  }

  #planMirror(given: ExternalVersion): Plan<RegisteredVersion> {
    const { subject, version, id } = given
    const existing = this.#find(subject, version)
    const known = this.#state.byId(id)
    const idHere = this.#state.idOf(given.schema)
    if (
      (existing !== undefined && existing.id !== id) ||
      (idHere !== undefined && idHere !== id) ||
      (known !== undefined && schemaIdentity(known.schema) !== schemaIdentity(given.schema))
    )
      throw new MillraceError(
        'option_invalid',
        `--schema-registry: ${this.#external?.url} gives id ${id} to version ${version} of ${subject}, but records of this log carry other ids: a log keeps the registry that it began with`,
      )
    if (existing !== undefined && !existing.deleted) return { events: [], result: () => existing }
    const value = { id, schema: known?.schema ?? given.schema, deleted: false }
    return {
      events: [{ kind: 'schema', subject, version, value }],
      result: () => ({ subject, version, ...value }),
    }
  }

  /**
   * Takes over the versions of our subjects that others have registered at the external registry. Those that no
   * table can hold are given to `onRefused` and left out. Errors: registry_unreachable.
   */
  async mirror(onRefused: (subject: string, version: number, error: Error) => void): Promise<void> {
    const external = this.#external
    if (external === undefined) return
    for (const subject of this.subjects()) {
      for (const version of await external.versions(subject)) {
        if (this.#find(subject, version) !== undefined) continue
        const given = await external.version(subject, version)
        if (given === undefined) continue
        try {
          this.#requireAllowed(subject, given.schema)
          await this.#topic.change(() => this.#planMirror(given))
        } catch (error) {
          if (!isMillraceError(error) || error.action !== 'reject') throw error
          onRefused(subject, version, error)
        }
      }
    }
  }

  /** Errors: 42205 where an external registry decides. */
  #requireOwn(): void {
    if (this.#external !== undefined)
      throw registryError(
        'schema_invalid',
        REGISTRY_CODE.notPermitted,
        `deletes and compatibility levels are the business of ${this.#external.url}`,
      )
  }

  #planRegister(subject: string, schema: string): Plan<RegisteredVersion> {
    const known = this.#state.idOf(schema)
    const live = this.#state.live(subject)
    const existing = live.findLast((one) => one.id === known)
    if (known !== undefined && existing !== undefined) return { events: [], result: () => existing }
    this.requireCompatible(subject, schema)
    const version = (this.#state.versions(subject).at(-1)?.version ?? 0) + 1
    // The text that the id already stands for, so that one id never has two.
    const text = known === undefined ? schema : this.schemaOf(known)
    const value = { id: known ?? this.#state.lastId + 1, schema: text, deleted: false }
    return {
      events: [{ kind: 'schema', subject, version, value }],
      result: () => ({ subject, version, ...value }),
    }
  }

  /** Soft-deletes all versions, or deletes soft-deleted ones for good; the versions. Errors: 40401, 40404, 40405, 42205. */
  async deleteSubject(name: string, permanent: boolean): Promise<number[]> {
    this.#requireOwn()
    const subject = this.resolve(name)
    return this.#topic.change(() => {
      const all = this.#state.versions(subject)
      if (all.length === 0) throw subjectUnknown(subject)
      const live = all.filter((one) => !one.deleted)
      if (!permanent && live.length === 0)
        throw registryError(
          'schema_unknown',
          REGISTRY_CODE.subjectSoftDeleted,
          `Subject '${subject}' was soft deleted. Set permanent=true to delete permanently`,
        )
      if (permanent && live.length > 0)
        throw registryError(
          'schema_unknown',
          REGISTRY_CODE.subjectNotSoftDeleted,
          `Subject '${subject}' was not deleted first before being permanently deleted`,
        )
      const gone = permanent ? all : live
      const versions = gone.map((one) => one.version)
      return { events: this.#deletions(gone, permanent), result: () => versions }
    })
  }

  /** The same for one version. Errors: also 40402, 40406, 40407. */
  async deleteVersion(name: string, version: number | 'latest', permanent: boolean): Promise<number> {
    this.#requireOwn()
    const subject = this.resolve(name)
    return this.#topic.change(() => {
      const entry = this.version(subject, version, version !== 'latest')
      if (!permanent && entry.deleted)
        throw registryError(
          'schema_unknown',
          REGISTRY_CODE.versionSoftDeleted,
          `Subject '${subject}' Version ${entry.version} was soft deleted. Set permanent=true to delete permanently`,
        )
      if (permanent && !entry.deleted)
        throw registryError(
          'schema_unknown',
          REGISTRY_CODE.versionNotSoftDeleted,
          `Subject '${subject}' Version ${entry.version} was not deleted first before being permanently deleted`,
        )
      return { events: this.#deletions([entry], permanent), result: () => entry.version }
    })
  }

  #deletions(entries: readonly RegisteredVersion[], permanent: boolean): RegistryEvent[] {
    const events: RegistryEvent[] = entries.map(({ subject, version, id, schema }) => ({
      kind: 'schema',
      subject,
      version,
      value: permanent ? undefined : { id, schema, deleted: true },
    }))
    if (!permanent) return events
    const { subject } = entries[0]!
    if (this.#isStream(subject))
      throw registryError(
        'schema_invalid',
        REGISTRY_CODE.notPermitted,
        `Subject '${subject}' belongs to a stream: its records carry the ids of its schemas, which are kept so that they stay readable`,
      )
    return [...events, { kind: 'id_floor', id: this.#state.lastId }]
  }

  /** Sets the level of a subject, or the global one. Errors: 42203. */
  async setLevel(level: string, name?: string): Promise<CompatibilityLevel> {
    this.#requireOwn()
    const known = COMPATIBILITY_LEVELS.find((one) => one === level.toUpperCase())
    if (known === undefined)
      throw registryError(
        'schema_invalid',
        REGISTRY_CODE.levelInvalid,
        `Invalid compatibility level. Valid values are ${COMPATIBILITY_LEVELS.join(', ')}`,
      )
    const subject = name === undefined ? undefined : this.resolve(name)
    return this.#topic.change(() => ({
      events: [{ kind: 'config', subject, level: known }],
      result: () => known,
    }))
  }

  /** Takes a subject's level back (40408 where it has none), or the global one to BACKWARD; the level that was. */
  async deleteLevel(name?: string): Promise<CompatibilityLevel> {
    this.#requireOwn()
    const subject = name === undefined ? undefined : this.resolve(name)
    return this.#topic.change(() => {
      const before = subject === undefined ? this.#state.globalLevel : this.#state.levelOf(subject)
      if (before === undefined) throw levelUnset(subject!)
      return { events: [{ kind: 'config', subject, level: undefined }], result: () => before }
    })
  }

  #requireAllowed(subject: string, schema: string): void {
    requireAvro(schema)
    if (this.#isStream(subject)) invalidAs42201(() => requireTable(schema))
  }

  #apply(event: RegistryEvent): void {
    const before = event.kind === 'schema' ? this.#find(event.subject, event.version) : undefined
    this.#state.apply(event)
    if (event.kind !== 'schema') return
    const after = this.#find(event.subject, event.version)
    const entry = after ?? before
    if (entry === undefined) return
    const { subject, version, id, schema } = entry
    const what = after === undefined ? 'purged' : after.deleted ? 'deleted' : 'registered'
    for (const listener of this.#listeners) listener({ subject, version, id, schema, what })
  }

  #find(subject: string, version: number): RegisteredVersion | undefined {
    return this.#state.versions(subject).find((one) => one.version === version)
  }
}

function requireAvro(schema: string): void {
  if (Buffer.byteLength(schema) > SCHEMA_BYTES_MAX)
    throw registryError(
      'schema_invalid',
      REGISTRY_CODE.schemaInvalid,
      `a schema has at most ${SCHEMA_BYTES_MAX} bytes`,
    )
  invalidAs42201(() => parseAvroSchema(schema))
}

/** Gives what the Avro modules refuse the registry's code. */
function invalidAs42201(check: () => unknown): void {
  try {
    check()
  } catch (error) {
    if (!isMillraceError(error, 'schema_invalid')) throw error
    throw registryError('schema_invalid', REGISTRY_CODE.schemaInvalid, error.message, { ...error.details })
  }
}

function subjectUnknown(subject: string): Error {
  return registryError('schema_unknown', REGISTRY_CODE.subjectUnknown, `Subject '${subject}' not found.`)
}

function versionUnknown(version: number | 'latest'): Error {
  return registryError('schema_unknown', REGISTRY_CODE.versionUnknown, `Version ${version} not found.`)
}

/** A subject has no level of its own (40408). */
export function levelUnset(subject: string): Error {
  return registryError(
    'schema_unknown',
    REGISTRY_CODE.levelUnset,
    `Subject '${subject}' does not have subject-level compatibility configured`,
  )
}

function incompatible(subject: string, level: CompatibilityLevel, found: readonly Incompatibility[]): Error {
  const reasons = found.map((one) => `${one.message} (${one.direction} with version ${one.version})`)
  return registryError(
    'schema_incompatible',
    REGISTRY_CODE.incompatible,
    `Schema being registered is incompatible with an earlier schema for subject "${subject}", level ${level}: ${reasons.join('; ')}`,
    { subject, level, incompatibilities: found },
  )
}
