// What a normalize thread counts (std/counters.ts). Always, over all records read:
//
//   records_in = records_passed + records_rewritten + rejected_* + duplicates

import type { RejectionCode } from '../schemas/rejected.ts'

/** The codes that normalize rejects with; the others are ingest's. */
export const REJECT_CODES = [
  'device_invalid',
  'format_unknown',
  'schema_unknown',
  'payload_invalid',
  'resolution_failed',
  'rule_failed',
  'rule_refused',
  'range_refused',
  'event_time_implausible',
] as const satisfies readonly RejectionCode[]

export type RejectCode = (typeof REJECT_CODES)[number]

export const NORMALIZE_COUNTERS = [
  'records_in',
  'bytes_in',
  /** Went on unchanged, in whole batches or copied out of one. */
  'records_passed',
  'batches_passed',
  'records_rewritten',
  'duplicates',
  ...REJECT_CODES.map((code) => `rejected_${code}` as const),
  'late',
  'quality_marked',
  /** Records that left a duplicate window early because the byte budget keeps it short. */
  'window_evictions',
  /** Devices forgotten because there were too many. */
  'device_evictions',
  'appends',
  /** Gauges. */
  'lag_records',
  'devices',
  'streams_stopped',
  'streams_waiting',
] as const

export type NormalizeCounter = (typeof NORMALIZE_COUNTERS)[number]
