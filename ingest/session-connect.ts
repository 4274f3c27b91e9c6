// CONNECT: from the packet to the CONNACK.
//
//   packet ──► what we lack? ──► who is it? (a secret may be hashed) ──► client id ours? (an old session may
//   have to give way, its records durable) ──► CONNACK
//
// While an answer is awaited, the connection is not read and its parser keeps what has come already.
import { randomBytes } from 'node:crypto'
import { IdentityRefusal, type Principal } from '../identity/identity.ts'
import { C } from './counters.ts'
import { DELIVERY_IN_FLIGHT_V4_MAX, TOPIC_ALIAS_MAX } from './limits.ts'
import { LEVEL_5, REASON } from './mqtt-codes.ts'
import { writeConnack } from './mqtt-encode.ts'
import { type Connect, decodeConnect } from './mqtt-packets.ts'
import { CLOSE, CONTINUE, PAUSE } from './mqtt-parser.ts'
import type { Properties } from './mqtt-properties.ts'
import { REFUSALS, Refusal } from './refusals.ts'
import { CONNECTED, ENDED, NEW, type Session, WAITING } from './session.ts'

/** Longest client id that is kept. */
const CLIENT_ID_CHARACTERS_MAX = 256

/** Deals with a CONNECT; answers the parser. */
export function connect(session: Session, bytes: Uint8Array, start: number, end: number): number {
  session.ingest.newcomers.remove(session)
  const packet = decodeConnect(bytes, start, end)
  if ('reason' in packet) {
    session.ingest.count(C.malformedPackets)
    return refuse(session, packet.level, packet.reason, 'CONNECT is malformed')
  }
  const lack = whatWeLack(packet)
  if (lack !== undefined) {
    session.ingest.countRefusal(lack)
    // 3.1.1 has no code for it: the connection is closed (docs/refusals.md).
    const level = packet.level === LEVEL_5 ? LEVEL_5 : 0
    return refuse(session, level, REFUSALS[lack]!.reason, REFUSALS[lack]!.situation)
  }
  if (packet.clientId.length > CLIENT_ID_CHARACTERS_MAX)
    return refuse(session, packet.level, REASON.clientIdentifierNotValid, 'the client id is too long')

  const isAssigned = packet.clientId === ''
  session.clientId = isAssigned ? `auto-${randomBytes(12).toString('hex')}` : packet.clientId
  session.state = WAITING
  session.level = session.parser.level = packet.level
  session.will = packet.will
  if (packet.level === LEVEL_5) {
    session.packetBytesMaxOut = packet.properties.maximumPacketSize ?? Number.POSITIVE_INFINITY
    session.wantsReasons = packet.properties.requestProblemInformation !== 0
    session.receiveMaximumOut = packet.properties.receiveMaximum ?? 65_535
  } else session.receiveMaximumOut = DELIVERY_IN_FLIGHT_V4_MAX

  const answer = session.ingest.identity.authenticate({
    clientId: session.clientId,
    username: packet.username,
    password: packet.password,
    isLoopback: session.transport.isLoopback,
  })
  if (answer instanceof Promise) {
    session.transport.pause()
    answer.then(
      (later) => identified(session, packet, isAssigned, later, true),
      (error: unknown) => {
        session.ingest.onError(error)
        if (session.state === WAITING)
          refuse(session, packet.level, REASON.serverUnavailable, 'the secret could not be verified')
      },
    )
    return PAUSE
  }
  return identified(session, packet, isAssigned, answer, false)
}

/** The feature a CONNECT asks for and we do not have. */
function whatWeLack(packet: Connect): Refusal | undefined {
  if (packet.properties.authenticationMethod !== undefined) return Refusal.enhancedAuthentication
  if (packet.will?.qos === 2) return Refusal.qos2
  if (packet.will?.retain) return Refusal.retain
  return undefined
}

function identified(
  session: Session,
  packet: Connect,
  isAssigned: boolean,
  answer: Principal | IdentityRefusal,
  isLater: boolean,
): number {
  if (session.state !== WAITING) return CLOSE
  if (typeof answer === 'number') {
    const [reason, detail] = REFUSED_IDENTITY[answer]
    return refuse(session, packet.level, reason, detail)
  }
  const { ingest } = session
  session.principal = answer
  ingest.addIdentified(session, answer)
  // Scoped to tenant and identity: nobody can take over the session of another device by using its client id.
  session.clientKey = `${answer.tenant} ${answer.kind} ${answer.id} ${session.clientId}`
  let isDone = false
  let isWaiting = isLater
  ingest.claim(session, session.clientKey, (claim, epoch) => {
    if (session.state !== WAITING) {
      // It ended, or was made to give way, before its turn came.
      ingest.releaseClaim(session.clientKey, claim)
      return
    }
    session.claim = claim
    isDone = true
    established(session, packet, isAssigned, epoch)
    if (isWaiting) session.release()
  })
  if (isDone) return CONTINUE
  isWaiting = true
  session.transport.pause()
  return PAUSE
}

const REFUSED_IDENTITY: Record<IdentityRefusal, [reason: number, detail: string]> = {
  [IdentityRefusal.badCredentials]: [REASON.badUserNameOrPassword, 'unknown user name or wrong password'],
  [IdentityRefusal.notAuthorised]: [
    REASON.notAuthorized,
    'credentials are needed; without them only clients on this machine are let in',
  ],
  [IdentityRefusal.badClientId]: [
    REASON.clientIdentifierNotValid,
    'without credentials the client id is the device id: 1 to 128 of A-Z a-z 0-9 . _ : -',
  ],
  [IdentityRefusal.busy]: [REASON.serverBusy, 'too many secrets are being verified; try again'],
}

function established(session: Session, packet: Connect, isAssigned: boolean, epoch: number): void {
  const { ingest } = session
  session.state = CONNECTED
  session.epoch = epoch
  // One and a half times the keep-alive (section 3.1.2.10).
  session.silenceMsMax = packet.keepAlive * 1500
  session.lastActivity = ingest.sweepCount
  ingest.addConnected()
  session.recordPresence('connect', REASON.success, packet.will === undefined ? '' : 'with will')
  const properties: Properties = {
    sessionExpiryInterval: 0,
    receiveMaximum: ingest.options.receiveMaximum,
    maximumQoS: 1,
    retainAvailable: 0,
    maximumPacketSize: ingest.options.packetBytesMax,
    topicAliasMaximum: TOPIC_ALIAS_MAX,
    wildcardSubscriptionAvailable: 1,
    subscriptionIdentifierAvailable: 0,
    sharedSubscriptionAvailable: 0,
  }
  if (isAssigned) properties.assignedClientIdentifier = session.clientId
  session.sendWith((into, at) => writeConnack(into, at, packet.level, false, REASON.success, properties))
}

/** Refuses a CONNECT: a CONNACK where the client understands one (`level` 0: none), then the end. */
function refuse(session: Session, level: number, reason: number, detail: string): number {
  session.ingest.count(C.connectsRefused)
  session.recordPresence('refusal', reason, detail)
  session.state = NEW
  if (level !== 0)
    session.sendWith((into, at) => writeConnack(into, at, level, false, reason, { reasonString: detail }))
  session.end(reason, detail, false)
  return session.state === ENDED ? CLOSE : CONTINUE
}
