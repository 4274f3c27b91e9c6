// WebSocket frames from a client (RFC 6455 section 5), in front of the MQTT parser:
//
//   ├ FIN, RSV, opcode ┼ MASK, length7 ┼ length u16 or u64 ┼ mask key ┼ masked payload … ┤
//          1 byte           1 byte        0, 2 or 8 bytes     4 bytes
//
// Payload is unmasked where it lies in the receive buffer and handed on as it comes: message and frame
// boundaries mean nothing to MQTT (section 6.0 of both specifications), so nothing is gathered. Between two
// reads only a frame's header may be carried over, and control frames, which are at most 125 bytes.
import { viewOf } from '../std/view.ts'
import { CLOSE, CONTINUE, type MqttParser, PAUSE } from './mqtt-parser.ts'

// Opcodes (section 5.2).
const OPCODE_CONTINUATION = 0x0
const OPCODE_TEXT = 0x1
const OPCODE_BINARY = 0x2
const OPCODE_CLOSE = 0x8
const OPCODE_PING = 0x9
const OPCODE_PONG = 0xa
const FIN = 0x80
const RSV = 0x70
const MASK = 0x80
const CONTROL_BYTES_MAX = 125
const HEADER_BYTES_MAX = 14

/** Status codes of a close frame (section 7.4.1). */
export const WS_NORMAL = 1000
export const WS_GOING_AWAY = 1001
export const WS_PROTOCOL_ERROR = 1002
export const WS_UNSUPPORTED_DATA = 1003
export const WS_TOO_BIG = 1009

/** What the connection does for the frame reader. */
export interface WebSocketHandler {
  /** Write a pong with this payload (valid during the call). */
  onWsPing(payload: Uint8Array): void
  /** Answer with a close frame of this status and close the connection. Nothing is read after it. */
  onWsClose(status: number): void
}

// States: the prefix of a frame consumed.
const NOTHING = 0
/** Some of the header. */
const HEADER = 1
/** The header of a data frame, and some of its payload. */
const DATA = 2
/** The header of a control frame, and some of its payload. */
const CONTROL = 3
const CLOSED = 4

export class WebSocketReader {
  readonly #handler: WebSocketHandler
  readonly #parser: MqttParser
  readonly #frameBytesMax: number
  #state = NOTHING
  /** Header bytes, then a control frame's payload, while they straddle reads. */
  #carry: Uint8Array | undefined
  #carried = 0
  #opcode = 0
  /** Payload bytes still to come of the current frame. */
  #left = 0
  /** Mask key rotated to the next payload byte, first byte in the low bits. */
  #mask = 0
  /** Inside a fragmented message. */
  #fragmented = false

  /** `frameBytesMax`: payload of one frame. */
  constructor(handler: WebSocketHandler, parser: MqttParser, frameBytesMax: number) {
    this.#handler = handler
    this.#parser = parser
    this.#frameBytesMax = frameBytesMax
  }

  /**
   * Reads bytes[start, end), the next part of the stream, unmasking it in place, and returns what the MQTT
   * parser's `parse` returned last: CONTINUE, PAUSE or CLOSE.
   */
  read(bytes: Uint8Array, start: number, end: number): number {
    let at = start
    let result = CONTINUE
    while (at < end) {
      if (this.#state === CLOSED) return CLOSE
      if (this.#state === DATA) {
        const stop = Math.min(end, at + this.#left)
        this.#mask = unmask(bytes, at, stop, this.#mask)
        this.#left -= stop - at
        if (this.#left === 0) this.#state = NOTHING
        const parsed = this.#parser.parse(bytes, at, stop)
        if (parsed === CLOSE) {
          this.#state = CLOSED
          return CLOSE
        }
        if (parsed === PAUSE) result = PAUSE
        at = stop
      } else if (this.#state === CONTROL) at = this.#readControl(bytes, at, end)
      else at = this.#readHeader(bytes, at, end)
    }
    return this.#state === CLOSED ? CLOSE : result
  }

  /** Takes header bytes from [at, end); when the header is whole, the state says what follows. */
  #readHeader(bytes: Uint8Array, at: number, end: number): number {
    if (this.#state === NOTHING) {
      const length = headerLength(bytes, at, end)
      if (length > 0 && at + length <= end) {
        this.#open(bytes, at)
        return at + length
      }
      this.#carry ??= new Uint8Array(HEADER_BYTES_MAX)
      this.#carried = 0
      this.#state = HEADER
    }
    const carry = this.#carry!
    let p = at
    while (p < end) {
      carry[this.#carried++] = bytes[p++]!
      if (headerLength(carry, 0, this.#carried) === this.#carried) {
        this.#carry = undefined
        this.#open(carry, 0)
        return p
      }
    }
    return p
  }

  /** A whole header lies at `at`: checks it and prepares for its payload. */
  #open(header: Uint8Array, at: number): void {
    const first = header[at]!
    const second = header[at + 1]!
    const opcode = first & 0x0f
    let length = second & 0x7f
    let p = at + 2
    if (length === 126) {
      length = (header[p]! << 8) | header[p + 1]!
      p += 2
    } else if (length === 127) {
      length = 0
      for (let i = 0; i < 8; i++) length = length * 256 + header[p + i]!
      p += 8
    }
    const fault = this.#faultOf(first, second, length)
    if (fault !== 0) {
      this.#close(fault)
      return
    }
    this.#opcode = opcode
    this.#left = length
    this.#mask = header[p]! | (header[p + 1]! << 8) | (header[p + 2]! << 16) | (header[p + 3]! << 24)
    if (opcode < OPCODE_CLOSE) {
      this.#fragmented = (first & FIN) === 0
      this.#state = length === 0 ? NOTHING : DATA
    } else {
      this.#carried = 0
      this.#carry = length === 0 ? undefined : new Uint8Array(length)
      this.#state = CONTROL
      if (length === 0) this.#control(new Uint8Array(0))
    }
  }

  /** The status to close with because of a frame header, or 0. */
  #faultOf(first: number, second: number, length: number): number {
    const opcode = first & 0x0f
    if ((first & RSV) !== 0 || (second & MASK) === 0) return WS_PROTOCOL_ERROR
    if (opcode >= OPCODE_CLOSE) {
      const isWhole = (first & FIN) !== 0 && length <= CONTROL_BYTES_MAX
      return opcode <= OPCODE_PONG && isWhole ? 0 : WS_PROTOCOL_ERROR
    }
    if (opcode > OPCODE_BINARY) return WS_PROTOCOL_ERROR
    // A continuation belongs to a message begun, and nothing else may come before its end.
    if ((opcode === OPCODE_CONTINUATION) !== this.#fragmented) return WS_PROTOCOL_ERROR
    // MQTT-6.0.0-1: data is sent in binary frames.
    if (opcode === OPCODE_TEXT) return WS_UNSUPPORTED_DATA
    return length > this.#frameBytesMax ? WS_TOO_BIG : 0
  }

  #readControl(bytes: Uint8Array, at: number, end: number): number {
    const carry = this.#carry!
    const stop = Math.min(end, at + this.#left)
    this.#mask = unmask(bytes, at, stop, this.#mask)
    carry.set(bytes.subarray(at, stop), this.#carried)
    this.#carried += stop - at
    this.#left -= stop - at
    if (this.#left === 0) {
      this.#carry = undefined
      this.#control(carry)
    }
    return stop
  }

  #control(payload: Uint8Array): void {
    this.#state = NOTHING
    if (this.#opcode === OPCODE_PING) this.#handler.onWsPing(payload)
    else if (this.#opcode === OPCODE_CLOSE) {
      // The status is echoed (section 5.5.1); a missing or impossible one is not repeated.
      const status = payload.length >= 2 ? (payload[0]! << 8) | payload[1]! : WS_NORMAL
      this.#close(payload.length === 1 || !isStatus(status) ? WS_PROTOCOL_ERROR : status)
    }
  }

  #close(status: number): void {
    this.#state = CLOSED
    this.#carry = undefined
    this.#handler.onWsClose(status)
  }
}

/** Bytes of the frame header at `at`, or 0 when [at, end) does not tell yet. */
function headerLength(bytes: Uint8Array, at: number, end: number): number {
  if (end - at < 2) return 0
  const second = bytes[at + 1]!
  const length = second & 0x7f
  return 2 + (length < 126 ? 0 : length === 126 ? 2 : 8) + ((second & MASK) !== 0 ? 4 : 0)
}

/** Status codes an endpoint may send (section 7.4). */
function isStatus(status: number): boolean {
  return (
    (status >= 1000 && status <= 1014 && ![1004, 1005, 1006].includes(status)) ||
    (status >= 3000 && status < 5000)
  )
}

/**
 * Exclusive-ors bytes[start, end) with the mask key, a word at a time, in place. Returns the key rotated for
 * the byte after.
 */
export function unmask(bytes: Uint8Array, start: number, end: number, mask: number): number {
  const view = viewOf(bytes)
  let at = start
  const words = start + ((end - start) & ~3)
  for (; at < words; at += 4) view.setInt32(at, view.getInt32(at, true) ^ mask, true)
  let key = mask
  for (; at < end; at++) {
    bytes[at] = bytes[at]! ^ (key & 0xff)
    key = (key >>> 8) | (key << 24)
  }
  return key
}

/** Bytes of the header of a frame of ours (never masked) with this payload. */
export function frameHeaderBytes(payloadBytes: number): number {
  return payloadBytes < 126 ? 2 : payloadBytes < 0x10000 ? 4 : 10
}

/** Writes the header of a binary frame; returns the position after it. */
export function writeFrameHeader(into: Uint8Array, at: number, payloadBytes: number): number {
  return writeHeader(into, at, OPCODE_BINARY, payloadBytes)
}

/** Writes a pong frame with the ping's payload (at most 125 bytes); returns the position after it. */
export function writePong(into: Uint8Array, at: number, payload: Uint8Array): number {
  const p = writeHeader(into, at, OPCODE_PONG, payload.length)
  into.set(payload, p)
  return p + payload.length
}

/** Writes a close frame with a status; returns the position after it. */
export function writeClose(into: Uint8Array, at: number, status: number): number {
  const p = writeHeader(into, at, OPCODE_CLOSE, 2)
  into[p] = status >>> 8
  into[p + 1] = status
  return p + 2
}

function writeHeader(into: Uint8Array, at: number, opcode: number, payloadBytes: number): number {
  into[at] = FIN | opcode
  if (payloadBytes < 126) {
    into[at + 1] = payloadBytes
    return at + 2
  }
  if (payloadBytes < 0x10000) {
    into[at + 1] = 126
    into[at + 2] = payloadBytes >>> 8
    into[at + 3] = payloadBytes
    return at + 4
  }
  into[at + 1] = 127
  into[at + 2] = into[at + 3] = into[at + 4] = into[at + 5] = 0
  into[at + 6] = payloadBytes >>> 24
  into[at + 7] = payloadBytes >>> 16
  into[at + 8] = payloadBytes >>> 8
  into[at + 9] = payloadBytes
  return at + 10
}
