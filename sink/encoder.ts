// The encoder pool: column batches in, Parquet files out, in worker threads, so that the thread that reads the
// log and commits is never busy with an encoding. Without threads it encodes where it is called: what tests
// and the simulated disk use.
//
// What crosses to a thread is not copied: arrays in shared memory are shared, all others are moved there, except
// dictionaries, which other batches may hold too and which are small. The batch is therefore the encoder's once
// it was handed over. The file's bytes are moved back.
//
// Nothing is queued without end: each caller waits for its file, and holds the batch either way.
import { Piscina } from 'piscina'
import type { Column, ColumnBatch } from '../schemas/columns.ts'
import { MillraceError } from '../std/errors.ts'
import { type EncodedFile, type ParquetField, type ParquetOptions, ParquetWriter } from './parquet/writer.ts'

/** Fewer rows are encoded in less time than it takes to hand them to a thread and back. */
const THREAD_ROWS_MIN = 2000

export interface FileEncoder {
  /**
   * One file of all rows, in the order that `order` gives them (row of the batch at each place), else as they lie. The
   * batch must not be used afterwards, nor share arrays with another one, dictionaries aside. Errors: `internal` where a
   * row breaks the schema.
   */
  encode(
    fields: readonly ParquetField[],
    batch: ColumnBatch,
    options?: ParquetOptions,
    order?: Uint32Array,
  ): Promise<EncodedFile>
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
}

/** `threads` 0: in the calling thread. */
export function createFileEncoder(threads: number): FileEncoderPool {
  return threads === 0 ? new InlineEncoder() : new ThreadEncoder(threads)
}

export function encodeInline({ fields, batch, options, order }: EncodeTask): EncodedFile {
  const writer = new ParquetWriter(fields, options)
  writer.writeSlices([{ batch, from: 0, to: batch.rowCount, order }])
  return writer.finish()
}

class InlineEncoder implements FileEncoderPool {
  async encode(
    fields: readonly ParquetField[],
    batch: ColumnBatch,
    options: ParquetOptions = {},
    order?: Uint32Array,
  ): Promise<EncodedFile> {
    return encodeInline({ fields, batch, options, order })
  }

  async close(): Promise<void> {}
}

class ThreadEncoder implements FileEncoderPool {
  readonly #pool: Piscina

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
    const task: EncodeTask = { fields, batch, options, order }
    if (batch.rowCount < THREAD_ROWS_MIN) return encodeInline(task)
    const transferList = movableBuffers(batch)
    if (order !== undefined) transferList.push(order.buffer as ArrayBuffer)
    try {
      return (await this.#pool.run(task, { transferList: transferList as never })) as EncodedFile
    } catch (error) {
      // An error loses its class and code on the way from a thread; all that the encoder throws are defects.
      throw new MillraceError('internal', `Parquet encoder: ${(error as Error).message}`, {}, error)
    }
  }

  async close(): Promise<void> {
    await this.#pool.close()
  }
}

/** The buffers of a batch that can be moved: its own, not shared, each once. */
export function movableBuffers(batch: ColumnBatch): ArrayBuffer[] {
  const buffers = new Set<ArrayBuffer>()
  for (const column of batch.columns) collectBuffers(column, buffers)
  return [...buffers]
}

function collectBuffers(column: Column, into: Set<ArrayBuffer>): void {
  const add = (array: ArrayBufferView | undefined): void => {
    if (array !== undefined && array.buffer instanceof ArrayBuffer && array.byteLength > 0)
      into.add(array.buffer)
  }
  add(column.validity)
  switch (column.layout) {
    case 'words':
      add(column.values)
      break
    case 'longs':
      add(column.words)
      break
    case 'bytes':
      add(column.data)
      break
    case 'variable':
      add(column.offsets)
      add(column.data)
      break
    case 'dictionary':
      add(column.indices)
      break
    case 'struct':
      for (const child of column.children) collectBuffers(child, into)
      break
    case 'list':
      add(column.offsets)
      collectBuffers(column.element, into)
      break
    case 'map':
      add(column.offsets)
      collectBuffers(column.key, into)
      collectBuffers(column.value, into)
  }
}
