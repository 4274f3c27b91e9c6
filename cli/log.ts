// Shows what the log of a data folder holds, and repairs one that refuses to open.
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import { configOf, mergeOptions } from '../config.ts'
import { lockDataFolder } from '../log/data-folder.ts'
import { type DumpedPartition, LogDump } from '../log/dump.ts'
import { type RepairReport, repairJournal } from '../log/journal-repair.ts'
import { NodeDisk } from '../std/disk.ts'
import { EXIT, MillraceError } from '../std/errors.ts'
import type { Command } from './command.ts'
import { bytesText, count, parse, textTable } from './command.ts'
import { lineOf, RecordPrinter } from './log-records.ts'

const FLAGS = {
  data: { type: 'string' },
  topic: { type: 'string' },
  partition: { type: 'string' },
  offset: { type: 'string' },
  limit: { type: 'string' },
  json: { type: 'boolean' },
} as const

export const log: Command = {
  name: 'log',
  summary: 'Show the records of the log, or repair it',
  help: `Usage: millrace log topics [--data DIR] [--json]
       millrace log dump [--data DIR] [--topic T] [--partition N] [--offset N] [--limit N] [--json]
       millrace log repair [--data DIR] [--json]

topics  lists the partitions of every topic: first and next offset, bytes, and how far each stage has read.
dump    prints records, a line each: topic/partition, offset, time, key, schema id, value, headers. Values are
        decoded by the schema that their frame names; bytes that nothing decodes are hexadecimal; hashes of secrets
        are masked. Reads without a lock: works while Millrace runs, and on a folder that a crash left.
repair  mends a log that \`up\` refuses as corrupt: what is damaged is copied to log/damaged-N, cut out and named
        with its place, and so are the offsets that are lost. Asks nothing; needs the folder for itself.

  --data DIR      data folder [MILLRACE_DATA, else ./data]
  --topic T       only this topic, for instance default.telemetry.raw
  --partition N   only this partition
  --offset N      from this offset on [the first there is]
  --limit N       at most so many records in all
  --json          one JSON object per line

Exit codes: 0 the log was read, or is whole now; 1 no such topic, or another process holds the folder; 2 wrong usage;
74 the log cannot be read, or not be repaired.`,
  async run(args) {
    const { values, positionals } = parse(args, FLAGS, 1)
    const [action] = positionals
    // As for `up`: by flag, variable, or ./data.
    const data = configOf(mergeOptions(values.data === undefined ? {} : { data: values.data })).data
    if (action !== 'topics' && action !== 'dump' && action !== 'repair')
      throw new MillraceError(
        'option_invalid',
        `read ${JSON.stringify(action ?? '')}, expected topics, dump or repair`,
      )
    if (!fs.existsSync(path.join(data, 'log')))
      throw new MillraceError(
        'option_invalid',
        `--data: read ${JSON.stringify(values.data ?? data)}, expected a data folder; there is no log in ${data}`,
      )
    for (const name of ['topic', 'partition', 'offset', 'limit'] as const)
      if (action !== 'dump' && values[name] !== undefined)
        throw new MillraceError('option_invalid', `--${name} is an option of log dump`)
    if (action === 'repair') return repair(data, values.json === true)
    const dump = new LogDump(path.join(data, 'log'))
    if (dump.tornTail !== undefined) {
      const { file, position, bytes } = dump.tornTail
      process.stderr.write(
        `warning: ${file}: ${bytes} bytes after ${position} are no whole group: of a crash, or just being written\n`,
      )
    }
    if (action === 'topics') printTopics(dump, values.json === true)
    else await printRecords(dump, values)
    return EXIT.ok
  },
}

interface DumpFlags {
  topic?: string | undefined
  partition?: string | undefined
  offset?: string | undefined
  limit?: string | undefined
  json?: boolean | undefined
}

async function printRecords(dump: LogDump, flags: DumpFlags): Promise<void> {
  const partition = wholeNumber('partition', flags.partition)
  const offset = wholeNumber('offset', flags.offset) ?? 0
  let left = wholeNumber('limit', flags.limit) ?? Number.POSITIVE_INFINITY
  const chosen = sorted(dump).filter(
    ({ topic, partition: own }) =>
      (flags.topic === undefined || topic.name === flags.topic) &&
      (partition === undefined || own === partition),
  )
  if (chosen.length === 0) {
    const topics = [...new Set(sorted(dump).map(({ topic }) => topic.name))]
    const where = `${flags.topic ?? 'any topic'}${partition === undefined ? '' : `, partition ${partition}`}`
    throw new MillraceError(
      'topic_unknown',
      `the log does not hold ${where}; its topics: ${topics.join(', ')}`,
    )
  }
  const printer = new RecordPrinter(dump)
  for (const { topic, partition: own } of chosen)
    for (const record of dump.records(topic.name, own, offset)) {
      if (left-- <= 0) return
      const readable = printer.read(record)
      // A reader slower than the disk must not make the whole log wait in memory.
      if (!process.stdout.write(`${flags.json === true ? JSON.stringify(readable) : lineOf(readable)}\n`))
        await once(process.stdout, 'drain')
    }
}

function printTopics(dump: LogDump, json: boolean): void {
  const partitions = sorted(dump)
  if (json) {
    for (const { topic, positions, ...rest } of partitions)
      process.stdout.write(
        `${JSON.stringify({ topic: topic.name, id: topic.id, cleanup: topic.config.cleanup, ...rest, positions: Object.fromEntries(positions) })}\n`,
      )
    return
  }
  const rows = partitions.map(({ topic, partition, start, end, bytes, positions }) => [
    topic.name,
    partition,
    start,
    end,
    bytesText(bytes),
    [...positions].map(([stage, next]) => `${stage} ${next}`).join(', '),
  ])
  const header = ['topic', 'partition', 'first offset', 'next offset', 'bytes', 'read up to']
  process.stdout.write(`log ${dump.id}\n${textTable(header, rows)}\n`)
}

function sorted(dump: LogDump): DumpedPartition[] {
  return dump
    .partitions()
    .sort((a, b) => a.topic.name.localeCompare(b.topic.name, 'en') || a.partition - b.partition)
}

function repair(data: string, json: boolean): number {
  const folder = lockDataFolder(data)
  let report: RepairReport
  try {
    report = repairJournal(new NodeDisk(), path.join(data, 'log'))
  } finally {
    folder.release()
  }
  process.stdout.write(`${json ? JSON.stringify(report) : repairText(report)}\n`)
  return EXIT.ok
}

function repairText({ copies, repaired, lost }: RepairReport): string {
  if (repaired.length === 0 && lost.length === 0) return 'nothing to repair: the log is whole'
  const lines = repaired.map(({ what }) => `repaired ${what}`)
  for (const { topic, partition, from, to } of lost)
    lines.push(
      `lost     ${topic ?? 'a topic whose making was damaged, number'}${topic ? '/' : ' '}${partition}: ${count(to - from)} records, offsets ${from} to ${to - 1}`,
    )
  if (lost.length === 0) lines.push('no record is known to be lost')
  if (copies !== undefined) lines.push(`copies of the files as they were: ${copies}`)
  lines.push(
    'Records lost at the end of a partition cannot be counted here: their offsets are given anew. Where a table is ahead',
    'of its topic, roll the table back to a snapshot from before the damage; `up` names it.',
  )
  return lines.join('\n')
}

function wholeNumber(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (Number.isSafeInteger(value)) return value
  throw new MillraceError(
    'option_invalid',
    `--${name}: read ${JSON.stringify(text)}, expected a whole number from 0`,
  )
}
