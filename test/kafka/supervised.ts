// One of our processes under a test that ends it: started again until it is stopped, its output kept.
import { type ChildProcess, spawn } from 'node:child_process'
import { LAUNCHER } from '../millrace-process.ts'

/** Started again whenever it has ended, until `stop`. */
export class Supervised {
  readonly name: string
  readonly #args: string[]
  #child: ChildProcess | undefined
  #text = ''
  #isOver = false
  /** Ends that nobody asked for, with what was said last. */
  readonly ends: { code: number | null; text: string }[] = []
  #expected = false
  starts = 0

  constructor(name: string, args: string[]) {
    this.name = name
    this.#args = args
  }

  start(): void {
    this.starts++
    this.#text = ''
    this.#expected = false
    const child = spawn(LAUNCHER, ['up', ...this.#args], { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child = child
    for (const stream of [child.stdout!, child.stderr!])
      stream.setEncoding('utf8').on('data', (chunk: string) => {
        this.#text = (this.#text + chunk).slice(-20_000)
      })
    child.once('exit', (code) => {
      if (!this.#expected) this.ends.push({ code, text: this.#text.slice(-2000) })
      if (!this.#isOver) setTimeout(() => this.#isOver || this.start(), 300)
    })
  }

  get mqttPort(): number | undefined {
    const match = /mqtt:\/\/127\.0\.0\.1:(\d+)/.exec(this.#text)
    return match ? Number(match[1]) : undefined
  }

  get http(): string | undefined {
    return /http:\/\/127\.0\.0\.1:\d+/.exec(this.#text)?.[0]
  }

  get text(): string {
    return this.#text
  }

  async isReady(): Promise<boolean> {
    if (this.http === undefined) return false
    const answer = await fetch(`${this.http}/readyz`, { signal: AbortSignal.timeout(2000) }).catch(
      () => undefined,
    )
    return answer?.status === 200
  }

  /** For whoever has to find out what stopped: readiness, lags, and what was said last. */
  async condition(): Promise<string> {
    const ask = async (path: string): Promise<string> => {
      const answer = await fetch(`${this.http}${path}`, { signal: AbortSignal.timeout(5000) })
      return answer.text()
    }
    const parts = [`${this.name}, start ${this.starts}`]
    try {
      parts.push(await ask('/readyz'))
      parts.push(
        ...(await ask('/metrics')).split('\n').filter((line) => /^[^#].*(lag|backlog|age)/.test(line)),
      )
    } catch (error) {
      parts.push(String(error))
    }
    return [...parts, this.#text.slice(-4000)].join('\n')
  }

  /** An end on purpose; the supervisor starts it again. */
  end(signal: 'SIGKILL' | 'SIGTERM'): void {
    this.#expected = true
    this.#child?.kill(signal)
  }

  pause(): void {
    this.#child?.kill('SIGSTOP')
  }

  resume(): void {
    this.#child?.kill('SIGCONT')
  }

  async stop(): Promise<void> {
    this.#isOver = true
    this.#expected = true
    const child = this.#child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const ended = new Promise((resolve) => child.once('exit', resolve))
    child.kill('SIGCONT')
    child.kill('SIGTERM')
    const timer = setTimeout(() => child.kill('SIGKILL'), 20_000)
    await ended
    clearTimeout(timer)
  }
}
