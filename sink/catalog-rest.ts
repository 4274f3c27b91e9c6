// An external catalog behind the Iceberg REST protocol (Iceberg REST catalog OpenAPI specification). The server
// keeps the pointer and writes the metadata files; the vocabulary of a commit is the one of iceberg/updates.ts, and
// goes over the wire as it is.
//
//   GET  /v1/config?warehouse=…                                   prefix, perhaps another address
//   GET  /v1/{prefix}/namespaces/{ns}/tables/{table}              load
//   POST /v1/{prefix}/namespaces/{ns}/tables                      create, staged: tells location and uuid
//   POST /v1/{prefix}/namespaces/{ns}/tables/{table}              commit: requirements, updates
//
// A table is created as a commit on nothing (assert-create): the plain create gives fields new ids, and ids are what
// `millrace.columns` holds.
//
// Metadata is taken over whole, so that fields unknown here survive; its 64-bit integers stay exact (iceberg/json.ts).
import { MillraceError } from '../std/errors.ts'
import { type Catalog, type CreateTable, type LoadedTable, printTableId, type TableId } from './catalog.ts'
import type { Clock } from './file-names.ts'
import { adoptMetadata } from './iceberg/metadata.ts'
import { LAST_ADDED, type Requirement, type Update } from './iceberg/updates.ts'
import { type RestAccess, type RestAnswer, RestClient, type RestRequest, refused } from './rest-client.ts'

export interface RestCatalogOptions extends RestAccess {
  /** Which warehouse of the server, where it has several. */
  warehouse: string | undefined
  /** Where a new table may lie, given where the server puts it (`freeLocation`, catalog.ts). */
  freeLocation?(location: string): Promise<string>
}

/** What `/v1/config` changed. */
interface Route {
  client: RestClient
  /** `/v1` or `/v1/prefix`. */
  base: string
}

const FORMAT_VERSION = 2

export class RestCatalog implements Catalog {
  readonly name: string
  readonly #options: RestCatalogOptions
  readonly #clock: Clock
  /** Of the address that was configured: it remembers for a while that the server is away. */
  readonly #client: RestClient
  #route: Promise<Route> | undefined

  constructor(name: string, options: RestCatalogOptions, clock: Clock) {
    this.name = name
    this.#options = options
    this.#clock = clock
    this.#client = new RestClient(options, clock)
  }

  async createNamespace(namespace: string): Promise<void> {
    const request: RestRequest = {
      method: 'POST',
      path: '/namespaces',
      body: { namespace: [namespace], properties: {} },
    }
    const answer = await this.#request(request)
    if (answer.status >= 400 && answer.status !== 409) throw refused(request, answer)
  }

  async dropNamespace(namespace: string): Promise<void> {
    const request: RestRequest = { method: 'DELETE', path: `/namespaces/${encodeURIComponent(namespace)}` }
    const answer = await this.#request(request)
    // Servers from before the specification's NamespaceNotEmptyException say 400.
    if (answer.status === 409 || (answer.status === 400 && /NotEmpty/i.test(answer.reason)))
      throw new MillraceError('table_conflict', `namespace ${namespace} holds tables`)
    if (answer.status >= 400 && answer.status !== 404) throw refused(request, answer)
  }

  async listNamespaces(): Promise<string[]> {
    const found: string[] = []
    for await (const page of this.#pages('/namespaces'))
      for (const levels of (page as { namespaces?: string[][] }).namespaces ?? [])
        if (levels.length === 1) found.push(levels[0]!)
    return found
  }

  async listTables(namespace: string): Promise<TableId[]> {
    const found: TableId[] = []
    for await (const page of this.#pages(`/namespaces/${encodeURIComponent(namespace)}/tables`))
      for (const { name } of (page as { identifiers?: { name: string }[] }).identifiers ?? [])
        found.push({ namespace, name })
    return found
  }

  /** The pages of a list; none where what holds the list does not exist. */
  async *#pages(path: string): AsyncGenerator<unknown> {
    let pageToken: string | undefined
    do {
      const request: RestRequest = {
        method: 'GET',
        path,
        ...(pageToken === undefined ? {} : { query: { pageToken } }),
      }
      const answer = await this.#request(request)
      if (answer.status === 404) return
      if (answer.status >= 400) throw refused(request, answer)
      yield answer.body
      pageToken = (answer.body as { 'next-page-token'?: string | null })['next-page-token'] ?? undefined
    } while (pageToken !== undefined && pageToken !== '')
  }

  async load(id: TableId): Promise<LoadedTable | undefined> {
    const request: RestRequest = { method: 'GET', path: tablePath(id) }
    const answer = await this.#request(request)
    if (answer.status === 404) return undefined
    if (answer.status >= 400) throw refused(request, answer)
    return loadedTable(id, answer)
  }

  async create(id: TableId, table: CreateTable): Promise<LoadedTable> {
    const request: RestRequest = {
      method: 'POST',
      path: `/namespaces/${encodeURIComponent(id.namespace)}/tables`,
      body: {
        name: id.name,
        schema: table.schema,
        'partition-spec': table.spec,
        'write-order': table.sortOrder,
        'stage-create': true,
        properties: table.properties,
      },
    }
    const answer = await this.#request(request)
    if (answer.status === 409) throw new MillraceError('table_conflict', `table ${printTableId(id)} exists`)
    if (answer.status === 404)
      throw new MillraceError('table_missing', `namespace ${id.namespace} does not exist`)
    if (answer.status >= 400) throw refused(request, answer)
    const staged = adoptMetadata((answer.body as { metadata?: unknown }).metadata, printTableId(id))
    const location = (await this.#options.freeLocation?.(staged.location)) ?? staged.location
    return this.commit(
      id,
      [{ type: 'assert-create' }],
      [
        { action: 'assign-uuid', uuid: staged['table-uuid'] },
        { action: 'upgrade-format-version', 'format-version': FORMAT_VERSION },
        { action: 'add-schema', schema: table.schema, 'last-column-id': table.lastColumnId },
        { action: 'set-current-schema', 'schema-id': LAST_ADDED },
        { action: 'add-spec', spec: table.spec },
        { action: 'set-default-spec', 'spec-id': LAST_ADDED },
        { action: 'add-sort-order', 'sort-order': table.sortOrder },
        { action: 'set-default-sort-order', 'sort-order-id': LAST_ADDED },
        { action: 'set-location', location },
        { action: 'set-properties', updates: { ...staged.properties, ...table.properties } },
      ],
    )
  }

  async commit(
    id: TableId,
    requirements: readonly Requirement[],
    updates: readonly Update[],
  ): Promise<LoadedTable> {
    const identifier = { namespace: [id.namespace], name: id.name }
    const request: RestRequest = {
      method: 'POST',
      path: tablePath(id),
      body: { identifier, requirements, updates },
      once: true,
    }
    const answer = await this.#request(request)
    if (answer.status === 409)
      throw new MillraceError('table_conflict', `${printTableId(id)}:${answer.reason}`)
    if (answer.status === 404)
      throw new MillraceError('table_missing', `table ${printTableId(id)} does not exist`)
    if (answer.status >= 400) throw refused(request, answer)
    try {
      return loadedTable(id, answer)
    } catch (error) {
      // It is done; what became of the table must be looked at.
      throw new MillraceError('commit_ambiguous', String((error as Error).message), {}, error)
    }
  }

  async drop(id: TableId): Promise<boolean> {
    const request: RestRequest = {
      method: 'DELETE',
      path: tablePath(id),
      query: { purgeRequested: 'false' },
    }
    const answer = await this.#request(request)
    if (answer.status >= 400 && answer.status !== 404) throw refused(request, answer)
    return answer.status !== 404
  }

  async rename(from: TableId, to: TableId): Promise<void> {
    const identifier = (id: TableId) => ({ namespace: [id.namespace], name: id.name })
    const request: RestRequest = {
      method: 'POST',
      path: '/tables/rename',
      body: { source: identifier(from), destination: identifier(to) },
      once: true,
    }
    const answer = await this.#request(request)
    if (answer.status === 404)
      throw new MillraceError('table_missing', `table ${printTableId(from)} does not exist`)
    if (answer.status === 409) throw new MillraceError('table_conflict', `table ${printTableId(to)} exists`)
    if (answer.status >= 400) throw refused(request, answer)
  }

  async close(): Promise<void> {}

  async #request(request: RestRequest): Promise<RestAnswer> {
    this.#route ??= this.#findRoute()
    let route: Route
    try {
      route = await this.#route
    } catch (error) {
      this.#route = undefined
      throw error
    }
    return route.client.request({ ...request, path: route.base + request.path })
  }

  async #findRoute(): Promise<Route> {
    const { warehouse } = this.#options
    const client = this.#client
    const request: RestRequest = {
      method: 'GET',
      path: '/v1/config',
      ...(warehouse === undefined ? {} : { query: { warehouse } }),
    }
    const answer = await client.request(request)
    if (answer.status >= 400 || typeof answer.body !== 'object') throw refused(request, answer)
    const { defaults, overrides } = answer.body as Record<string, Record<string, string> | undefined>
    const setting = (name: string): string | undefined => overrides?.[name] ?? defaults?.[name]
    const prefix = setting('prefix')
    const uri = overrides?.['uri']
    return {
      client: uri === undefined ? client : new RestClient({ ...this.#options, uri }, this.#clock),
      base: prefix === undefined || prefix === '' ? '/v1' : `/v1/${prefix}`,
    }
  }
}

function tablePath(id: TableId): string {
  return `/namespaces/${encodeURIComponent(id.namespace)}/tables/${encodeURIComponent(id.name)}`
}

/** Of a LoadTableResult or CommitTableResponse. Errors: `table_foreign`. */
function loadedTable(id: TableId, answer: RestAnswer): LoadedTable {
  const body = answer.body as { 'metadata-location'?: unknown; metadata?: unknown }
  const location = body['metadata-location']
  if (typeof location !== 'string')
    throw new MillraceError('table_foreign', `the catalog names no metadata file of ${printTableId(id)}`)
  return { id, metadataLocation: location, metadata: adoptMetadata(body.metadata, location) }
}
