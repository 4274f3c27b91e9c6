// How tenants, streams, devices, topics, subjects and tables are called, and what a valid name is.

const NAME = /^[a-z][a-z0-9_]{0,47}$/
const DEVICE_ID = /^[A-Za-z0-9._:-]{1,128}$/

/** Tenant that holds what belongs to Millrace itself; no user may take it. */
export const RESERVED_TENANT = 'millrace'

/** Whether `name` may name a tenant or a stream: `[a-z][a-z0-9_]{0,47}`, no `__`, not ending in `_rejected`, not `millrace`. */
export function isValidName(name: string): boolean {
  return NAME.test(name) && !name.includes('__') && !name.endsWith('_rejected') && name !== RESERVED_TENANT
}

/** Whether `id` may be a device id: `[A-Za-z0-9._:-]{1,128}`. */
export function isValidDeviceId(id: string): boolean {
  return DEVICE_ID.test(id)
}

export const rawTopic = (tenant: string, stream: string): string => `${tenant}.${stream}.raw`
export const normalizedTopic = (tenant: string, stream: string): string => `${tenant}.${stream}.normalized`
export const rejectedTopic = (tenant: string, stream: string): string => `${tenant}.${stream}.rejected`
/** Connect, disconnect, take-over and refusal of a tenant's devices. */
export const presenceTopic = (tenant: string): string => `${tenant}._presence`
/** The Confluent subject of a stream's values. */
export const subjectOf = (tenant: string, stream: string): string => `${tenant}.${stream}-value`
/** Subject of the one fixed schema of all `rejected` topics. */
export const REJECTED_SUBJECT = 'millrace.rejected-value'

/** Compacted topics of Millrace itself. */
export const SCHEMAS_TOPIC = 'millrace._schemas'
export const CREDENTIALS_TOPIC = 'millrace._credentials'
export const NORMALIZE_STATE_TOPIC = 'millrace._normalize_state'
/** What the Kafka door remembers: offsets that groups committed, sequences of idempotent producers. */
export const GROUP_OFFSETS_TOPIC = 'millrace._group_offsets'
export const PRODUCERS_TOPIC = 'millrace._producers'
/** Rejected records that were sent through again, a key each. */
export const REPLAYED_TOPIC = 'millrace._replayed'

export const tableOf = (stream: string): string => stream
export const rejectedTableOf = (stream: string): string => `${stream}_rejected`

/** Lineage columns that every table of telemetry carries after its contract's fields. */
export const LINEAGE_COLUMNS = [
  '_log_partition',
  '_offset',
  '_receive_time',
  '_schema_id',
  '_late_ms',
  '_quality',
] as const

/** Record headers (marks) that normalize adds. Values are UTF-8 text. */
export const MARK_LATE_MS = 'millrace.late_ms'
export const MARK_QUALITY = 'millrace.quality'
/** Position of the raw record that a rewritten record came from: `partition/offset/subindex`. */
export const MARK_SOURCE = 'millrace.source'
/** Of a raw record that is a rejected one sent through again: its place in the rejected topic, `partition/offset`. */
export const MARK_REPLAYED = 'millrace.replayed'
