// The topics that clients of the Kafka door may see: raw, normalized and rejected of every stream, each for its own
// tenant only. All others (presence, credentials, schemas, states) are internal and cannot be told from topics
// that do not exist.
//
// Who may read: whoever may subscribe to the stream of every device (`devices/+/<stream>`) over MQTT, because a topic
// holds the records of all devices. Who may write: every principal of the tenant, to raw topics, records of the
// devices that it speaks for.
import { maySubscribe, type Principal } from '../identity/identity.ts'
import { filterCovers } from '../identity/topic-filter.ts'
import type { Log, TopicConfig } from '../log/log.ts'
import { normalizedTopic, rawTopic, rejectedTopic } from '../schemas/names.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'

export interface PublicTopic {
  readonly name: string
  /** UUID of the log's topic. */
  readonly id: string
  readonly kind: 'raw' | 'normalized' | 'rejected'
  readonly partitions: number
  readonly config: TopicConfig
  readonly stream: StreamDescriptor
}

export class PublicTopics {
  readonly #log: Log
  #byName = new Map<string, PublicTopic>()
  #byId = new Map<string, PublicTopic>()

  constructor(log: Log) {
    this.#log = log
  }

  /** Takes the streams there are now; their topics exist. */
  async setStreams(streams: readonly StreamDescriptor[]): Promise<void> {
    const byName = new Map<string, PublicTopic>()
    const byId = new Map<string, PublicTopic>()
    for (const stream of streams) {
      const names = {
        raw: rawTopic(stream.tenant, stream.stream),
        normalized: normalizedTopic(stream.tenant, stream.stream),
        rejected: rejectedTopic(stream.tenant, stream.stream),
      }
      for (const kind of ['raw', 'normalized', 'rejected'] as const) {
        // Ids do not change while the process lives: a new contract among thousands asks for its own topics only.
        const topic = this.#byName.get(names[kind]) ?? (await this.#log.describeTopic(names[kind]))
        if (topic === undefined) continue
        const { name, id, config } = topic
        const found: PublicTopic = { name, id, kind, partitions: config.partitions, config, stream }
        byName.set(name, found)
        byId.set(id, found)
      }
    }
    this.#byName = byName
    this.#byId = byId
  }

  /** A topic that the principal may know of; undefined also where it belongs to another tenant. */
  find(principal: Principal, name: string): PublicTopic | undefined {
    const topic = this.#byName.get(name)
    return topic !== undefined && isVisible(principal, topic) ? topic : undefined
  }

  findById(principal: Principal, id: string): PublicTopic | undefined {
    const topic = this.#byId.get(id)
    return topic !== undefined && isVisible(principal, topic) ? topic : undefined
  }

  visible(principal: Principal): PublicTopic[] {
    return [...this.#byName.values()].filter((topic) => isVisible(principal, topic))
  }
}

function isVisible(principal: Principal, topic: PublicTopic): boolean {
  return principal.tenant === topic.stream.tenant && (topic.kind === 'raw' || mayRead(principal, topic))
}

/** Whether it may read the topic, all devices' records. */
export function mayRead(principal: Principal, topic: PublicTopic): boolean {
  return (
    principal.tenant === topic.stream.tenant && maySubscribe(principal, `devices/+/${topic.stream.stream}`)
  )
}

/** Whether there can be a topic in its tenant that it may read. */
export function mayReadSome({ subscribe }: Principal): boolean {
  return (
    subscribe?.some((filter) => filterCovers(filter, `devices/+/${filter.split('/')[2] ?? 'any'}`)) ?? false
  )
}
