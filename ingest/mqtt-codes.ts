// The numbers of MQTT 3.1.1 and 5.0 that ingest uses, under the specifications' own names.

/** Protocol level (Protocol Version) in CONNECT. */
export const LEVEL_3_1_1 = 4
export const LEVEL_5 = 5

// Control packet types, in the high nibble of the first byte (MQTT 5.0 section 2.1.2).
export const CONNECT = 1
export const CONNACK = 2
export const PUBLISH = 3
export const PUBACK = 4
export const PUBREC = 5
export const PUBREL = 6
export const PUBCOMP = 7
export const SUBSCRIBE = 8
export const SUBACK = 9
export const UNSUBSCRIBE = 10
export const UNSUBACK = 11
export const PINGREQ = 12
export const PINGRESP = 13
export const DISCONNECT = 14
export const AUTH = 15

// Flags of PUBLISH, in the low nibble of the first byte (section 3.3.1).
export const FLAG_RETAIN = 0x01
export const FLAG_QOS_1 = 0x02
export const FLAG_QOS_2 = 0x04
export const FLAG_QOS = FLAG_QOS_1 | FLAG_QOS_2
export const FLAG_DUP = 0x08
/** Not on the wire: the parser sets it where the topic equals that of the PUBLISH before it in the same read. */
export const FLAG_SAME_TOPIC = 0x100

/** Reason codes of MQTT 5.0 (section 2.4). */
export const REASON = {
  success: 0x00,
  grantedQos1: 0x01,
  disconnectWithWill: 0x04,
  noMatchingSubscribers: 0x10,
  noSubscriptionExisted: 0x11,
  unspecifiedError: 0x80,
  malformedPacket: 0x81,
  protocolError: 0x82,
  implementationSpecificError: 0x83,
  unsupportedProtocolVersion: 0x84,
  clientIdentifierNotValid: 0x85,
  badUserNameOrPassword: 0x86,
  notAuthorized: 0x87,
  serverUnavailable: 0x88,
  serverBusy: 0x89,
  banned: 0x8a,
  serverShuttingDown: 0x8b,
  badAuthenticationMethod: 0x8c,
  keepAliveTimeout: 0x8d,
  sessionTakenOver: 0x8e,
  topicFilterInvalid: 0x8f,
  topicNameInvalid: 0x90,
  packetIdentifierInUse: 0x91,
  receiveMaximumExceeded: 0x93,
  topicAliasInvalid: 0x94,
  packetTooLarge: 0x95,
  messageRateTooHigh: 0x96,
  quotaExceeded: 0x97,
  administrativeAction: 0x98,
  payloadFormatInvalid: 0x99,
  retainNotSupported: 0x9a,
  qosNotSupported: 0x9b,
  sharedSubscriptionsNotSupported: 0x9e,
  connectionRateExceeded: 0x9f,
  subscriptionIdentifiersNotSupported: 0xa1,
  wildcardSubscriptionsNotSupported: 0xa2,
} as const

/** Return codes of CONNACK in MQTT 3.1.1 (section 3.2.2.3). */
export const RETURN_CODE = {
  accepted: 0,
  unacceptableProtocolVersion: 1,
  identifierRejected: 2,
  serverUnavailable: 3,
  badUserNameOrPassword: 4,
  notAuthorized: 5,
} as const

/** The 3.1.1 return code that comes closest to a reason code of MQTT 5.0. */
export function returnCodeOf(reason: number): number {
  switch (reason) {
    case REASON.success:
      return RETURN_CODE.accepted
    case REASON.unsupportedProtocolVersion:
      return RETURN_CODE.unacceptableProtocolVersion
    case REASON.clientIdentifierNotValid:
      return RETURN_CODE.identifierRejected
    case REASON.badUserNameOrPassword:
      return RETURN_CODE.badUserNameOrPassword
    case REASON.notAuthorized:
    case REASON.banned:
    case REASON.badAuthenticationMethod:
      return RETURN_CODE.notAuthorized
    default:
      return RETURN_CODE.serverUnavailable
  }
}
