// Compatibility levels of the Confluent registry ("Schema Evolution and Compatibility") and what each compares:
//
//   BACKWARD   the new schema reads what the latest one wrote        _TRANSITIVE: what every one wrote
//   FORWARD    the latest schema reads what the new one writes
//   FULL       both
//   NONE       nothing is compared
import avsc from 'avsc'

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
  /** Names the field and the rule of Avro's resolution that it breaks. */
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
    if (!level.startsWith('FORWARD'))
      for (const message of readProblems(schema, one.schema))
        found.push({ direction: 'BACKWARD', version: one.version, message })
    if (!level.startsWith('BACKWARD'))
      for (const message of readProblems(one.schema, schema))
        found.push({ direction: 'FORWARD', version: one.version, message })
  }
  return found
}

/** Why `reader` cannot read what `writer` wrote (Avro 1.12, "Schema Resolution"). */
function readProblems(reader: string, writer: string): string[] {
  try {
    avsc.Type.forSchema(JSON.parse(reader)).createResolver(avsc.Type.forSchema(JSON.parse(writer)))
    return []
  } catch (error) {
    return [(error as Error).message]
  }
}
