import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { test } from 'node:test'
import { alignedMemory } from './aligned-memory.ts'
import { DIRECT_BLOCK_BYTES } from './disk.ts'
import { nodeFfi } from './ffi.ts'

const MIB = 1 << 20

/** What the kernel says of the mapping that begins at an address: the lines of /proc/self/smaps. */
function mappingOf(address: bigint): string {
  const start = address.toString(16).padStart(8, '0')
  const mappings = fs.readFileSync('/proc/self/smaps', 'utf8').split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/)
  return (
    mappings.find((lines) => lines.startsWith(`${start}-`)) ?? assert.fail(`no mapping begins at ${start}`)
  )
}

test('memory is as long as asked for, zeros, and aligned', () => {
  for (const bytes of [1, DIRECT_BLOCK_BYTES, 70_000, MIB, 3 * MIB]) {
    const memory = alignedMemory(bytes)
    assert.equal(memory.length, bytes)
    assert.ok(memory.every((byte) => byte === 0))
    const address = nodeFfi()!.getRawPointer(memory.buffer) + BigInt(memory.byteOffset)
    assert.equal(address % BigInt(DIRECT_BLOCK_BYTES), 0n)
  }
})

test('from a MiB on the kernel is asked for huge pages, which begin where the memory does', {
  skip: !fs.existsSync('/sys/kernel/mm/transparent_hugepage') && 'the kernel has no huge pages to ask for',
}, () => {
  for (const [bytes, isHuge] of [
    [DIRECT_BLOCK_BYTES, false],
    [MIB, true],
    [8 * MIB, true],
  ] as const) {
    const memory = alignedMemory(bytes)
    const address = nodeFfi()!.getRawPointer(memory.buffer)
    assert.equal(/^VmFlags:.* hg\b/m.test(mappingOf(address)), isHuge, `${bytes}`)
    if (isHuge) assert.equal(address % BigInt(2 * MIB), 0n)
  }
})

test('where Node has no ffi, or does not allow it, memory is the same', () => {
  const script = `
    const { alignedMemory } = await import(process.argv[1])
    const memory = alignedMemory(1 << 20)
    process.stdout.write(String(memory.fill(7).length))`
  const module = new URL('aligned-memory.ts', import.meta.url).href
  for (const flags of [['--no-experimental-ffi'], ['--permission', '--allow-fs-read=*']])
    assert.equal(
      execFileSync(process.execPath, [...flags, '--input-type=module', '-e', script, module], {
        encoding: 'utf8',
      }),
      String(MIB),
    )
})
