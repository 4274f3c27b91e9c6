// Hostile clients: any bytes at all, and valid requests with bytes changed, cut and repeated. The door answers or ends
// that connection; it never fails, never keeps memory, and goes on serving the others.
import assert from 'node:assert/strict'
import net from 'node:net'
import { test } from 'node:test'
import fc from 'fast-check'
import { crc32c } from '../std/hash.ts'
import { batchOf, openDoor, PARTITIONS, partitionOf, payloadOf, streamOf } from './door-harness.ts'
import { APIS, type ApiName } from './messages.ts'
import { checkBatch, StreamValidators } from './produce-check.ts'
import { Malformed, WireReader, type WireType, WireWriter } from './wire.ts'

const LONG = process.env['MILLRACE_LONG'] === '1'
const seed = Number(process.env['SEED'] ?? Date.now() % 1e9)
const names = Object.keys(APIS) as ApiName[]

test('any bytes are a request or malformed, in every version', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...names),
      fc.nat(20),
      fc.oneof(fc.uint8Array({ maxLength: 200 }), small()),
      (name, offset, bytes) => {
        const { min, max, flexible, request } = APIS[name]
        const version = min + (offset % (max - min + 1))
        try {
          ;(request as WireType<unknown>).read(new WireReader(bytes), version, version >= flexible)
        } catch (error) {
          assert.ok(error instanceof Malformed, String(error))
        }
      },
    ),
    { seed, numRuns: LONG ? 200_000 : 5000 },
  )
})

/** Bytes that look like counts and lengths more often than chance has it. */
function small(): fc.Arbitrary<Uint8Array> {
  return fc
    .array(fc.oneof(fc.constantFrom(0, 1, 2, 3, 127, 128, 255), fc.nat(255)), { maxLength: 200 })
    .map((bytes) => Uint8Array.from(bytes))
}

test('a count that is not true costs nothing', () => {
  // OffsetFetch 1 with 2^31 - 1 topics.
  const bytes = Uint8Array.from([0, 1, 97, 0x7f, 0xff, 0xff, 0xff, 0, 0])
  assert.throws(() => APIS.offsetFetch.request.read(new WireReader(bytes), 1, false), Malformed)
})

test('what is written is read back, of any length', () => {
  const group = (text: string, count: number) => ({
    groupId: text,
    memberId: null,
    memberEpoch: count,
    topics: [{ name: text, partitionIndexes: Array.from({ length: count }, (_, i) => i * 7919) }],
  })
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.string({ unit: 'binary' }), fc.nat(300)), { maxLength: 30 }),
      (groups) => {
        for (const version of [8, 9]) {
          const value = {
            ...APIS.offsetFetch.request.read(new WireReader(Uint8Array.of(1, 0, 0)), 8, true),
            groups: groups.map(([text, count]) => group(text, version === 8 ? 0 : count)),
          }
          const to = new WireWriter()
          APIS.offsetFetch.request.write(to, value, version, true)
          const { chunks, length } = to.finish()
          const bytes = Buffer.concat(chunks)
          assert.equal(bytes.length, length)
          assert.deepEqual(APIS.offsetFetch.request.read(new WireReader(bytes), version, true), value)
        }
      },
    ),
    { seed, numRuns: LONG ? 10_000 : 30 },
  )
})

test('batches of hostile producers are refused or stored as records that fit', () => {
  const stream = streamOf('default')
  const partition = partitionOf('pump-1')
  const principal = {
    tenant: 'default',
    kind: 'gateway',
    id: 'x',
    family: '',
    credentialId: '',
    ownershipEpoch: 0,
    devices: ['*'],
    publish: undefined,
    subscribe: undefined,
  } as const
  const target = { stream, validators: new StreamValidators(stream), partition, partitions: PARTITIONS }
  const batch = batchOf('pump-1', [payloadOf(1), payloadOf(2), payloadOf(3)])
  const good = checkBatch(batch, target, principal, 5)
  assert.equal(good.errorCode, 0)
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(batch.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      fc.nat(batch.length),
      (changes, cut) => {
        const bytes = Uint8Array.from(cut > batch.length - 40 ? batch.subarray(0, cut) : batch)
        for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value
        fixCrc(bytes)
        const result = checkBatch(bytes, target, principal, 5)
        if (result.errorCode === 0) assert.ok(result.recordCount >= 1 && result.recordCount <= 3)
      },
    ),
    { seed, numRuns: LONG ? 200_000 : 5000 },
  )
})

/** Makes the CRC right, so that what is behind it is tested. */
function fixCrc(bytes: Uint8Array): void {
  if (bytes.length < 61) return
  const view = new DataView(bytes.buffer)
  view.setUint32(17, crc32c(bytes.subarray(21)))
}

test('connections with bad requests end with a reason; others are served', async (t) => {
  t.diagnostic(`SEED=${seed}`)
  const { door, failures, warnings } = await openDoor(t)
  const requests = names.map((name) => frameOf(name, APIS[name].max))
  const send = (bytes: Uint8Array, patienceMs = 20): Promise<number> =>
    new Promise((resolve) => {
      const socket = net.connect(door.port, '127.0.0.1')
      let received = 0
      socket.on('data', (chunk) => {
        received += chunk.length
        socket.end()
      })
      socket.on('error', () => {})
      socket.on('close', () => resolve(received))
      // Half of a request is no reason to end the connection: its other half may be on the way.
      socket.write(bytes, () => setTimeout(() => socket.destroy(), patienceMs))
    })
  const random = (below: number): number => Math.floor(next() * below)
  const next = generator(seed)
  for (let i = 0; i < (LONG ? 5000 : 100); i++) {
    const bytes = Uint8Array.from(requests[random(requests.length)]!)
    for (let n = random(4); n > 0; n--) bytes[random(bytes.length)] = random(256)
    await Promise.all([send(bytes), send(bytes.subarray(0, random(bytes.length)))])
  }
  assert.deepEqual(failures, [])
  assert.ok(
    warnings.every((warning) =>
      /closed: (malformed request|authentication failed|Produce without acknowledgement)/.test(warning),
    ),
    warnings.join('\n'),
  )
  // An announced 2 GB, HTTP, and a version that nobody has.
  for (const bytes of [
    Uint8Array.from([0x7f, 0xff, 0xff, 0xff, 0, 0]),
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    frameOf('fetch', 99),
  ])
    assert.equal(await send(bytes, 5000), 0)
  assert.ok((await send(frameOf('apiVersions', 4), 5000)) > 100)
  // Of a future client: told what there is, in the version that all can read.
  assert.ok((await send(frameOf('apiVersions', 77), 5000)) > 100)
  assert.deepEqual(failures, [])
})

/** A frame with the request's defaults. */
function frameOf(name: ApiName, version: number): Uint8Array {
  const api = APIS[name]
  const to = new WireWriter()
  to.int16(api.key)
  to.int16(version)
  to.int32(1)
  to.int16(-1)
  const isKnown = version <= api.max
  if (version >= api.flexible) to.unsignedVarint(0)
  if (isKnown) (api.request as WireType<unknown>).write(to, defaultOf(name), version, version >= api.flexible)
  const { chunks, length } = to.finish()
  const size = Buffer.alloc(4)
  size.writeInt32BE(length)
  return Buffer.concat([size, ...chunks])
}

function defaultOf(name: ApiName): unknown {
  const version = APIS[name].max
  // An empty request of zeros is one of every API in its oldest form; reading it gives all defaults.
  for (let length = 0; length < 64; length++) {
    try {
      const from = new WireReader(new Uint8Array(length))
      const value = (APIS[name].request as WireType<unknown>).read(from, version, false)
      if (from.at === length) return value
    } catch {}
  }
  assert.fail(`no default of ${name}`)
}

function generator(from: number): () => number {
  let state = from | 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
}
