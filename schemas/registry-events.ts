// The registry's state as events in the compacted topic `millrace._schemas`, JSON keys and values close to
// those of Confluent's `_schemas`, so that people who know one can read the other with `millrace log dump`:
//
//   {"keytype":"SCHEMA","subject":S,"version":V,"magic":1}  {"subject":S,"version":V,"id":I,"schema":T,"deleted":false}
//   {"keytype":"CONFIG","subject":S or null,"magic":0}      {"compatibilityLevel":L}
//   {"keytype":"ID_FLOOR","magic":0}                        {"id":I}   no id up to I is given out again
//
// A null value takes the key's entry away: a version deleted for good, a level of a subject taken back. The floor
// is written in the same batch as a permanent delete, because compaction forgets the ids that it takes away.
import type { CompatibilityLevel } from './registry-compatibility.ts'

export interface SchemaEvent {
  kind: 'schema'
  subject: string
  version: number
  /** Undefined: deleted for good. */
  value: { id: number; schema: string; deleted: boolean } | undefined
}

export interface ConfigEvent {
  kind: 'config'
  /** Undefined: the global level. */
  subject: string | undefined
  level: CompatibilityLevel | undefined
}

export interface IdFloorEvent {
  kind: 'id_floor'
  id: number
}

export type RegistryEvent = SchemaEvent | ConfigEvent | IdFloorEvent

const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** Key and value bytes of an event; undefined value: a tombstone. */
export function encodeEvent(event: RegistryEvent): { key: Uint8Array; value: Uint8Array | undefined } {
  switch (event.kind) {
    case 'schema': {
      const { subject, version, value } = event
      return {
        key: json({ keytype: 'SCHEMA', subject, version, magic: 1 }),
        value: value === undefined ? undefined : json({ subject, version, ...value }),
      }
    }
    case 'config':
      return {
        key: json({ keytype: 'CONFIG', subject: event.subject ?? null, magic: 0 }),
        value: event.level === undefined ? undefined : json({ compatibilityLevel: event.level }),
      }
    case 'id_floor':
      return { key: json({ keytype: 'ID_FLOOR', magic: 0 }), value: json({ id: event.id }) }
  }
}

/** The event of a record; undefined for a key that this release does not know, which a later one may write. */
export function decodeEvent(key: Uint8Array, value: Uint8Array | undefined): RegistryEvent | undefined {
  const parsedKey = parse(key) as { keytype?: string; subject?: string | null; version?: number }
  const parsed = value === undefined ? undefined : (parse(value) as Record<string, unknown>)
  switch (parsedKey.keytype) {
    case 'SCHEMA': {
      const { subject, version } = parsedKey as { subject: string; version: number }
      if (parsed === undefined) return { kind: 'schema', subject, version, value: undefined }
      const { id, schema, deleted } = parsed as { id: number; schema: string; deleted: boolean }
      return { kind: 'schema', subject, version, value: { id, schema, deleted } }
    }
    case 'CONFIG':
      return {
        kind: 'config',
        subject: parsedKey.subject ?? undefined,
        level: parsed?.['compatibilityLevel'] as CompatibilityLevel | undefined,
      }
    case 'ID_FLOOR':
      return parsed === undefined ? undefined : { kind: 'id_floor', id: parsed['id'] as number }
  }
  return undefined
}

const json = (value: unknown): Uint8Array => encoder.encode(JSON.stringify(value))

/** Copies: the log may hand out views of shared memory, which TextDecoder refuses. */
const parse = (bytes: Uint8Array): unknown => JSON.parse(decoder.decode(bytes.slice()))
