// The embedded registry as Confluent's REST API (Schema Registry API reference, v7): what serializers, Kafka
// Connect and schema tools already speak. Errors are {error_code, message}; the HTTP status is the first three
// digits of the code.
import type { FastifyPluginAsync, FastifyReply } from 'fastify'
import { levelUnset, type RegisteredVersion, type SchemaRegistry } from '../schemas/registry.ts'
import { isMillraceError } from '../std/errors.ts'
import { docOf } from './schema-registry-docs.ts'

const MEDIA_TYPE = 'application/vnd.schemaregistry.v1+json'
const ACCEPTED_TYPES = [MEDIA_TYPE, 'application/vnd.schemaregistry+json', 'application/octet-stream']

/** Error codes that the routes give themselves; the registry's refusals carry theirs. */
const SCHEMA_INVALID = 42201
const VERSION_INVALID = 42202
const NOT_PERMITTED = 42205
const LOG_FAILED = 50001
const NOT_FOUND = 404
const BODY_INVALID = 422

interface SubjectParams {
  subject: string
}
interface VersionParams extends SubjectParams {
  version: string
}
interface IdParams {
  id: string
}
type Flags = Partial<
  Record<'deleted' | 'permanent' | 'verbose' | 'defaultToGlobal' | 'subjectPrefix' | 'latestOnly', string>
>

class RouteError extends Error {
  readonly errorCode: number

  constructor(errorCode: number, message: string) {
    super(message)
    this.errorCode = errorCode
  }
}

/** The routes, to be mounted under `/schema-registry` (or a server's root). */
export function schemaRegistryRoutes(registry: SchemaRegistry): FastifyPluginAsync {
  return async (app) => {
    for (const type of ACCEPTED_TYPES)
      app.addContentTypeParser(type, { parseAs: 'string' }, (_request, body, done) => {
        try {
          done(null, body === '' ? undefined : JSON.parse(body as string))
        } catch {
          done(new RouteError(BODY_INVALID, 'the body is not JSON'))
        }
      })
    app.addHook('onRoute', (route) => {
      const method = String(route.method)
      if (method !== 'HEAD') route.schema = docOf(method, route.routePath || '/') ?? {}
    })
    // The routes check and answer by themselves, with Confluent's codes.
    app.setValidatorCompiler(() => () => true)
    app.setSerializerCompiler(() => (answer) => JSON.stringify(answer))
    app.addHook('onSend', async (_request, reply) => {
      reply.type(MEDIA_TYPE)
    })
    // Another process may write to the same topic: answers are as new as the log.
    app.addHook('preHandler', () => registry.refresh())
    app.setErrorHandler((error, _request, reply) => sendError(reply, error))
    app.setNotFoundHandler((_request, reply) =>
      sendError(reply, new RouteError(NOT_FOUND, 'HTTP 404 Not Found')),
    )

    app.get('/', () => ({}))
    app.get('/schemas/types', () => ['AVRO'])
    app.get('/mode', () => ({ mode: 'READWRITE' }))
    app.get('/mode/:subject', () => ({ mode: 'READWRITE' }))
    for (const path of ['/mode', '/mode/:subject'])
      app.put(path, () => {
        throw new RouteError(NOT_PERMITTED, 'the mode is READWRITE and cannot be changed')
      })
    app.get<{ Querystring: Flags }>('/schemas', ({ query }) =>
      registry
        .subjects(on(query.deleted))
        .filter((one) => one.startsWith(query.subjectPrefix ?? ''))
        .flatMap((subject) => {
          const versions = registry.versions(subject, on(query.deleted))
          return (on(query.latestOnly) ? versions.slice(-1) : versions).map(bodyOf)
        }),
    )

    app.get<{ Params: IdParams }>('/schemas/ids/:id', ({ params }) => ({
      schema: registry.schemaOf(idOf(params.id)),
    }))
    app.get<{ Params: IdParams }>('/schemas/ids/:id/schema', ({ params }, reply) =>
      reply.send(registry.schemaOf(idOf(params.id))),
    )
    app.get<{ Params: IdParams; Querystring: Flags }>('/schemas/ids/:id/subjects', ({ params, query }) => [
      ...new Set(registry.usesOf(idOf(params.id), on(query.deleted)).map((one) => one.subject)),
    ])
    app.get<{ Params: IdParams; Querystring: Flags }>('/schemas/ids/:id/versions', ({ params, query }) =>
      registry
        .usesOf(idOf(params.id), on(query.deleted))
        .map(({ subject, version }) => ({ subject, version })),
    )

    app.get<{ Querystring: Flags }>('/subjects', ({ query }) =>
      registry.subjects(on(query.deleted)).filter((one) => one.startsWith(query.subjectPrefix ?? '')),
    )
    app.get<{ Params: SubjectParams; Querystring: Flags }>(
      '/subjects/:subject/versions',
      ({ params, query }) => registry.versions(params.subject, on(query.deleted)).map((one) => one.version),
    )
    app.get<{ Params: VersionParams; Querystring: Flags }>(
      '/subjects/:subject/versions/:version',
      ({ params, query }) =>
        bodyOf(registry.version(params.subject, versionOf(params.version), on(query.deleted))),
    )
    app.get<{ Params: VersionParams; Querystring: Flags }>(
      '/subjects/:subject/versions/:version/schema',
      ({ params, query }, reply) =>
        reply.send(registry.version(params.subject, versionOf(params.version), on(query.deleted)).schema),
    )
    app.get<{ Params: VersionParams }>('/subjects/:subject/versions/:version/referencedby', ({ params }) => {
      registry.version(params.subject, versionOf(params.version))
      return []
    })
    app.post<{ Params: SubjectParams }>('/subjects/:subject/versions', async ({ params, body }) => {
      const { id } = await registry.register(params.subject, schemaOf(body))
      return { id }
    })
    app.post<{ Params: SubjectParams; Querystring: Flags }>('/subjects/:subject', ({ params, body, query }) =>
      bodyOf(registry.lookup(params.subject, schemaOf(body), on(query.deleted))),
    )
    app.delete<{ Params: SubjectParams; Querystring: Flags }>('/subjects/:subject', ({ params, query }) =>
      registry.deleteSubject(params.subject, on(query.permanent)),
    )
    app.delete<{ Params: VersionParams; Querystring: Flags }>(
      '/subjects/:subject/versions/:version',
      async ({ params, query }, reply) => {
        const version = await registry.deleteVersion(
          params.subject,
          versionOf(params.version),
          on(query.permanent),
        )
        return reply.send(String(version))
      },
    )

    const compatible = async (
      subject: string,
      body: unknown,
      version: number | 'latest' | undefined,
      flags: Flags,
    ) => {
      if (registry.isExternal) {
        const messages = await registry.externalIncompatibilities(subject, schemaOf(body))
        return { is_compatible: messages.length === 0, ...(on(flags.verbose) ? { messages } : {}) }
      }
      const found = registry.incompatibilities(subject, schemaOf(body), version)
      const messages = found.map((one) => `${one.direction} with version ${one.version}: ${one.message}`)
      return { is_compatible: found.length === 0, ...(on(flags.verbose) ? { messages } : {}) }
    }
    app.post<{ Params: VersionParams; Querystring: Flags }>(
      '/compatibility/subjects/:subject/versions/:version',
      ({ params, body, query }) => compatible(params.subject, body, versionOf(params.version), query),
    )
    app.post<{ Params: SubjectParams; Querystring: Flags }>(
      '/compatibility/subjects/:subject/versions',
      ({ params, body, query }) => compatible(params.subject, body, undefined, query),
    )

    app.get('/config', () => ({ compatibilityLevel: registry.level() }))
    app.put('/config', async ({ body }) => ({ compatibility: await registry.setLevel(levelOf(body)) }))
    app.delete('/config', async () => ({ compatibility: await registry.deleteLevel() }))
    app.get<{ Params: SubjectParams; Querystring: Flags }>('/config/:subject', ({ params, query }) => {
      const own = registry.ownLevel(params.subject)
      if (own === undefined && !on(query.defaultToGlobal)) throw levelUnset(params.subject)
      return { compatibilityLevel: own ?? registry.level() }
    })
    app.put<{ Params: SubjectParams }>('/config/:subject', async ({ params, body }) => ({
      compatibility: await registry.setLevel(levelOf(body), params.subject),
    }))
    app.delete<{ Params: SubjectParams }>('/config/:subject', async ({ params }) => ({
      compatibility: await registry.deleteLevel(params.subject),
    }))
  }
}

const on = (flag: string | undefined): boolean => flag === 'true'

/** Confluent leaves `schemaType` out for Avro. */
function bodyOf({ subject, version, id, schema }: RegisteredVersion): Record<string, unknown> {
  return { subject, version, id, schema }
}

function idOf(text: string): number {
  if (/^\d{1,10}$/.test(text)) return Number(text)
  throw new RouteError(NOT_FOUND, `'${text}' is no schema id`)
}

function versionOf(text: string): number | 'latest' {
  if (text === 'latest' || text === '-1') return 'latest'
  if (/^[1-9]\d{0,9}$/.test(text) && Number(text) <= 0x7fffffff) return Number(text)
  throw new RouteError(
    VERSION_INVALID,
    `The specified version '${text}' is not a valid version id. Allowed values are between [1, 2^31-1] and the string "latest"`,
  )
}

function schemaOf(body: unknown): string {
  const { schema, schemaType, references } = (body ?? {}) as Record<string, unknown>
  if (schemaType !== undefined && schemaType !== 'AVRO')
    throw new RouteError(BODY_INVALID, `schema type '${String(schemaType)}' is not supported; AVRO is`)
  if (Array.isArray(references) && references.length > 0)
    throw new RouteError(
      SCHEMA_INVALID,
      'schema references are not supported: write the types out in the schema',
    )
  if (typeof schema !== 'string' || schema === '') throw new RouteError(SCHEMA_INVALID, 'Empty schema')
  return schema
}

function levelOf(body: unknown): string {
  const level = (body as { compatibility?: unknown } | undefined)?.compatibility
  return typeof level === 'string' ? level : ''
}

function sendError(reply: FastifyReply, error: unknown): FastifyReply {
  const { errorCode, message } = codeOf(error)
  return reply.code(Number(String(errorCode).slice(0, 3))).send({ error_code: errorCode, message })
}

function codeOf(error: unknown): { errorCode: number; message: string } {
  if (error instanceof RouteError) return error
  const { message, statusCode } = error as Error & { statusCode?: number }
  if (isMillraceError(error)) {
    const own = error.details['errorCode']
    if (typeof own === 'number') return { errorCode: own, message }
    return { errorCode: error.code === 'schema_invalid' ? SCHEMA_INVALID : LOG_FAILED, message }
  }
  // What Fastify refuses before a route runs: bodies too large, media types that nobody reads.
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500)
    return { errorCode: statusCode, message }
  return { errorCode: LOG_FAILED, message: 'Error in the backend data store' }
}
