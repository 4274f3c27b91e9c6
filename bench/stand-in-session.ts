// What stands for a session where the path of a message is measured in memory: it takes PUBLISH packets of QoS 0, and closes
// at any other.
import { Admission, type AdmissionTarget } from '../ingest/admission.ts'
import { BatchAccumulator } from '../ingest/batch-accumulator.ts'
import { FLAG_SAME_TOPIC, LEVEL_3_1_1 } from '../ingest/mqtt-codes.ts'
import { CLOSE, CONTINUE, MqttParser, type PacketHandler, RUN_MAX } from '../ingest/mqtt-parser.ts'
import type { AppendRequest, AppendResult, Log } from '../log/log.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'

export interface PathInMemory {
  admission: Admission
  accumulator: BatchAccumulator
}

/** The device in `devices/{device}/{stream}`. */
const KEY_AT = 'devices/'.length

/** Topic, admission, batch: as a session does it (session-publish.ts), runs as well, and nothing else. */
export class StandInSession implements PacketHandler {
  readonly parser: MqttParser
  accepted = 0
  readonly #path: PathInMemory
  #target: AdmissionTarget | undefined
  #keyBytes = 0

  constructor(path: PathInMemory, packetBytesMax: number) {
    this.#path = path
    this.parser = new MqttParser(this, packetBytesMax)
    this.parser.level = LEVEL_3_1_1
  }

  onPublish(
    bytes: Uint8Array,
    flags: number,
    topicStart: number,
    topicEnd: number,
    _packetId: number,
    _propertiesStart: number,
    _propertiesEnd: number,
    payloadStart: number,
    payloadEnd: number,
  ): number {
    const { admission } = this.#path
    if ((flags & FLAG_SAME_TOPIC) === 0) {
      const [, device, stream] = Buffer.from(bytes.subarray(topicStart, topicEnd)).toString().split('/')
      this.#target = admission.target('default', stream!, device!)
      this.#keyBytes = device!.length
    }
    const key = topicStart + KEY_AT
    const target = this.#target!
    const ticket = admission.admit(target, bytes, key, key + this.#keyBytes, bytes, payloadStart, payloadEnd)
    if (ticket <= 0) return CLOSE
    this.accepted++
    return CONTINUE
  }

  runMax(): number {
    return RUN_MAX
  }

  onPublishRun(bytes: Uint8Array, topicStart: number, run: Int32Array, count: number): number {
    const { admission, accumulator } = this.#path
    const target = this.#target!
    const key = topicStart + KEY_AT
    const valid = admission.validOfRun(target, bytes, run, count)
    let taken = 0
    while (taken < valid) {
      const end = key + this.#keyBytes
      const appended = accumulator.appendRun(target.raw, bytes, key, end, run, taken, valid)
      if (appended <= 0) break
      taken += appended
    }
    this.accepted += taken
    return taken
  }

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
): PathInMemory {
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
