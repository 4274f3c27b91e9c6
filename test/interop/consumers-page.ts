// The programs and commands of docs/consumers.md, as they are written there but for the addresses.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { until } from '../millrace-process.ts'

const PAGE = fs.readFileSync(path.resolve(import.meta.dirname, '../../docs/consumers.md'), 'utf8')

/** Where the topics and the registry of the page are in a test. */
interface Addresses {
  kafkaPort: number
  http: string
}

/** The text with the test's addresses. */
export const here = (text: string, { kafkaPort, http }: Addresses): string =>
  text.replaceAll('127.0.0.1:9092', `127.0.0.1:${kafkaPort}`).replaceAll('http://127.0.0.1:8080', http)

/** The block of the page in that language that has `part` in it. */
export function block(language: string, part: string): string {
  const blocks = [...PAGE.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, 'gms'))]
  const found = blocks.map((match) => match[1]!).find((text) => text.includes(part))
  assert.ok(found, `docs/consumers.md has no ${language} with ${part}`)
  return found
}

/**
 * Runs a program that reads for ever. What `read` makes of its output, as soon as that is not undefined, is the
 * result; then the program is ended.
 */
export async function runUntil<T>(
  [command, ...args]: readonly [string, ...string[]],
  read: (output: string) => T | undefined,
  { input = '', timeoutMs = 120_000 }: { input?: string; timeoutMs?: number } = {},
): Promise<T> {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] })
  let output = ''
  let errors = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    output += chunk
  })
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    errors = (errors + chunk).slice(-8000)
  })
  const exited = new Promise((resolve) => child.once('close', resolve))
  child.stdin.end(input)
  try {
    return await until(
      `what ${command} prints`,
      async () => {
        const result = read(output)
        if (result === undefined) assert.equal(child.exitCode, null, errors)
        return result
      },
      timeoutMs,
    )
  } finally {
    child.kill('SIGKILL')
    await exited
  }
}
