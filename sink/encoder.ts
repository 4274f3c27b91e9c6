// The encoder pool: column batches in, Parquet files out, in worker threads, so that the thread that reads the
// log and commits is never busy with an encoding. Without threads it encodes where it is called: what tests
// and the simulated disk use.
//
// Columns in shared memory, as the sink decodes them (decode.ts), are read by a thread where they are; all others are
// copied to it. The batch is the caller's again when the file is made. The file's bytes are moved back, and once more to a thread
// when the file is stored: its memory serves the next one.
//
// Nothing is queued without end: each caller waits for its file, and holds the batch either way.
import { Piscina } from 'piscina'
import type { ColumnBatch } from '../schemas/columns.ts'
import { MillraceError } from '../std/errors.ts'
import { giveBackParts, isWholeBlock, SPARE_BLOCKS_MAX } from './parquet/file-parts.ts'
import { type EncodedFile, type ParquetField, type ParquetOptions, ParquetWriter } from './parquet/writer.ts'

/** Fewer rows are encoded in less time than it takes to hand them to a thread and back. */
const THREAD_ROWS_MIN = 2000

export interface FileEncoder {
  /**
   * One file of the rows that `order` names (row of the batch at each place), in that order, else of all as they lie.
   * The batch must not change until it is made. Errors: `internal` where a row breaks the schema.
   */
  encode(
    fields: readonly ParquetField[],
    batch: ColumnBatch,
    options?: ParquetOptions,
    order?: Uint32Array,
  ): Promise<EncodedFile>
  /** Takes the parts of a file that is stored, once: the next files are made in them. */
  giveBack(parts: readonly Uint8Array[]): void
}

export interface FileEncoderPool extends FileEncoder {
  /** Waits for what is being encoded and ends the threads. */
  close(): Promise<void>
}

/** What a thread is sent. */
export interface EncodeTask {
  fields: readonly ParquetField[]
  batch: ColumnBatch
  options: ParquetOptions
  order: Uint32Array | undefined
  /** Parts of files that are stored: moved to the thread. */
  spare: readonly Uint8Array[]
}

/** `threads` 0: in the calling thread. */
export function createFileEncoder(threads: number): FileEncoderPool {
  return threads === 0 ? new InlineEncoder() : new ThreadEncoder(threads)
}

export function encodeInline({ fields, batch, options, order, spare }: EncodeTask): EncodedFile {
  giveBackParts(spare)
  const writer = new ParquetWriter(fields, options)
  writer.writeSlices([{ batch, from: 0, to: order?.length ?? batch.rowCount, order }])
  return writer.finish()
}

class InlineEncoder implements FileEncoderPool {
  async encode(
    fields: readonly ParquetField[],
    batch: ColumnBatch,
    options: ParquetOptions = {},
    order?: Uint32Array,
  ): Promise<EncodedFile> {
    return encodeInline({ fields, batch, options, order, spare: [] })
  }

  giveBack(parts: readonly Uint8Array[]): void {
    giveBackParts(parts)
  }

  async close(): Promise<void> {}
}

class ThreadEncoder implements FileEncoderPool {
  readonly #pool: Piscina
  /** Blocks of stored files, until a thread is sent a task. */
  #spare: Uint8Array[] = []

  constructor(threads: number) {
    this.#pool = new Piscina({
      filename: new URL('./encoder-worker.ts', import.meta.url).href,
      minThreads: 1,
      maxThreads: threads,
      // A thread keeps its working arrays, about 20 MiB; an idle second one gives them back.
      idleTimeout: 10_000,
      recordTiming: false,
    })
  }

  async encode(
    fields: readonly ParquetField[],
    batch: ColumnBatch,
    options: ParquetOptions = {},
    order?: Uint32Array,
  ): Promise<EncodedFile> {
    const task: EncodeTask = { fields, batch, options, order, spare: [] }
    if ((order?.length ?? batch.rowCount) < THREAD_ROWS_MIN) return encodeInline(task)
    const spare = this.#spare
    this.#spare = []
    try {
      // Its type is that of browsers.
      const transferList = spare.map(({ buffer }) => buffer) as never
      return (await this.#pool.run({ ...task, spare }, { transferList })) as EncodedFile
    } catch (error) {
      // An error loses its class and code on the way from a thread; all that the encoder throws are defects.
      throw new MillraceError('internal', `Parquet encoder: ${(error as Error).message}`, {}, error)
    }
  }

  giveBack(parts: readonly Uint8Array[]): void {
    for (const part of parts)
      if (isWholeBlock(part) && this.#spare.length < SPARE_BLOCKS_MAX) this.#spare.push(part)
  }

  async close(): Promise<void> {
    await this.#pool.close()
  }
}
