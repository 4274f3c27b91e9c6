// Processes and folders of a case: started on a core of their own, read by their CPU, and gone when the case
// ends, however it ends.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { round } from './harness.ts'

const STOP_MS_MAX = 25_000
const STARTED_MS_MAX = 60_000
const LAST_WORDS_MS_MAX = 1000
/** USER_HZ, which Linux has fixed at 100 for what /proc shows. */
const TICKS_PER_SECOND = 100

/** Cores, where there are two: the server has one for itself, the generator the other. */
export const SERVER_CORE = 0
export const GENERATOR_CORE = 1

const canPin = (() => {
  if (os.availableParallelism() < 2) return false
  try {
    execFileSync('taskset', ['-c', '0', 'true'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
})()

export const pinning = canPin
  ? 'server and generator on a core each'
  : 'cores shared: no taskset, or one core'

const running = new Set<ChildProcess>()
const folders = new Set<string>()

function cleanUp(): void {
  for (const child of running) child.kill('SIGKILL')
  running.clear()
  for (const folder of folders) fs.rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
  folders.clear()
}

process.on('exit', cleanUp)
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)
  process.once(signal, () => process.exit(code))

/** A folder that is removed at the end. */
export function temporaryFolder(): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-bench-'))
  folders.add(folder)
  return folder
}

export function removeFolder(folder: string): void {
  fs.rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
  folders.delete(folder)
}

export class BenchProcess {
  readonly pid: number
  readonly stdout: Readable
  readonly exited: Promise<number | null>
  readonly #child: ChildProcess
  /** It has ended, and all that it wrote is read. */
  readonly #closed: Promise<unknown>
  #text = ''

  /** `core` undefined: wherever the system puts it. What it writes to stderr is shown. */
  constructor(
    command: string,
    args: readonly string[],
    core: number | undefined,
    env: Readonly<Record<string, string>> = {},
  ) {
    const [file, ...rest] =
      canPin && core !== undefined ? ['taskset', '-c', String(core), command, ...args] : [command, ...args]
    const child = spawn(file!, rest, {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, ...env },
    })
    running.add(child)
    this.#child = child
    this.pid = child.pid!
    this.stdout = child.stdout
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      this.#text += chunk
    })
    this.#closed = new Promise((resolve) => child.once('close', resolve))
    this.exited = new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('exit', (code) => {
        running.delete(child)
        resolve(code)
      })
    })
  }

  /** What it wrote to stdout so far. */
  get output(): string {
    return this.#text
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** Waits until `check` gives something; throws when the process ends first, or takes too long. */
  async until<T>(
    what: string,
    check: () => T | undefined | Promise<T | undefined>,
    msMax = STARTED_MS_MAX,
  ): Promise<T> {
    const deadline = performance.now() + msMax
    while (this.isRunning && performance.now() < deadline) {
      const value = await check()
      if (value !== undefined) return value
      await sleep(10)
    }
    // Its last words may be what was waited for. Who inherited its stdout may keep that open.
    if (!this.isRunning) await Promise.race([this.#closed, sleep(LAST_WORDS_MS_MAX)])
    const last = await check()
    if (last !== undefined) return last
    this.#child.kill('SIGKILL')
    throw new Error(`waited for ${what}; the process wrote:\n${this.#text}`)
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name)
  }

  /** SIGKILL. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.exited
  }

  /** SIGTERM, and SIGKILL where that is not enough. */
  async stop(): Promise<number | null> {
    this.#child.kill('SIGTERM')
    const late = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS_MAX)
    const code = await this.exited
    clearTimeout(late)
    return code
  }
}

/** User and system CPU of a process so far, in seconds. */
export function cpuSeconds(pid: number): number {
  return ticksOf(`/proc/${pid}/stat`) / TICKS_PER_SECOND
}

/** CPU seconds of each thread so far, those of one name together; libuv's and V8's helpers by one name each. */
export function threadCpuSeconds(pid: number, part: CpuPart = 'all'): Map<string, number> {
  const result = new Map<string, number>()
  for (const task of fs.readdirSync(`/proc/${pid}/task`)) {
    const name = fs.readFileSync(`/proc/${pid}/task/${task}/comm`, 'utf8').trim()
    const seconds = ticksOf(`/proc/${pid}/task/${task}/stat`, part) / TICKS_PER_SECOND
    result.set(name, (result.get(name) ?? 0) + seconds)
  }
  return result
}

/** CPU µs per message of each thread between two readings; those that did nothing are left out. */
export function threadShares(
  before: ReadonlyMap<string, number>,
  after: ReadonlyMap<string, number>,
  messages: number,
): Record<string, number> {
  const shares: [string, number][] = []
  for (const [name, seconds] of after) {
    const us = round(((seconds - (before.get(name) ?? 0)) * 1e6) / messages, 4)
    if (us > 0) shares.push([name, us])
  }
  return Object.fromEntries(shares.sort((a, b) => b[1] - a[1]))
}

/** `system`: what the kernel did for the thread. */
type CpuPart = 'all' | 'system'

function ticksOf(file: string, part: CpuPart = 'all'): number {
  const text = fs.readFileSync(file, 'utf8')
  // The name, second field, may hold spaces: what follows its parenthesis begins with field 3 (proc(5)).
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return (part === 'all' ? Number(fields[11]) : 0) + Number(fields[12])
}

/** CPU seconds that this virtual machine wanted and others of its host had (proc(5), `steal`). */
export function stealSeconds(): number {
  const [total = ''] = fs.readFileSync('/proc/stat', 'utf8').split('\n', 1)
  return Number(total.trim().split(/\s+/)[8]) / TICKS_PER_SECOND
}

/** Resident bytes of a process. */
export function residentBytes(pid: number): number {
  const match = /^VmRSS:\s+(\d+) kB$/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Number(match![1]) * 1024
}

/** Bytes that a process has read so far with read(2), from files and sockets; recv(2) does not count: proc(5). */
export function bytesRead(pid: number): number {
  return Number(/^rchar: (\d+)$/m.exec(fs.readFileSync(`/proc/${pid}/io`, 'utf8'))![1])
}

const LISTEN_STATE = '0A'

/** One line of /proc/net/tcp: local and remote address, state, queues, and the inode of the socket. */
function tcpSockets(): { local: string; remote: string; state: string; queues: string; inode: string }[] {
  return fs
    .readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .slice(1, -1)
    .map((line) => {
      const [, local, remote, state, queues, , , , , inode] = line.trim().split(/\s+/)
      return { local: local!, remote: remote!, state: state!, queues: queues!, inode: inode! }
    })
}

/** TCP ports on which a process listens, lowest first. */
export function listeningPorts(pid: number): number[] {
  const inodes = new Set<string>()
  for (const fd of fs.readdirSync(`/proc/${pid}/fd`)) {
    try {
      const match = /^socket:\[(\d+)\]$/.exec(fs.readlinkSync(`/proc/${pid}/fd/${fd}`))
      if (match !== null) inodes.add(match[1]!)
    } catch {
      // Closed meanwhile.
    }
  }
  return tcpSockets()
    .filter((socket) => socket.state === LISTEN_STATE && inodes.has(socket.inode))
    .map((socket) => Number.parseInt(socket.local.split(':')[1]!, 16))
    .sort((a, b) => a - b)
}

/** Bytes that were sent to a port of this machine and that its owner has not read. */
export function bytesQueuedTo(port: number): number {
  const hex = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  let bytes = 0
  for (const { local, remote, state, queues } of tcpSockets()) {
    if (state === LISTEN_STATE) continue
    const [transmit, receive] = queues.split(':').map((text) => Number.parseInt(text, 16))
    if (remote.endsWith(hex)) bytes += transmit!
    else if (local.endsWith(hex)) bytes += receive!
  }
  return bytes
}

/** A port that nobody listens on. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = net.createServer().once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as net.AddressInfo
      server.close(() => resolve(port))
    })
  })
}

export function isListening(port: number, host = '127.0.0.1'): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port }, () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

/** Puts this process with all its threads on the server's core; false where that is not possible. */
export function pinSelf(): boolean {
  if (canPin)
    execFileSync('taskset', ['-a', '-c', '-p', String(SERVER_CORE), String(process.pid)], { stdio: 'ignore' })
  return canPin
}

/** Descriptors that a process may open. */
export function fileDescriptorsMax(): number {
  const text = execFileSync('/bin/sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' }).trim()
  return text === 'unlimited' ? Infinity : Number(text)
}
