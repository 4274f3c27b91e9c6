// The sessions of a worker, and the ways to find some of them: by claim on a client id (take-over), by
// credential (removed or changed) and by device (ordered to disconnect).
import type { Principal } from '../identity/identity.ts'
import type { Session } from './session.ts'

export class SessionIndex {
  /** Every connection, from accept to end. */
  readonly all = new Set<Session>()
  readonly byClaim = new Map<number, Session>()
  readonly #byCredential = new Map<string, Set<Session>>()
  readonly #byDevice = new Map<string, Set<Session>>()

  /** From here on the session is found by its principal. */
  addIdentified(session: Session, principal: Principal): void {
    if (principal.credentialId !== '') put(this.#byCredential, principal.credentialId, session)
    put(this.#byDevice, deviceKey(principal.tenant, principal.id), session)
  }

  /** False where it was removed before. */
  remove(session: Session): boolean {
    if (!this.all.delete(session)) return false
    const { principal } = session
    if (principal !== undefined) {
      take(this.#byCredential, principal.credentialId, session)
      take(this.#byDevice, deviceKey(principal.tenant, principal.id), session)
    }
    return true
  }

  /** A copy, because whoever asks means to end them. */
  ofCredential(id: string): Session[] {
    return [...(this.#byCredential.get(id) ?? [])]
  }

  ofDevice(tenant: string, device: string): Session[] {
    return [...(this.#byDevice.get(deviceKey(tenant, device)) ?? [])]
  }
}

const deviceKey = (tenant: string, device: string): string => `${tenant} ${device}`

function put(index: Map<string, Set<Session>>, key: string, session: Session): void {
  const held = index.get(key)
  if (held === undefined) index.set(key, new Set([session]))
  else held.add(session)
}

function take(index: Map<string, Set<Session>>, key: string, session: Session): void {
  const held = index.get(key)
  if (held?.delete(session) && held.size === 0) index.delete(key)
}
