// Sends to many real sockets with one system call: each client gets its own bytes, whole and in order, whatever the kernel
// takes of them, and a descriptor that has changed hands gets nothing.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import fs from 'node:fs'
import { test } from 'node:test'
import WebSocket from 'ws'
import { nodeFfi } from '../std/ffi.ts'
import { seededRandom } from '../std/random.ts'
import { SendBatch } from './send-batch.ts'
import { HEADROOM } from './transport.ts'
import { type Pair, pair, readNow, received } from './transport-harness.ts'

const SEED = Number(process.env['MILLRACE_SEED'] ?? 20_261_126)

const probe = SendBatch.create(() => {})
probe?.destroy()
const options = { skip: probe === undefined && 'this machine offers no io_uring' }

const create = (onBroken: () => void = () => assert.fail('the ring has failed')): SendBatch => {
  const batch = SendBatch.create(onBroken)
  assert.ok(batch)
  return batch
}

/** `length` bytes that tell where they lie in which stream, behind the room for a header. */
function bytesOf(stream: number, length: number): Buffer {
  const bytes = Buffer.alloc(HEADROOM + length)
  for (let i = 0; i < length; i++) bytes[HEADROOM + i] = stream * 31 + i
  return bytes
}

/** Descriptors of io_uring in this process. */
function ringsOpen(): number[] {
  const fds = fs.readdirSync('/proc/self/fd').map(Number)
  return fds.filter((fd) => {
    try {
      return fs.readlinkSync(`/proc/self/fd/${fd}`) === 'anon_inode:[io_uring]'
    } catch {
      return false
    }
  })
}

/** Makes descriptor `to` mean what `from` means: dup2(2). */
function duplicate(from: number, to: number): void {
  const { dup2 } = nodeFfi()!.dlopen<{ dup2(from: number, to: number): number }>(null, {
    dup2: { arguments: ['i32', 'i32'], return: 'i32' },
  }).functions
  assert.equal(dup2(from, to), to)
}

/** Sends 1,000 bytes again and again until some of them wait; returns all that was sent. */
function fill({ transport }: Pair): Buffer {
  const sent: Buffer[] = []
  while (transport.queuedBytes === 0) {
    const bytes = bytesOf(sent.length, 1000)
    sent.push(bytes.subarray(HEADROOM))
    transport.send(bytes, HEADROOM, bytes.length)
  }
  return Buffer.concat(sent)
}

test(`each of many clients gets its own bytes (MILLRACE_SEED=${SEED})`, options, async () => {
  const random = seededRandom(SEED)
  const batch = create()
  const pairs: Pair[] = []
  for (let i = 0; i < 150; i++) pairs.push(await pair('auto', batch))
  const sent = pairs.map((): Buffer[] => [])
  // One buffer for all, as an ingest worker has: what is added must be a copy.
  const out = Buffer.alloc(HEADROOM + 2000)
  for (let round = 0; round < 20; round++) {
    batch.open()
    // More than fits into the memory of a batch, and than it has requests for; some of it too long for it.
    for (let i = 0; i < 1200; i++) {
      const index = Math.floor(random() * pairs.length)
      const length = 1 + Math.floor(random() * (random() < 0.05 ? 2000 : 100))
      const bytes = bytesOf(round * 1200 + i, length)
      bytes.copy(out, HEADROOM, HEADROOM)
      sent[index]!.push(bytes.subarray(HEADROOM))
      assert.equal(pairs[index]!.transport.send(out, HEADROOM, HEADROOM + length), true)
    }
    batch.close()
  }
  for (const [index, one] of pairs.entries())
    assert.ok((await received(one)).equals(Buffer.concat(sent[index]!)), `client ${index}`)
  batch.destroy()
})

test('more requests than a batch has, each of another connection', options, async () => {
  const batch = create()
  const pairs: Pair[] = []
  for (let i = 0; i < 1100; i++) pairs.push(await pair('auto', batch))
  batch.open()
  for (const [index, { transport }] of pairs.entries())
    transport.send(bytesOf(index, 4), HEADROOM, HEADROOM + 4)
  batch.close()
  for (const [index, one] of pairs.entries())
    assert.deepEqual(await received(one), bytesOf(index, 4).subarray(HEADROOM), `client ${index}`)
  batch.destroy()
})

test('what the kernel has no room for comes before what is sent after it', options, async () => {
  const batch = create()
  const one = await pair('auto', batch)
  batch.open()
  const sent = [fill(one)]
  // There is room again before the event loop could write what waits.
  const got = [readNow(one.client)]
  for (let i = 0; i < 3; i++) {
    const bytes = bytesOf(100 + i, 50)
    sent.push(bytes.subarray(HEADROOM))
    one.transport.send(bytes, HEADROOM, bytes.length)
  }
  batch.close()
  assert.ok(one.transport.queuedBytes > 0)
  got.push(await received(one))
  assert.equal(one.transport.queuedBytes, 0)
  assert.ok(Buffer.concat(got).equals(Buffer.concat(sent)))
  batch.destroy()
})

test('clients that read now and then get everything once', options, async () => {
  const batch = create()
  const pairs: Pair[] = []
  for (let i = 0; i < 4; i++) pairs.push(await pair('auto', batch))
  const sent = pairs.map((): Buffer[] => [])
  const got = pairs.map((): Buffer[] => [])
  for (let round = 0; round < 6; round++) {
    batch.open()
    // Sends by turns, so that batches hold some that go whole, in part, and not at all.
    for (let i = 0; pairs.some(({ transport }) => transport.queuedBytes === 0); i++)
      for (const [index, { transport }] of pairs.entries()) {
        const bytes = bytesOf(round + i + index, 1000 - index)
        sent[index]!.push(bytes.subarray(HEADROOM))
        transport.send(bytes, HEADROOM, bytes.length)
      }
    batch.close()
    while (pairs.some(({ transport }) => transport.queuedBytes > 0)) {
      for (const [index, { client }] of pairs.entries()) got[index]!.push(readNow(client))
      await new Promise(setImmediate)
    }
  }
  for (const [index, one] of pairs.entries()) {
    got[index]!.push(await received(one))
    assert.ok(Buffer.concat(got[index]!).equals(Buffer.concat(sent[index]!)), `client ${index}`)
  }
  batch.destroy()
})

test(
  'a client that has reset its connection is reported once, and the others get theirs',
  options,
  async () => {
    const batch = create()
    const [gone, other] = [await pair('auto', batch), await pair('auto', batch)]
    gone.client.resetAndDestroy()
    batch.open()
    for (const { transport } of [gone, other, gone, other])
      transport.send(bytesOf(1, 20), HEADROOM, HEADROOM + 20)
    batch.close()
    while (gone.user.closed.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
    assert.deepEqual(
      (await received(other)).toString('hex'),
      bytesOf(1, 20).subarray(HEADROOM).toString('hex').repeat(2),
    )
    assert.equal(gone.user.closed.length, 1)
    batch.destroy()
  },
)

test('a descriptor that means another socket gets nothing of the one before', options, async () => {
  const batch = create()
  const [destroyed, failed, other] = [
    await pair('auto', batch),
    await pair('auto', batch),
    await pair('auto', batch),
  ]
  const send = ({ transport }: Pair, stream: number) =>
    transport.send(bytesOf(stream, 20), HEADROOM, HEADROOM + 20)
  const change = ({ fd }: Pair) => {
    assert.throws(() => fs.fstatSync(fd), /EBADF/)
    duplicate(other.fd, fd)
  }
  failed.client.resetAndDestroy()
  batch.open()
  send(destroyed, 1)
  destroyed.transport.destroy()
  change(destroyed)
  send(destroyed, 2)
  send(failed, 3)
  // It hears by this one that the connection is gone.
  send(failed, 4)
  change(failed)
  send(failed, 5)
  batch.close()
  assert.deepEqual(readNow(destroyed.client), bytesOf(1, 20).subarray(HEADROOM))
  assert.equal((await received(other)).length, 0)
  for (const { fd } of [destroyed, failed]) fs.closeSync(fd)
  batch.destroy()
})

test('frames of a WebSocket are gathered like everything else', options, async () => {
  const batch = create()
  const pairs = [await pair('auto', batch, 'websocket'), await pair('auto', batch, 'websocket')]
  const got = pairs.map((): Buffer[] => [])
  const sockets = pairs.map(({ client }, index) =>
    new WebSocket('ws://127.0.0.1/mqtt', 'mqtt', { createConnection: () => client.resume() }).on(
      'message',
      (data: Buffer) => got[index]!.push(data),
    ),
  )
  await Promise.all(sockets.map((socket) => once(socket, 'open')))
  const sent = pairs.map((): Buffer[] => [])
  const ping = once(sockets[0]!, 'pong')
  sockets[0]!.ping('between')
  await ping
  batch.open()
  // Either side of the lengths at which a frame's header grows, and at which it is too long to be gathered.
  for (const length of [4, 125, 126, 1020, 1021, 1500, 4])
    for (const [index, { transport }] of pairs.entries()) {
      const bytes = bytesOf(index + length, length)
      sent[index]!.push(bytes.subarray(HEADROOM))
      transport.send(bytes, HEADROOM, bytes.length)
    }
  for (const { transport } of pairs) transport.end()
  batch.close()
  await Promise.all(sockets.map((socket) => once(socket, 'close')))
  assert.deepEqual(got, sent)
  batch.destroy()
})

test('where the ring fails, what was added goes by the handles, and so does the rest', options, async () => {
  const before = ringsOpen()
  let brokenCount = 0
  const batch = create(() => brokenCount++)
  const [ring] = ringsOpen().filter((fd) => !before.includes(fd))
  const pairs = [await pair('auto', batch), await pair('auto', batch)]
  const sent = pairs.map((): Buffer[] => [])
  const send = () => {
    for (const [index, { transport }] of pairs.entries()) {
      const bytes = bytesOf(index + sent[index]!.length, 100)
      sent[index]!.push(bytes.subarray(HEADROOM))
      assert.equal(transport.send(bytes, HEADROOM, bytes.length), true)
    }
  }
  batch.open()
  for (let i = 0; i < 3; i++) send()
  const file = fs.openSync(import.meta.filename, 'r')
  duplicate(file, ring!)
  for (let i = 0; i < 3; i++) send()
  batch.close()
  batch.open()
  send()
  batch.close()
  for (const [index, one] of pairs.entries())
    assert.deepEqual(await received(one), Buffer.concat(sent[index]!), `client ${index}`)
  assert.equal(brokenCount, 1)
  fs.closeSync(file)
  batch.destroy()
})

test('given back twice, it closes nobody else’s descriptor', options, () => {
  const before = ringsOpen()
  const batch = create()
  batch.destroy()
  assert.deepEqual(ringsOpen(), before)
  const file = fs.openSync(import.meta.filename, 'r')
  batch.destroy()
  fs.fstatSync(file)
  fs.closeSync(file)
})
