// The primitive types of the Kafka protocol and how messages are described with them (Kafka protocol guide, "Protocol
// Primitive Types"; KIP-482 for flexible versions). A description is a value; reading and writing walk it:
//
//   struct({ groupId: string, generationId: int32, groupInstanceId: since(3, nullable(string)) })
//
// The order of the keys is the order on the wire. A field that a version lacks reads as its default. In a flexible
// version lengths are unsigned varints of length + 1, and every struct ends with tagged fields: those that the
// description knows are read, others skipped.
//
// Input is hostile: every read is inside its bounds, a count never exceeds the bytes that are left, and all arrays
// of one message together have at most ELEMENTS_MAX elements. What breaks that throws `Malformed`.

/** Elements of all arrays of one request. A consumer of 1,024 partitions needs 1,025. */
const ELEMENTS_MAX = 100_000

/** A request that is none. The connection ends with it. */
export class Malformed extends Error {
  constructor(reason: string) {
    super(reason)
    this.name = 'Malformed'
  }
}

const decoder = new TextDecoder('utf-8', { fatal: true })
const encoder = new TextEncoder()

export class WireReader {
  readonly bytes: Uint8Array
  at: number
  end: number
  readonly #view: DataView
  #elements = 0

  constructor(bytes: Uint8Array, start = 0, end = bytes.length) {
    this.bytes = bytes
    this.at = start
    this.end = end
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** The position of the next `length` bytes, which are then behind. */
  take(length: number): number {
    if (length < 0 || length > this.end - this.at)
      throw new Malformed(`${length} bytes announced at byte ${this.at}, ${this.end - this.at} are left`)
    const at = this.at
    this.at += length
    return at
  }

  /** Counts the elements of an array before any is read. */
  elements(count: number): number {
    this.#elements += count
    // An element of any kind is a byte at least.
    if (count < 0 || count > this.end - this.at || this.#elements > ELEMENTS_MAX)
      throw new Malformed(
        `an array of ${count} elements at byte ${this.at}, ${this.end - this.at} bytes are left`,
      )
    return count
  }

  int8 = (): number => this.#view.getInt8(this.take(1))
  int16 = (): number => this.#view.getInt16(this.take(2))
  int32 = (): number => this.#view.getInt32(this.take(4))
  /** As a double: exact below 2^53. */
  int64 = (): number => {
    const at = this.take(8)
    return this.#view.getInt32(at) * 0x100000000 + this.#view.getUint32(at + 4)
  }

  unsignedVarint(): number {
    let value = 0
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.bytes[this.take(1)]!
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) {
        if (value > 0x7fffffff) break
        return value
      }
    }
    throw new Malformed(`a varint above 2^31 - 1 before byte ${this.at}`)
  }

  /** Length of a string, bytes or array: -1 is null. */
  length(flexible: boolean, short: boolean): number {
    if (flexible) return this.unsignedVarint() - 1
    return short ? this.int16() : this.int32()
  }

  text(length: number): string {
    const at = this.take(length)
    try {
      return decoder.decode(this.bytes.subarray(at, at + length))
    } catch {
      throw new Malformed(`a string at byte ${at} is not UTF-8`)
    }
  }

  /** Passes over tagged fields, but for those that `known` takes: it gets the tag and reads up to `end`. */
  taggedFields(known?: (tag: number) => void): void {
    for (let left = this.elements(this.unsignedVarint()); left > 0; left--) {
      const tag = this.unsignedVarint()
      const size = this.unsignedVarint()
      const start = this.take(size)
      if (known === undefined) continue
      const { end } = this
      this.at = start
      this.end = start + size
      known(tag)
      this.at = this.end
      this.end = end
    }
  }
}

export class WireWriter {
  readonly #chunks: Uint8Array[] = []
  #bytes = new Uint8Array(512)
  #view = new DataView(this.#bytes.buffer)
  #at = 0
  #length = 0
  #referenced = 0

  #room(length: number): number {
    if (this.#at + length > this.#bytes.length) {
      this.#cut()
      this.#bytes = new Uint8Array(Math.max(4096, length))
      this.#view = new DataView(this.#bytes.buffer)
    }
    const at = this.#at
    this.#at += length
    return at
  }

  #cut(): void {
    if (this.#at === 0) return
    this.#chunks.push(this.#bytes.subarray(0, this.#at))
    this.#length += this.#at
    this.#bytes = this.#bytes.subarray(this.#at)
    this.#view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.byteLength)
    this.#at = 0
  }

  // The position comes first: making room may exchange buffer and view.

  int8 = (value: number): void => {
    const at = this.#room(1)
    this.#view.setInt8(at, value)
  }

  int16 = (value: number): void => {
    const at = this.#room(2)
    this.#view.setInt16(at, value)
  }

  int32 = (value: number): void => {
    const at = this.#room(4)
    this.#view.setInt32(at, value)
  }

  int64 = (value: number): void => {
    const at = this.#room(8)
    this.#view.setInt32(at, Math.floor(value / 0x100000000))
    this.#view.setUint32(at + 4, value >>> 0)
  }

  unsignedVarint(value: number): void {
    let at: number
    for (; value >= 0x80; value = Math.floor(value / 128)) {
      at = this.#room(1)
      this.#bytes[at] = (value & 0x7f) | 0x80
    }
    at = this.#room(1)
    this.#bytes[at] = value
  }

  length(value: number, flexible: boolean, short: boolean): void {
    if (flexible) this.unsignedVarint(value + 1)
    else if (short) this.int16(value)
    else this.int32(value)
  }

  raw(bytes: Uint8Array): void {
    const at = this.#room(bytes.length)
    this.#bytes.set(bytes, at)
  }

  /** Adds bytes without copying them; they must not change until the message is sent. */
  reference(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    this.#cut()
    this.#chunks.push(bytes)
    this.#length += bytes.length
    this.#referenced += bytes.length
  }

  /** What was written, in pieces; `ownLength` of it is memory of the message's own. */
  finish(): { chunks: Uint8Array[]; length: number; ownLength: number } {
    this.#cut()
    return { chunks: this.#chunks, length: this.#length, ownLength: this.#length - this.#referenced }
  }
}

export interface WireType<T> {
  read(from: WireReader, version: number, flexible: boolean): T
  write(to: WireWriter, value: T, version: number, flexible: boolean): void
  /** What a version without the field has. */
  readonly absent: T
}

/** A type that only some versions have at this place. */
interface WireField<T> extends WireType<T> {
  readonly from: number
  readonly to: number
  /** Number of the tagged field; undefined: an ordinary one. */
  readonly tag?: number
}

export type ValueOf<Type> = Type extends WireType<infer T> ? T : never

const primitive = (
  read: (from: WireReader) => number,
  write: (to: WireWriter, value: number) => void,
): WireType<number> => ({
  read,
  write,
  absent: 0,
})

export const int8 = primitive(
  (from) => from.int8(),
  (to, value) => to.int8(value),
)
export const int16 = primitive(
  (from) => from.int16(),
  (to, value) => to.int16(value),
)
export const int32 = primitive(
  (from) => from.int32(),
  (to, value) => to.int32(value),
)
export const int64 = primitive(
  (from) => from.int64(),
  (to, value) => to.int64(value),
)

export const bool: WireType<boolean> = {
  read: (from) => from.int8() !== 0,
  write: (to, value) => to.int8(value ? 1 : 0),
  absent: false,
}

export const string: WireType<string> = {
  read: (from, _, flexible) => from.text(from.length(flexible, true)),
  write: (to, value, _, flexible) => {
    const bytes = encoder.encode(value)
    to.length(bytes.length, flexible, true)
    to.raw(bytes)
  },
  absent: '',
}

/** As text: 32 digits in lower case with hyphens. */
export const uuid: WireType<string> = {
  read: (from) => {
    const at = from.take(16)
    const hex = Buffer.from(from.bytes.subarray(at, at + 16)).toString('hex')
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
  },
  write: (to, value) => to.raw(Buffer.from(value.replaceAll('-', ''), 'hex')),
  absent: '00000000-0000-0000-0000-000000000000',
}

/** A view of the request when read; copied when written. */
export const bytes: WireType<Uint8Array> = {
  read: (from, _, flexible) => {
    const length = from.length(flexible, false)
    const at = from.take(length)
    return from.bytes.subarray(at, at + length)
  },
  write: (to, value, _, flexible) => {
    to.length(value.length, flexible, false)
    to.raw(value)
  },
  absent: new Uint8Array(0),
}

/** Batches: as `bytes`, but written by reference. */
export const records: WireType<Uint8Array> = {
  ...bytes,
  write: (to, value, _, flexible) => {
    to.length(value.length, flexible, false)
    to.reference(value)
  },
}

/** `short` says which length the type has outside flexible versions: an int16 (strings) or an int32. */
export function nullable<T>(type: WireType<T>): WireType<T | null> {
  const short = (type as WireType<unknown>) === string
  return {
    read: (from, version, flexible) => {
      const { at } = from
      if (from.length(flexible, short) < 0) return null
      from.at = at
      return type.read(from, version, flexible)
    },
    write: (to, value, version, flexible) => {
      if (value === null) to.length(-1, flexible, short)
      else type.write(to, value, version, flexible)
    },
    absent: null,
  }
}

export function array<T>(type: WireType<T>): WireType<T[]> {
  return {
    read: (from, version, flexible) => {
      const count = from.elements(from.length(flexible, false))
      const values: T[] = []
      for (let i = 0; i < count; i++) values.push(type.read(from, version, flexible))
      return values
    },
    write: (to, values, version, flexible) => {
      to.length(values.length, flexible, false)
      for (const value of values) type.write(to, value, version, flexible)
    },
    absent: [],
  }
}

const ALWAYS = { from: 0, to: Number.POSITIVE_INFINITY }

/** From that version on. */
export const since = <T>(from: number, type: WireType<T>, absent: T = type.absent): WireField<T> => ({
  ...type,
  ...ALWAYS,
  from,
  absent,
})

/** In these versions only. */
export const within = <T>(from: number, to: number, type: WireType<T>): WireField<T> => ({
  ...type,
  from,
  to,
})

/** A tagged field, from that version on; written only where it differs from its default. */
export const tagged = <T>(tag: number, from: number, type: WireType<T>): WireField<T> => ({
  ...type,
  ...ALWAYS,
  from,
  tag,
})

/** Fields in the order of the keys. */
export function struct<Fields extends Record<string, WireType<never> | WireType<unknown>>>(
  fields: Fields,
): WireType<{ [Name in keyof Fields]: ValueOf<Fields[Name]> }> {
  type Value = { [Name in keyof Fields]: ValueOf<Fields[Name]> }
  const all = Object.entries(fields).map(([name, type]) => ({
    name,
    ...ALWAYS,
    ...(type as WireField<unknown>),
  }))
  const ordinary = all.filter((field) => field.tag === undefined)
  const withTag = all.filter((field) => field.tag !== undefined)
  const isIn = (field: { from: number; to: number }, version: number): boolean =>
    version >= field.from && version <= field.to
  return {
    read: (from, version, flexible) => {
      const value: Record<string, unknown> = {}
      for (const field of ordinary)
        value[field.name] = isIn(field, version) ? field.read(from, version, flexible) : field.absent
      for (const field of withTag) value[field.name] = field.absent
      if (flexible)
        from.taggedFields((tag) => {
          const field = withTag.find((one) => one.tag === tag && isIn(one, version))
          if (field !== undefined) value[field.name] = field.read(from, version, flexible)
        })
      return value as Value
    },
    write: (to, value, version, flexible) => {
      const values = value as Record<string, unknown>
      for (const field of ordinary)
        if (isIn(field, version)) field.write(to, values[field.name], version, flexible)
      // Nothing that the door answers has tagged fields: they say what only a cluster of several brokers knows.
      if (flexible) to.unsignedVarint(0)
    },
    absent: {} as Value,
  }
}
