// What every stage needs to know of a stream, as plain data that crosses thread boundaries. The contract
// compiler makes it (contract.ts); each thread compiles its own validators and decoders from it.

export type FieldRole = 'event_time' | 'sequence' | 'source_time' | 'quality' | 'firmware'

export interface FieldDescriptor {
  /** Name of the top-level field in the Avro record and in the table. */
  name: string
  role?: FieldRole
  unit?: string
  doc?: string
  nullable: boolean
  /** Inclusive; outside it a value is marked in `_quality`, or refused with `enforce: refuse`. */
  range?: { min?: number; max?: number }
  enforce?: 'mark' | 'refuse'
  /** Former names, for renames. */
  aliases?: string[]
}

/** Rules for one range of firmware versions; the first that matches is used, `default` last. */
export interface RuleSet {
  /** Semver-like range over the firmware field (`>=2.0 <3`), or `default`. */
  firmware: string
  rules: Rule[]
}

/** One step over a record, in order. Exactly one of `set`, `refuse` is there. CEL in strings. */
export interface Rule {
  /** Only where this CEL condition over the record's fields is true. */
  when?: string
  /** Field := CEL expression (unit conversion, scale and offset, default, derived field). `field` may be a dotted path through records. */
  set?: { field: string; value: string }
  /** The record goes to the rejected topic with this reason. */
  refuse?: string
}

export interface WriterSchema {
  id: number
  /** Avro JSON. */
  schema: string
}

export interface StreamDescriptor {
  tenant: string
  stream: string
  /** Family whose contract defines it, and that document's version. */
  family: string
  contractVersion: number
  partitions: number
  /** Confluent subject. */
  subject: string
  /** Id and Avro JSON of the stream's current schema: what normalized topics carry and tables hold. */
  schemaId: number
  schema: string
  /** Every registered version of the subject, current included: what devices may send. */
  writers: WriterSchema[]
  fields: FieldDescriptor[]
  ruleSets: RuleSet[]
  /** Event times outside [now − pastMs, now + futureMs] are rejected. */
  plausible: { pastMs: number; futureMs: number }
  /** How far a record may be behind its device's latest event time before it is marked late; normalize's own default where absent. */
  latenessMs?: number
  /** Records of a device that are remembered to know a duplicate by; normalize's own default where absent. */
  duplicates?: { windowRecords: number }
  table: { bucketDevices?: number }
}
