// What the workers of one process tell each other: who owns a client id, who wants which topics, and the live
// messages that go from one worker's publishers to another's subscribers.
//
//   worker 0 ══ MessagePort ══ worker 1        every pair has a port of its own: no thread in the middle
//
// Client ids. Each id has a home worker (a hash of the key), which alone decides. A claim waits there until the
// owner before it has released; the home asks that owner to give way (`evict`). Two workers that claim at once
// are put in order by their arrival at the home: one is granted, then gives way to the other, and all workers
// see the same outcome.
//
// Interest. A worker tells the others of a filter when its first client subscribes to it, and holds the SUBACK
// until all have answered: from then on no message published anywhere is missed.
//
// Messages travel many to a post, as one transferred buffer; the receiver's answer bounds what is on the way.
//
//   ├─ u32 length of all ─┼─ u8 QoS ─┼─ u8 tenant length ─┼─ u16 topic length ─┼─ u32 properties length ─┤
//   ├─ tenant ─┼─ topic ─┼─ properties ─┼─ payload ─┤
import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { murmur2 } from '../std/hash.ts'
import { HUB_BYTES_MAX } from './limits.ts'
import { SubscriptionTree } from './subscriptions.ts'

const LENGTH = 0
const QOS = LENGTH + 4
const TENANT_LENGTH = QOS + 1
const TOPIC_LENGTH = TENANT_LENGTH + 1
const PROPERTIES_LENGTH = TOPIC_LENGTH + 2
const HEADER = PROPERTIES_LENGTH + 4
const OUTBOX_BYTES_MIN = 16 << 10

type HubMessage =
  | { type: 'claim'; key: string; claim: number }
  | { type: 'granted'; claim: number; epoch: number; tookOver: boolean }
  | { type: 'evict'; claim: number }
  | { type: 'release'; key: string; claim: number }
  | { type: 'interest'; id: number; tenant: string; filter: string; held: boolean }
  | { type: 'interestKnown'; id: number }
  | { type: 'deliver'; messages: ArrayBuffer; byteLength: number }
  | { type: 'delivered'; byteLength: number }

/** A live message: views that are valid during the call only. */
export interface LiveMessage {
  qos: number
  tenant: string
  topic: Uint8Array
  /** Properties of the PUBLISH that go on to subscribers, without their length. */
  properties: Uint8Array
  payload: Uint8Array
}

export interface HubHandler {
  /** The claim must give way: end its session, make its records durable, then call `release`. */
  evict(claim: number): void
  /** A message for this worker's subscribers. */
  deliver(message: LiveMessage): void
  /** All messages of one post were given to `deliver`. */
  delivered(): void
  /** Another worker has dealt with messages of ours: publishers that waited for it may go on. */
  relieved(): void
}

/** May be called before `claim` returns. */
export type Granted = (claim: number, epoch: number, tookOver: boolean) => void

interface Claimant {
  worker: number
  claim: number
}

interface Owner extends Claimant {
  isEvicted: boolean
  /** Undefined while nobody waits: there is an owner for each client, and hardly any is claimed anew. */
  waiting: Claimant[] | undefined
}

interface Peer {
  port: MessagePort
  outbox: Uint8Array
  length: number
  /** Bytes posted that the peer has not answered for. */
  onTheWay: number
}

export class Hub {
  readonly index: number
  readonly workerCount: number
  readonly #handler: HubHandler
  /** By worker; undefined at our own place. */
  readonly #peers: (Peer | undefined)[]
  /** Ids that this worker is the home of. */
  readonly #owners = new Map<string, Owner>()
  readonly #granted = new Map<number, Granted>()
  readonly #remote = new Map<string, SubscriptionTree<number>>()
  /** How many of our clients hold a filter, by tenant and filter. */
  readonly #interest = new Map<string, number>()
  readonly #announced = new Map<number, { missing: number; done: () => void }>()
  #nextClaim: number
  #nextId = 1
  #lastEpoch = 0
  #unsent = false

  /** `ports[w]` leads to worker w; the entry at `index` is undefined. */
  constructor(index: number, ports: readonly (MessagePort | undefined)[], handler: HubHandler) {
    this.index = index
    this.workerCount = Math.max(1, ports.length)
    this.#nextClaim = index + this.workerCount
    this.#handler = handler
    this.#peers = ports.map((port, worker) => {
      if (port === undefined || worker === index) return undefined
      port.on('message', (message: HubMessage) => this.#receive(worker, message))
      return { port, outbox: new Uint8Array(OUTBOX_BYTES_MIN), length: 0, onTheWay: 0 }
    })
  }

  /**
   * Asks for a client id. `granted` is called when no other session of the process holds it any more, at once
   * where the home is here and nobody holds it. Returns the claim, which `release` must get in any case.
   */
  claim(key: string, granted: Granted): number {
    const claim = this.#nextClaim
    this.#nextClaim += this.workerCount
    this.#granted.set(claim, granted)
    const home = this.#homeOf(key)
    if (home === this.index) this.#claimHere(key, { worker: this.index, claim })
    else this.#post(home, { type: 'claim', key, claim })
    return claim
  }

  /** Gives a client id back, or gives up waiting for it. */
  release(key: string, claim: number): void {
    this.#granted.delete(claim)
    const home = this.#homeOf(key)
    if (home === this.index) this.#releaseHere(key, claim)
    else this.#post(home, { type: 'release', key, claim })
  }

  /** Filters that other workers hold for a tenant; the values of a match are worker numbers. */
  remoteInterest(tenant: string): SubscriptionTree<number> {
    let tree = this.#remote.get(tenant)
    if (tree === undefined) {
      tree = new SubscriptionTree()
      this.#remote.set(tenant, tree)
    }
    return tree
  }

  /** A client of ours subscribed. `done` is called when every worker knows of the filter. */
  addInterest(tenant: string, filter: string, done: () => void): void {
    const key = `${tenant} ${filter}`
    const held = this.#interest.get(key) ?? 0
    this.#interest.set(key, held + 1)
    const others = this.workerCount - 1
    if (others === 0) {
      done()
      return
    }
    // Also where another client holds the filter already: its announcement may still be on the way.
    const id = this.#nextId++
    this.#announced.set(id, { missing: others, done })
    this.#postAll({ type: 'interest', id, tenant, filter, held: true })
  }

  /** A client of ours gave a filter up. */
  removeInterest(tenant: string, filter: string): void {
    const key = `${tenant} ${filter}`
    const held = this.#interest.get(key) ?? 0
    if (held > 1) {
      this.#interest.set(key, held - 1)
      return
    }
    if (!this.#interest.delete(key)) return
    this.#postAll({ type: 'interest', id: 0, tenant, filter, held: false })
  }

  /** Whether another worker is so far behind that publishers should wait. */
  get isCongested(): boolean {
    for (const peer of this.#peers)
      if (peer !== undefined && peer.onTheWay + peer.length > HUB_BYTES_MAX) return true
    return false
  }

  /** Copies a message into what goes to `worker` at the next `flush`. */
  forward(worker: number, message: LiveMessage): void {
    const peer = this.#peers[worker]
    if (peer === undefined) return
    const { tenant, topic, properties, payload } = message
    const length = HEADER + tenant.length + topic.length + properties.length + payload.length
    if (peer.length + length > peer.outbox.length) {
      const grown = new Uint8Array(Math.max(peer.outbox.length * 2, peer.length + length))
      grown.set(peer.outbox.subarray(0, peer.length))
      peer.outbox = grown
    }
    const out = peer.outbox
    const start = peer.length
    const view = new DataView(out.buffer, out.byteOffset + start, HEADER)
    view.setUint32(LENGTH, length)
    view.setUint8(QOS, message.qos)
    view.setUint8(TENANT_LENGTH, tenant.length)
    view.setUint16(TOPIC_LENGTH, topic.length)
    view.setUint32(PROPERTIES_LENGTH, properties.length)
    let at = start + HEADER
    // Tenant names are ASCII (schemas/names.ts).
    for (let i = 0; i < tenant.length; i++) out[at++] = tenant.charCodeAt(i)
    out.set(topic, at)
    out.set(properties, at + topic.length)
    out.set(payload, at + topic.length + properties.length)
    peer.length += length
    this.#unsent = true
  }

  /** Posts what `forward` gathered. */
  flush(): void {
    if (!this.#unsent) return
    this.#unsent = false
    for (const peer of this.#peers) {
      if (peer === undefined || peer.length === 0) continue
      const messages = peer.outbox.buffer as ArrayBuffer
      const byteLength = peer.length
      peer.onTheWay += byteLength
      peer.port.postMessage({ type: 'deliver', messages, byteLength } satisfies HubMessage, [messages])
      peer.outbox = new Uint8Array(OUTBOX_BYTES_MIN)
      peer.length = 0
    }
  }

  close(): void {
    for (const peer of this.#peers) peer?.port.close()
  }

  #homeOf(key: string): number {
    if (this.workerCount === 1) return 0
    return (murmur2(Buffer.from(key)) & 0x7fffffff) % this.workerCount
  }

  #post(worker: number, message: HubMessage): void {
    this.#peers[worker]?.port.postMessage(message)
  }

  #postAll(message: HubMessage): void {
    for (const peer of this.#peers) peer?.port.postMessage(message)
  }

  #receive(worker: number, message: HubMessage): void {
    switch (message.type) {
      case 'claim':
        this.#claimHere(message.key, { worker, claim: message.claim })
        return
      case 'granted':
        this.#grantedHere(message.claim, message.epoch, message.tookOver)
        return
      case 'evict':
        this.#handler.evict(message.claim)
        return
      case 'release':
        this.#releaseHere(message.key, message.claim)
        return
      case 'interest': {
        const tree = this.remoteInterest(message.tenant)
        if (message.held) tree.subscribe(message.filter, worker, 1)
        else tree.unsubscribe(message.filter, worker)
        if (message.id !== 0) this.#post(worker, { type: 'interestKnown', id: message.id })
        return
      }
      case 'interestKnown': {
        const announced = this.#announced.get(message.id)
        if (announced === undefined || --announced.missing > 0) return
        this.#announced.delete(message.id)
        announced.done()
        return
      }
      case 'deliver':
        this.#unpack(new Uint8Array(message.messages, 0, message.byteLength))
        this.#handler.delivered()
        this.#post(worker, { type: 'delivered', byteLength: message.byteLength })
        return
      case 'delivered':
        this.#peers[worker]!.onTheWay -= message.byteLength
        this.#handler.relieved()
        return
    }
  }

  #claimHere(key: string, claimant: Claimant): void {
    const owner = this.#owners.get(key)
    if (owner === undefined) {
      this.#owners.set(key, { ...claimant, isEvicted: false, waiting: undefined })
      this.#grant(claimant, false)
      return
    }
    owner.waiting ??= []
    owner.waiting.push(claimant)
    this.#evictOwner(owner)
  }

  #releaseHere(key: string, claim: number): void {
    const owner = this.#owners.get(key)
    if (owner === undefined) return
    if (owner.claim !== claim) {
      owner.waiting = owner.waiting?.filter((waiting) => waiting.claim !== claim)
      return
    }
    const next = owner.waiting?.shift()
    if (next === undefined) {
      this.#owners.delete(key)
      return
    }
    owner.worker = next.worker
    owner.claim = next.claim
    const { isEvicted } = owner
    owner.isEvicted = false
    this.#grant(next, isEvicted)
    if (owner.waiting!.length > 0) this.#evictOwner(owner)
  }

  #evictOwner(owner: Owner): void {
    if (owner.isEvicted) return
    owner.isEvicted = true
    if (owner.worker === this.index) this.#handler.evict(owner.claim)
    else this.#post(owner.worker, { type: 'evict', claim: owner.claim })
  }

  #grant(claimant: Claimant, tookOver: boolean): void {
    // Rises with every session of an id, across restarts too as long as the clock does.
    const epoch = (this.#lastEpoch = Math.max(this.#lastEpoch + 1, Date.now()))
    if (claimant.worker === this.index) this.#grantedHere(claimant.claim, epoch, tookOver)
    else this.#post(claimant.worker, { type: 'granted', claim: claimant.claim, epoch, tookOver })
  }

  #grantedHere(claim: number, epoch: number, tookOver: boolean): void {
    const granted = this.#granted.get(claim)
    this.#granted.delete(claim)
    granted?.(claim, epoch, tookOver)
  }

  #unpack(bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    for (let start = 0; start < bytes.length; ) {
      const end = start + view.getUint32(start + LENGTH)
      const tenantEnd = start + HEADER + view.getUint8(start + TENANT_LENGTH)
      const topicEnd = tenantEnd + view.getUint16(start + TOPIC_LENGTH)
      const propertiesEnd = topicEnd + view.getUint32(start + PROPERTIES_LENGTH)
      this.#handler.deliver({
        qos: view.getUint8(start + QOS),
        tenant: buffer.toString('latin1', start + HEADER, tenantEnd),
        topic: bytes.subarray(tenantEnd, topicEnd),
        properties: bytes.subarray(topicEnd, propertiesEnd),
        payload: bytes.subarray(propertiesEnd, end),
      })
      start = end
    }
  }
}

/** A MessageChannel between every two of `count` workers: `[a][b]` leads from worker a to worker b. */
export function joinWorkers(count: number): (MessagePort | undefined)[][] {
  const ports: (MessagePort | undefined)[][] = Array.from({ length: count }, () =>
    new Array<undefined>(count).fill(undefined),
  )
  for (let a = 0; a < count; a++)
    for (let b = a + 1; b < count; b++) {
      const { port1, port2 } = new MessageChannel()
      ports[a]![b] = port1
      ports[b]![a] = port2
    }
  return ports
}
