// Both ways to one socket, by the handle and by documented means: what the kernel does not take at once waits, in order, and
// belongs to the socket meanwhile. The way to many at once has send-batch.test.ts.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { benchmark } from './transport.bench.ts'
import { HEADROOM, type SocketMode } from './transport.ts'
import { pair, received } from './transport-harness.ts'

const MESSAGE_BYTES = 100_000
const MESSAGES = 200

for (const mode of ['handle', 'documented'] satisfies SocketMode[]) {
  test(`${mode}: what a client does not read waits, and arrives whole and in order`, async () => {
    const one = await pair(mode)
    const { transport, user } = one
    assert.equal(transport.usesHandle, mode === 'handle')
    let buffer = Buffer.alloc(HEADROOM + MESSAGE_BYTES)
    let waited = 0
    for (let i = 0; i < MESSAGES; i++) {
      buffer.fill(i)
      if (transport.send(buffer, HEADROOM, buffer.length)) continue
      // It belongs to the socket now: whoever used it again would change what is on its way.
      buffer = Buffer.alloc(HEADROOM + MESSAGE_BYTES)
      waited++
    }
    assert.ok(waited > 0, 'the kernel took 20 MB for a client that does not read')
    assert.ok(transport.queuedBytes > 0)
    const bytes = await received(one)
    assert.equal(bytes.length, MESSAGES * MESSAGE_BYTES)
    for (let i = 0; i < MESSAGES; i++)
      assert.ok(bytes.subarray(i * MESSAGE_BYTES, (i + 1) * MESSAGE_BYTES).every((byte) => byte === i))
    assert.equal(transport.queuedBytes, 0)
    assert.deepEqual(user.closed, [])
  })

  test(`${mode}: a client that is gone while bytes wait for it is reported once`, async () => {
    const { transport, client, user } = await pair(mode)
    for (let i = 0; i < MESSAGES; i++)
      transport.send(Buffer.alloc(HEADROOM + MESSAGE_BYTES), HEADROOM, MESSAGE_BYTES)
    assert.ok(transport.queuedBytes > 0)
    client.resetAndDestroy()
    while (user.closed.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
    assert.equal(transport.send(Buffer.alloc(100), HEADROOM, 100), true)
    await new Promise((resolve) => setTimeout(resolve, 20))
    assert.equal(user.closed.length, 1)
  })
}

test('the benchmark does its work', async () => {
  for (const together of [1, 3])
    assert.ok((await benchmark(5, together, 1, 0.02)).flat().every((cost) => cost > 0))
})
