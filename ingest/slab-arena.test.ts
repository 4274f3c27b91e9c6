import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { CHUNK_BYTES_MIN, orderOf, SlabArena } from './slab-arena.ts'

test('orders', () => {
  assert.equal(1 << orderOf(1), CHUNK_BYTES_MIN)
  assert.equal(orderOf(1024), 10)
  assert.equal(orderOf(1025), 11)
  assert.equal(orderOf(1 << 20), 20)
})

test('chunks never overlap, lie at multiples of their size, and all memory comes back', () => {
  const step = fc.oneof(fc.record({ order: fc.integer({ min: 10, max: 16 }) }), fc.record({ free: fc.nat() }))
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const arena = new SlabArena(200_000, 65_536)
      const size = arena.bytes.length
      assert.equal(size, 262_144)
      const held: { at: number; order: number }[] = []
      for (const one of steps) {
        if ('order' in one) {
          const at = arena.allocate(one.order)
          if (at < 0) continue
          const end = at + (1 << one.order)
          assert.equal(at % (1 << one.order), 0)
          assert.ok(end <= size)
          for (const other of held) assert.ok(end <= other.at || other.at + (1 << other.order) <= at)
          held.push({ at, order: one.order })
        } else if (held.length > 0) {
          const [chunk] = held.splice(one.free % held.length, 1)
          arena.free(chunk!.at, chunk!.order)
        }
        assert.equal(
          arena.bytesUsed,
          held.reduce((sum, { order }) => sum + (1 << order), 0),
        )
      }
      for (const { at, order } of held) arena.free(at, order)
      // Everything has merged into whole slabs again.
      for (let i = 0; i < 4; i++) assert.ok(arena.allocate(16) >= 0)
      assert.equal(arena.allocate(10), -1)
    }),
  )
})
