// What cannot be accepted, and what its sender is told: the table of docs/refusals.md, which a test compares.
//
// Nothing is dropped silently: every refusal is counted, and the one that a device can repair (its payload) is
// kept in the rejected topic of its stream.
import { REASON } from './mqtt-codes.ts'

/** What a 3.1.1 client gets, which has no reason codes. */
export type PlainAnswer = 'acknowledge' | 'close'

interface RefusalEntry {
  situation: string
  /** The packet of MQTT 5 that carries the reason. All but PUBACK and SUBACK end the connection. */
  five: 'PUBACK' | 'DISCONNECT' | 'CONNACK' | 'SUBACK'
  reason: number
  plain: PlainAnswer
  /** At QoS 0, in both versions. */
  qos0: 'drop' | 'close' | 'none'
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
    five: 'PUBACK',
    reason: REASON.payloadFormatInvalid,
    plain: 'acknowledge',
    qos0: 'none',
    kept: 'rejected topic, up to a byte budget per device, then counted',
  },
  {
    situation: 'not authorised',
    five: 'PUBACK',
    reason: REASON.notAuthorized,
    plain: 'close',
    qos0: 'drop',
    kept: 'counted, audited as a presence record, never stored',
  },
  {
    situation: 'topic under `devices/` that names no stream',
    five: 'PUBACK',
    reason: REASON.topicNameInvalid,
    plain: 'close',
    qos0: 'drop',
    kept: 'counted, audited as a presence record, never stored',
  },
  {
    situation: 'tenant’s storage quota full',
    five: 'PUBACK',
    reason: REASON.quotaExceeded,
    plain: 'close',
    qos0: 'drop',
    kept: 'counted',
  },
  {
    situation: 'QoS 2',
    five: 'DISCONNECT',
    reason: REASON.qosNotSupported,
    plain: 'close',
    qos0: 'close',
    kept: 'counted',
  },
  {
    situation: 'RETAIN',
    five: 'DISCONNECT',
    reason: REASON.retainNotSupported,
    plain: 'close',
    qos0: 'close',
    kept: 'counted',
  },
  {
    situation: 'shared subscription',
    five: 'SUBACK',
    reason: REASON.sharedSubscriptionsNotSupported,
    plain: 'close',
    qos0: 'close',
    kept: 'counted',
  },
  {
    situation: 'subscription identifier',
    five: 'DISCONNECT',
    reason: REASON.subscriptionIdentifiersNotSupported,
    plain: 'close',
    qos0: 'close',
    kept: 'counted',
  },
  {
    situation: 'enhanced authentication',
    five: 'CONNACK',
    reason: REASON.badAuthenticationMethod,
    plain: 'close',
    qos0: 'close',
    kept: 'counted',
  },
  {
    situation: 'packet above the maximum',
    five: 'DISCONNECT',
    reason: REASON.packetTooLarge,
    plain: 'close',
    qos0: 'close',
    kept: 'counted',
  },
  {
    situation: 'more in flight than Receive Maximum',
    five: 'DISCONNECT',
    reason: REASON.receiveMaximumExceeded,
    plain: 'close',
    qos0: 'close',
    kept: 'counted',
  },
]

const hex = (reason: number): string => `0x${reason.toString(16).toUpperCase()}`

/** The table as it stands in docs/refusals.md. */
export function refusalsMarkdown(): string {
  const lines = [
    '| situation | MQTT 5, QoS 1 | 3.1.1, QoS 1 | QoS 0 | kept |',
    '| --- | --- | --- | --- | --- |',
  ]
  for (const { situation, five, reason, plain, qos0, kept } of REFUSALS)
    lines.push(
      `| ${situation} | ${five} ${hex(reason)} | ${PLAIN_TEXT[plain]} | ${QOS_0_TEXT[qos0]} | ${kept} |`,
    )
  return `${lines.join('\n')}\n`
}

const PLAIN_TEXT: Record<PlainAnswer, string> = {
  acknowledge: 'PUBACK once the rejection is durable',
  close: 'connection closed',
}
const QOS_0_TEXT: Record<RefusalEntry['qos0'], string> = {
  drop: 'dropped',
  close: 'the same',
  none: '–',
}
