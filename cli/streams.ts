// Streams of a log on Kafka: how far each stage is, and more partitions for one that is drained.
import { randomUUID } from 'node:crypto'
import { configOf, mergeOptions } from '../config.ts'
import { kafkaOptions } from '../kafka-config.ts'
import type { KafkaLog } from '../log/log-kafka.ts'
import { recordsAfter } from '../log/records-after.ts'
import { normalizedTopic, rawTopic, rejectedTopic } from '../schemas/names.ts'
import { EXIT, MillraceError } from '../std/errors.ts'
import type { Command } from './command.ts'
import { count, parse, textTable } from './command.ts'
import { configFlags } from './config.ts'

const PARTITIONS_MAX = 1024

export const streams: Command = {
  name: 'streams',
  summary: 'Show how far the stages are on Kafka, give a stream more partitions',
  help: `Usage: millrace streams [list] --log kafka://… [options of up]
       millrace streams repartition STREAM --partitions N --log kafka://… [options of up]

list         Records of every stream that normalize and the sink have not dealt with.
repartition  Gives the topics of a stream more partitions. A device moves to another partition by it, and its order and
             the memory of its last messages with it; so it is refused until the stream is drained: no device sends, and
             the tables hold everything. End all ingest processes, wait until \`list\` shows 0, end the others, run this,
             raise \`partitions\` in the contract if it says so, start all again.

STREAM is tenant.stream, or the stream alone for the tenant \`default\`.`,
  async run(args) {
    const [action = '', ...rest] = args
    if (action === 'repartition') return repartition(rest)
    return list(action === 'list' ? rest : args)
  },
}

async function openLog(flags: Record<string, string | undefined>): Promise<KafkaLog> {
  const config = configOf(mergeOptions(flags))
  if (config.log === 'embedded')
    throw new MillraceError(
      'option_invalid',
      '--log: read "embedded", expected kafka://…: partitions of the embedded log are fixed when a stream is made',
    )
  const { openKafkaLog } = await import('../log/log-kafka.ts')
  return openKafkaLog(kafkaOptions(config, randomUUID()), 'streams')
}

async function list(args: string[]): Promise<number> {
  const { values } = parse(args, configFlags)
  const log = await openLog(values as Record<string, string>)
  try {
    const rows: unknown[][] = []
    for (const { name, config } of await log.listTopics()) {
      const match = /^([a-z0-9_]+)\.([a-z0-9_]+)\.raw$/.exec(name)
      if (match === null) continue
      const waiting = await waitingOf(log, match[1]!, match[2]!, config.partitions)
      rows.push([`${match[1]}.${match[2]}`, config.partitions, waiting.normalize, waiting.sink])
    }
    process.stdout.write(`${textTable(['stream', 'partitions', 'normalize waits', 'sink waits'], rows)}\n`)
    return EXIT.ok
  } finally {
    await log.close()
  }
}

async function repartition(args: string[]): Promise<number> {
  const { values, positionals } = parse(args, { ...configFlags, partitions: { type: 'string' } }, 1)
  const { partitions: text, ...flags } = values as Record<string, string>
  const partitions = Number(text)
  if (!Number.isSafeInteger(partitions) || partitions < 2 || partitions > PARTITIONS_MAX)
    throw new MillraceError(
      'option_invalid',
      `--partitions: read ${JSON.stringify(text ?? '')}, expected a whole number from 2 to ${PARTITIONS_MAX}`,
    )
  const [name = ''] = positionals
  const [stream, tenant = 'default'] = name.split('.').reverse()
  const log = await openLog(flags)
  try {
    const topic = await log.describeTopic(rawTopic(tenant, stream!))
    if (topic === undefined)
      throw new MillraceError(
        'topic_unknown',
        `no stream ${JSON.stringify(name)}: there is no topic ${rawTopic(tenant, stream!)}`,
      )
    const before = topic.config.partitions
    if (partitions <= before)
      throw new MillraceError(
        'option_invalid',
        `--partitions: read ${partitions}, expected more than ${before}: Kafka takes no partition away`,
      )
    const waiting = await waitingOf(log, tenant, stream!, before)
    if (waiting.normalize + waiting.sink > 0)
      throw new MillraceError(
        'stream_undrained',
        `stream ${tenant}.${stream}: ${count(waiting.normalize)} records wait for normalize, ${count(waiting.sink)} for the sink`,
      )
    // Raw last: who sees its partitions finds those of the others.
    for (const topicOf of [rejectedTopic, normalizedTopic, rawTopic])
      await log.addPartitions(topicOf(tenant, stream!), partitions)
    process.stdout.write(
      `stream ${tenant}.${stream}: ${before} → ${partitions} partitions; if its contract says \`partitions\`, set it to ${partitions} before the next start\n`,
    )
    return EXIT.ok
  } finally {
    await log.close()
  }
}

/** Records that a stage has not dealt with. */
async function waitingOf(
  log: KafkaLog,
  tenant: string,
  stream: string,
  partitions: number,
): Promise<{ normalize: number; sink: number }> {
  const waiting = { normalize: 0, sink: 0 }
  for (let partition = 0; partition < partitions; partition++)
    for (const [stage, topic] of [
      ['normalize', rawTopic(tenant, stream)],
      ['sink', normalizedTopic(tenant, stream)],
      ['sink', rejectedTopic(tenant, stream)],
    ] as const)
      waiting[stage] += await recordsAfter(log, topic, partition, await log.position(stage, topic, partition))
  return waiting
}
