// Whether a schema can be a stream's: a record whose every field has a column, under a name that is not taken.
import { MillraceError } from '../std/errors.ts'
import { columnFieldOf } from './avro-column-type.ts'
import { parseAvroSchema } from './avro-schema.ts'
import { isValidName, LINEAGE_COLUMNS, subjectOf } from './names.ts'

const RESERVED: readonly string[] = ['device_id', ...LINEAGE_COLUMNS]
const STREAM_SUBJECT = /^([^.]+)\.([^.]+)-value$/

/** Whether a subject has the form of a stream's, `<tenant>.<stream>-value` with valid names. */
export function isStreamSubject(subject: string): boolean {
  const match = STREAM_SUBJECT.exec(subject)
  return match !== null && isValidName(match[1]!) && isValidName(match[2]!)
}

const TOPIC_SUBJECT = /^([^.]+)\.([^.]+)\.(raw|normalized|rejected)-value$/

/** The subject that a name stands for: a topic's (`<topic>-value`) is its stream's, a rejected topic's the one fixed schema. */
export function resolveSubject(name: string, rejectedSubject: string): string {
  const match = TOPIC_SUBJECT.exec(name)
  if (match === null) return name
  return match[3] === 'rejected' ? rejectedSubject : subjectOf(match[1]!, match[2]!)
}

/** Errors: `schema_invalid`, naming the field that a table cannot hold. */
export function requireTable(schema: string): void {
  const root = parseAvroSchema(schema)
  if (root.kind !== 'record') throw refused('', `a stream's schema is a record, this is ${root.kind}`)
  const names = new Set<string>()
  for (const { name } of root.fields) {
    const folded = name.toLowerCase()
    if (RESERVED.includes(folded)) throw refused(name, 'the name of a column that Millrace adds')
    if (names.has(folded))
      throw refused(name, 'query engines fold case, and another field differs in case only')
    names.add(folded)
  }
  columnFieldOf(root)
}

function refused(field: string, reason: string): MillraceError {
  const message = field === '' ? reason : `field ${field}: ${reason}`
  return new MillraceError('schema_invalid', message, { path: field, reason })
}
