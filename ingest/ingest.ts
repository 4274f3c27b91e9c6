// One ingest worker, whole: sessions, topics, admission, batches, live delivery, identity. worker.ts runs it
// in a thread; tests run it in theirs.
//
// It holds what sessions share, and the three things that happen to many of them at once: a commit (onDurable:
// acknowledgements, live messages, then whoever waited), pressure (reads stop and go on), and the sweep
// (keep-alive, connect timeout), one timer for all connections.
import type { Socket } from 'node:net'
import type { IdentityProvider, Principal } from '../identity/identity.ts'
import { CredentialsFile } from '../identity/identity-file.ts'
import { TopicIdentity } from '../identity/identity-topic.ts'
import type { Log } from '../log/log.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'
import { CounterBlock } from '../std/counters.ts'
import type { MillraceError } from '../std/errors.ts'
import { PUBACK_BYTES } from './ack-ring.ts'
import { Admission, type AdmissionTarget } from './admission.ts'
import { BatchAccumulator } from './batch-accumulator.ts'
import { ACK_LATENCY_BOUNDS_MS, C, INGEST_COUNTERS, type IngestCounter } from './counters.ts'
import type { Delivery } from './delivery.ts'
import { type Granted, Hub } from './hub.ts'
import {
  DEVICE_BUCKETS_MAX,
  DRAIN_MS_MAX,
  LINGER_MS,
  SWEEP_INTERVAL_MS,
  WILLS_WAITING_MAX,
} from './limits.ts'
import { type ListenAddress, type Listener, listen, RECEIVE_BUFFER_BYTES } from './listener.ts'
import { Live } from './live.ts'
import { REASON } from './mqtt-codes.ts'
import { Newcomers } from './newcomers.ts'
import { INGEST_DEFAULTS, type IngestAddresses, type IngestConfig, type IngestOptions } from './options.ts'
import { PresenceLog } from './presence.ts'
import { TokenBucket } from './rate-limit.ts'
import { ReadFlow } from './read-flow.ts'
import type { Refusal } from './refusals.ts'
import { SendBatch } from './send-batch.ts'
import { CONNECTED, ENDED, NEW, Session } from './session.ts'
import { SessionIndex } from './session-index.ts'
import { publishWill } from './session-publish.ts'
import { SingleAcks } from './single-acks.ts'
import { isKnownNode } from './socket-handle.ts'
import { Tenant } from './tenant.ts'
import { KIND_ORDINARY, KIND_REFUSED, KIND_TELEMETRY, type TopicEntry } from './topic-cache.ts'
import { TopicTable } from './topics.ts'
import { HEADROOM, Transport } from './transport.ts'

const OUT_BYTES = 64 << 10
const SLAB_BYTES = 1 << 20
/** Bytes of rejected payloads that are kept of one device in one hour. */
const REJECTED_BYTES_PER_DEVICE = 1 << 20
const REJECTED_WINDOW_MS = 3_600_000
const FLUSH_TIMES = 1024
/** Milliseconds without a byte after which a connection gives memory back. */
const QUIET_MS = 5000
const RING_BROKEN = 'io_uring has failed: acknowledgements are sent one by one from now on'

export class Ingest {
  readonly options: IngestOptions
  readonly counters: CounterBlock<IngestCounter>
  /** `counters.values`; hot code adds to `values[C.name]`. */
  readonly values: Float64Array
  readonly topics: TopicTable
  readonly accumulator: BatchAccumulator
  readonly admission: Admission
  readonly hub: Hub
  readonly live: Live
  readonly presence: PresenceLog
  readonly flow: ReadFlow
  readonly newcomers = new Newcomers()
  identity!: IdentityProvider
  durableSequence = 0
  /** Sweeps since the start: the clock by which silence is counted. Nobody can set it, and it is a small integer. */
  sweepCount = 0

  readonly #onFailure: (error: unknown) => void
  readonly #onWarning: (error: unknown) => void
  readonly #tenants = new Map<string, Tenant>()
  readonly #deviceBuckets = new Map<string, TokenBucket>()
  readonly #sessions = new SessionIndex()
  readonly #listeners: Listener[] = []
  /** No Buffer: its `slice` is a view, and what is kept of a message must be a copy. */
  readonly #receiveBuffer = new Uint8Array(RECEIVE_BUFFER_BYTES)
  /** Of the clients with one message in flight. Undefined where the machine does not offer it, like the batch. */
  readonly singleAcks: SingleAcks<Session> | undefined
  /** Open while a commit is told to many clients. */
  readonly #batch: SendBatch | undefined
  #credentialsFile: CredentialsFile | undefined
  #out = Buffer.allocUnsafeSlow(OUT_BYTES)
  /** Sessions with acknowledgements that wait: the first so many. An array that is cut short grows anew at the next commit. */
  readonly #acking: (Session | undefined)[] = []
  #ackingCount = 0
  #writing: Delivery[] = []
  #ending: { session: Session; reason: number; detail: string }[] = []
  #untilDurable: { session: Session; run: () => void }[] = []
  #wills: Session[] = []
  /** When the first record of a flush came, by ticket modulo FLUSH_TIMES. */
  readonly #flushTimes = new Float64Array(FLUSH_TIMES)
  #newestTicket = 0
  #latencyMs = -1
  readonly #sweepTimer: NodeJS.Timeout
  #isDraining = false

  constructor(config: IngestConfig) {
    this.options = { ...INGEST_DEFAULTS, ...config.options }
    this.counters = new CounterBlock(INGEST_COUNTERS, config.counters)
    this.values = this.counters.values
    this.#onFailure = config.onFailure
    this.#onWarning = config.onWarning ?? (() => {})
    this.flow = new ReadFlow(this.values, () => {
      this.now = Date.now()
    })
    this.topics = new TopicTable(config.streams)
    this.accumulator = new BatchAccumulator({
      log: config.log,
      slabBytes: Math.max(SLAB_BYTES, this.options.packetBytesMax * 2),
      bytesInFlightMax: this.options.bytesMax,
      lingerMs: LINGER_MS,
      ...(config.requestsInFlightMax && { requestsInFlightMax: config.requestsInFlightMax }),
      onDurable: (sequence) => this.#onDurable(sequence),
      onFailure: (error: MillraceError) => this.#onFailure(error),
    })
    this.admission = new Admission({
      accumulator: this.accumulator,
      rejectedSchemaId: config.rejectedSchemaId,
      rejectedBytesPerDevice: REJECTED_BYTES_PER_DEVICE,
      rejectedWindowMs: REJECTED_WINDOW_MS,
    })
    for (const stream of config.streams) this.admission.setStream(stream)
    this.hub = new Hub(config.index ?? 0, config.ports ?? [undefined], {
      evict: (claim) => this.#sessions.byClaim.get(claim)?.giveWay(),
      deliver: (message) => this.live.deliverRemote(message),
      delivered: () => this.endRead(),
      relieved: () => this.flow.releaseHeld(),
    })
    this.live = new Live(this, this.hub)
    this.presence = new PresenceLog(config.log, config.onFailure)
    if (this.options.socketMode === 'auto' && isKnownNode)
      this.#batch = SendBatch.create(() => this.#onWarning(new Error(RING_BROKEN)))
    this.singleAcks = this.#batch === undefined ? undefined : new SingleAcks(this.#batch)
    this.#sweepTimer = setInterval(() => this.#sweep(), SWEEP_INTERVAL_MS)
    this.#sweepTimer.unref()
  }

  // Life

  /** Listens; resolves with the ports, 0 where it was told not to. The first worker finds out whether they are free. */
  async listen(addresses: IngestAddresses): Promise<{ mqttPort: number; wsPort: number }> {
    const open = async (address: ListenAddress | undefined, option: string, kind: 'tcp' | 'websocket') => {
      if (address === undefined) return 0
      const accept = (socket: Socket) => this.#accept(socket, kind)
      const listener = await listen(address, option, this.hub.index === 0, accept)
      this.#listeners.push(listener)
      return listener.port
    }
    return {
      mqttPort: await open(addresses.mqtt, '--mqtt', 'tcp'),
      wsPort: await open(addresses.ws, '--ws', 'websocket'),
    }
  }

  /** By what clients are read and written here, for the log. */
  get socketMeans(): string {
    const { socketMode } = this.options
    if (socketMode === 'documented' || !isKnownNode) return 'documented means'
    return this.#batch === undefined ? 'handles' : 'handles, acknowledgements of a commit by io_uring'
  }

  /** Takes the streams there are now: new ones, new contract versions, fewer. */
  updateStreams(streams: readonly StreamDescriptor[]): void {
    for (const stream of streams) this.admission.setStream(stream)
    this.topics.updateStreams(streams)
  }

  /** Sets whether a tenant's storage quota is full. */
  setQuotaFull(tenant: string, isFull: boolean): void {
    this.tenant(tenant).isFull = isFull
  }

  /** Ends the sessions of a device or gateway (0x98). */
  disconnectDevice(tenant: string, device: string, detail: string): void {
    this.#disconnect(this.#sessions.ofDevice(tenant, device), detail)
  }

  /**
   * Accepts no more, makes everything received durable, sends its acknowledgements, and says goodbye (0x8B).
   * Where the log does not come back in time, connections are closed without acknowledgements that are not due.
   */
  async drain(): Promise<void> {
    this.#isDraining = true
    for (const listener of this.#listeners) listener.stop()
    this.newcomers.close()
    for (const session of this.#sessions.all) {
      session.transport.pause()
      session.parser.close()
    }
    const timeout = new Promise((resolve) => setTimeout(resolve, DRAIN_MS_MAX).unref())
    await Promise.race([this.accumulator.drained(), timeout])
    for (const session of [...this.#sessions.all]) {
      // The devices are not gone, we are: their wills stay with them.
      session.will = undefined
      session.slowedBy = undefined
      session.acknowledge(this.durableSequence)
      session.end(REASON.serverShuttingDown, 'the server is shutting down', true)
    }
    await Promise.race([this.presence.flush(), timeout])
    this.#stop()
  }

  /** Ends at once, without a word: what was not acknowledged is lost with the connections. */
  destroy(): void {
    for (const listener of this.#listeners) listener.stop()
    for (const session of [...this.#sessions.all]) {
      session.will = undefined
      session.transport.destroy()
      session.onClosed('the server has stopped')
    }
    this.#stop()
  }

  #stop(): void {
    clearInterval(this.#sweepTimer)
    this.flow.close()
    this.newcomers.close()
    this.#credentialsFile?.close()
    this.identity.close()
    this.presence.close()
    this.hub.close()
    this.#batch?.destroy()
  }

  async openIdentity(log: Log): Promise<void> {
    const { credentialsFile, allowAnonymous } = this.options
    const identity = await TopicIdentity.open(log, { allowAnonymous, onError: this.#onFailure })
    identity.onRevoked = (id) =>
      this.#disconnect(this.#sessions.ofCredential(id), 'the credential was removed or changed')
    this.identity = identity
    if (credentialsFile === undefined || this.hub.index !== 0) return
    const onChange = () => void identity.refresh().catch(this.#onFailure)
    this.#credentialsFile = await CredentialsFile.open(log, credentialsFile, onChange, this.#onWarning)
    await identity.refresh()
  }

  // Sessions

  #accept(socket: Socket, kind: 'tcp' | 'websocket'): void {
    this.values[C.connectionsAccepted]!++
    if (this.#sessions.all.size >= this.options.connectionsMax || this.#isDraining) {
      this.values[C.connectionsOverLimit]!++
      socket.destroy()
      return
    }
    this.now = Date.now()
    const transport = new Transport(socket, kind, this.options.socketMode, this.#receiveBuffer, this.#batch)
    const session = new Session(this, transport)
    transport.user = session
    this.#sessions.all.add(session)
    this.values[C.connections]!++
    this.newcomers.add(session)
  }

  /** Asks for the client id; `granted` may be called at once. */
  claim(session: Session, key: string, granted: Granted): void {
    const claim = this.hub.claim(key, granted)
    // Known before the grant, so that a session that still waits can be told to give way.
    if (session.state === ENDED) return
    session.claim = claim
    this.#sessions.byClaim.set(claim, session)
  }

  releaseClaim(key: string, claim: number): void {
    this.#sessions.byClaim.delete(claim)
    this.hub.release(key, claim)
  }

  /** From here on, a change of its credential or an order to disconnect its device ends the session. */
  addIdentified(session: Session, principal: Principal): void {
    this.#sessions.addIdentified(session, principal)
  }

  addConnected(): void {
    this.values[C.connects]!++
    this.values[C.sessions]!++
  }

  removeSession(session: Session, wasConnected: boolean): void {
    if (!this.#sessions.remove(session)) return
    this.newcomers.remove(session)
    this.values[C.connections]!--
    if (wasConnected) this.values[C.sessions]!--
    this.flow.remove(session)
  }

  #disconnect(sessions: readonly Session[], detail: string): void {
    for (const session of sessions) {
      this.values[C.administrativeDisconnects]!++
      session.end(REASON.administrativeAction, detail, true)
    }
  }

  /** Ends a session after what is being done to many has been done. */
  endLater(session: Session, reason: number, detail: string): void {
    this.#ending.push({ session, reason, detail })
  }

  // Topics

  tenant(name: string): Tenant {
    let tenant = this.#tenants.get(name)
    if (tenant === undefined) {
      const rate = this.options.tenantRateMax
      const bucket = rate === 0 ? undefined : new TokenBucket(rate, rate, this.now)
      tenant = new Tenant(name, this.hub.remoteInterest(name), bucket)
      this.#tenants.set(name, tenant)
    }
    return tenant
  }

  /** Fills in what the entry's topic means to this principal, by the streams there are now. */
  resolve(principal: Principal, entry: TopicEntry): void {
    const resolution = this.topics.resolve(principal, entry.name)
    entry.version = this.topics.version
    // The target of a stream that has gone stays: acknowledgements of what was taken for it may still wait (durableFor).
    entry.bucket = undefined
    if (resolution.kind === 'ordinary') entry.kind = KIND_ORDINARY
    else if (resolution.kind === 'refused') {
      entry.kind = KIND_REFUSED
      entry.refusal = resolution.refusal
      entry.detail = resolution.detail
    } else {
      entry.kind = KIND_TELEMETRY
      const { device, deviceAt, stream } = resolution
      entry.target = this.admission.target(principal.tenant, stream.stream, device)
      entry.keyStart = deviceAt
      entry.keyEnd = deviceAt + device.length
      entry.bucket = this.#deviceBucket(principal.tenant, device)
    }
  }

  #deviceBucket(tenant: string, device: string): TokenBucket | undefined {
    const rate = this.options.deviceRateMax
    if (rate === 0) return undefined
    const key = `${tenant} ${device}`
    let bucket = this.#deviceBuckets.get(key)
    if (bucket === undefined) {
      if (this.#deviceBuckets.size >= DEVICE_BUCKETS_MAX)
        for (const [name, held] of this.#deviceBuckets)
          if (held.debt(this.now) === 0) this.#deviceBuckets.delete(name)
      bucket = new TokenBucket(rate, rate, this.now)
      this.#deviceBuckets.set(key, bucket)
    }
    return bucket
  }

  // Reading and writing

  /** Milliseconds since 1970, taken once per read: the receive time of its messages. */
  get now(): number {
    return this.accumulator.receiveTimeMs
  }

  set now(nowMs: number) {
    this.accumulator.receiveTimeMs = nowMs
  }

  /** Before the bytes of a read are parsed. */
  beginRead(byteLength: number): void {
    this.values[C.bytesIn]! += byteLength
    this.now = Date.now()
    if (!this.flow.isUnderPressure && this.accumulator.isAboveHighWater) this.raisePressure()
  }

  /** After a read, a commit or a post from another worker: what was gathered for others goes out. */
  endRead(): void {
    this.accumulator.endRead()
    this.hub.flush()
    if (this.#writing.length > 0) {
      const writing = this.#writing
      this.#writing = []
      for (const delivery of writing) delivery.flush()
    }
    while (this.#ending.length > 0) {
      const { session, reason, detail } = this.#ending.pop()!
      session.end(reason, detail, true)
    }
  }

  addWriting(delivery: Delivery): void {
    this.#writing.push(delivery)
  }

  /** The worker's buffer for what goes out, written from HEADROOM on; `sent` must follow. */
  takeOut(): Buffer {
    return this.#out
  }

  /** Sends bytes [HEADROOM, end) of a buffer to the session's client. */
  sent(session: Session, out: Buffer, end: number): void {
    this.values[C.bytesOut]! += end - HEADROOM
    const isFree = session.transport.send(out, HEADROOM, end)
    if (!isFree && out === this.#out) this.#out = Buffer.allocUnsafeSlow(OUT_BYTES)
  }

  addAcking(session: Session): void {
    session.isAcking = true
    this.#acking[this.#ackingCount++] = session
  }

  /** Notes when the first record of a flush came, for the latency of its acknowledgements. */
  ticketTaken(ticket: number): void {
    if (ticket === this.#newestTicket) return
    this.#newestTicket = ticket
    this.#flushTimes[ticket % FLUSH_TIMES] = this.now
  }

  // Counting

  count(counter: number): void {
    this.values[counter]!++
  }

  /** The counters of refusals stand in the order of refusals.ts. */
  countRefusal(refusal: Refusal): void {
    this.values[C.refusedPayloadInvalid + refusal]!++
  }

  countAcknowledged(count: number): void {
    this.values[C.acknowledged]! += count
    if (this.#latencyMs < 0 || count === 0) return
    let bucket = 0
    while (bucket < ACK_LATENCY_BOUNDS_MS.length && this.#latencyMs > ACK_LATENCY_BOUNDS_MS[bucket]!) bucket++
    this.values[C.ackLatencyMs1 + bucket]! += count
    this.values[C.ackLatencyMsSum]! += this.#latencyMs * count
  }

  onError(error: unknown): void {
    this.#onWarning(error)
  }

  // Durability

  /** Up to which ticket this session's records are durable: less than all where the log refuses a partition it wrote to. */
  durableFor(session: Session, durable: number): number {
    return this.accumulator.heldPartitions.size === 0 ? durable : this.#durableBeforeHeld(session, durable)
  }

  #durableBeforeHeld(session: Session, durable: number): number {
    let limit = durable
    const consider = (target: AdmissionTarget | undefined) => {
      if (target === undefined) return
      for (const handle of [target.raw, target.rejected])
        if (handle.heldSequence !== 0) limit = Math.min(limit, handle.heldSequence - 1)
    }
    consider(session.topic?.target)
    if (session.aliases !== undefined) for (const entry of session.aliases) consider(entry?.target)
    if (session.cache !== undefined) for (const target of session.cache.targets) consider(target)
    return limit
  }

  /** Runs when everything the session has published is durable; at once where it is. */
  whenDurable(session: Session, run: () => void): void {
    if (session.lastTicket <= this.durableFor(session, this.durableSequence)) run()
    else this.#untilDurable.push({ session, run })
  }

  #onDurable(durable: number): void {
    this.now = Date.now()
    this.durableSequence = durable
    this.#latencyMs = Math.max(0, this.now - this.#flushTimes[durable % FLUSH_TIMES]!)
    if (this.singleAcks !== undefined) this.#acknowledgeSingles(this.singleAcks, durable)
    const acking = this.#acking
    if (this.#ackingCount > 1) this.#batch?.open()
    let kept = 0
    // The count may grow meanwhile.
    for (let i = 0; i < this.#ackingCount; i++) {
      const session = acking[i]!
      session.acknowledge(durable)
      acking[i] = undefined
      if (session.state !== ENDED && session.ring!.count > 0) acking[kept++] = session
      else session.isAcking = false
    }
    this.#ackingCount = kept
    if (this.#batch !== undefined) {
      this.#batch.close()
      this.values[C.sendsGathered] = this.#batch.sendCount
    }
    this.#latencyMs = -1
    this.live.onDurable(durable)
    this.endRead()
    if (this.#untilDurable.length > 0) this.#runDurable(durable)
    if (this.flow.isUnderPressure && this.accumulator.isBelowLowWater) {
      this.flow.isUnderPressure = false
      this.#sendWills()
    }
    this.flow.releaseHeld()
  }

  #acknowledgeSingles(singleAcks: SingleAcks<Session>, durable: number): void {
    // Which of them a held partition keeps back, the sessions know.
    if (this.accumulator.heldPartitions.size > 0)
      for (const session of singleAcks.owners()) session.onIndirect()
    const count = singleAcks.send(durable)
    if (count === 0) return
    this.values[C.bytesOut] += count * PUBACK_BYTES
    this.countAcknowledged(count)
  }

  #runDurable(durable: number): void {
    const waiting = this.#untilDurable
    this.#untilDurable = []
    for (const one of waiting) {
      if (one.session.lastTicket <= this.durableFor(one.session, durable)) one.run()
      else this.#untilDurable.push(one)
    }
  }

  // Pressure

  /** Memory is nearly full: see ReadFlow. */
  raisePressure(): void {
    this.flow.raisePressure(this.#sessions.all)
  }

  /** Keeps the will of a client that is gone until the log takes it. */
  holdWill(session: Session): void {
    if (this.#wills.length < WILLS_WAITING_MAX) this.#wills.push(session)
    else this.values[C.willsNotKept]!++
    this.raisePressure()
  }

  #sendWills(): void {
    const wills = this.#wills
    this.#wills = []
    for (const session of wills) publishWill(session)
  }

  // The sweep

  #sweep(): void {
    this.now = Date.now()
    this.sweepCount++
    for (const session of this.#sessions.all) {
      // Whom we do not read cannot show that it is alive.
      if (session.isHeld || (session.state !== CONNECTED && session.state !== NEW)) continue
      if (session.state === NEW && this.newcomers.isFresh(session)) continue
      // At least: what came before the first of these sweeps may have come just before it.
      const silence = (this.sweepCount - session.lastActivity - 1) * SWEEP_INTERVAL_MS
      if (session.silenceMsMax !== 0 && silence > session.silenceMsMax) {
        if (session.state === CONNECTED) this.values[C.keepAliveTimeouts]!++
        session.end(REASON.keepAliveTimeout, 'nothing came for too long', true)
      } else if (silence > QUIET_MS) session.ring?.shrink()
    }
    this.values[C.bytesWaiting] = this.accumulator.bytesUsed + this.live.heldBytes
    this.values[C.presenceNotKept] = this.presence.overflowCount
  }
}

/** Makes a worker that has its identities, and does not listen yet. Throws `credentials_invalid`. */
export async function createIngest(config: IngestConfig): Promise<Ingest> {
  const ingest = new Ingest(config)
  try {
    await ingest.openIdentity(config.log)
  } catch (error) {
    ingest.destroy()
    throw error
  }
  return ingest
}
