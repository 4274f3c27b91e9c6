// What the OpenAPI document says of Confluent's API. Descriptions only: the routes check and answer by themselves,
// with Confluent's codes, and nothing here validates or serializes.
import type { FastifySchema } from 'fastify'
import Type, { type TSchema } from 'typebox'

const MEDIA_TYPE = 'application/vnd.schemaregistry.v1+json'

const Problem = Type.Object({ error_code: Type.Integer(), message: Type.String() })
const Version = Type.Object({
  subject: Type.String(),
  version: Type.Integer(),
  id: Type.Integer(),
  schema: Type.String({ description: 'Avro schema as JSON text' }),
})
const Schema = Type.Object({
  schema: Type.String({ description: 'Avro schema as JSON text' }),
  schemaType: Type.Optional(Type.Literal('AVRO')),
})
const Level = Type.Union(
  ['BACKWARD', 'BACKWARD_TRANSITIVE', 'FORWARD', 'FORWARD_TRANSITIVE', 'FULL', 'FULL_TRANSITIVE', 'NONE'].map(
    (level) => Type.Literal(level),
  ),
)
const SetLevel = Type.Object({ compatibility: Level })
const GetLevel = Type.Object({ compatibilityLevel: Level })
const Mode = Type.Object({ mode: Type.Literal('READWRITE') })
const Compatible = Type.Object({
  is_compatible: Type.Boolean(),
  messages: Type.Optional(Type.Array(Type.String())),
})
const Versions = Type.Array(Type.Integer())
const Subjects = Type.Array(Type.String())

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
  answer: TSchema
  body?: TSchema
  flags?: readonly (keyof typeof FLAGS)[]
}

const DOCS: Record<string, Doc> = {
  'GET /': { summary: 'Whether the registry answers', answer: Type.Object({}) },
  'GET /schemas/types': { summary: 'Schema types', answer: Type.Array(Type.Literal('AVRO')) },
  'GET /schemas': {
    summary: 'All versions of all subjects',
    answer: Type.Array(Version),
    flags: ['subjectPrefix', 'deleted', 'latestOnly'],
  },
  'GET /mode': { summary: 'The mode, which is fixed', answer: Mode },
  'PUT /mode': { summary: 'Refused: the mode is fixed', answer: Mode, body: Mode },
  'GET /mode/:subject': { summary: 'The mode of a subject, which is fixed', answer: Mode },
  'PUT /mode/:subject': { summary: 'Refused: the mode is fixed', answer: Mode, body: Mode },
  'GET /schemas/ids/:id': {
    summary: 'A schema by id',
    answer: Type.Object({ schema: Type.String() }),
  },
  'GET /schemas/ids/:id/schema': { summary: 'A schema by id, bare', answer: Type.Unknown() },
  'GET /schemas/ids/:id/subjects': {
    summary: 'Subjects that use a schema',
    answer: Subjects,
    flags: ['deleted'],
  },
  'GET /schemas/ids/:id/versions': {
    summary: 'Subjects and versions that use a schema',
    answer: Type.Array(Type.Object({ subject: Type.String(), version: Type.Integer() })),
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
    answer: Type.Unknown(),
    flags: ['deleted'],
  },
  'GET /subjects/:subject/versions/:version/referencedby': {
    summary: 'Schemas that refer to a version: none, references are not supported',
    answer: Versions,
  },
  'POST /subjects/:subject/versions': {
    summary: 'Register a schema; the same one again gets the same id',
    answer: Type.Object({ id: Type.Integer() }),
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
    answer: Type.Integer(),
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
  const content = (schema: TSchema): object => ({ content: { [MEDIA_TYPE]: { schema } } })
  return {
    summary: doc.summary,
    tags: ['schema registry'],
    ...(names.length > 0 && {
      params: Type.Object(Object.fromEntries(names.map((name) => [name, Type.String()]))),
    }),
    ...(flags.length > 0 && {
      querystring: Type.Object(
        Object.fromEntries(
          flags.map((flag) => [flag, Type.Optional(Type.String({ description: FLAGS[flag] }))]),
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
