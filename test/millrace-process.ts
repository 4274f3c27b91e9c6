// Starts the real `./millrace up` on free ports with a folder of its own, for suites that test the process.
import assert from 'node:assert/strict'
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'

const ROOT = path.resolve(import.meta.dirname, '..')
export const LAUNCHER = path.join(ROOT, 'millrace')
const READY_MS_MAX = 60_000

export interface MillraceProcess {
  readonly pid: number
  readonly data: string
  readonly mqttPort: number
  readonly wsPort: number
  readonly httpPort: number
  /** 0 without `--kafka`. */
  readonly kafkaPort: number
  readonly url: string
  readonly http: string
  output(): string
  /** SIGTERM, and waits; returns the exit code. */
  stop(): Promise<number | null>
  /** kill -9, and waits. */
  kill(): Promise<void>
}

/** A temporary folder that is removed when the test is over. */
export function temporaryFolder(t: { after(callback: () => void): void }, prefix = 'millrace-'): string {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), prefix))
  t.after(() => fs.rmSync(dir, { recursive: true, force: true, maxRetries: 3 }))
  return dir
}

/** Starts `millrace up` and resolves when /readyz answers 200, or where `ready` is false, when it answers. */
export async function startProcess(
  data: string,
  args: string[] = [],
  env: NodeJS.ProcessEnv = {},
  { ready = true }: { ready?: boolean } = {},
): Promise<MillraceProcess> {
  const child: ChildProcessByStdio<null, Readable, Readable> = spawn(
    LAUNCHER,
    ['up', '--data', data, '--mqtt', '127.0.0.1:0', '--ws', '127.0.0.1:0', '--http', '127.0.0.1:0', ...args],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } },
  )
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
  })
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
  })
  const exited = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)))
  const port = (pattern: RegExp): number | undefined => {
    const match = pattern.exec(text)
    return match ? Number(match[1]) : undefined
  }
  const deadline = Date.now() + READY_MS_MAX
  for (;;) {
    const http = port(/HTTP\s+http:\/\/127\.0\.0\.1:(\d+)/)
    if (http !== undefined) {
      const answer = await fetch(`http://127.0.0.1:${http}/readyz`).catch(() => undefined)
      if (answer !== undefined && (!ready || answer.status === 200)) break
    }
    if (child.exitCode !== null || Date.now() > deadline) {
      child.kill('SIGKILL')
      assert.fail(`millrace did not get ready (exit ${child.exitCode}):\n${text}`)
    }
    await sleep(25)
  }
  const httpPort = port(/HTTP\s+http:\/\/127\.0\.0\.1:(\d+)/)!
  const mqttPort = port(/mqtt:\/\/127\.0\.0\.1:(\d+)/) ?? 0
  return {
    pid: child.pid!,
    data,
    httpPort,
    mqttPort,
    kafkaPort: port(/Kafka\s+127\.0\.0\.1:(\d+)/) ?? 0,
    wsPort: port(/ws:\/\/127\.0\.0\.1:(\d+)/) ?? 0,
    url: `mqtt://127.0.0.1:${mqttPort}`,
    http: `http://127.0.0.1:${httpPort}`,
    output: () => text,
    stop: async () => {
      child.kill('SIGTERM')
      return exited
    },
    kill: async () => {
      child.kill('SIGKILL')
      await exited
    },
  }
}

/** Runs a command of the launcher to its end. */
export async function millrace(
  args: string[],
  env: NodeJS.ProcessEnv = {},
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(LAUNCHER, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk
  })
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk
  })
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { code, stdout, stderr }
}

/** Rows of a query over the tables, as objects. */
export async function query(data: string, sql: string): Promise<Record<string, unknown>[]> {
  const { code, stdout, stderr } = await millrace(['query', sql, '--data', data, '--json'])
  assert.equal(code, 0, stderr)
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
}

export async function account(http: string): Promise<Record<string, number>> {
  return (await (await fetch(`${http}/v1/account`)).json()) as Record<string, number>
}

/** Waits until `check` gives a value that is not undefined, or fails. */
export async function until<T>(
  what: string,
  check: () => Promise<T | undefined>,
  timeoutMs = 30_000,
): Promise<T> {
  const deadline = Date.now() + timeoutMs
  for (;;) {
    const value = await check()
    if (value !== undefined) return value
    if (Date.now() > deadline) assert.fail(`waited ${timeoutMs} ms for ${what}`)
    await sleep(50)
  }
}
