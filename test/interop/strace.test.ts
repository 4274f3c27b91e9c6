// What the kernel saw: the batch is written to a segment of the journal, that file is synced, and only then do the
// bytes of the PUBACK go to the socket.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import mqtt from 'mqtt'
import { environmentCodec, reading } from '../environment.ts'
import { startProcess, temporaryFolder } from '../millrace-process.ts'

const DEVICE = 'traced-device-7'

interface Call {
  /** Lines at which the call began and ended. */
  from: number
  to: number
  text: string
}

/** Joins `<unfinished ...>` and `<... resumed>` halves of one thread, in the order of their beginnings. */
function callsOf(trace: string): Call[] {
  const calls: Call[] = []
  const open = new Map<string, Call>()
  trace.split('\n').forEach((line, index) => {
    const match = /^(\d+)\s+(.*)$/.exec(line)
    if (match === null) return
    const [, thread, text] = match as unknown as [string, string, string]
    if (text.startsWith('<... ')) {
      const begun = open.get(thread)
      if (begun !== undefined) {
        begun.to = index
        begun.text += text
      }
      open.delete(thread)
      return
    }
    const call = { from: index, to: index, text }
    calls.push(call)
    if (text.includes('<unfinished ...>')) open.set(thread, call)
  })
  return calls
}

for (const sockets of ['auto', 'handle'])
  test(`--sockets ${sockets}: a sync lies between the write of a batch and the sending of its PUBACK`, async (t) => {
    const data = temporaryFolder(t)
    const running = await startProcess(data, ['--status', 'off', '--sockets', sockets])
    t.after(() => running.kill())
    const codec = await environmentCodec(running.http)
    const traceFile = path.join(data, 'trace.txt')
    const strace = spawn(
      'strace',
      [
        '-f',
        '-yy',
        '-s',
        '65536',
        '-e',
        'trace=write,writev,pwrite64,pwritev,pwritev2,sendmsg,sendto,io_uring_enter,fdatasync,fsync',
        '-o',
        traceFile,
        '-p',
        String(running.pid),
      ],
      {
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    )
    t.after(() => strace.kill('SIGKILL'))
    await new Promise<void>((resolve, reject) => {
      strace.stderr.on('data', (chunk: Buffer) => {
        if (String(chunk).includes('attached')) resolve()
      })
      strace.on('exit', () => reject(new Error('strace ended: is ptrace allowed here?')))
    })
    const client = await mqtt.connectAsync(running.url, { clientId: DEVICE, protocolVersion: 4 })
    await client.publishAsync(`devices/${DEVICE}/telemetry`, codec.encode(reading(1)), { qos: 1 })
    await client.endAsync()
    const ended = new Promise((resolve) => strace.once('exit', resolve))
    strace.kill('SIGINT')
    await ended
    const calls = callsOf(fs.readFileSync(traceFile, 'utf8'))
    const isFileWrite = (text: string): boolean => /^p?writev?(64|2)?\(\d+<\//.test(text)
    // The record's key and its firmware: the payload itself, not the presence record of the device.
    const written = calls.find(
      (call) => isFileWrite(call.text) && call.text.includes(DEVICE) && call.text.includes('1.2.0'),
    )
    assert.ok(written, 'the write of the batch is in the trace')
    const file = /<([^>]+)>/.exec(written.text)![1]!
    const synced = calls.find(
      (call) =>
        /^(fdatasync|fsync)\(/.test(call.text) &&
        call.text.includes(`<${file}>`) &&
        call.from > written.to &&
        /= 0/.test(call.text),
    )
    assert.ok(synced, 'a sync of the same file follows the write')
    // PUBACK of 3.1.1 is 0x40 0x02 and the packet id, which the client chooses; before a digit strace writes `\\002`. Of
    // what goes to io_uring, acknowledgements alone are not waited for (libuv waits), and there is one; where the machine
    // has none, it is written.
    const puback = calls.find(
      ({ text }) =>
        (/^(write|writev|sendmsg|sendto)\(\d+<TCP/.test(text) && /"@\\(2|002)/.test(text)) ||
        (sockets === 'auto' && /^io_uring_enter\(\d+<[^>]*>, 1, 0, 0, .*= 1$/.test(text)),
    )
    assert.ok(puback, 'the PUBACK is in the trace')
    assert.ok(puback.from > synced.to, `PUBACK at line ${puback.from}, sync done at line ${synced.to}`)
  })
