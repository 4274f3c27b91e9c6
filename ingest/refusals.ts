// What cannot be accepted, and what its sender is told: the table of docs/refusals.md, which a test compares.
//
// Nothing is dropped silently: every refusal is counted, and the one that a device can repair (its payload) is
// kept in the rejected topic of its stream.
import { REASON } from './mqtt-codes.ts'

/** What a 3.1.1 client gets, which has no reason codes. */
export type PlainAnswer = 'acknowledge' | 'close'

interface RefusalEntry {
  situation: string
  /** PUBACK (or, where `ends` says so, DISCONNECT) of MQTT 5 at QoS 1. */
  reason: number
  /** Whether the connection ends in MQTT 5 too. */
  ends: boolean
  plain: PlainAnswer
  /** At QoS 0, in both versions. */
  qos0: 'drop' | 'close'
  /** What remains of the message. */
  kept: string
}

export const Refusal = {
  payloadInvalid: 0,
  notAuthorized: 1,
  topicUnknown: 2,
  quotaFull: 3,
  qos2: 4,
  retain: 5,
  sharedSubscription: 6,
  subscriptionIdentifier: 7,
  enhancedAuthentication: 8,
  packetTooLarge: 9,
  inFlightExceeded: 10,
} as const
export type Refusal = (typeof Refusal)[keyof typeof Refusal]

/** By refusal. */
export const REFUSALS: readonly RefusalEntry[] = [
  {
    situation: 'payload does not fit the contract',
    reason: REASON.payloadFormatInvalid,
    ends: false,
    plain: 'acknowledge',
    qos0: 'drop',
    kept: 'rejected topic, up to a byte budget per device, then counted',
  },
  {
    situation: 'not authorised',
    reason: REASON.notAuthorized,
    ends: false,
    plain: 'close',
    qos0: 'drop',
    kept: 'counted, audited as a presence record, never stored',
  },
  {
    situation: 'topic under `devices/` that names no stream',
    reason: REASON.topicNameInvalid,
    ends: false,
    plain: 'close',
    qos0: 'drop',
    kept: 'counted, audited as a presence record, never stored',
  },
  {
    situation: 'tenant’s storage quota full',
    reason: REASON.quotaExceeded,
    ends: false,
    plain: 'close',
    qos0: 'drop',
    kept: 'counted',
  },
  {
    situation: 'QoS 2',
    reason: REASON.qosNotSupported,
    ends: true,
    plain: 'close',
    qos0: 'close',
    kept: 'counted',
  },
  {
    situation: 'RETAIN',
    reason: REASON.retainNotSupported,
    ends: true,
    plain: 'close',
    qos0: 'close',
    kept: 'counted',
  },
  {
    situation: 'shared subscription',
    reason: REASON.sharedSubscriptionsNotSupported,
    ends: false,
    plain: 'close',
    qos0: 'close',
    kept: 'counted',
  },
  {
    situation: 'subscription identifier',
    reason: REASON.subscriptionIdentifiersNotSupported,
    ends: true,
    plain: 'close',
    qos0: 'close',
    kept: 'counted',
  },
  {
    situation: 'enhanced authentication',
    reason: REASON.badAuthenticationMethod,
    ends: true,
    plain: 'close',
    qos0: 'close',
    kept: 'counted',
  },
  {
    situation: 'packet above the maximum',
    reason: REASON.packetTooLarge,
    ends: true,
    plain: 'close',
    qos0: 'close',
    kept: 'counted',
  },
  {
    situation: 'more in flight than Receive Maximum',
    reason: REASON.receiveMaximumExceeded,
    ends: true,
    plain: 'close',
    qos0: 'close',
    kept: 'counted',
  },
]
