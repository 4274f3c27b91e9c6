// The sessions of a worker, and the ways to find some of them: by claim on a client id (take-over), by
// credential (removed or changed) and by device (ordered to disconnect).
import type { Principal } from '../identity/identity.ts'
import type { Session } from './session.ts'

/** One session as itself: a set for each costs more than the rest of an idle connection's entries in the index. */
type Sessions = Session | Set<Session>

export class SessionIndex {
  /** Every connection, from accept to end. */
  readonly all = new Set<Session>()
  readonly byClaim = new Map<number, Session>()
  readonly #byCredential = new Map<string, Sessions>()
  /** By tenant, then by device. */
  readonly #byDevice = new Map<string, Map<string, Sessions>>()

  /** From here on the session is found by its principal. */
  addIdentified(session: Session, { tenant, id, credentialId }: Principal): void {
    if (credentialId !== '') put(this.#byCredential, credentialId, session)
    let devices = this.#byDevice.get(tenant)
    if (devices === undefined) {
      devices = new Map()
      this.#byDevice.set(tenant, devices)
    }
    put(devices, id, session)
  }

  /** False where it was removed before. */
  remove(session: Session): boolean {
    if (!this.all.delete(session)) return false
    const { principal } = session
    if (principal === undefined) return true
    take(this.#byCredential, principal.credentialId, session)
    const devices = this.#byDevice.get(principal.tenant)
    if (devices === undefined) return true
    take(devices, principal.id, session)
    if (devices.size === 0) this.#byDevice.delete(principal.tenant)
    return true
  }

  /** A copy, because whoever asks means to end them. */
  ofCredential(id: string): Session[] {
    return listOf(this.#byCredential.get(id))
  }

  ofDevice(tenant: string, device: string): Session[] {
    return listOf(this.#byDevice.get(tenant)?.get(device))
  }
}

function put(index: Map<string, Sessions>, key: string, session: Session): void {
  const held = index.get(key)
  if (held === undefined) index.set(key, session)
  else if (held instanceof Set) held.add(session)
  else index.set(key, new Set([held, session]))
}

function take(index: Map<string, Sessions>, key: string, session: Session): void {
  const held = index.get(key)
  const isLast = held instanceof Set ? held.delete(session) && held.size === 0 : held === session
  if (isLast) index.delete(key)
}

function listOf(held: Sessions | undefined): Session[] {
  if (held === undefined) return []
  return held instanceof Set ? [...held] : [held]
}
