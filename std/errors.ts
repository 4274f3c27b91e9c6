// Errors by what the caller can do about them: retry, reject the input, or stop.
//
// A code names one situation and stands once in the table below; docs/errors.md is generated from it
// (`./millrace config --errors-markdown`) and a test compares the two. Hot paths never throw: they
// return numeric results, and one of these is built on the cold path.

export type ErrorAction = 'retry' | 'reject' | 'stop'

/** Process exit codes that scripts can rely on (sysexits.h where one fits). */
export const EXIT = { ok: 0, failure: 1, usage: 2, internal: 70, ioError: 74, temporary: 75 } as const

interface CodeEntry {
  action: ErrorAction
  exit: number
  /** What happened and what to do, one or two sentences, for docs/errors.md. */
  meaning: string
}

export const ERROR_CODES = {
  // Options, files, start-up
  option_invalid: {
    action: 'reject',
    exit: EXIT.usage,
    meaning:
      'An option, variable or configuration key has a value that is not allowed. The message names the option, what was read and what is allowed.',
  },
  option_unknown: {
    action: 'reject',
    exit: EXIT.usage,
    meaning: 'An option or configuration key does not exist. The message names the nearest one that does.',
  },
  config_unreadable: {
    action: 'reject',
    exit: EXIT.usage,
    meaning:
      'The configuration file cannot be read or is not YAML. The message names the file, line and column.',
  },
  address_in_use: {
    action: 'stop',
    exit: EXIT.failure,
    meaning:
      'A port is taken by another process. Choose another with the named option, or 0 to have one picked.',
  },
  data_in_use: {
    action: 'stop',
    exit: EXIT.failure,
    meaning:
      'Another process holds the data folder. One embedded log belongs to one process; to run roles in several processes, use Kafka as the log.',
  },
  data_unwritable: {
    action: 'stop',
    exit: EXIT.ioError,
    meaning: 'The data folder cannot be created or written. Check its owner and mode.',
  },
  // Log
  log_corrupt: {
    action: 'stop',
    exit: EXIT.ioError,
    meaning:
      'The journal holds an invalid group with valid groups after it, or a sector that the disk cannot read: not a torn tail but damage. The message names file and offset; `millrace log repair` cuts it out and keeps a copy.',
  },
  log_stopped: {
    action: 'stop',
    exit: EXIT.ioError,
    meaning:
      'A write or fdatasync of the journal failed. It is never retried, because the kernel may have dropped the data; restart after the disk was repaired.',
  },
  log_full: {
    action: 'retry',
    exit: EXIT.temporary,
    meaning:
      'Free disk is below the reserve. Appends are refused until space is freed; nothing acknowledged is lost.',
  },
  offset_below_start: {
    action: 'stop',
    exit: EXIT.failure,
    meaning:
      'A reader asked for an offset that retention has removed. The stream is stopped rather than reset, because a reset would lose records silently.',
  },
  offset_above_end: {
    action: 'reject',
    exit: EXIT.failure,
    meaning: 'A reader asked for an offset that does not exist yet.',
  },
  offset_conflict: {
    action: 'retry',
    exit: EXIT.temporary,
    meaning:
      'append-if-next-offset-is found another next offset: another writer was first. Apply the state up to the end and try again.',
  },
  topic_unknown: { action: 'reject', exit: EXIT.failure, meaning: 'The log has no topic of that name.' },
  topic_conflict: {
    action: 'reject',
    exit: EXIT.failure,
    meaning: 'A topic of that name exists with another configuration.',
  },
  backlog_full: {
    action: 'retry',
    exit: EXIT.temporary,
    meaning:
      'A stream has reached its backlog quota because its reader has fallen behind; it is slowed until the reader catches up.',
  },
  batch_invalid: {
    action: 'reject',
    exit: EXIT.failure,
    meaning: 'Bytes given to the log are not a whole RecordBatch v2 with the right CRC.',
  },
  kafka_unreachable: {
    action: 'retry',
    exit: EXIT.temporary,
    meaning:
      'No Kafka broker answers at the addresses of `--log`, or none has the secrets and certificates that it was given accepted so far. Once reached, a cluster that stalls is waited for.',
  },
  kafka_refused: {
    action: 'stop',
    exit: EXIT.failure,
    meaning:
      'Kafka refuses this process: credentials, rights on a topic, group or transactional id, or a topic configuration that the cluster does not allow. The message has Kafka’s own name of the error.',
  },
  stream_undrained: {
    action: 'retry',
    exit: EXIT.temporary,
    meaning:
      'A stream’s number of partitions cannot change while records of it are under way. End ingest, wait until the tables hold everything, try again.',
  },
  partition_lost: {
    action: 'retry',
    exit: EXIT.temporary,
    meaning:
      'The consumer group has given a partition to another member; what this one was about to commit of it is dropped, the other does it.',
  },
  // Contracts and schemas
  contract_invalid: {
    action: 'reject',
    exit: EXIT.usage,
    meaning: 'A contract document has an error. The message names file, line, field and what is allowed.',
  },
  schema_invalid: {
    action: 'reject',
    exit: EXIT.usage,
    meaning: 'An Avro schema cannot be parsed, or uses a type that a table cannot hold.',
  },
  schema_incompatible: {
    action: 'reject',
    exit: EXIT.failure,
    meaning:
      'A new schema version breaks the compatibility level of its subject, or its table cannot follow. The message names the field and the rule.',
  },
  schema_unknown: {
    action: 'reject',
    exit: EXIT.failure,
    meaning: 'No schema has that id, subject or version.',
  },
  registry_unreachable: {
    action: 'retry',
    exit: EXIT.temporary,
    meaning:
      'The external schema registry does not answer, or refuses us. Schemas that are known go on; a new one waits or is refused (--schema-registry-unknown).',
  },
  rule_invalid: {
    action: 'reject',
    exit: EXIT.usage,
    meaning:
      'A CEL expression of a contract does not parse or check against the schema. The message names rule, position and reason.',
  },
  // Tables
  table_conflict: {
    action: 'retry',
    exit: EXIT.temporary,
    meaning: 'Another commit to the table came first. The commit is planned anew on the new metadata.',
  },
  table_foreign: {
    action: 'stop',
    exit: EXIT.failure,
    meaning:
      'A table of that name exists and its schema does not fit the contract. Rename or drop it; the log keeps the data meanwhile.',
  },
  table_missing: {
    action: 'retry',
    exit: EXIT.temporary,
    meaning:
      'A table was dropped by another engine. It is made again and filled from the log as far as the log reaches back.',
  },
  commit_ambiguous: {
    action: 'retry',
    exit: EXIT.temporary,
    meaning:
      'The catalog did not answer a commit. The table is looked at before anything else is decided; no file is deleted.',
  },
  warehouse_unwritable: {
    action: 'retry',
    exit: EXIT.temporary,
    meaning: 'The warehouse cannot be written (full, read-only, credentials refused). Rows wait in the log.',
  },
  warehouse_unreachable: {
    action: 'retry',
    exit: EXIT.temporary,
    meaning:
      'A file of the warehouse cannot be read: its object store does not answer, or refuses access. Rows wait in the log.',
  },
  catalog_unreachable: {
    action: 'retry',
    exit: EXIT.temporary,
    meaning:
      'The REST catalog does not answer, or answers that it cannot serve now. Nothing was committed; rows wait in the log.',
  },
  catalog_refused: {
    action: 'stop',
    exit: EXIT.failure,
    meaning:
      'The REST catalog refuses a request for good: credentials, permission, or something it does not support. The message has its own words; rows wait in the log and the table is tried again.',
  },
  // Identity
  credentials_invalid: {
    action: 'reject',
    exit: EXIT.usage,
    meaning: 'The credentials file has an error. The message names line and field.',
  },
  // Command line
  query_failed: {
    action: 'reject',
    exit: EXIT.failure,
    meaning: 'The SQL of `millrace query` failed; the message is the engine’s own.',
  },
  server_unreachable: {
    action: 'retry',
    exit: EXIT.temporary,
    meaning: 'No Millrace answers at that address. Start one with `millrace up`, or name its address.',
  },
  internal: {
    action: 'stop',
    exit: EXIT.internal,
    meaning:
      'A broken invariant: a defect in Millrace. The process ends rather than go on with a state that cannot be trusted.',
  },
} as const satisfies Record<string, CodeEntry>

export type ErrorCode = keyof typeof ERROR_CODES

/** The one error class thrown on purpose; `action` tells the caller what it can do. */
export class MillraceError extends Error {
  readonly code: ErrorCode
  readonly details: Readonly<Record<string, unknown>>

  constructor(code: ErrorCode, message: string, details: Record<string, unknown> = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'MillraceError'
    this.code = code
    this.details = details
  }

  get action(): ErrorAction {
    return ERROR_CODES[this.code].action
  }

  get exitCode(): number {
    return ERROR_CODES[this.code].exit
  }
}

export function isMillraceError(error: unknown, code?: ErrorCode): error is MillraceError {
  return error instanceof MillraceError && (code === undefined || error.code === code)
}

/** Asserts an invariant of ours; its failure is a defect, never the input's fault. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new MillraceError('internal', `invariant broken: ${message}`)
}
