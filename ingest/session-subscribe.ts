// SUBSCRIBE and UNSUBSCRIBE.
//
// The SUBACK waits until every worker of the process knows of the filters, so that no message published after
// it is missed, wherever its publisher is connected.

import { maySubscribe } from '../identity/identity.ts'
import { isValidFilter } from '../identity/topic-filter.ts'
import { C } from './counters.ts'
import { Delivery } from './delivery.ts'
import { SUBSCRIPTIONS_PER_CONNECTION_MAX } from './limits.ts'
import { LEVEL_5, REASON } from './mqtt-codes.ts'
import { writeSuback, writeUnsuback } from './mqtt-encode.ts'
import { decodeSubscribe, decodeUnsubscribe } from './mqtt-packets.ts'
import { CONTINUE } from './mqtt-parser.ts'
import { REFUSALS, Refusal } from './refusals.ts'
import { CONNECTED, type Session } from './session.ts'
import { OPTION_QOS } from './subscriptions.ts'

const SHARED_PREFIX = '$share/'

/** Deals with a SUBSCRIBE; answers the parser. */
export function subscribe(session: Session, bytes: Uint8Array, start: number, end: number): number {
  const { ingest, level } = session
  const packet = decodeSubscribe(bytes, start, end, level)
  if (typeof packet === 'number') {
    ingest.count(C.malformedPackets)
    return session.end(packet, 'SUBSCRIBE is malformed', true)
  }
  if (packet.properties.subscriptionIdentifier !== undefined) {
    ingest.countRefusal(Refusal.subscriptionIdentifier)
    return session.end(
      REFUSALS[Refusal.subscriptionIdentifier]!.reason,
      'subscription identifiers are not supported',
      true,
    )
  }
  if (packet.subscriptions.length > SUBSCRIPTIONS_PER_CONNECTION_MAX)
    return session.end(
      REASON.quotaExceeded,
      `more than ${SUBSCRIPTIONS_PER_CONNECTION_MAX} filters in one SUBSCRIBE`,
      true,
    )
  const reasons: number[] = []
  let missing = 1
  const known = () => {
    if (--missing > 0 || session.state !== CONNECTED) return
    session.sendWith((into, at) => writeSuback(into, at, level, packet.packetId, reasons))
  }
  for (const { filter, options } of packet.subscriptions) {
    if (filter.startsWith(SHARED_PREFIX)) {
      ingest.countRefusal(Refusal.sharedSubscription)
      const { reason, situation } = REFUSALS[Refusal.sharedSubscription]!
      if (level !== LEVEL_5) return session.end(reason, `${situation} is not supported`, true)
      reasons.push(reason)
      continue
    }
    const refusal = refusalOf(session, filter)
    if (refusal !== 0) {
      reasons.push(refusal)
      continue
    }
    const granted = Math.min(options & OPTION_QOS, 1)
    missing++
    add(session, filter, (options & ~OPTION_QOS) | granted, known)
    reasons.push(granted)
  }
  known()
  return CONTINUE
}

/** The reason code a filter is refused with, or 0. */
function refusalOf(session: Session, filter: string): number {
  if (!isValidFilter(filter)) return REASON.topicFilterInvalid
  if (!maySubscribe(session.principal!, filter)) {
    session.ingest.countRefusal(Refusal.notAuthorized)
    session.recordPresence('refusal', REASON.notAuthorized, `subscribe ${filter}`)
    return REASON.notAuthorized
  }
  const held = session.delivery?.filters
  const isFull = held !== undefined && held.size >= SUBSCRIPTIONS_PER_CONNECTION_MAX && !held.has(filter)
  return isFull ? REASON.quotaExceeded : 0
}

function add(session: Session, filter: string, options: number, known: () => void): void {
  const { ingest } = session
  const tenant = session.principal!.tenant
  session.delivery ??= new Delivery(session)
  session.delivery.filters.set(filter, options)
  if (ingest.tenant(tenant).local.subscribe(filter, session, options)) {
    ingest.values[C.subscriptions]!++
    ingest.hub.addInterest(tenant, filter, known)
  } else known()
}

/** Deals with an UNSUBSCRIBE; answers the parser. */
export function unsubscribe(session: Session, bytes: Uint8Array, start: number, end: number): number {
  const { ingest, level } = session
  const packet = decodeUnsubscribe(bytes, start, end, level)
  if (typeof packet === 'number') {
    ingest.count(C.malformedPackets)
    return session.end(packet, 'UNSUBSCRIBE is malformed', true)
  }
  if (packet.filters.length > SUBSCRIPTIONS_PER_CONNECTION_MAX)
    return session.end(
      REASON.quotaExceeded,
      `more than ${SUBSCRIPTIONS_PER_CONNECTION_MAX} filters in one UNSUBSCRIBE`,
      true,
    )
  const reasons = packet.filters.map((filter) => {
    const isHeld = session.delivery?.filters.delete(filter) ?? false
    if (isHeld) remove(session, filter)
    return isHeld ? REASON.success : REASON.noSubscriptionExisted
  })
  session.sendWith((into, at) => writeUnsuback(into, at, level, packet.packetId, reasons))
  return CONTINUE
}

/** Gives up all filters of a session that ends. */
export function unsubscribeAll(session: Session): void {
  const filters = session.delivery?.filters
  if (filters === undefined) return
  for (const filter of filters.keys()) remove(session, filter)
  filters.clear()
}

function remove(session: Session, filter: string): void {
  const { ingest } = session
  const tenant = session.principal!.tenant
  if (!ingest.tenant(tenant).local.unsubscribe(filter, session)) return
  ingest.values[C.subscriptions]!--
  ingest.hub.removeInterest(tenant, filter)
}
