// The identity provider that follows the compacted topic `millrace._credentials`.
//
//   key    credential id: the user name of CONNECT
//   value  JSON of a Credential; null: removed
//
// Whoever may write the topic (the credentials file, later the registry) decides; each worker holds the whole
// of it in memory and looks for more every quarter of a second, so that a removed credential ends its sessions
// within one. Records that are no credential are counted and passed over: they must not lock everybody out.

import type { Log, TopicConfig } from '../log/log.ts'
import { RecordReader } from '../log/record-batch.ts'
import { CREDENTIALS_TOPIC } from '../schemas/names.ts'
import {
  anonymousPrincipal,
  type IdentityProvider,
  IdentityRefusal,
  type IdentityRequest,
  type Principal,
} from './identity.ts'
import { parseHash, SecretVerifier } from './identity-secret.ts'

/** What one record of the topic says. */
export interface Credential {
  /** User name of CONNECT; the key of the record. */
  id: string
  tenant: string
  kind: 'device' | 'gateway'
  /** Device id, or the gateway's name. */
  name: string
  family: string
  /** Salted hash of the secret (identity-secret.ts). */
  hash: string
  epoch: number
  devices: string[]
  publish?: string[]
  subscribe?: string[]
  /** Who wrote it: a writer removes only what it wrote. */
  source: string
}

export const CREDENTIALS_TOPIC_CONFIG: TopicConfig = {
  partitions: 1,
  cleanup: 'compact',
  retentionAgeMs: Number.POSITIVE_INFINITY,
  retentionBytes: Number.POSITIVE_INFINITY,
  backlogBytesMax: Number.POSITIVE_INFINITY,
}

/** How often a worker looks for new records. */
export const REFRESH_INTERVAL_MS = 250
const READ_BYTES = 1 << 20

/** Reads the topic from an offset to its durable end; `apply` gets each key with its credential, undefined where it was removed. */
export class CredentialsReader {
  nextOffset = 0
  /** Records that could not be read as a credential. */
  invalidCount = 0
  readonly #log: Log
  readonly #decoder = new TextDecoder()

  constructor(log: Log) {
    this.#log = log
  }

  async readOn(apply: (id: string, credential: Credential | undefined) => void): Promise<void> {
    const reader = new RecordReader()
    const { start, end } = await this.#log.range(CREDENTIALS_TOPIC, 0)
    if (this.nextOffset < start) this.nextOffset = start
    while (this.nextOffset < end) {
      const result = await this.#log.read(CREDENTIALS_TOPIC, 0, this.nextOffset, READ_BYTES)
      if (result.nextOffset === this.nextOffset) return
      reader.reset(result.batches)
      while (reader.next()) {
        // The first batch may begin before the offset asked for.
        if (reader.offset < this.nextOffset) continue
        const id = this.#text(reader.bytes, reader.keyStart, reader.keyEnd)
        if (reader.valueStart < 0) apply(id, undefined)
        else {
          const credential = parseCredential(id, this.#text(reader.bytes, reader.valueStart, reader.valueEnd))
          if (credential === undefined) this.invalidCount++
          else apply(id, credential)
        }
      }
      this.nextOffset = result.nextOffset
    }
  }

  #text(bytes: Uint8Array, start: number, end: number): string {
    // A copy, because decoders do not take views of shared memory.
    return start < 0 ? '' : this.#decoder.decode(bytes.slice(start, end))
  }
}

function parseCredential(id: string, text: string): Credential | undefined {
  try {
    const value = JSON.parse(text) as Credential
    const isStrings = (list: unknown) => Array.isArray(list) && list.every((item) => typeof item === 'string')
    if (typeof value !== 'object' || value === null || value.id !== id) return undefined
    if (typeof value.tenant !== 'string' || typeof value.name !== 'string') return undefined
    if (value.kind !== 'device' && value.kind !== 'gateway') return undefined
    if (typeof value.hash !== 'string' || parseHash(value.hash) === undefined) return undefined
    if (typeof value.family !== 'string' || !Number.isSafeInteger(value.epoch)) return undefined
    if (!isStrings(value.devices)) return undefined
    if (value.publish !== undefined && !isStrings(value.publish)) return undefined
    if (value.subscribe !== undefined && !isStrings(value.subscribe)) return undefined
    return value
  } catch {
    return undefined
  }
}

interface Held {
  principal: Principal
  hash: string
  text: string
}

export class TopicIdentity implements IdentityProvider {
  onRevoked: ((credentialId: string) => void) | undefined
  readonly verifier = new SecretVerifier()
  readonly #allowAnonymous: boolean
  readonly #reader: CredentialsReader
  readonly #held = new Map<string, Held>()
  #refreshing: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined
  #isClosed = false

  private constructor(log: Log, allowAnonymous: boolean) {
    this.#reader = new CredentialsReader(log)
    this.#allowAnonymous = allowAnonymous
  }

  /** Makes the topic where there is none, reads it, and goes on following it until `close`. */
  static async open(
    log: Log,
    options: { allowAnonymous: boolean; onError: (error: unknown) => void },
  ): Promise<TopicIdentity> {
    await log.createTopic(CREDENTIALS_TOPIC, CREDENTIALS_TOPIC_CONFIG)
    const identity = new TopicIdentity(log, options.allowAnonymous)
    await identity.refresh()
    identity.#timer = setInterval(() => {
      identity.refresh().catch((error: unknown) => {
        if (!identity.#isClosed) options.onError(error)
      })
    }, REFRESH_INTERVAL_MS)
    identity.#timer.unref()
    return identity
  }

  get credentialCount(): number {
    return this.#held.size
  }

  authenticate(request: IdentityRequest): Principal | IdentityRefusal | Promise<Principal | IdentityRefusal> {
    if (request.username === undefined) {
      if (!this.#allowAnonymous || !request.isLoopback) return IdentityRefusal.notAuthorised
      return anonymousPrincipal(request.clientId)
    }
    const held = this.#held.get(request.username)
    const verified = this.verifier.verify(held?.hash, request.password ?? new Uint8Array(0))
    if (verified === undefined) return IdentityRefusal.busy
    if (typeof verified === 'boolean') return held!.principal
    return verified.then((matches) => {
      // The credential may have been removed or changed while its secret was hashed.
      const current = this.#held.get(request.username!)
      return matches && current !== undefined && current.hash === held?.hash
        ? current.principal
        : IdentityRefusal.badCredentials
    })
  }

  refresh(): Promise<void> {
    this.#refreshing ??= this.#reader
      .readOn((id, credential) => this.#apply(id, credential))
      .finally(() => {
        this.#refreshing = undefined
      })
    return this.#refreshing
  }

  close(): void {
    this.#isClosed = true
    clearInterval(this.#timer)
  }

  #apply(id: string, credential: Credential | undefined): void {
    const before = this.#held.get(id)
    const text = credential === undefined ? '' : JSON.stringify(credential)
    if (before?.text === text) return
    if (before !== undefined) this.verifier.forget(before.hash)
    if (credential === undefined) this.#held.delete(id)
    else this.#held.set(id, { principal: principalOf(credential), hash: credential.hash, text })
    if (before !== undefined) this.onRevoked?.(id)
  }
}

function principalOf(credential: Credential): Principal {
  return {
    tenant: credential.tenant,
    kind: credential.kind,
    id: credential.name,
    family: credential.family,
    credentialId: credential.id,
    ownershipEpoch: credential.epoch,
    devices: credential.devices,
    publish: credential.publish,
    subscribe: credential.subscribe,
  }
}
