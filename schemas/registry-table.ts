// Whether a schema can be a stream's: a record whose every field has a column, under a name that is not taken.
import { MillraceError } from '../std/errors.ts'
import { type AvroNode, fieldPath, nullableOf, parseAvroSchema } from './avro-schema.ts'
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
  requireColumn(root, '', new Set())
}

function requireColumn(node: AvroNode, path: string, open: Set<AvroNode>): void {
  if (open.has(node)) throw refused(path, 'a type that contains itself has no column')
  const inside = new Set(open).add(node)
  switch (node.kind) {
    case 'null':
      throw refused(path, 'a type of null alone has no column')
    case 'record':
      if (node.fields.length === 0) throw refused(path, 'a record without fields has no column')
      for (const field of node.fields) requireColumn(field.node, fieldPath(path, field.name), inside)
      return
    case 'array':
      requireColumn(node.items, `${path}[]`, inside)
      return
    case 'map':
      requireColumn(node.values, `${path}{}`, inside)
      return
    case 'union': {
      const nullable = nullableOf(node)
      if (nullable === undefined)
        throw refused(
          path,
          'a union has a column only as [null, type]; use a record with one nullable field for each type',
        )
      requireColumn(nullable.value, path, inside)
    }
  }
}

function refused(field: string, reason: string): MillraceError {
  const message = field === '' ? reason : `field '${field}': ${reason}`
  return new MillraceError('schema_invalid', message, { field, reason, errorCode: 42201 })
}
