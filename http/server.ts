// The one HTTP server of a process: health, metrics, the API under /v1 with its OpenAPI document, and what
// services hang on it (the schema registry). It knows no stage: what it shows comes through `Services`.
import fastifySwagger from '@fastify/swagger'
import Fastify, { type FastifyError, type FastifyInstance, type FastifyPluginAsync } from 'fastify'
import { isMillraceError } from '../std/errors.ts'
import { json } from './json-schema.ts'
import { lazyValidator } from './lazy-validator.ts'

export interface Check {
  name: string
  ok: boolean
  /** Why it is not, or undefined. */
  reason?: string
}

export interface TableSummary {
  tenant: string
  table: string
  rows: number
  files: number
  bytes: number
  snapshots: number
  committedAt: string | null
}

export interface StreamSummary {
  tenant: string
  stream: string
  family: string
  contractVersion: number
  subject: string
  schemaId: number
  partitions: number
}

/** Where every record of the process is, in records. */
export interface Account {
  /** Telemetry acknowledged to QoS 1 clients since the start of this process. */
  acknowledged: number
  raw: number
  normalized: number
  /** Rejected by normalize: part of `raw`. */
  rejected: number
  /** Refused at the door and kept in the rejected topics: never part of `raw`. */
  rejectedAtDoor: number
  duplicates: number
  /** Rows in tables of telemetry, and in tables of rejected records. */
  rows: number
  rejectedRows: number
}

export interface Services {
  version: string
  /** Process-level checks: ready when all are ok. */
  readiness(): Promise<Check[]>
  scrape(): Promise<string>
  status(): Record<string, unknown>
  streams(): StreamSummary[]
  stream(tenant: string, stream: string): Record<string, unknown> | undefined
  tables(): Promise<TableSummary[]>
  account(): Promise<Account>
  contracts(): { family: string; tenant: string; version: number; streams: string[] }[]
  registerContract(text: string): Promise<{ family: string; version: number; streams: string[] }>
  /** Undefined where there is no such stream. */
  replayRejected(tenant: string, stream: string, options: ReplayRequest): Promise<ReplayBody | undefined>
  /** Routes of services, each under its prefix. */
  mounts: readonly { prefix: string; routes: FastifyPluginAsync }[]
}

/** Which rejected records are sent through again. */
export interface ReplayRequest {
  code?: string
  dryRun: boolean
  limit: number
}

export interface ReplayBody {
  found: number
  sent: number
  sentBefore: number
  rejectedAgain: number
  refused: Record<string, number>
  more: boolean
}

const ErrorBody = json.object({ code: json.string(), message: json.string() })
const CheckBody = json.object({
  name: json.string(),
  ok: json.boolean(),
  reason: json.optional(json.string()),
})
const Count = json.integer({ minimum: 0 })
const StreamBody = json.object({
  tenant: json.string(),
  stream: json.string(),
  family: json.string(),
  contractVersion: json.integer(),
  subject: json.string(),
  schemaId: json.integer(),
  partitions: json.integer(),
})
const TableBody = json.object({
  tenant: json.string(),
  table: json.string(),
  rows: Count,
  files: Count,
  bytes: Count,
  snapshots: Count,
  committedAt: json.anyOf([json.string(), json.null()]),
})
const AccountBody = json.object({
  acknowledged: Count,
  raw: Count,
  normalized: Count,
  rejected: Count,
  rejectedAtDoor: Count,
  duplicates: Count,
  rows: Count,
  rejectedRows: Count,
})
/** Records of one request: an answer comes within seconds. */
const REPLAY_LIMIT_MAX = 100_000
const ReplayQuery = json.object({
  code: json.optional(json.string()),
  dryRun: json.boolean({ default: false }),
  limit: json.integer({ minimum: 1, maximum: REPLAY_LIMIT_MAX, default: REPLAY_LIMIT_MAX }),
})
const ReplayAnswer = json.object({
  found: Count,
  sent: Count,
  sentBefore: Count,
  rejectedAgain: Count,
  refused: json.record(Count),
  more: json.boolean(),
})
const ContractBody = json.object({
  family: json.string(),
  tenant: json.optional(json.string()),
  version: json.integer(),
  streams: json.array(json.string()),
})

/** Largest request body: contracts and schemas are text of at most this. */
const BODY_BYTES_MAX = 4 * 1024 * 1024

export async function createHttpServer(services: Services): Promise<FastifyInstance> {
  const server = Fastify({
    bodyLimit: BODY_BYTES_MAX,
    forceCloseConnections: true,
    schemaController: { compilersFactory: { buildValidator: lazyValidator } },
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: 512 },
  })
  server.setErrorHandler((error: FastifyError, _request, reply) => {
    if (isMillraceError(error)) {
      const status = error.action === 'reject' ? (error.code.endsWith('_unknown') ? 404 : 422) : 503
      return reply.code(status).send({ code: error.code, message: error.message })
    }
    const status = error.statusCode ?? 500
    return reply
      .code(status)
      .send({ code: status < 500 ? 'request_invalid' : 'internal', message: error.message })
  })
  server.setNotFoundHandler((request, reply) =>
    reply.code(404).send({
      code: 'not_found',
      message: `nothing at ${request.method} ${request.url}; see /v1/openapi.json`,
    }),
  )
  server.addContentTypeParser(
    ['text/yaml', 'application/yaml', 'text/plain'],
    { parseAs: 'string' },
    (_request, body, done) => done(null, body),
  )
  await server.register(fastifySwagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Millrace',
        version: services.version,
        description: 'Streams, contracts, tables and the account of a Millrace process.',
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
    },
  })
  await server.register(async (scope) => routes(scope, services))
  for (const { prefix, routes } of services.mounts) await server.register(routes, { prefix })
  return server
}

const text = (type: string): object => ({ 200: { content: { [type]: { schema: json.string() } } } })

async function routes(server: FastifyInstance, services: Services): Promise<void> {
  server.get(
    '/healthz',
    {
      schema: {
        summary: 'Whether the process lives',
        response: { 200: json.object({ status: json.literal('ok') }) },
      },
    },
    async () => ({ status: 'ok' as const }),
  )
  const ReadyBody = json.object({ ready: json.boolean(), checks: json.array(CheckBody) })
  server.get(
    '/readyz',
    {
      schema: {
        summary: 'Whether it takes and delivers records',
        response: { 200: ReadyBody, 503: ReadyBody },
      },
    },
    async (_request, reply) => {
      const checks = await services.readiness()
      const ready = checks.every((check) => check.ok)
      return reply.code(ready ? 200 : 503).send({ ready, checks })
    },
  )
  server.get(
    '/metrics',
    { schema: { summary: 'Metrics, for Prometheus', response: text('text/plain') } },
    async (_request, reply) =>
      reply.header('content-type', 'text/plain; version=0.0.4; charset=utf-8').send(await services.scrape()),
  )
  const anything = json.object({}, { additionalProperties: true })
  server.get(
    '/v1/openapi.json',
    { schema: { summary: 'This document', response: { 200: anything } } },
    async () => server.swagger(),
  )
  server.get(
    '/v1/status',
    {
      schema: {
        summary: 'Version, addresses and rates',
        response: { 200: json.object({}, { additionalProperties: true }) },
      },
    },
    async () => services.status(),
  )
  server.get(
    '/v1/streams',
    { schema: { summary: 'All streams', response: { 200: json.array(StreamBody) } } },
    async () => services.streams(),
  )
  server.get<{ Params: { tenant: string; stream: string } }>(
    '/v1/streams/:tenant/:stream',
    {
      schema: {
        summary: 'One stream: fields, schemas, rules, table',
        params: json.object({ tenant: json.string(), stream: json.string() }),
        response: { 200: json.object({}, { additionalProperties: true }), 404: ErrorBody },
      },
    },
    async (request, reply) => {
      const { tenant, stream } = request.params
      const found = services.stream(tenant, stream)
      return (
        found ??
        reply.code(404).send({ code: 'stream_unknown', message: `tenant ${tenant} has no stream ${stream}` })
      )
    },
  )
  server.post<{ Params: { tenant: string; stream: string }; Querystring: ReplayRequest }>(
    '/v1/streams/:tenant/:stream/replay-rejected',
    {
      schema: {
        summary: 'Send rejected records through again, those that the contract now accepts',
        params: json.object({ tenant: json.string(), stream: json.string() }),
        querystring: ReplayQuery,
        response: { 200: ReplayAnswer, 404: ErrorBody },
      },
    },
    async (request, reply) => {
      const { tenant, stream } = request.params
      return (
        (await services.replayRejected(tenant, stream, request.query)) ??
        reply.code(404).send({ code: 'stream_unknown', message: `tenant ${tenant} has no stream ${stream}` })
      )
    },
  )
  server.get(
    '/v1/tables',
    { schema: { summary: 'All tables with their size', response: { 200: json.array(TableBody) } } },
    async () => services.tables(),
  )
  server.get(
    '/v1/account',
    { schema: { summary: 'Where every record is', response: { 200: AccountBody } } },
    async () => services.account(),
  )
  server.get(
    '/v1/contracts',
    { schema: { summary: 'Contracts in force', response: { 200: json.array(ContractBody) } } },
    async () => services.contracts(),
  )
  server.post<{ Body: string }>(
    '/v1/contracts',
    {
      schema: {
        summary: 'Register a contract, or a new version of one (YAML)',
        consumes: ['application/yaml'],
        body: { content: { 'application/yaml': { schema: json.string() } } },
        response: { 201: ContractBody, 422: ErrorBody },
      },
    },
    async (request, reply) => {
      if (typeof request.body !== 'string')
        return reply
          .code(415)
          .send({ code: 'request_invalid', message: 'send the contract as application/yaml' })
      return reply.code(201).send(await services.registerContract(request.body))
    },
  )
}
