// What the OpenAPI document says of Confluent's API. Descriptions only: the routes check and answer by themselves,
// with Confluent's codes, and nothing here validates or serializes.
import type { FastifySchema } from 'fastify'
import { type JsonSchema, json } from './json-schema.ts'

const MEDIA_TYPE = 'application/vnd.schemaregistry.v1+json'

const Problem = json.object({ error_code: json.integer(), message: json.string() })
const Version = json.object({
  subject: json.string(),
  version: json.integer(),
  id: json.integer(),
  schema: json.string({ description: 'Avro schema as JSON text' }),
})
const Schema = json.object({
  schema: json.string({ description: 'Avro schema as JSON text' }),
  schemaType: json.optional(json.literal('AVRO')),
})
const Level = json.anyOf(
  ['BACKWARD', 'BACKWARD_TRANSITIVE', 'FORWARD', 'FORWARD_TRANSITIVE', 'FULL', 'FULL_TRANSITIVE', 'NONE'].map(
    (level) => json.literal(level),
  ),
)
const SetLevel = json.object({ compatibility: Level })
const GetLevel = json.object({ compatibilityLevel: Level })
const Mode = json.object({ mode: json.literal('READWRITE') })
const Compatible = json.object({
  is_compatible: json.boolean(),
  messages: json.optional(json.array(json.string())),
})
const Versions = json.array(json.integer())
const Subjects = json.array(json.string())

const FLAGS = {
  deleted: 'With what was deleted softly',
  permanent: 'For good; only what was deleted softly before',
  verbose: 'With the reasons',
  defaultToGlobal: 'The global level where the subject has none',
  subjectPrefix: 'Only subjects that begin so',
  latestOnly: 'Only the newest version of each subject',
} as const

interface Doc {
  summary: string
  answer: JsonSchema
  body?: JsonSchema
  flags?: readonly (keyof typeof FLAGS)[]
}

const DOCS: Record<string, Doc> = {
  'GET /': { summary: 'Whether the registry answers', answer: json.object({}) },
  'GET /schemas/types': { summary: 'Schema types', answer: json.array(json.literal('AVRO')) },
  'GET /schemas': {
    summary: 'All versions of all subjects',
    answer: json.array(Version),
    flags: ['subjectPrefix', 'deleted', 'latestOnly'],
  },
  'GET /mode': { summary: 'The mode, which is fixed', answer: Mode },
  'PUT /mode': { summary: 'Refused: the mode is fixed', answer: Mode, body: Mode },
  'GET /mode/:subject': { summary: 'The mode of a subject, which is fixed', answer: Mode },
  'PUT /mode/:subject': { summary: 'Refused: the mode is fixed', answer: Mode, body: Mode },
  'GET /schemas/ids/:id': {
    summary: 'A schema by id',
    answer: json.object({ schema: json.string() }),
  },
  'GET /schemas/ids/:id/schema': { summary: 'A schema by id, bare', answer: json.unknown() },
  'GET /schemas/ids/:id/subjects': {
    summary: 'Subjects that use a schema',
    answer: Subjects,
    flags: ['deleted'],
  },
  'GET /schemas/ids/:id/versions': {
    summary: 'Subjects and versions that use a schema',
    answer: json.array(json.object({ subject: json.string(), version: json.integer() })),
    flags: ['deleted'],
  },
  'GET /subjects': { summary: 'All subjects', answer: Subjects, flags: ['subjectPrefix', 'deleted'] },
  'GET /subjects/:subject/versions': {
    summary: 'Versions of a subject',
    answer: Versions,
    flags: ['deleted'],
  },
  'GET /subjects/:subject/versions/:version': {
    summary: 'A version of a subject, or the latest',
    answer: Version,
    flags: ['deleted'],
  },
  'GET /subjects/:subject/versions/:version/schema': {
    summary: 'The schema of a version, bare',
    answer: json.unknown(),
    flags: ['deleted'],
  },
  'GET /subjects/:subject/versions/:version/referencedby': {
    summary: 'Schemas that refer to a version: none, references are not supported',
    answer: Versions,
  },
  'POST /subjects/:subject/versions': {
    summary: 'Register a schema; the same one again gets the same id',
    answer: json.object({ id: json.integer() }),
    body: Schema,
  },
  'POST /subjects/:subject': {
    summary: 'Whether a subject holds this schema, and as which version',
    answer: Version,
    body: Schema,
    flags: ['deleted'],
  },
  'DELETE /subjects/:subject': {
    summary: 'Delete a subject',
    answer: Versions,
    flags: ['permanent'],
  },
  'DELETE /subjects/:subject/versions/:version': {
    summary: 'Delete a version',
    answer: json.integer(),
    flags: ['permanent'],
  },
  'POST /compatibility/subjects/:subject/versions/:version': {
    summary: 'Whether a schema fits a version, at the level of the subject',
    answer: Compatible,
    body: Schema,
    flags: ['verbose'],
  },
  'POST /compatibility/subjects/:subject/versions': {
    summary: 'Whether a schema could be registered, at the level of the subject',
    answer: Compatible,
    body: Schema,
    flags: ['verbose'],
  },
  'GET /config': { summary: 'The global compatibility level', answer: GetLevel },
  'PUT /config': { summary: 'Set the global compatibility level', answer: SetLevel, body: SetLevel },
  'DELETE /config': { summary: 'Back to the default level', answer: SetLevel },
  'GET /config/:subject': {
    summary: 'The compatibility level of a subject',
    answer: GetLevel,
    flags: ['defaultToGlobal'],
  },
  'PUT /config/:subject': {
    summary: 'Set the compatibility level of a subject',
    answer: SetLevel,
    body: SetLevel,
  },
  'DELETE /config/:subject': { summary: 'Back to the global level', answer: SetLevel },
}

/** The description of a route, undefined where there is none. */
export function docOf(method: string, path: string): FastifySchema | undefined {
  const doc = DOCS[`${method} ${path}`]
  if (doc === undefined) return undefined
  const names = [...path.matchAll(/:(\w+)/g)].map(([, name]) => name!)
  const { flags = [] } = doc
  const content = (schema: JsonSchema): object => ({ content: { [MEDIA_TYPE]: { schema } } })
  return {
    summary: doc.summary,
    tags: ['schema registry'],
    ...(names.length > 0 && {
      params: json.object(Object.fromEntries(names.map((name) => [name, json.string()]))),
    }),
    ...(flags.length > 0 && {
      querystring: json.object(
        Object.fromEntries(
          flags.map((flag) => [flag, json.optional(json.string({ description: FLAGS[flag] }))]),
        ),
      ),
    }),
    ...(doc.body && { body: content(doc.body) }),
    response: {
      200: { description: 'Done', ...content(doc.answer) },
      '4xx': { description: 'Refused, with Confluent’s code', ...content(Problem) },
    },
  }
}
