// An external schema registry with Confluent's API (Confluent, Apicurio, Karapace), as registry.ts needs it: ids and
// compatibility are its own. A thin client: docs/decisions/0010-external-registry-client.md says why.
//
// Errors: registry_unreachable where it does not answer, or not as a registry does; schema_incompatible and
// schema_invalid where it refuses a schema, with its own words.
import http from 'node:http'
import https from 'node:https'
import { setTimeout as sleep } from 'node:timers/promises'
import { isMillraceError, MillraceError } from '../std/errors.ts'

export interface ExternalRegistryOptions {
  /** Of the API: `http://host:8081`, or with a path (Apicurio: `…/apis/ccompat/v7`). */
  url: string
  /** Basic authentication. */
  username: string | undefined
  password: string | undefined
  /** PEM of the authorities that its certificate is checked against; the system's where absent. */
  ca: string | undefined
  /** What becomes of a schema that is not known here yet while the registry does not answer. */
  unknown: 'wait' | 'refuse'
  /** Told while it does not answer and somebody waits. */
  onWarning: (message: string) => void
}

export interface ExternalVersion {
  subject: string
  version: number
  id: number
  schema: string
}

const MEDIA_TYPE = 'application/vnd.schemaregistry.v1+json'
const TIMEOUT_MS = 10_000
const ANSWER_BYTES_MAX = 4 << 20
const RETRY_MS_MIN = 500
const RETRY_MS_MAX = 10_000

export class ExternalRegistry {
  readonly url: string
  readonly #options: ExternalRegistryOptions
  readonly #agent: http.Agent

  constructor(options: ExternalRegistryOptions) {
    this.#options = options
    this.url = options.url.replace(/\/+$/, '')
    this.#agent = this.url.startsWith('https:')
      ? new https.Agent({ keepAlive: true, ...(options.ca !== undefined && { ca: options.ca }) })
      : new http.Agent({ keepAlive: true })
  }

  /** Registers the schema, or finds it. */
  async register(subject: string, schema: string): Promise<ExternalVersion> {
    const path = `/subjects/${encodeURIComponent(subject)}`
    const { id } = (await this.#ask('POST', `${path}/versions`, { schema })) as { id: number }
    const found = (await this.#ask('POST', path, { schema })) as Partial<ExternalVersion> | undefined
    if (!Number.isSafeInteger(id) || !Number.isSafeInteger(found?.version))
      throw this.#unreachable('the answer to a registration names no id and version')
    return { subject, version: found!.version!, id, schema }
  }

  /** Why the schema may not follow the newest version of the subject; empty where it may, or where there is none. */
  async incompatibilities(subject: string, schema: string): Promise<string[]> {
    const path = `/compatibility/subjects/${encodeURIComponent(subject)}/versions/latest?verbose=true`
    const answer = (await this.#ask('POST', path, { schema })) as
      | { is_compatible?: boolean; messages?: unknown }
      | undefined
    if (answer === undefined || answer.is_compatible === true) return []
    const { messages } = answer
    return Array.isArray(messages) && messages.length > 0
      ? messages.map(String)
      : ['the registry gives no reason']
  }

  /** Version numbers of a subject; empty where there is none. */
  async versions(subject: string): Promise<number[]> {
    const answer = await this.#ask('GET', `/subjects/${encodeURIComponent(subject)}/versions`)
    if (answer === undefined) return []
    if (!Array.isArray(answer) || !answer.every(Number.isSafeInteger))
      throw this.#unreachable('a list of versions is expected')
    return answer as number[]
  }

  async version(subject: string, version: number): Promise<ExternalVersion | undefined> {
    const answer = (await this.#ask('GET', `/subjects/${encodeURIComponent(subject)}/versions/${version}`)) as
      | (Partial<ExternalVersion> & { schemaType?: string })
      | undefined
    if (answer === undefined || (answer.schemaType ?? 'AVRO') !== 'AVRO') return undefined
    const { id, schema } = answer
    if (!Number.isSafeInteger(id) || typeof schema !== 'string')
      throw this.#unreachable('a version without id or schema')
    return { subject, version, id: id!, schema }
  }

  /** Runs `ask`; where the registry does not answer, waits and asks again if that is the policy. */
  async inTime<T>(what: string, ask: () => Promise<T>): Promise<T> {
    for (let waitMs = RETRY_MS_MIN; ; waitMs = Math.min(waitMs * 2, RETRY_MS_MAX)) {
      try {
        return await ask()
      } catch (error) {
        if (this.#options.unknown === 'refuse' || !isMillraceError(error, 'registry_unreachable')) throw error
        this.#options.onWarning(`${what} waits: ${error.message}`)
      }
      await sleep(waitMs)
    }
  }

  /** The answer's JSON; undefined for 404. */
  async #ask(method: string, path: string, body?: unknown): Promise<unknown> {
    const { status, text } = await this.#send(method, `${this.url}${path}`, body)
    if (status === 404) return undefined
    let answer: unknown
    try {
      answer = JSON.parse(text)
    } catch {
      throw this.#unreachable(`status ${status}, and no JSON`)
    }
    if (status >= 200 && status < 300) return answer
    const message = String((answer as { message?: unknown }).message ?? `status ${status}`)
    if (status === 409) throw new MillraceError('schema_incompatible', message, { registry: this.url })
    if (status === 422) throw new MillraceError('schema_invalid', message, { registry: this.url })
    throw this.#unreachable(`status ${status}: ${message}`)
  }

  #send(method: string, url: string, body: unknown): Promise<{ status: number; text: string }> {
    const { username, password } = this.#options
    const content = body === undefined ? undefined : JSON.stringify(body)
    const client = url.startsWith('https:') ? https : http
    return new Promise((resolve, reject) => {
      const request = client.request(
        url,
        {
          method,
          agent: this.#agent,
          timeout: TIMEOUT_MS,
          ...(username !== undefined && { auth: `${username}:${password ?? ''}` }),
          headers: {
            accept: `${MEDIA_TYPE}, application/json`,
            ...(content !== undefined && {
              'content-type': MEDIA_TYPE,
              'content-length': Buffer.byteLength(content),
            }),
          },
        },
        (response) => {
          const chunks: Buffer[] = []
          let bytes = 0
          response.on('data', (chunk: Buffer) => {
            bytes += chunk.length
            if (bytes > ANSWER_BYTES_MAX) request.destroy(new Error(`more than ${ANSWER_BYTES_MAX} bytes`))
            else chunks.push(chunk)
          })
          response.on('end', () =>
            resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }),
          )
          response.on('error', (error) => reject(this.#unreachable(error.message)))
        },
      )
      request.on('timeout', () => request.destroy(new Error(`no answer in ${TIMEOUT_MS} ms`)))
      request.on('error', (error: NodeJS.ErrnoException) =>
        reject(this.#unreachable(error.message || String(error.code))),
      )
      request.end(content)
    })
  }

  #unreachable(reason: string): MillraceError {
    return new MillraceError('registry_unreachable', `schema registry ${this.url}: ${reason}`, {
      registry: this.url,
    })
  }
}
