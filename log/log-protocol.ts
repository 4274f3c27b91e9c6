// What crosses the port between a client and the log thread. Appends and reads are flat arrays of numbers: an
// array of small numbers is the cheapest thing structured clone takes. Strings (topics, stages) and shared
// buffers are named once by a number of the client's own choice and then known by it.
//
//   append   [OP_APPEND, request, entry count, position count, entries …, positions …]
//     batch      [0, topic, partition, buffer, byte offset, byte length, record count, expected offset | -1]
//     its CRC pending: [2, …]
//     reference  [1, topic, partition, source topic, source partition, base offset, record count, expected | -1]
//     position   [stage, topic, partition, next offset]
//   appended [OP_APPENDED, sequence, (request, base offset count, base offsets …) …]: one message a group
//   read     [OP_READ, request, topic, partition, offset, bytesMax]
//   places   [OP_PLACES, request, generation, segment being written, where it ends, next offset, places …]
//
// Everything else is rare and goes as objects: `Call` and `Answer`.
import type { ThreadError } from '../std/thread.ts'
import type { SharedTail } from './journal-tail.ts'
import type { Changes, PartitionRange, Topic, TopicConfig } from './log.ts'

export const OP_APPEND = 0
export const OP_APPENDED = 1
export const OP_READ = 2
export const OP_PLACES = 3

export const ENTRY_IS_BATCH = 0
export const ENTRY_IS_REFERENCE = 1
export const ENTRY_IS_CRC_PENDING = 2
/** Numbers of an entry, and of a position. */
export const ENTRY_FIELDS = 8
export const POSITION_FIELDS = 4

/** The port gives this first. */
export interface Welcome {
  type: 'welcome'
  id: string
  /** Folder of the segment files. */
  dir: string
  verifyReads: boolean
  tail: SharedTail
}

export type Call =
  | { type: 'name'; id: number; name: string }
  | { type: 'buffer'; id: number; buffer: SharedArrayBuffer }
  | { type: 'forget'; id: number }
  | { type: 'createTopic'; request: number; name: string; config: TopicConfig }
  | { type: 'describeTopic'; request: number; name: string }
  | { type: 'listTopics'; request: number }
  | { type: 'range'; request: number; topic: string; partition: number }
  | { type: 'position'; request: number; stage: string; topic: string; partition: number }
  | { type: 'changes'; request: number; sequence: number; timeoutMs: number }
  | { type: 'close' }

export type AnswerValue = Topic | Topic[] | PartitionRange | Changes | number | undefined

export type Answer =
  | Welcome
  | { type: 'answer'; request: number; value: AnswerValue }
  | {
      type: 'refused'
      request: number
      error: ThreadError & { details: Readonly<Record<string, unknown>> }
    }
  /** The log thread has ended: nothing that is open will be answered. */
  | { type: 'closed' }
