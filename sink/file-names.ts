// Names of the files that the sink writes. Every file has a name that no other ever had, so a half-written
// one can never be mistaken for another and nothing needs to be renamed into place:
//
//   <table>/data/<partition>-<uuid>.parquet
//   <table>/metadata/<uuid>-m.avro                        manifest
//   <table>/metadata/snap-<snapshot id>-<uuid>.avro       manifest list
//   <table>/metadata/<version>-<uuid>.metadata.json       table metadata, version of five digits or more
//
// The uuid is of version 7 (RFC 9562): its first 48 bits are the time of making in milliseconds, which is how
// orphan removal tells the age of a file on any store, the simulated one too.
import { randomBytes } from 'node:crypto'

export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number
  sleep(ms: number): Promise<void>
}

export const systemClock: Clock = {
  now: () => Date.now(),
  sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
}

/** Fills the buffer with random bytes. */
export type RandomFill = (into: Uint8Array) => void

export class Names {
  readonly #clock: Clock
  readonly #random: RandomFill

  /** Both are injected so that a simulated run repeats from its seed. */
  constructor(clock: Clock, random: RandomFill = (into) => into.set(randomBytes(into.length))) {
    this.#clock = clock
    this.#random = random
  }

  uuid(): string {
    const bytes = this.bytes(16)
    const now = this.#clock.now()
    const view = new DataView(bytes.buffer)
    view.setUint16(0, Math.floor(now / 0x100000000))
    view.setUint32(2, now >>> 0)
    bytes[6] = (bytes[6]! & 0x0f) | 0x70
    bytes[8] = (bytes[8]! & 0x3f) | 0x80
    const hex = Buffer.from(bytes.buffer).toString('hex')
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
  }

  bytes(count: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(count)
    this.#random(bytes)
    return bytes
  }

  /** A positive snapshot id below 2^53, so that it is a plain number everywhere in this program. */
  snapshotId(): number {
    const view = new DataView(this.bytes(8).buffer)
    return (view.getUint32(0) & 0x1fffff) * 0x100000000 + view.getUint32(4) || 1
  }
}

const UUID_V7 = /([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}/

/** When a file of ours was made, in ms, told by its name; undefined for files of others. */
export function madeAtMs(uri: string): number | undefined {
  const match = UUID_V7.exec(uri.slice(uri.lastIndexOf('/') + 1))
  return match === null ? undefined : Number.parseInt(match[1]! + match[2]!, 16)
}

/** URI of a table's metadata file after `previous` (or its first). */
export function metadataUri(location: string, previous: string | undefined, uuid: string): string {
  const version = previous === undefined ? -1 : Number(/\/(\d+)-[^/]*$/.exec(previous)?.[1] ?? 0)
  return `${location}/metadata/${String(version + 1).padStart(5, '0')}-${uuid}.metadata.json`
}
