// A REST catalog in the test's own process: the routes that the client asks for, over any Catalog. It checks tokens
// where a credential is given, lists by pages of one, and hides its tables behind a prefix.
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { MillraceError } from '../std/errors.ts'
import type { Catalog, CreateTable, LoadedTable, TableId } from './catalog.ts'
import { parseJson, printJson } from './iceberg/json.ts'
import { newMetadata } from './iceberg/metadata.ts'
import type { Requirement, Update } from './iceberg/updates.ts'

const PREFIX = '/v1/w%20h'

interface Commit {
  requirements: Requirement[]
  updates: Update[]
}

class Answer extends Error {
  readonly status: number
  readonly type: string

  constructor(status: number, type: string, message: string) {
    super(message)
    this.status = status
    this.type = type
  }
}

export class RestCatalogHarness {
  readonly #catalog: Catalog
  readonly #credential: string | undefined
  readonly #server: http.Server
  /** Tokens that are taken; clear it to make all of them stale. */
  readonly tokens = new Set<string>()
  tokensGiven = 0
  expiresInSeconds = 3600

  constructor(catalog: Catalog, credential?: string) {
    this.#catalog = catalog
    this.#credential = credential
    this.#server = http.createServer((request, response) => {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => {
        this.#serve(request, Buffer.concat(chunks).toString()).then(
          (body) => {
            response.writeHead(body === undefined ? 204 : 200, { 'content-type': 'application/json' })
            response.end(body === undefined ? undefined : printJson(body))
          },
          (error: unknown) => {
            const { status, type, message } = asAnswer(error)
            response.writeHead(status, { 'content-type': 'application/json' })
            response.end(printJson({ error: { message, type, code: status } }))
          },
        )
      })
    })
  }

  async listen(): Promise<number> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
    return (this.#server.address() as AddressInfo).port
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  async #serve(request: http.IncomingMessage, text: string): Promise<unknown> {
    const url = new URL(request.url!, 'http://host')
    if (url.pathname === '/v1/oauth/tokens') return this.#giveToken(new URLSearchParams(text))
    if (this.#credential !== undefined) {
      const token = request.headers.authorization?.replace('Bearer ', '') ?? ''
      if (!this.tokens.has(token)) throw new Answer(401, 'NotAuthorizedException', 'no such token')
    }
    if (url.pathname === '/v1/config')
      return { defaults: {}, overrides: { prefix: PREFIX.slice('/v1/'.length) } }
    if (!url.pathname.startsWith(PREFIX)) throw new Answer(404, 'NotFoundException', 'no such route')
    const [kind, namespace, tables, name] = url.pathname
      .slice(PREFIX.length + 1)
      .split('/')
      .map(decodeURIComponent)
    const body = text === '' ? undefined : parseJson(text)
    const isGet = request.method === 'GET'
    const page = Number(url.searchParams.get('pageToken') ?? 0)
    if (kind === 'tables') return this.#rename(body as Record<string, { namespace: string[]; name: string }>)
    if (namespace === undefined) {
      if (isGet)
        return paged(
          'namespaces',
          (await this.#catalog.listNamespaces()).map((one) => [one]),
          page,
        )
      return this.#createNamespace((body as { namespace: string[] }).namespace[0]!)
    }
    if (tables === undefined) {
      await this.#catalog.dropNamespace(namespace)
      return undefined
    }
    if (name === undefined) {
      if (!isGet) return this.#stage(namespace, body as Record<string, unknown>)
      const found = await this.#catalog.listTables(namespace)
      return paged(
        'identifiers',
        found.map((id) => ({ namespace: [id.namespace], name: id.name })),
        page,
      )
    }
    const id = { namespace, name }
    if (isGet) return result(await this.#load(id))
    if (request.method === 'POST') return result(await this.#commit(id, body as Commit))
    if (!(await this.#catalog.drop(id))) throw noSuchTable(id)
    return undefined
  }

  #giveToken(form: URLSearchParams): unknown {
    if (`${form.get('client_id')}:${form.get('client_secret')}` !== this.#credential)
      throw new Answer(401, 'invalid_client', 'no such client')
    const token = `token-${++this.tokensGiven}`
    this.tokens.add(token)
    return { access_token: token, token_type: 'bearer', expires_in: this.expiresInSeconds }
  }

  async #createNamespace(namespace: string): Promise<unknown> {
    if ((await this.#catalog.listNamespaces()).includes(namespace))
      throw new Answer(409, 'AlreadyExistsException', `namespace ${namespace} exists`)
    await this.#catalog.createNamespace(namespace)
    return { namespace: [namespace] }
  }

  async #rename(body: Record<string, { namespace: string[]; name: string }>): Promise<unknown> {
    const id = (one: { namespace: string[]; name: string }): TableId => ({
      namespace: one.namespace[0]!,
      name: one.name,
    })
    await this.#catalog.rename(id(body['source']!), id(body['destination']!))
    return undefined
  }

  async #load(id: TableId): Promise<LoadedTable> {
    const table = await this.#catalog.load(id)
    if (table === undefined) throw noSuchTable(id)
    return table
  }

  /** As a server does it: fields get new ids, which whoever relies on them finds out. */
  async #stage(namespace: string, body: Record<string, unknown>): Promise<unknown> {
    const id = { namespace, name: String(body['name']) }
    if ((await this.#catalog.load(id)) !== undefined)
      throw new Answer(409, 'AlreadyExistsException', 'table exists')
    const layout = {
      schema: body['schema'],
      spec: body['partition-spec'],
      sortOrder: body['write-order'],
      lastColumnId: 0,
      properties: body['properties'],
    } as CreateTable
    const location = `memory://${namespace}/${id.name}`
    return { metadata: newMetadata({ uuid: crypto.randomUUID(), location, nowMs: Date.now(), ...layout }) }
  }

  async #commit(id: TableId, { requirements, updates }: Commit): Promise<LoadedTable> {
    if (requirements[0]?.type !== 'assert-create') return this.#catalog.commit(id, requirements, updates)
    const find = <A extends Update['action']>(action: A) =>
      updates.find((one) => one.action === action) as Extract<Update, { action: A }>
    return this.#catalog.create(id, {
      schema: find('add-schema').schema,
      lastColumnId: find('add-schema')['last-column-id']!,
      spec: find('add-spec').spec,
      sortOrder: find('add-sort-order')['sort-order'],
      properties: find('set-properties').updates,
    })
  }
}

function noSuchTable(id: TableId): Answer {
  return new Answer(404, 'NoSuchTableException', `no table ${id.namespace}.${id.name}`)
}

function result(table: LoadedTable): unknown {
  return { 'metadata-location': table.metadataLocation, metadata: table.metadata, config: {} }
}

/** Page `index` of one item, and where there is more the token of the next. */
function paged(name: string, items: unknown[], index: number): unknown {
  return {
    [name]: items.slice(index, index + 1),
    ...(index + 1 < items.length ? { 'next-page-token': String(index + 1) } : {}),
  }
}

function asAnswer(error: unknown): Answer {
  if (error instanceof Answer) return error
  if (!(error instanceof MillraceError)) return new Answer(500, 'InternalServerError', String(error))
  if (error.code === 'table_conflict') return new Answer(409, 'CommitFailedException', error.message)
  if (error.code === 'table_missing') return new Answer(404, 'NoSuchTableException', error.message)
  return new Answer(500, 'CommitStateUnknownException', error.message)
}
