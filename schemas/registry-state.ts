// What the registry knows, as pure state that events are applied to. Soft-deleted versions stay: their ids are
// still in records. Two schemas are the same when they differ in white space and key order only.
import { MillraceError } from '../std/errors.ts'
import type { CompatibilityLevel } from './registry-compatibility.ts'
import type { RegistryEvent } from './registry-events.ts'

export interface RegisteredVersion {
  subject: string
  version: number
  id: number
  /** As it was registered. */
  schema: string
  deleted: boolean
}

/** Confluent's error codes (Schema Registry API reference, "Errors"). */
export const REGISTRY_CODE = {
  subjectUnknown: 40401,
  versionUnknown: 40402,
  schemaUnknown: 40403,
  subjectSoftDeleted: 40404,
  subjectNotSoftDeleted: 40405,
  versionSoftDeleted: 40406,
  versionNotSoftDeleted: 40407,
  levelUnset: 40408,
  incompatible: 409,
  schemaInvalid: 42201,
  versionInvalid: 42202,
  levelInvalid: 42203,
  notPermitted: 42205,
} as const

/** A refusal that carries Confluent's code in its details. */
export function registryError(
  code: 'schema_unknown' | 'schema_invalid' | 'schema_incompatible',
  errorCode: number,
  message: string,
  details: Record<string, unknown> = {},
): MillraceError {
  return new MillraceError(code, message, { ...details, errorCode })
}

/** The same text for all spellings of one schema. */
export function schemaIdentity(schema: string): string {
  return JSON.stringify(canonical(JSON.parse(schema)))
}

function canonical(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(canonical)
  if (typeof node !== 'object' || node === null) return node
  const keys = Object.keys(node).sort()
  // {"type": "string"} is "string".
  if (keys.length === 1 && keys[0] === 'type') return canonical((node as { type: unknown }).type)
  return Object.fromEntries(keys.map((key) => [key, canonical((node as Record<string, unknown>)[key])]))
}

export class RegistryState {
  /** Versions by subject, ascending, soft-deleted ones included. */
  readonly #subjects = new Map<string, RegisteredVersion[]>()
  readonly #ids = new Map<number, { schema: string; uses: RegisteredVersion[] }>()
  readonly #idOf = new Map<string, number>()
  readonly #levels = new Map<string, CompatibilityLevel>()
  #globalLevel: CompatibilityLevel = 'BACKWARD'
  #lastId = 0

  apply(event: RegistryEvent): void {
    switch (event.kind) {
      case 'schema':
        this.#remove(event.subject, event.version)
        if (event.value !== undefined)
          this.#insert({ subject: event.subject, version: event.version, ...event.value })
        return
      case 'config':
        if (event.subject === undefined) this.#globalLevel = event.level ?? 'BACKWARD'
        else if (event.level === undefined) this.#levels.delete(event.subject)
        else this.#levels.set(event.subject, event.level)
        return
      case 'id_floor':
        this.#lastId = Math.max(this.#lastId, event.id)
    }
  }

  #insert(entry: RegisteredVersion): void {
    const versions = this.#subjects.get(entry.subject) ?? []
    versions.push(entry)
    versions.sort((a, b) => a.version - b.version)
    this.#subjects.set(entry.subject, versions)
    const known = this.#ids.get(entry.id)
    if (known === undefined) {
      this.#ids.set(entry.id, { schema: entry.schema, uses: [entry] })
      this.#idOf.set(schemaIdentity(entry.schema), entry.id)
    } else known.uses.push(entry)
    this.#lastId = Math.max(this.#lastId, entry.id)
  }

  #remove(subject: string, version: number): void {
    const versions = this.#subjects.get(subject) ?? []
    const index = versions.findIndex((one) => one.version === version)
    if (index < 0) return
    const [entry] = versions.splice(index, 1)
    if (versions.length === 0) this.#subjects.delete(subject)
    const known = this.#ids.get(entry!.id)!
    known.uses.splice(known.uses.indexOf(entry!), 1)
    if (known.uses.length > 0) return
    this.#ids.delete(entry!.id)
    this.#idOf.delete(schemaIdentity(known.schema))
  }

  /** Highest id ever given. */
  get lastId(): number {
    return this.#lastId
  }

  subjects(): IterableIterator<string> {
    return this.#subjects.keys()
  }

  /** All versions of a subject, soft-deleted included, ascending; empty where there is no such subject. */
  versions(subject: string): readonly RegisteredVersion[] {
    return this.#subjects.get(subject) ?? []
  }

  live(subject: string): RegisteredVersion[] {
    return this.versions(subject).filter((one) => !one.deleted)
  }

  byId(id: number): { schema: string; uses: readonly RegisteredVersion[] } | undefined {
    return this.#ids.get(id)
  }

  idOf(schema: string): number | undefined {
    return this.#idOf.get(schemaIdentity(schema))
  }

  get globalLevel(): CompatibilityLevel {
    return this.#globalLevel
  }

  levelOf(subject: string): CompatibilityLevel | undefined {
    return this.#levels.get(subject)
  }
}
