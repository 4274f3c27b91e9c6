// One MQTT connection: its state and its life, from the first byte to the release of its client id.
//
//   NEW ── CONNECT ──► WAITING ── identity, client id ──► CONNECTED ──► LEAVING ──► ENDED
//                    (secret hashed, old session gives way)    (taken over: records become durable)
//
// What the packets mean is in session-connect.ts, session-publish.ts and session-subscribe.ts; here is what
// they share: sending, acknowledging, pausing, ending. One class for all connections of a worker, with few
// fields, because most connections are idle: rings, caches and delivery state are made when first needed.

import type { Principal } from '../identity/identity.ts'
import { AckRing } from './ack-ring.ts'
import type { PartitionHandle } from './batch-accumulator.ts'
import { C } from './counters.ts'
import type { Delivery } from './delivery.ts'
import type { Ingest } from './ingest.ts'
import { CONNECT_TIMEOUT_MS, IN_FLIGHT_V4_MAX, OUTPUT_BYTES_MAX } from './limits.ts'
import { FLAG_QOS, LEVEL_5, REASON } from './mqtt-codes.ts'
import { PINGRESP_BYTES, writeDisconnect, writePubackDetailed } from './mqtt-encode.ts'
import { decodeDisconnect, type Will } from './mqtt-packets.ts'
import { CLOSE, CONTINUE, HOLD, MALFORMED_MESSAGES, MqttParser, type PacketHandler } from './mqtt-parser.ts'
import type { Properties } from './mqtt-properties.ts'
import type { Newcomer } from './newcomers.ts'
import type { PresenceEvent } from './presence.ts'
import type { TokenBucket } from './rate-limit.ts'
import { connect } from './session-connect.ts'
import { knownRunMax, publish, publishKnownRun, publishRun, publishWill, runMax } from './session-publish.ts'
import { subscribe, unsubscribe, unsubscribeAll } from './session-subscribe.ts'
import type { SingleAcked } from './single-acks.ts'
import type { TopicCache, TopicEntry } from './topic-cache.ts'
import { HEADROOM, type Transport, type TransportUser } from './transport.ts'
import { WS_GOING_AWAY, WS_NORMAL } from './websocket.ts'

export const NEW = 0
export const WAITING = 1
export const CONNECTED = 2
export const LEAVING = 3
export const ENDED = 4

/** Bytes of the largest control packet that we put together for one client, Reason String included. */
const CONTROL_BYTES_MAX = 2048

export class Session implements PacketHandler, TransportUser, SingleAcked, Newcomer {
  readonly ingest: Ingest
  readonly transport: Transport
  readonly parser: MqttParser
  state = NEW
  level = 0
  /** `Ingest.sweepCount` at the last byte read; when it was read first, before there is one. */
  lastActivity: number
  /** Silence that ends the session, 0: none. */
  silenceMsMax = CONNECT_TIMEOUT_MS

  // Identity, from CONNECT on
  principal: Principal | undefined
  clientId = ''
  /** What the process knows the client id by. */
  clientKey = ''
  claim = 0
  /** Session epoch of presence records; 0 until the client id is ours. */
  epoch = 0
  will: Will | undefined
  /** Largest packet that the client takes. */
  packetBytesMaxOut = Number.POSITIVE_INFINITY
  /** Whether it wants Reason Strings. */
  wantsReasons = true
  receiveMaximumOut = 0

  // Publishing
  ring: AckRing | undefined
  /** Whether it is in the worker's list of sessions whose acknowledgements wait. */
  isAcking = false
  /** Whether it has had one message in flight at a time lately: then its acknowledgement waits in the worker's SingleAcks. */
  isSingle = true
  /** Ticket of the last one that waited there; it still does where that is not durable. */
  singleTicket = 0
  singleAt = 0
  /** Ticket of the newest record it published. */
  lastTicket = 0
  /** The topic of the PUBLISH before; once there is a cache, the last one that needed an entry. */
  topic: TopicEntry | undefined
  cache: TopicCache | undefined
  aliases: (TopicEntry | undefined)[] | undefined
  hasSentQos0 = false
  /** PINGREQs of this read that are not answered yet. */
  pingCount = 0
  /** Set while it is above its rate. */
  slowedBy: TokenBucket | undefined
  /** Whether its reads wait for the log, another worker or its rate. */
  isHeld = false
  /** The partition whose backlog it waits for, when it does. */
  heldFor: PartitionHandle | undefined
  /** Refusals written as presence records, which are bounded. */
  auditCount = 0

  delivery: Delivery | undefined

  constructor(ingest: Ingest, transport: Transport) {
    this.ingest = ingest
    this.transport = transport
    this.parser = new MqttParser(this, ingest.options.packetBytesMax)
    this.lastActivity = ingest.sweepCount
  }

  // Reading

  onFirstRead(): void {
    this.lastActivity = this.ingest.sweepCount
  }

  beforeRead(byteLength: number): void {
    const { ingest } = this
    this.lastActivity = ingest.sweepCount
    ingest.beginRead(byteLength)
  }

  afterRead(): void {
    this.ingest.endRead()
    if (this.pingCount > 0) this.#answerPings()
    if (this.ring !== undefined) this.acknowledge(this.ingest.durableSequence)
    if (this.transport.queuedBytes > OUTPUT_BYTES_MAX && this.state !== ENDED)
      this.end(REASON.quotaExceeded, 'the client does not read what it is sent', true)
  }

  /** Stops reading until the worker calls `release`; the packet at hand is kept by the parser. */
  hold(): number {
    if (!this.isHeld) {
      this.isHeld = true
      this.transport.pause()
      this.ingest.flow.addHeld(this)
    }
    return HOLD
  }

  /** Reads on after `hold`, first what the parser kept. Silence is counted from now. */
  release(): void {
    this.isHeld = false
    this.heldFor = undefined
    if (this.state === ENDED || this.state === LEAVING) return
    this.lastActivity = this.ingest.sweepCount
    this.ingest.beginRead(0)
    // Others may have filled the memory meanwhile: then it is held again.
    if (this.isHeld) return
    this.transport.resume()
    this.parser.resume()
    this.afterRead()
  }

  /** Whether this PUBLISH has to wait: for the log (3.1.1 and QoS 0 only, MQTT 5 keeps to its Receive Maximum) or for its rate. */
  mustWait(flags: number): boolean {
    if (this.level === LEVEL_5 && (flags & FLAG_QOS) !== 0) return false
    return this.ingest.flow.isUnderPressure || this.slowedBy !== undefined
  }

  // Packets

  onConnect(bytes: Uint8Array, start: number, end: number): number {
    return connect(this, bytes, start, end)
  }

  get looksAhead(): boolean {
    return this.cache !== undefined
  }

  onTopicsAhead(bytes: Uint8Array, ahead: Int32Array, count: number): void {
    this.cache!.lookAhead(bytes, ahead, count, this.ingest.topics.version)
  }

  onPublish(
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
    return publish(
      this,
      bytes,
      flags,
      topicStart,
      topicEnd,
      packetId,
      propertiesStart,
      propertiesEnd,
      payloadStart,
      payloadEnd,
      knownAs,
    )
  }

  runMax(flags: number): number {
    return runMax(this, flags)
  }

  onPublishRun(bytes: Uint8Array, topicStart: number, run: Int32Array, count: number): number {
    return publishRun(this, bytes, topicStart, run, count)
  }

  knownRunMax(flags: number): number {
    return knownRunMax(this, flags)
  }

  onKnownRun(bytes: Uint8Array, ahead: Int32Array, run: Int32Array, count: number): number {
    return publishKnownRun(this, bytes, ahead, run, count)
  }

  onPuback(packetId: number): number {
    this.delivery?.acknowledged(packetId)
    return CONTINUE
  }

  onSubscribe(bytes: Uint8Array, start: number, end: number): number {
    return subscribe(this, bytes, start, end)
  }

  onUnsubscribe(bytes: Uint8Array, start: number, end: number): number {
    return unsubscribe(this, bytes, start, end)
  }

  onPing(): number {
    this.pingCount++
    return CONTINUE
  }

  onDisconnect(bytes: Uint8Array, start: number, end: number): number {
    const packet = decodeDisconnect(bytes, start, end)
    if (typeof packet === 'number') return this.end(packet, 'DISCONNECT is malformed', true)
    // Any other reason than Normal disconnection leaves the will in force (MQTT 5.0 section 3.14.4).
    if (packet.reason === REASON.success) this.will = undefined
    return this.end(packet.reason, 'DISCONNECT', false)
  }

  onMalformed(reason: number, message: number): void {
    this.ingest.count(C.malformedPackets)
    if (reason === REASON.packetTooLarge) this.ingest.count(C.refusedPacketTooLarge)
    this.end(reason, MALFORMED_MESSAGES[message]!, true)
  }

  // Sending

  /** One write for all pings of a read: a flood of them costs no more than what it is. */
  #answerPings(): void {
    while (this.pingCount > 0 && this.state !== ENDED) {
      const out = this.ingest.takeOut()
      let end = HEADROOM
      for (; this.pingCount > 0 && end + PINGRESP_BYTES.length <= out.length; this.pingCount--) {
        out.set(PINGRESP_BYTES, end)
        end += PINGRESP_BYTES.length
      }
      this.ingest.sent(this, out, end)
    }
  }

  /** Writes a packet that `write` puts into a buffer at a position, returning the position after it. */
  sendWith(write: (into: Uint8Array, at: number) => number): void {
    const out = this.ingest.takeOut()
    const end = write(out, HEADROOM)
    if (end > HEADROOM) this.ingest.sent(this, out, end)
  }

  /** Notes the ticket of the record that it published. */
  published(ticket: number, packetId: number): void {
    if (ticket === this.lastTicket) return
    if (packetId !== 0) this.ingest.accumulator.answered(this.lastTicket)
    this.lastTicket = ticket
  }

  /** Adds an acknowledgement to the ring; CLOSE where the client has more in flight than it may. */
  pushAck(packetId: number, reason: number, ticket: number, detail: string): number {
    if (this.isSingle && this.#pushSingle(packetId, reason, ticket)) return CONTINUE
    const ring = (this.ring ??= new AckRing(
      this.level === LEVEL_5 ? this.ingest.options.receiveMaximum : IN_FLIGHT_V4_MAX,
    ))
    const isTaken =
      detail === '' || !this.wantsReasons || this.packetBytesMaxOut < CONTROL_BYTES_MAX
        ? ring.push(packetId, reason, ticket)
        : ring.pushDetailed(packetId, reason, ticket, detail)
    if (!isTaken) {
      this.ingest.count(C.refusedInFlightExceeded)
      return this.end(
        REASON.receiveMaximumExceeded,
        'more QoS 1 messages in flight than Receive Maximum',
        true,
      )
    }
    if (!this.isAcking) this.ingest.addAcking(this)
    return CONTINUE
  }

  /** Notes the acknowledgement in the worker's SingleAcks, if it is the only one that waits and may be sent from there. */
  #pushSingle(packetId: number, reason: number, ticket: number): boolean {
    const { singleAcks } = this.ingest
    if (singleAcks === undefined) return false
    if (this.singleTicket > singleAcks.durable) {
      this.onIndirect()
      return false
    }
    if (reason !== REASON.success || ticket <= singleAcks.durable || this.slowedBy !== undefined) return false
    if (this.ring !== undefined && this.ring.count > 0) return false
    const fd = this.transport.directFd
    if (fd < 0) return false
    this.singleTicket = ticket
    singleAcks.push(this, fd, packetId, ticket, this.transport.isFramed)
    return true
  }

  /** What waits in SingleAcks goes the usual way from now on: by the ring. */
  onIndirect(): void {
    const { singleAcks } = this.ingest
    if (singleAcks === undefined || this.singleTicket <= singleAcks.durable) return
    const ticket = this.singleTicket
    this.singleTicket = 0
    this.isSingle = false
    const packetId = singleAcks.cancel(this)
    if (this.state !== ENDED) this.pushAck(packetId, REASON.success, ticket, '')
  }

  /** The kernel did not take what was sent from SingleAcks. */
  onUnsent(bytes: Uint8Array): void {
    this.transport.onUnsent(bytes)
  }

  /** Sends the acknowledgements that `durable` allows, in as few writes as they fit in. */
  acknowledge(durable: number): void {
    const ring = this.ring
    if (ring === undefined || ring.count === 0 || this.state === ENDED) return
    const { ingest } = this
    const limit = ingest.durableFor(this, durable)
    const heldBack = this.slowedBy === undefined ? 0 : this.slowedBy.debt(ingest.now)
    const before = ring.count
    while (ring.isReady(limit) && ring.count > heldBack) {
      const out = ingest.takeOut()
      const end = ring.drain(limit, heldBack, out, HEADROOM, writePubackDetailed)
      if (end === HEADROOM) break
      ingest.sent(this, out, end)
    }
    ingest.countAcknowledged(before - ring.count)
    if (before === 1 && ring.count === 0) this.isSingle = true
  }

  // Ending

  /**
   * Ends the session, once. `tell`: a 5.0 client gets a DISCONNECT with the reason. The will goes out unless it
   * was withdrawn. Returns CLOSE for handlers to pass on.
   */
  end(reason: number, detail: string, tell: boolean): number {
    if (this.state === ENDED) return CLOSE
    const wasConnected = this.state === CONNECTED || this.state === LEAVING
    if (wasConnected) publishWill(this)
    this.state = ENDED
    this.parser.close()
    if (tell && wasConnected && this.level === LEVEL_5) {
      const properties: Properties =
        this.packetBytesMaxOut < CONTROL_BYTES_MAX ? {} : { reasonString: detail }
      this.sendWith((into, at) => writeDisconnect(into, at, LEVEL_5, reason, properties))
    }
    this.transport.end(reason === REASON.serverShuttingDown ? WS_GOING_AWAY : WS_NORMAL)
    this.#leave(wasConnected, reason, detail)
    return CLOSE
  }

  /** The peer has gone. */
  onClosed(detail: string): void {
    if (this.state === ENDED) return
    const wasConnected = this.state === CONNECTED || this.state === LEAVING
    if (wasConnected) publishWill(this)
    this.state = ENDED
    this.parser.close()
    this.#leave(wasConnected, REASON.unspecifiedError, detail)
  }

  /** Another session claims the client id: reads nothing more, and ends when all it published is durable. */
  giveWay(): void {
    if (this.state === ENDED || this.state === LEAVING) return
    if (this.state !== CONNECTED) {
      this.end(REASON.sessionTakenOver, 'the client id was taken over', true)
      return
    }
    publishWill(this)
    this.state = LEAVING
    this.transport.pause()
    this.parser.close()
    this.ingest.count(C.takeovers)
    this.ingest.whenDurable(this, () => {
      this.slowedBy = undefined
      this.acknowledge(this.ingest.durableSequence)
      this.end(REASON.sessionTakenOver, 'the client id was taken over', true)
    })
  }

  #leave(wasConnected: boolean, reason: number, detail: string): void {
    const { ingest } = this
    unsubscribeAll(this)
    ingest.removeSession(this, wasConnected)
    this.delivery = undefined
    if (wasConnected) {
      ingest.count(C.disconnects)
      const event = reason === REASON.sessionTakenOver ? 'takeover' : 'disconnect'
      this.recordPresence(event, reason, detail)
    }
    if (this.claim === 0) return
    const { claim, clientKey } = this
    this.claim = 0
    // A session that follows must find everything of this one in the log before its own first record.
    ingest.whenDurable(this, () => ingest.releaseClaim(clientKey, claim))
  }

  recordPresence(event: PresenceEvent['event'], reason: number, detail: string): void {
    const { principal, ingest } = this
    if (principal === undefined) return
    ingest.presence.record(principal.tenant, principal.id, {
      event,
      time: ingest.now,
      clientId: this.clientId,
      kind: principal.kind,
      credential: principal.credentialId,
      family: principal.family,
      ownershipEpoch: principal.ownershipEpoch,
      sessionEpoch: this.epoch,
      protocol: this.level === LEVEL_5 ? '5.0' : '3.1.1',
      transport: this.transport.kind,
      peer: this.transport.peer,
      reason,
      detail,
    })
  }
}
