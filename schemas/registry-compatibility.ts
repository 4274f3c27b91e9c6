// Compatibility levels of the Confluent registry ("Schema Evolution and Compatibility") and what each compares:
//
//   BACKWARD   the new schema reads what the latest one wrote        _TRANSITIVE: what every one wrote
//   FORWARD    the latest schema reads what the new one writes
//   FULL       both
//   NONE       nothing is compared
import { resolve } from './avro-resolution.ts'
import { parseAvroSchema } from './avro-schema.ts'

export const COMPATIBILITY_LEVELS = [
  'BACKWARD',
  'BACKWARD_TRANSITIVE',
  'FORWARD',
  'FORWARD_TRANSITIVE',
  'FULL',
  'FULL_TRANSITIVE',
  'NONE',
] as const

export type CompatibilityLevel = (typeof COMPATIBILITY_LEVELS)[number]

/** One reason why a schema may not follow the ones before it. */
export interface Incompatibility {
  /** `BACKWARD` or `FORWARD`: which of the two reads. */
  direction: 'BACKWARD' | 'FORWARD'
  /** Version that it was compared with. */
  version: number
  /** Path of the field in the schema that reads; '' for the whole. */
  field: string
  /** The rule of Avro's resolution that it breaks, as Confluent names it: `READER_FIELD_MISSING_DEFAULT_VALUE`. */
  rule: string
  /** Both, and why, in words. */
  message: string
}

export interface EarlierVersion {
  version: number
  schema: string
}

/** What is wrong with `schema` after `earlier` (ascending versions); empty where it may follow. */
export function findIncompatibilities(
  level: CompatibilityLevel,
  schema: string,
  earlier: readonly EarlierVersion[],
): Incompatibility[] {
  if (level === 'NONE') return []
  const found: Incompatibility[] = []
  for (const one of level.endsWith('_TRANSITIVE') ? earlier : earlier.slice(-1)) {
    if (!level.startsWith('FORWARD')) found.push(...readProblems('BACKWARD', schema, one.schema, one.version))
    if (!level.startsWith('BACKWARD')) found.push(...readProblems('FORWARD', one.schema, schema, one.version))
  }
  return found
}

/** Why `reader` cannot read what `writer` wrote (Avro 1.12, "Schema Resolution"). */
function readProblems(
  direction: Incompatibility['direction'],
  reader: string,
  writer: string,
  version: number,
): Incompatibility[] {
  const { faults = [] } = resolve(parseAvroSchema(writer), parseAvroSchema(reader))
  return faults.map(({ rule, path, reason }) => {
    const subject = path === '' ? 'the schema' : `field ${path}`
    return { direction, version, field: path, rule, message: `${subject}: ${reason} (${rule})` }
  })
}
