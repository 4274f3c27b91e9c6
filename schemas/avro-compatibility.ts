// Compatibility levels of the Confluent schema registry ("Schema Evolution and Compatibility"), decided by the
// same resolution that the decoders follow: what is compatible here is what normalize and the sink can read.
//
//   BACKWARD   the new schema reads what the latest one wrote       _TRANSITIVE: what every one wrote
//   FORWARD    the latest schema reads what the new one writes
//   FULL       both
//   NONE       nothing is compared
import { type ResolutionFault, resolve } from './avro-resolution.ts'
import type { AvroNode } from './avro-schema.ts'

export const COMPATIBILITY_LEVELS = [
  'NONE',
  'BACKWARD',
  'BACKWARD_TRANSITIVE',
  'FORWARD',
  'FORWARD_TRANSITIVE',
  'FULL',
  'FULL_TRANSITIVE',
] as const

export type CompatibilityLevel = (typeof COMPATIBILITY_LEVELS)[number]

export interface Incompatibility extends ResolutionFault {
  /** Which reads: the new schema (BACKWARD) or the earlier one (FORWARD). */
  direction: 'BACKWARD' | 'FORWARD'
  /** Index in `previous` of the schema it was compared with. */
  index: number
}

/** What stands against `next` after `previous`, oldest first; empty where it may follow. */
export function checkCompatibility(
  level: CompatibilityLevel,
  next: AvroNode,
  previous: readonly AvroNode[],
): Incompatibility[] {
  if (level === 'NONE' || previous.length === 0) return []
  const isTransitive = level.endsWith('_TRANSITIVE')
  const found: Incompatibility[] = []
  for (let index = previous.length - 1; index >= (isTransitive ? 0 : previous.length - 1); index--) {
    const earlier = previous[index]!
    if (!level.startsWith('FORWARD'))
      for (const fault of resolve(earlier, next).faults ?? [])
        found.push({ ...fault, direction: 'BACKWARD', index })
    if (!level.startsWith('BACKWARD'))
      for (const fault of resolve(next, earlier).faults ?? [])
        found.push({ ...fault, direction: 'FORWARD', index })
  }
  return found
}
