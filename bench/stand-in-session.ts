// What stands for a session where the path of a message is measured in memory: it takes PUBLISH packets, and closes at any
// other. A case says what becomes of them, in `onPublish`.
import { Admission } from '../ingest/admission.ts'
import { BatchAccumulator } from '../ingest/batch-accumulator.ts'
import { LEVEL_3_1_1 } from '../ingest/mqtt-codes.ts'
import { CLOSE, MqttParser, type PacketHandler } from '../ingest/mqtt-parser.ts'
import type { AppendRequest, AppendResult, Log } from '../log/log.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'

export abstract class StandInSession implements PacketHandler {
  readonly parser: MqttParser
  accepted = 0

  constructor(packetBytesMax: number) {
    this.parser = new MqttParser(this, packetBytesMax)
    this.parser.level = LEVEL_3_1_1
  }

  abstract onPublish(
    bytes: Uint8Array,
    flags: number,
    topicStart: number,
    topicEnd: number,
    packetId: number,
    propertiesStart: number,
    propertiesEnd: number,
    payloadStart: number,
    payloadEnd: number,
  ): number

  onConnect(): number {
    return CLOSE
  }
  onPuback(): number {
    return CLOSE
  }
  onSubscribe(): number {
    return CLOSE
  }
  onUnsubscribe(): number {
    return CLOSE
  }
  onDisconnect(): number {
    return CLOSE
  }
  onPing(): number {
    return CLOSE
  }
  onMalformed(reason: number): void {
    throw new Error(`malformed: ${reason}`)
  }
}

/** Admission to one stream, and batches that go to `append` instead of a log. */
export function admissionTo(
  stream: StreamDescriptor,
  append: (request: AppendRequest) => Promise<AppendResult>,
): { admission: Admission; accumulator: BatchAccumulator } {
  const accumulator = new BatchAccumulator({
    log: { append } as unknown as Log,
    slabBytes: 1 << 20,
    bytesInFlightMax: 16 << 20,
    onDurable: () => {},
    onFailure: (error) => {
      throw error
    },
  })
  const admission = new Admission({
    accumulator,
    rejectedSchemaId: 1,
    rejectedBytesPerDevice: 0,
    rejectedWindowMs: 1,
  })
  admission.setStream(stream)
  return { admission, accumulator }
}
