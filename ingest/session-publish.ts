// PUBLISH: the hot path of ingest above the parser, and the refusals beside it.
//
// A telemetry message that is accepted allocates nothing here: the topic is compared with the one before, the
// payload is validated and copied by admission, and the acknowledgement is a few numbers in a ring or queue.
import { type AdmissionTarget, REFUSED } from './admission.ts'
import { OVER_BUDGET } from './batch-accumulator.ts'
import { C } from './counters.ts'
import { AUDITS_PER_SESSION_MAX, TOPIC_ALIAS_MAX } from './limits.ts'
import {
  FLAG_DUP,
  FLAG_QOS,
  FLAG_QOS_1,
  FLAG_QOS_2,
  FLAG_RETAIN,
  FLAG_SAME_TOPIC,
  LEVEL_5,
  REASON,
} from './mqtt-codes.ts'
import { decodePublishProperties, onlyTopicAlias } from './mqtt-packets.ts'
import {
  AHEAD_ENTRY,
  AHEAD_KNOWN_AS,
  AHEAD_START,
  CLOSE,
  CONTINUE,
  RUN_END,
  RUN_ENTRY,
  RUN_MAX,
  RUN_PACKET_ID,
  RUN_START,
} from './mqtt-parser.ts'
import { encodeProperties, type Properties } from './mqtt-properties.ts'
import type { TokenBucket } from './rate-limit.ts'
import { REFUSALS, Refusal } from './refusals.ts'
import type { Session } from './session.ts'
import type { Tenant } from './tenant.ts'
import { KIND_ORDINARY, KIND_REFUSED, KIND_TELEMETRY, TopicCache, TopicEntry } from './topic-cache.ts'

const NO_BYTES = new Uint8Array(0)
const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
const encoder = new TextEncoder()

/** Deals with a PUBLISH; answers the parser. Offsets as in PacketHandler.onPublish. */
export function publish(
  session: Session,
  bytes: Uint8Array,
  flags: number,
  topicStart: number,
  topicEnd: number,
  packetId: number,
  propertiesStart: number,
  propertiesEnd: number,
  payloadStart: number,
  payloadEnd: number,
  knownAs: number,
): number {
  const { ingest } = session
  if ((flags & (FLAG_QOS_2 | FLAG_RETAIN)) !== 0) return refuseFlags(session, flags)
  if ((ingest.flow.isUnderPressure || session.slowedBy !== undefined) && session.mustWait(flags))
    return session.hold()
  let entry: TopicEntry | undefined
  let tenant: Tenant
  let target: AdmissionTarget
  let keys = bytes
  let keyStart = topicStart
  let keyEnd: number
  const { cache } = session
  const hasAlias = propertiesStart !== propertiesEnd || topicStart === topicEnd
  let row = 0
  if (cache !== undefined && !hasAlias)
    row = knownAs !== 0 ? knownAs : cache.findPlain(bytes, topicStart, topicEnd, ingest.topics.version)
  if (cache !== undefined && row !== 0) {
    tenant = cache.tenant
    target = ingest.admission.targets[cache.targetOf(row)]!
    keyStart += cache.keyStartOf(row)
    keyEnd = keyStart + cache.keyBytesOf(row)
  } else {
    entry = session.topic
    if (hasAlias) {
      entry = topicOfAlias(session, bytes, topicStart, topicEnd, propertiesStart, propertiesEnd)
      if (entry === undefined) return CLOSE
    } else if (
      entry === undefined ||
      // Where there is a table, the message before may have needed no entry.
      (((flags & FLAG_SAME_TOPIC) === 0 || cache !== undefined) && !entry.equals(bytes, topicStart, topicEnd))
    )
      entry = lookUp(session, bytes, topicStart, topicEnd)
    if (entry.version !== ingest.topics.version) ingest.resolve(session.principal!, entry)
    session.topic = entry

    if (entry.kind !== KIND_TELEMETRY) {
      if (entry.kind === KIND_REFUSED) return refuse(session, entry.refusal, packetId, entry.detail)
      return publishOrdinary(
        session,
        entry,
        flags,
        packetId,
        bytes,
        propertiesStart,
        propertiesEnd,
        payloadStart,
        payloadEnd,
      )
    }
    entry.refreshSubscribers()
    if (entry.hasSubscribers && ingest.live.isFull(entry)) return session.hold()
    tenant = entry.tenant
    target = entry.target!
    // With an alias alone the packet has no topic.
    if (topicStart === topicEnd) {
      keys = entry.bytes
      keyStart = 0
    }
    keyEnd = keyStart + entry.keyEnd
    keyStart += entry.keyStart
  }
  if (tenant.isFull)
    return refuse(session, Refusal.quotaFull, packetId, 'the storage quota of the tenant is full')

  const ticket = ingest.admission.admit(target, keys, keyStart, keyEnd, bytes, payloadStart, payloadEnd)
  if (ticket <= 0) {
    if (ticket === REFUSED) {
      const device = decoder.decode(keys.subarray(keyStart, keyEnd))
      return refusePayload(session, tenant, target, device, entry, packetId, bytes, payloadStart, payloadEnd)
    }
    if (ticket === OVER_BUDGET) ingest.raisePressure()
    else session.heldFor = target.raw
    return session.hold()
  }
  session.published(ticket, packetId)
  ingest.ticketTaken(ticket)
  ingest.values[C.accepted]!++
  if (entry?.bucket !== undefined || tenant.bucket !== undefined) takeTokens(session, entry?.bucket, tenant)
  if (entry?.hasSubscribers)
    ingest.live.hold(
      ticket,
      entry,
      session,
      (flags & FLAG_QOS) >>> 1,
      forwarded(session, bytes, propertiesStart, propertiesEnd),
      bytes.slice(payloadStart, payloadEnd),
    )
  if (packetId === 0) {
    session.hasSentQos0 = true
    ingest.values[C.messagesInQos0]!++
    return CONTINUE
  }
  ingest.values[C.messagesInQos1]!++
  return session.pushAck(packetId, REASON.success, ticket, '')
}

/** Acknowledgements that the ring takes, where it is the ring that they go to. */
const ringRoom = ({ ring, isSingle }: Session): number => (ring === undefined || isSingle ? 0 : ring.room)

/**
 * How many PUBLISH packets `publishRun` would take after one that `publish` has just answered by CONTINUE; as
 * PacketHandler.runMax. Those that need more than validation, copy and acknowledgement come one by one.
 */
export function runMax(session: Session, flags: number): number {
  const { topic } = session
  // Where there is a table, the message before may have needed no entry.
  if (topic === undefined || session.cache !== undefined) return 0
  const { tenant } = topic
  if (!topic.isPlain || tenant.bucket !== undefined || tenant.isFull) return 0
  return (flags & FLAG_QOS) === 0 ? RUN_MAX : ringRoom(session)
}

/**
 * Deals with PUBLISH packets that differ from the one before in packet id and payload alone, as many as are accepted: what
 * `publish` finds out before and after is found out once for all of them. Parameters as in PacketHandler.onPublishRun.
 */
export function publishRun(
  session: Session,
  bytes: Uint8Array,
  topicStart: number,
  run: Int32Array,
  count: number,
): number {
  const { ingest } = session
  const { accumulator } = ingest
  const topic = session.topic!
  const target = topic.target!
  const keyStart = topicStart + topic.keyStart
  const keyEnd = topicStart + topic.keyEnd
  const isAcknowledged = run[RUN_PACKET_ID] !== 0
  const valid = ingest.admission.validOfRun(target, bytes, run, count)
  let taken = 0
  while (taken < valid) {
    const appended = accumulator.appendRun(target.raw, bytes, keyStart, keyEnd, run, taken, valid)
    if (appended <= 0) break
    const { ticket } = accumulator
    session.published(ticket, run[RUN_PACKET_ID]!)
    ingest.ticketTaken(ticket)
    // The one before is in the ring, so that the worker knows of this session.
    if (isAcknowledged) session.ring!.pushRun(run, taken, taken + appended, ticket)
    taken += appended
  }
  ingest.values[C.accepted]! += taken
  ingest.values[isAcknowledged ? C.messagesInQos1 : C.messagesInQos0]! += taken
  return taken
}

/** How many PUBLISH packets of topics in the table `publishKnownRun` would take next; as PacketHandler.knownRunMax. */
export function knownRunMax(session: Session, flags: number): number {
  const { ingest } = session
  const { tenant } = session.cache!
  if (ingest.flow.isUnderPressure || session.slowedBy !== undefined) return 0
  if (tenant.bucket !== undefined || tenant.isFull) return 0
  // Nothing of these flags is checked yet: DUP is for QoS 1.
  if (flags === 0) return RUN_MAX
  return (flags & ~FLAG_DUP) === FLAG_QOS_1 ? ringRoom(session) : 0
}

/** As `publishRun`, of packets of which each has a topic of its own in the table. Parameters as in PacketHandler.onKnownRun. */
export function publishKnownRun(
  session: Session,
  bytes: Uint8Array,
  ahead: Int32Array,
  run: Int32Array,
  count: number,
): number {
  const { ingest } = session
  const { admission } = ingest
  const cache = session.cache!
  const isAcknowledged = run[RUN_PACKET_ID] !== 0
  let taken = 0
  for (; taken < count; taken++) {
    const row = ahead[taken * AHEAD_ENTRY + AHEAD_KNOWN_AS]!
    const keyStart = ahead[taken * AHEAD_ENTRY + AHEAD_START]! + cache.keyStartOf(row)
    const keyEnd = keyStart + cache.keyBytesOf(row)
    const target = admission.targets[cache.targetOf(row)]!
    const at = taken * RUN_ENTRY
    const ticket = admission.admit(
      target,
      bytes,
      keyStart,
      keyEnd,
      bytes,
      run[at + RUN_START]!,
      run[at + RUN_END]!,
    )
    if (ticket <= 0) break
    const packetId = run[at + RUN_PACKET_ID]!
    if (ticket !== session.lastTicket) {
      session.published(ticket, packetId)
      ingest.ticketTaken(ticket)
    }
    if (isAcknowledged) session.ring!.push(packetId, REASON.success, ticket)
  }
  if (taken === 0) return 0
  if (isAcknowledged && !session.isAcking) ingest.addAcking(session)
  if (!isAcknowledged) session.hasSentQos0 = true
  ingest.values[C.accepted]! += taken
  ingest.values[isAcknowledged ? C.messagesInQos1 : C.messagesInQos0]! += taken
  return taken
}

/** The entry of a topic that is not the one before; makes the cache when there is a second topic. */
function lookUp(session: Session, bytes: Uint8Array, start: number, end: number): TopicEntry {
  const { ingest } = session
  const row = session.cache === undefined ? 0 : session.cache.find(bytes, start, end)
  let entry = row === 0 ? undefined : session.cache!.entryOf(row)
  if (entry === undefined) {
    const own = bytes.slice(start, end)
    entry = new TopicEntry(own, decoder.decode(own), ingest.tenant(session.principal!.tenant))
  }
  remember(session, entry, row)
  return entry
}

/** Puts what the topic means now into the cache. */
function remember(session: Session, entry: TopicEntry, row: number): void {
  const { ingest } = session
  const { version } = ingest.topics
  const first = session.topic
  if (session.cache === undefined) {
    if (first === undefined) return
    session.cache = new TopicCache(entry.tenant, version)
    remember(session, first, 0)
  }
  if (entry.version !== version) ingest.resolve(session.principal!, entry)
  entry.refreshSubscribers()
  session.cache.put(entry, row)
}

/** The topic of a PUBLISH with properties or without a topic; undefined where it ended the session. */
function topicOfAlias(
  session: Session,
  bytes: Uint8Array,
  topicStart: number,
  topicEnd: number,
  propertiesStart: number,
  propertiesEnd: number,
): TopicEntry | undefined {
  let alias = onlyTopicAlias(bytes, propertiesStart, propertiesEnd)
  if (alias < 0) {
    const properties = decodePublishProperties(bytes, propertiesStart, propertiesEnd)
    if (typeof properties === 'number') {
      session.ingest.count(C.malformedPackets)
      session.end(properties, 'properties of PUBLISH are malformed', true)
      return undefined
    }
    alias = properties.topicAlias ?? 0
  }
  if (alias > TOPIC_ALIAS_MAX) {
    session.end(REASON.topicAliasInvalid, `topic alias is above ${TOPIC_ALIAS_MAX}`, true)
    return undefined
  }
  if (topicStart === topicEnd) {
    const entry = session.aliases?.[alias]
    if (entry === undefined)
      session.end(REASON.protocolError, 'neither a topic nor a known topic alias', true)
    return entry
  }
  const before = session.topic
  const entry = before?.equals(bytes, topicStart, topicEnd)
    ? before
    : lookUp(session, bytes, topicStart, topicEnd)
  if (alias !== 0) {
    session.aliases ??= new Array(TOPIC_ALIAS_MAX + 1)
    session.aliases[alias] = entry
  }
  return entry
}

/** Properties as subscribers get them: all that came but the alias, which is the publisher's own. */
function forwarded(session: Session, bytes: Uint8Array, start: number, end: number): Uint8Array {
  if (session.level !== LEVEL_5 || onlyTopicAlias(bytes, start, end) >= 0) return NO_BYTES
  const { topicAlias: _, ...properties } = decodePublishProperties(bytes, start, end) as Properties
  return encodeProperties(properties)
}

/** Takes a message off the device's and the tenant's rate; what is above it slows this connection. */
function takeTokens(session: Session, bucket: TokenBucket | undefined, tenant: Tenant): void {
  const { ingest } = session
  const tenantBucket = tenant.bucket
  const debt = bucket === undefined ? 0 : bucket.take(ingest.now)
  const tenantDebt = tenantBucket === undefined ? 0 : tenantBucket.take(ingest.now)
  if (debt === 0 && tenantDebt === 0) return
  ingest.flow.slow(session, debt >= tenantDebt ? bucket! : tenantBucket!)
}

/** An ordinary topic: handed to whoever is subscribed now, on any worker, then acknowledged. Nothing is stored. */
function publishOrdinary(
  session: Session,
  entry: TopicEntry,
  flags: number,
  packetId: number,
  bytes: Uint8Array,
  propertiesStart: number,
  propertiesEnd: number,
  payloadStart: number,
  payloadEnd: number,
): number {
  const { ingest } = session
  entry.refreshSubscribers()
  if (entry.hasSubscribers && ingest.live.isFull(entry)) return session.hold()
  ingest.values[C.ordinary]!++
  if (entry.tenant.bucket !== undefined) takeTokens(session, entry.bucket, entry.tenant)
  if (entry.hasSubscribers)
    ingest.live.deliver(
      entry,
      session,
      (flags & FLAG_QOS) >>> 1,
      forwarded(session, bytes, propertiesStart, propertiesEnd),
      bytes.subarray(payloadStart, payloadEnd),
    )
  if (packetId === 0) {
    session.hasSentQos0 = true
    ingest.values[C.messagesInQos0]!++
    return CONTINUE
  }
  ingest.values[C.messagesInQos1]!++
  const reason =
    entry.hasSubscribers || session.level !== LEVEL_5 ? REASON.success : REASON.noMatchingSubscribers
  return session.pushAck(packetId, reason, 0, '')
}

function refusePayload(
  session: Session,
  tenant: Tenant,
  target: AdmissionTarget,
  device: string,
  entry: TopicEntry | undefined,
  packetId: number,
  bytes: Uint8Array,
  start: number,
  end: number,
): number {
  const { ingest } = session
  const refusal = ingest.admission.reject(target, device, bytes, start, end)
  if (refusal.sequence === OVER_BUDGET) {
    ingest.raisePressure()
    return session.hold()
  }
  ingest.countRefusal(Refusal.payloadInvalid)
  ingest.count(C.rejected)
  if (refusal.sequence === 0) ingest.count(C.rejectedNotKept)
  else session.published(refusal.sequence, packetId)
  if (entry?.bucket !== undefined || tenant.bucket !== undefined) takeTokens(session, entry?.bucket, tenant)
  ingest.count(packetId === 0 ? C.messagesInQos0 : C.messagesInQos1)
  if (packetId === 0) return CONTINUE
  if (session.level !== LEVEL_5) return session.pushAck(packetId, REASON.success, refusal.sequence, '')
  return session.pushAck(packetId, REASON.payloadFormatInvalid, refusal.sequence, refusal.text)
}

/** Answers as docs/refusals.md says for what is refused whatever its payload. */
function refuse(session: Session, refusal: Refusal, packetId: number, detail: string): number {
  const { ingest } = session
  const { reason, plain } = REFUSALS[refusal]!
  ingest.countRefusal(refusal)
  if (refusal !== Refusal.quotaFull && session.auditCount < AUDITS_PER_SESSION_MAX) {
    session.auditCount++
    session.recordPresence('refusal', reason, detail)
  }
  ingest.count(packetId === 0 ? C.messagesInQos0 : C.messagesInQos1)
  if (packetId === 0) return CONTINUE
  if (session.level === LEVEL_5) return session.pushAck(packetId, reason, 0, detail)
  return plain === 'close' ? session.end(reason, detail, true) : session.pushAck(packetId, 0, 0, '')
}

function refuseFlags(session: Session, flags: number): number {
  const refusal = (flags & FLAG_QOS_2) !== 0 ? Refusal.qos2 : Refusal.retain
  session.ingest.countRefusal(refusal)
  const { reason, situation } = REFUSALS[refusal]!
  return session.end(reason, `${situation} is not supported`, true)
}

/** Publishes the will of a session that ends other than by Normal disconnection, by the rules of any message of its. */
export function publishWill(session: Session): void {
  const { will, ingest, principal } = session
  if (will === undefined || principal === undefined) return
  session.will = undefined
  const entry = new TopicEntry(encoder.encode(will.topic), will.topic, ingest.tenant(principal.tenant))
  ingest.resolve(principal, entry)
  entry.refreshSubscribers()
  const { willDelayInterval: _, ...properties } = will.properties
  if (entry.kind === KIND_ORDINARY) {
    if (entry.hasSubscribers)
      ingest.live.deliver(entry, session, will.qos, encodeProperties(properties), will.payload)
    // Sessions end outside of reads too.
    ingest.endRead()
    return
  }
  if (entry.kind === KIND_REFUSED || entry.tenant.isFull) {
    ingest.countRefusal(entry.kind === KIND_REFUSED ? entry.refusal : Refusal.quotaFull)
    session.recordPresence('refusal', REASON.notAuthorized, `will: ${entry.detail}`)
    return
  }
  const { payload } = will
  const { bytes: topic, keyStart, keyEnd } = entry
  const target = entry.target!
  const ticket = ingest.admission.admit(target, topic, keyStart, keyEnd, payload, 0, payload.length)
  if (ticket > 0) {
    session.lastTicket = ticket
    ingest.count(C.accepted)
    if (entry.hasSubscribers)
      ingest.live.hold(ticket, entry, session, will.qos, encodeProperties(properties), payload)
  } else if (ticket === REFUSED) {
    ingest.countRefusal(Refusal.payloadInvalid)
    ingest.count(C.rejected)
    const device = entry.name.slice(keyStart, keyEnd)
    const refusal = ingest.admission.reject(target, device, payload, 0, payload.length)
    if (refusal.sequence > 0) session.lastTicket = refusal.sequence
    else ingest.count(C.rejectedNotKept)
  } else {
    // The log is behind and the client is gone: the will waits with the worker.
    session.will = will
    ingest.holdWill(session)
  }
}
