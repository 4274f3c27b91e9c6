// What one request of the protocol is, and fields that many of them share.
import { int32, nullable, string, type WireType } from './wire.ts'

export interface Api<Request, Response> {
  readonly key: number
  readonly name: string
  readonly min: number
  readonly max: number
  /** First flexible version. */
  readonly flexible: number
  readonly request: WireType<Request>
  readonly response: WireType<Response>
}

export const api = <Request, Response>(
  key: number,
  name: string,
  [min, max]: [number, number],
  flexible: number,
  request: WireType<Request>,
  response: WireType<Response>,
): Api<Request, Response> => ({ key, name, min, max, flexible, request, response })

/** Of a request that has no flexible version. */
export const NEVER = Number.POSITIVE_INFINITY
export const throttleTimeMs = int32
export const errorMessage = nullable(string)
