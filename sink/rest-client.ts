// HTTP to an Iceberg REST catalog: authorization, timeouts, tries, and what an answer means before anyone reads it.
//
//   request ──► answer 2xx or a 4xx that the caller understands
//           ──► catalog_refused      401 after a fresh token, 403
//           ──► catalog_unreachable  nothing was done, or all tries of a request that may be repeated failed; also
//                                    where something answered that is no catalog: a 404 or a 200 without JSON is a
//                                    proxy's, and must not be taken for a table that was dropped
//           ──► commit_ambiguous     a request that may be sent once only was sent, and no answer tells what became
//                                    of it: 5xx, a timeout, a connection that broke, half an answer
//
// Every 5xx counts as "unknown", 503 too: a proxy in front of a catalog may send it after the deed.
//
// When a request's tries have all failed, those that follow fail at once for a while: a stage that opens a thousand
// tables must not wait for each of them in turn.
//
// Tokens: a bearer token as given, or OAuth2 client credentials (RFC 6749, section 4.4; Iceberg REST catalog
// specification, "OAuth2"), fetched anew before they expire and when a request is answered 401 or 419.
import { isMillraceError, MillraceError } from '../std/errors.ts'
import type { Clock } from './file-names.ts'
import { parseJson, printJson } from './iceberg/json.ts'
import { retrying } from './retry.ts'

export interface RestAccess {
  /** As far as `/v1`, without it. */
  uri: string
  /** A bearer token. */
  token: string | undefined
  /** `client id:client secret`, or a secret alone. */
  credential: string | undefined
  /** Token endpoint; undefined: `uri`/v1/oauth/tokens. */
  oauth2Uri: string | undefined
  scope: string
  requestTimeoutMs: number
}

export interface RestRequest {
  method: 'GET' | 'POST' | 'DELETE'
  /** Behind `uri`. */
  path: string
  query?: Record<string, string>
  body?: unknown
  /** Not to be sent a second time once a first may have arrived. */
  once?: boolean
}

export interface RestAnswer {
  /** 2xx, or 4xx but neither 401 nor 403. */
  status: number
  /** JSON, integers exact; undefined where there is none. */
  body: unknown
  /** Of an error: its type and message, for a message of ours. */
  reason: string
}

/** For how long a server that did not answer is not asked again. */
const SILENCE_MS = 3000
/** How long before its end a token is replaced. */
const TOKEN_SLACK_MS = 60_000
const UNAUTHORIZED = 401
const TOKEN_EXPIRED = 419
const TOO_MANY_REQUESTS = 429

/** Errors of a connection that was never made: the request did not leave. */
const NEVER_SENT = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'CERT_HAS_EXPIRED',
])

interface Token {
  value: string
  /** Infinity: the answer named no end. */
  endsAtMs: number
}

export class RestClient {
  readonly #access: RestAccess
  readonly #clock: Clock
  readonly #timeoutMs: number
  #token: Promise<Token> | undefined
  /** Until when the server counts as away, and why. */
  #away: { untilMs: number; error: MillraceError } | undefined

  constructor(access: RestAccess, clock: Clock) {
    this.#access = { ...access, uri: access.uri.replace(/\/+$/, '') }
    this.#clock = clock
    this.#timeoutMs = access.requestTimeoutMs
    if (access.token !== undefined)
      this.#token = Promise.resolve({ value: access.token, endsAtMs: Number.POSITIVE_INFINITY })
  }

  /** Errors: see the head of this file. */
  async request(request: RestRequest): Promise<RestAnswer> {
    if (this.#away !== undefined && this.#clock.now() < this.#away.untilMs) throw this.#away.error
    let renewed = false
    try {
      const answer = await retrying(
        this.#clock,
        async () => {
          const token = await this.#bearer()
          const first = await this.#authorized(request, token)
          if (!isStale(first)) return accepted(request, first)
          if (renewed || this.#access.credential === undefined) throw refused(request, first)
          renewed = true
          return accepted(request, await this.#authorized(request, await this.#bearer(token)))
        },
        isUnreachable,
      )
      this.#away = undefined
      return answer
    } catch (error) {
      if (isUnreachable(error)) this.#away = { untilMs: this.#clock.now() + SILENCE_MS, error }
      throw error
    }
  }

  async #authorized(request: RestRequest, token: string | undefined): Promise<RestAnswer> {
    const { uri } = this.#access
    const query = request.query === undefined ? '' : `?${new URLSearchParams(request.query)}`
    const headers: Record<string, string> = { accept: 'application/json' }
    if (token !== undefined) headers['authorization'] = `Bearer ${token}`
    if (request.body !== undefined) headers['content-type'] = 'application/json'
    return this.#send(`${uri}${request.path}${query}`, request.once === true, {
      method: request.method,
      headers,
      ...(request.body === undefined ? {} : { body: printJson(request.body) }),
    })
  }

  /** The token, another than `stale`; undefined where the catalog wants none. */
  async #bearer(stale?: string): Promise<string | undefined> {
    const { token, credential } = this.#access
    if (token === undefined && credential === undefined) return undefined
    const pending = this.#token
    const held = await pending?.catch(() => undefined)
    if (held !== undefined && held.value !== stale && this.#clock.now() < held.endsAtMs - TOKEN_SLACK_MS)
      return held.value
    // Whoever comes here first fetches one, and all others wait for that.
    if (this.#token === pending) this.#token = this.#fetchToken(credential!)
    return (await this.#token)!.value
  }

  async #fetchToken(credential: string): Promise<Token> {
    const colon = credential.indexOf(':')
    const form = new URLSearchParams({ grant_type: 'client_credentials', scope: this.#access.scope })
    if (colon > 0) form.set('client_id', credential.slice(0, colon))
    form.set('client_secret', credential.slice(colon + 1))
    const uri = this.#access.oauth2Uri ?? `${this.#access.uri}/v1/oauth/tokens`
    const answer = await this.#send(uri, false, { method: 'POST', body: form })
    const body = answer.body as { access_token?: unknown; expires_in?: unknown } | undefined
    if (answer.status >= 400 || typeof body?.access_token !== 'string')
      throw new MillraceError(
        'catalog_refused',
        `the credential of the catalog was refused at ${uri} (${answer.status}${answer.reason}): check --catalog-credential and --catalog-oauth2-scope`,
        { uri, status: answer.status },
      )
    const seconds = Number(body.expires_in ?? Number.POSITIVE_INFINITY)
    return {
      value: body.access_token,
      // A token shorter than the slack is used until its end all the same.
      endsAtMs: this.#clock.now() + Math.max(seconds * 1000, TOKEN_SLACK_MS + 1000),
    }
  }

  /** One request, one answer below 500. Errors: `catalog_unreachable`; `commit_ambiguous` where it may be sent only once. */
  async #send(uri: string, once: boolean, init: RequestInit): Promise<RestAnswer> {
    const what = `${init.method} ${uri}`
    let answer: RestAnswer
    try {
      const signal = AbortSignal.timeout(this.#timeoutMs)
      // A redirect would turn a POST into a GET and carry the token elsewhere.
      const response = await fetch(uri, { ...init, signal, redirect: 'error' })
      const text = await response.text()
      const body = jsonOf(text)
      answer = { status: response.status, body, reason: reasonOf(body, text) }
    } catch (error) {
      const code = networkCode(error)
      throw new MillraceError(
        once && !NEVER_SENT.has(code) ? 'commit_ambiguous' : 'catalog_unreachable',
        `${what}: no answer (${code})`,
        { uri },
        error,
      )
    }
    const { status, body } = answer
    const isWhole = status === 204 || typeof body === 'object' || (status >= 400 && status !== 404)
    if (isWhole && status < 500 && status !== TOO_MANY_REQUESTS) return answer
    const mayBeDone = once && status !== TOO_MANY_REQUESTS && status !== 404
    throw new MillraceError(
      mayBeDone ? 'commit_ambiguous' : 'catalog_unreachable',
      `${what}: ${status}${answer.reason}${isWhole ? '' : ' (not an answer of an Iceberg REST catalog)'}`,
      { uri, status },
    )
  }
}

function isStale({ status }: RestAnswer): boolean {
  return status === UNAUTHORIZED || status === TOKEN_EXPIRED
}

function isUnreachable(error: unknown): error is MillraceError {
  return isMillraceError(error, 'catalog_unreachable')
}

function accepted(request: RestRequest, answer: RestAnswer): RestAnswer {
  if (isStale(answer) || answer.status === 403) throw refused(request, answer)
  return answer
}

/** What a caller throws for an answer that it has no use for. */
export function refused(request: RestRequest, answer: RestAnswer): MillraceError {
  return new MillraceError(
    'catalog_refused',
    `the catalog refuses ${request.method} ${request.path}: ${answer.status}${answer.reason}`,
    { status: answer.status },
  )
}

/** ` type: message` of an error body: Iceberg's ErrorModel, or OAuth2's. */
function reasonOf(body: unknown, text: string): string {
  const holder = body as { error?: unknown; error_description?: unknown } | undefined
  const error = holder?.error as { type?: unknown; message?: unknown } | string | undefined
  if (typeof error === 'object' && error !== null) return ` ${error.type}: ${error.message}`
  if (typeof error === 'string') return ` ${error}: ${holder!.error_description ?? ''}`
  return body === undefined && text !== '' ? ` ${text.replace(/\s+/g, ' ').slice(0, 200)}` : ''
}

/** Undefined where the text is no JSON: half an answer, or a page of a proxy. */
function jsonOf(text: string): unknown {
  try {
    return text === '' ? undefined : parseJson(text)
  } catch {
    return undefined
  }
}

function networkCode(error: unknown): string {
  const cause = (error as { cause?: { code?: unknown; message?: unknown } }).cause
  return String(cause?.code ?? cause?.message ?? (error as Error).name)
}
