// What a topic means: a table of templates, each with what it leads to and what permission it needs.
//
//   devices/{device}/{stream}     telemetry of a stream; the principal must speak for the device
//   anything else                 an ordinary topic between the clients of one tenant
//
// A protocol that comes later (commands, shadow, Sparkplug) is a new row. The first level of a template
// belongs to the templates: a topic under it that fits none is refused, so that a misspelt stream is not
// silently an ordinary topic that nobody reads.

import { mayPublish, type Principal, speaksFor } from '../identity/identity.ts'
import { TOPIC_LEVELS_MAX } from '../identity/topic-filter.ts'
import { isValidDeviceId } from '../schemas/names.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'
import { Refusal } from './refusals.ts'

interface TopicTemplate {
  /** Levels; `{name}` stands for one level that is looked at. */
  template: string
  /** How payloads are read. `telemetry`: by the stream's contract. */
  codec: 'telemetry'
  /** What the principal needs. `speaks-for`: to be {device}, or a gateway with {device} among its own. */
  permission: 'speaks-for'
}

export const TEMPLATES: readonly TopicTemplate[] = [
  { template: 'devices/{device}/{stream}', codec: 'telemetry', permission: 'speaks-for' },
]

export type Resolution =
  /** The device's id begins at byte `deviceAt` of the topic; it is ASCII, as all before it is. */
  | { kind: 'telemetry'; device: string; deviceAt: number; stream: StreamDescriptor }
  | { kind: 'ordinary' }
  | { kind: 'refused'; refusal: Refusal; detail: string }

/** Each template's levels, words or variables; which are {device} and {stream}; and where {device} begins. */
const PARSED_TEMPLATES = TEMPLATES.map(({ template }) => {
  const levels = template.split('/')
  const device = levels.indexOf('{device}')
  const stream = levels.indexOf('{stream}')
  return { levels, device, stream, deviceAt: template.indexOf('{device}') }
})
const RESERVED_FIRST_LEVELS = new Set(PARSED_TEMPLATES.map(({ levels }) => levels[0]!))

export class TopicTable {
  /** Raised by every update; what was resolved before is resolved anew. */
  version = 1
  /** By tenant, then by name. */
  #streams = new Map<string, Map<string, StreamDescriptor>>()

  constructor(streams: readonly StreamDescriptor[]) {
    this.updateStreams(streams)
  }

  /** Takes the streams there are now; what is no longer among them is refused from here on. */
  updateStreams(streams: readonly StreamDescriptor[]): void {
    this.#streams = new Map(streams.map(({ tenant }) => [tenant, new Map()]))
    for (const stream of streams) this.#streams.get(stream.tenant)!.set(stream.stream, stream)
    this.version++
  }

  /** What a PUBLISH of this principal to this (valid) topic name leads to. */
  resolve(principal: Principal, topic: string): Resolution {
    const levels = topic.split('/')
    if (levels.length > TOPIC_LEVELS_MAX)
      return refused(Refusal.topicUnknown, `a topic has at most ${TOPIC_LEVELS_MAX} levels`)
    for (const template of PARSED_TEMPLATES)
      if (fitsTemplate(template.levels, levels))
        return this.#telemetry(
          principal,
          levels[template.device]!,
          template.deviceAt,
          levels[template.stream]!,
        )
    if (RESERVED_FIRST_LEVELS.has(levels[0]!)) {
      const known = TEMPLATES.map(({ template }) => template).join(', ')
      return refused(Refusal.topicUnknown, `topics under ${levels[0]}/ have the form ${known}`)
    }
    if (!mayPublish(principal, topic))
      return refused(Refusal.notAuthorized, `${principal.id} may not publish to ${topic}`)
    return { kind: 'ordinary' }
  }

  #telemetry(principal: Principal, device: string, deviceAt: number, streamName: string): Resolution {
    if (!isValidDeviceId(device))
      return refused(Refusal.topicUnknown, 'a device id is 1 to 128 of A-Z a-z 0-9 . _ : -')
    // Permission comes before existence: who may not publish learns nothing of the streams there are.
    if (!speaksFor(principal, device))
      return refused(Refusal.notAuthorized, `${principal.id} does not speak for ${device}`)
    const stream = this.#streams.get(principal.tenant)?.get(streamName)
    if (stream === undefined)
      return refused(Refusal.topicUnknown, `tenant ${principal.tenant} has no stream ${streamName}`)
    return { kind: 'telemetry', device, deviceAt, stream }
  }
}

function refused(refusal: Refusal, detail: string): Resolution {
  return { kind: 'refused', refusal, detail }
}

function fitsTemplate(template: readonly string[], levels: readonly string[]): boolean {
  if (template.length !== levels.length) return false
  for (let i = 0; i < template.length; i++) {
    const part = template[i]!
    if (part !== levels[i] && !part.startsWith('{')) return false
  }
  return true
}
