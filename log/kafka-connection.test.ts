import assert from 'node:assert/strict'
import { createServer, type Server, type Socket } from 'node:net'
import { after, test } from 'node:test'
import { createAPI, type Reader, Writer } from '@platformatic/kafka'
import fc from 'fast-check'
import { BrokerConnection, type MemoryHolder } from './kafka-connection.ts'
import { AnswerMemory } from './kafka-memory.ts'

const servers: Server[] = []
after(() => {
  for (const server of servers) server.close()
})

interface Answer extends MemoryHolder {
  bytes: Buffer
}

/** Asks for `byteLength` bytes of the value `fill`; what comes back is views of the answer. */
const echo = createAPI(
  1000,
  0,
  (byteLength: number, fill: number) => Writer.create().appendInt32(byteLength).appendInt8(fill),
  (_id: number, _key: number, _version: number, reader: Reader): Answer => ({
    bytes: reader.readNullableBytes(false)!,
    memory: undefined,
  }),
)

/** The size of a request and what it asks for stand at fixed places: a client id of one letter. */
const BODY = 4 + 2 + 2 + 4 + 2 + 1 + 1

function answerTo(request: Buffer): Buffer {
  const byteLength = request.readInt32BE(BODY)
  const answer = Buffer.alloc(4 + 4 + 1 + 4 + byteLength, request[BODY + 4])
  answer.writeInt32BE(answer.length - 4, 0)
  request.copy(answer, 4, 8, 12)
  answer[8] = 0
  answer.writeInt32BE(byteLength, 9)
  return answer
}

/** A broker that calls `onRequest` with each whole request. */
async function broker(onRequest: (socket: Socket, request: Buffer) => void): Promise<number> {
  const server = createServer((socket) => {
    let have = Buffer.alloc(0)
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => {
      have = Buffer.concat([have, chunk])
      while (have.length >= 4 && have.length >= 4 + have.readInt32BE(0)) {
        const size = 4 + have.readInt32BE(0)
        onRequest(socket, have.subarray(0, size))
        have = have.subarray(size)
      }
    })
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as { port: number }).port
}

const open = (port: number, requestMsMax = 5000, memory = new AnswerMemory()): Promise<BrokerConnection> =>
  BrokerConnection.open('127.0.0.1', port, {
    clientId: 'x',
    tls: undefined,
    sasl: undefined,
    connectMsMax: 2000,
    requestMsMax,
    memory,
  })

const ask = (connection: BrokerConnection, byteLength: number, fill: number): Promise<Answer> =>
  echo.async(connection.forLibrary, byteLength, fill)

test('answers come whole and in order however they are cut, small ones and large ones', async () => {
  let cuts: number[] = [1]
  const port = await broker((socket, request) => {
    const answer = answerTo(request)
    for (let at = 0, i = 0; at < answer.length; i++) {
      const end = at + cuts[i % cuts.length]!
      socket.write(answer.subarray(at, end))
      at = end
    }
  })
  const memory = new AnswerMemory()
  const connection = await open(port, 5000, memory)
  const sizes = fc.array(fc.oneof(fc.nat(300), fc.integer({ min: 60_000, max: 700_000 })), {
    minLength: 1,
    maxLength: 8,
  })
  await fc.assert(
    fc.asyncProperty(
      sizes,
      fc.array(fc.integer({ min: 1000, max: 90_000 }), { minLength: 1 }),
      async (all, cut) => {
        cuts = cut
        const answers = await Promise.all(
          all.map(async (byteLength, i) => {
            const { bytes, memory: held } = await ask(connection, byteLength, i + 1)
            assert.equal(bytes.length, byteLength)
            assert.ok(bytes.every((byte) => byte === i + 1))
            return held
          }),
        )
        // Only now: what is lent out is no other answer's.
        for (const held of answers) if (held !== undefined) memory.give(held)
      },
    ),
    { numRuns: 12 },
  )
  connection.close()
})

test('what is larger than a piece of a request goes from where it lies, shared memory too', async () => {
  const got: Buffer[] = []
  const port = await broker((socket, request) => {
    got.push(Buffer.from(request))
    socket.write(answerTo(Buffer.concat([request.subarray(0, BODY), Buffer.alloc(5)])))
  })
  const connection = await open(port)
  const records = Buffer.from(new SharedArrayBuffer(3 << 20)).fill(7)
  const produce = createAPI(
    1000,
    0,
    () => Writer.create().appendInt32(0).append(records).appendInt8(1),
    () => ({}),
  )
  await produce.async(connection.forLibrary)
  connection.close()
  const body = got[0]!.subarray(BODY)
  assert.equal(body.length, 4 + records.length + 1)
  assert.ok(body.subarray(4, -1).equals(records))
})

test('no answer in time ends the connection, and all who wait on it', async () => {
  const port = await broker(() => {})
  const connection = await open(port, 100)
  const waiting = Array.from({ length: 8 }, () => ask(connection, 1, 1))
  const failed = await Promise.allSettled(waiting)
  assert.ok(failed.every((one) => one.status === 'rejected' && /timed out/.test(String(one.reason))))
  assert.equal(connection.isUsable, false)
  await assert.rejects(ask(connection, 1, 1), /timed out/)
})

for (const [what, bytes, expected] of [
  ['an answer to nobody', [0, 0, 0, 5, 0, 0, 0, 99, 0], /another request/],
  ['a negative size', [0xff, 0, 0, 5, 0, 0, 0, 1, 0], /answer of -/],
  ['a size that nobody asked for', [0x7f, 0, 0, 5, 0, 0, 0, 1, 0], /answer of \d/],
  ['a TLS alert', [0x15, 3, 3, 0, 2, 2, 40, 0, 0], /requires TLS/],
] as const)
  test(`${what} ends the connection`, async () => {
    const port = await broker((socket) => socket.write(Buffer.from(bytes)))
    const connection = await open(port)
    await assert.rejects(ask(connection, 1, 1), expected)
    assert.equal(connection.isUsable, false)
  })

test('one that is retired closes when the last answer is there', async () => {
  const answers: (() => void)[] = []
  const port = await broker((socket, request) => {
    const answer = answerTo(request)
    answers.push(() => socket.write(answer))
  })
  const connection = await open(port)
  const asked = ask(connection, 10, 3)
  connection.retire()
  assert.equal(connection.isUsable, true)
  while (answers.length === 0) await new Promise((resolve) => setImmediate(resolve))
  answers[0]!()
  assert.equal((await asked).bytes.length, 10)
  assert.equal(connection.isUsable, false)
})
