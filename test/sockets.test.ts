// By whatever means clients are read and written, they get their PUBACKs: `--sockets`, and where Node or the kernel does not
// offer what is asked for.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import mqtt from 'mqtt'
import { SendBatch } from '../ingest/send-batch.ts'
import { environmentCodec, reading } from './environment.ts'
import { startProcess, temporaryFolder } from './millrace-process.ts'

const CLIENTS = 20
const MESSAGES = 20
const REFUSE_IO_URING = import.meta.resolve('./refuse-io-uring.ts')

const probe = SendBatch.create(() => {})
probe?.destroy()

interface Case {
  name: string
  args?: string[]
  nodeOptions?: string
  expected: string
  needsIoUring?: boolean
}

const cases: Case[] = [
  {
    name: 'by itself it takes io_uring',
    expected: 'handles, acknowledgements of a commit by io_uring',
    needsIoUring: true,
  },
  { name: '--sockets handle', args: ['--sockets', 'handle'], expected: 'handles' },
  { name: '--sockets documented', args: ['--sockets', 'documented'], expected: 'documented means' },
  { name: 'a Node without ffi', nodeOptions: '--no-experimental-ffi', expected: 'handles' },
  {
    name: 'a kernel that refuses io_uring',
    nodeOptions: `--import=${REFUSE_IO_URING}`,
    expected: 'handles',
    needsIoUring: true,
  },
]

for (const { name, args = [], nodeOptions = '', expected, needsIoUring = false } of cases)
  test(name, {
    skip: needsIoUring && probe === undefined && 'this machine offers no io_uring',
  }, async (t) => {
    const data = temporaryFolder(t)
    const running = await startProcess(data, ['--status', 'off', ...args], { NODE_OPTIONS: nodeOptions })
    t.after(() => running.kill())
    assert.ok(running.output().includes(`"clients are served by ${expected}"`), running.output())
    const codec = await environmentCodec(running.http)
    const publish = async (device: string) => {
      const client = await mqtt.connectAsync(running.url, { clientId: device, protocolVersion: 4 })
      const messages = Array.from({ length: MESSAGES }, (_, i) => codec.encode(reading(i)))
      // All at once, so that the PUBACKs of many clients are due at the same time.
      await Promise.all(
        messages.map((bytes) => client.publishAsync(`devices/${device}/telemetry`, bytes, { qos: 1 })),
      )
      await client.endAsync()
    }
    await Promise.all(Array.from({ length: CLIENTS }, (_, i) => publish(`device-${i}`)))
    const metrics = await (await fetch(`${running.http}/metrics`)).text()
    const read = (slot: string) =>
      Number(new RegExp(`^millrace_ingest_${slot}_total\\{worker="0"\\} (\\d+)$`, 'm').exec(metrics)?.[1])
    assert.equal(read('acknowledged'), CLIENTS * MESSAGES)
    assert.equal(read('sends_gathered') > 0, expected.includes('io_uring'))
    assert.equal(await running.stop(), 0)
  })
