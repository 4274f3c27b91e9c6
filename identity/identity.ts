// Who a session is, and what it may do.
//
// A Principal comes from an IdentityProvider once per CONNECT; everything after that asks the principal.
// Two kinds: a device speaks for itself, a gateway for the devices its patterns name.
import { isValidDeviceId } from '../schemas/names.ts'
import { filterCovers } from './topic-filter.ts'

export interface Principal {
  readonly tenant: string
  readonly kind: 'device' | 'gateway'
  /** Device id, or the gateway's own name (a device id too: its presence is recorded under it). */
  readonly id: string
  /** Devices that share one contract; empty where the credential names none. */
  readonly family: string
  /** Empty for anonymous sessions. */
  readonly credentialId: string
  /** Raised by whoever moves the device to another owner; part of every presence record. */
  readonly ownershipEpoch: number
  /** A gateway's devices: ids, or patterns in which `*` stands for any run of characters. */
  readonly devices: readonly string[]
  /** Filters of ordinary topics it may publish to; undefined: the default of its tenant. */
  readonly publish: readonly string[] | undefined
  /** Filters it may subscribe to; undefined: the default of its tenant. */
  readonly subscribe: readonly string[] | undefined
}

export const IdentityRefusal = {
  /** Unknown user or wrong secret: 0x86, or code 4 in 3.1.1. */
  badCredentials: 1,
  /** No credentials where some are needed: 0x87, or code 5. */
  notAuthorised: 2,
  /** Anonymous, and the client id is no device id: 0x85, or code 2. */
  badClientId: 3,
  /** Too many secrets wait to be verified: 0x89, or code 3. */
  busy: 4,
} as const
export type IdentityRefusal = (typeof IdentityRefusal)[keyof typeof IdentityRefusal]

export interface IdentityRequest {
  readonly clientId: string
  readonly username: string | undefined
  readonly password: Uint8Array | undefined
  /** Whether the peer is this machine. */
  readonly isLoopback: boolean
}

/** Fills each worker's cache of principals from somewhere; ingest never asks over a network per CONNECT. */
export interface IdentityProvider {
  /** A principal, or the reason there is none. Answers at once where no secret has to be hashed. */
  authenticate(request: IdentityRequest): Principal | IdentityRefusal | Promise<Principal | IdentityRefusal>
  /** Called with the id of each credential that was removed or changed; its sessions must end. */
  onRevoked: ((credentialId: string) => void) | undefined
  /** Looks for changes now rather than at the next interval. */
  refresh(): Promise<void>
  close(): void
}

export const ANONYMOUS_TENANT = 'default'

// Shared: there is a principal for each client.
const NO_DEVICES: readonly string[] = []
const ALL_FILTERS: readonly string[] = ['#']

/** The identity of a client without credentials: its client id is its device id. */
export function anonymousPrincipal(clientId: string): Principal | IdentityRefusal {
  if (!isValidDeviceId(clientId)) return IdentityRefusal.badClientId
  return {
    tenant: ANONYMOUS_TENANT,
    kind: 'device',
    id: clientId,
    family: '',
    credentialId: '',
    ownershipEpoch: 0,
    devices: NO_DEVICES,
    publish: undefined,
    subscribe: ALL_FILTERS,
  }
}

/** Whether the principal may publish telemetry of `device`. */
export function speaksFor(principal: Principal, device: string): boolean {
  if (principal.kind === 'device') return principal.id === device
  for (const pattern of principal.devices) if (matchesPattern(pattern, device)) return true
  return false
}

/** Whether it may publish to the ordinary topic: any but `$…`, unless the credential lists filters. */
export function mayPublish(principal: Principal, topic: string): boolean {
  if (topic.startsWith('$')) return false
  return principal.publish === undefined || principal.publish.some((filter) => filterCovers(filter, topic))
}

/**
 * Whether it may subscribe to `filter`. Without filters in the credential: its own devices' topics, and every
 * ordinary topic of its tenant. A filter that also reaches other devices (`#`, `+/…`, `devices/#`) is refused.
 */
export function maySubscribe(principal: Principal, filter: string): boolean {
  if (principal.subscribe !== undefined)
    return principal.subscribe.some((allowed) => filterCovers(allowed, filter))
  const levels = filter.split('/')
  const first = levels[0]!
  if (first === '#' || first === '+' || first.startsWith('$')) return false
  if (first !== 'devices') return true
  const device = levels[1]
  return device !== undefined && isValidDeviceId(device) && speaksFor(principal, device)
}

const STAR = 0x2a

/** Whether `text` fits `pattern`, where `*` stands for any run of characters; linear in time but for backtracking to the last `*`. */
export function matchesPattern(pattern: string, text: string): boolean {
  let p = 0
  let t = 0
  let star = -1
  let resume = 0
  while (t < text.length) {
    const code = p < pattern.length ? pattern.charCodeAt(p) : 0
    if (code === STAR) {
      star = p++
      resume = t
    } else if (p < pattern.length && code === text.charCodeAt(t)) {
      p++
      t++
    } else if (star >= 0) {
      p = star + 1
      t = ++resume
    } else return false
  }
  while (p < pattern.length && pattern.charCodeAt(p) === STAR) p++
  return p === pattern.length
}
