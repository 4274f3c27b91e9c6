// The HTTP request that opens a WebSocket (RFC 6455 section 4), read from the listener's own bytes: the MQTT
// port speaks no other HTTP, so a server for it would be wasted on every connection.
//
//   GET /mqtt HTTP/1.1 │ Upgrade: websocket │ Connection: Upgrade │ Sec-WebSocket-Key │
//   Sec-WebSocket-Version: 13 │ Sec-WebSocket-Protocol: mqtt
import { createHash } from 'node:crypto'

const WS_PATH = '/mqtt'
const WS_PROTOCOL = 'mqtt'
/** Section 1.3. */
const ACCEPT_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
/** Bytes of a request, its empty last line included, above which it is refused. */
export const REQUEST_BYTES_MAX = 8192

export interface Upgrade {
  /** 101, or the error of a request that is not a WebSocket handshake for MQTT: send `response` and close. */
  status: number
  response: Uint8Array
  /** Bytes of the request; what lies after it in the same read are frames. */
  requestBytes: number
}

const decoder = new TextDecoder('latin1')
const encoder = new TextEncoder()

/**
 * Reads the request in bytes[start, end), the whole of what the client sent so far. Undefined while its last
 * line has not come; the caller keeps the bytes and asks again.
 */
export function readUpgrade(bytes: Uint8Array, start: number, end: number): Upgrade | undefined {
  const headEnd = endOfHead(bytes, start, end)
  if (headEnd < 0) {
    if (end - start <= REQUEST_BYTES_MAX) return undefined
    return refuse(
      431,
      'Request Header Fields Too Large',
      'The request is larger than 8192 bytes.',
      end - start,
    )
  }
  const requestBytes = headEnd - start
  if (requestBytes > REQUEST_BYTES_MAX)
    return refuse(
      431,
      'Request Header Fields Too Large',
      'The request is larger than 8192 bytes.',
      requestBytes,
    )
  const lines = decoder.decode(bytes.subarray(start, headEnd - 4)).split('\r\n')
  const request = /^([A-Z]+) (\S+) HTTP\/1\.1$/.exec(lines[0]!)
  if (request === null)
    return refuse(400, 'Bad Request', 'This port speaks MQTT over WebSocket.', requestBytes)
  const headers = readHeaders(lines)
  if (headers === undefined) return refuse(400, 'Bad Request', 'A header line is malformed.', requestBytes)
  if (request[2]!.split('?')[0] !== WS_PATH)
    return refuse(404, 'Not Found', `MQTT over WebSocket is at ${WS_PATH}.`, requestBytes)
  if (request[1] !== 'GET') return refuse(400, 'Bad Request', 'A WebSocket is opened by GET.', requestBytes)
  if (!listed(headers, 'upgrade', 'websocket') || !listed(headers, 'connection', 'upgrade'))
    return refuse(426, 'Upgrade Required', 'Ask for Upgrade: websocket.', requestBytes)
  if (headers.get('sec-websocket-version') !== '13')
    return refuse(426, 'Upgrade Required', 'The WebSocket version must be 13.', requestBytes)
  const key = headers.get('sec-websocket-key')
  if (key === undefined || !/^[A-Za-z0-9+/]{22}==$/.test(key))
    return refuse(400, 'Bad Request', 'Sec-WebSocket-Key must be 16 bytes in base64.', requestBytes)
  // MQTT-6.0.0-3: the client must offer the subprotocol.
  if (!listed(headers, 'sec-websocket-protocol', WS_PROTOCOL))
    return refuse(400, 'Bad Request', 'Offer Sec-WebSocket-Protocol: mqtt.', requestBytes)
  const accept = createHash('sha1')
    .update(key + ACCEPT_GUID)
    .digest('base64')
  const response = `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: ${WS_PROTOCOL}\r\n\r\n`
  return { status: 101, response: encoder.encode(response), requestBytes }
}

/** Position after the empty line that ends the request, or -1. */
function endOfHead(bytes: Uint8Array, start: number, end: number): number {
  for (let at = start + 3; at < end; at++)
    if (bytes[at] === 10 && bytes[at - 1] === 13 && bytes[at - 2] === 10 && bytes[at - 3] === 13)
      return at + 1
  return -1
}

/** Header fields by lower-case name, repeated ones joined (RFC 9110 section 5.3); undefined where one is malformed. */
function readHeaders(lines: readonly string[]): Map<string, string> | undefined {
  const headers = new Map<string, string>()
  for (const line of lines.slice(1)) {
    const match = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/.exec(line)
    if (match === null) return undefined
    const name = match[1]!.toLowerCase()
    const before = headers.get(name)
    headers.set(name, before === undefined ? match[2]! : `${before}, ${match[2]!}`)
  }
  return headers
}

/** Whether a comma-separated header holds `token`, in any case. */
function listed(headers: ReadonlyMap<string, string>, name: string, token: string): boolean {
  const value = headers.get(name)
  return value?.split(',').some((one) => one.trim().toLowerCase() === token) ?? false
}

function refuse(status: number, phrase: string, text: string, requestBytes: number): Upgrade {
  const body = `${text}\n`
  const extra = status === 426 ? 'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' : ''
  const response = `HTTP/1.1 ${status} ${phrase}\r\nContent-Type: text/plain\r\nContent-Length: ${body.length}\r\n${extra}Connection: close\r\n\r\n${body}`
  return { status, response: encoder.encode(response), requestBytes }
}
