// Prometheus metrics through OpenTelemetry. Workers count into shared memory (std/counters.ts); nothing is
// computed until a scrape reads it.
import { type ObservableResult, metrics as otelMetrics } from '@opentelemetry/api'
import { PrometheusExporter, PrometheusSerializer } from '@opentelemetry/exporter-prometheus'
import { MeterProvider } from '@opentelemetry/sdk-metrics'
import type { CounterBlock } from '../std/counters.ts'

export interface MetricSource {
  stage: string
  /** Label that tells blocks of the same stage apart. */
  worker: string
  block: CounterBlock<string>
}

/** A value that is computed at the scrape. */
export interface ComputedMetric {
  name: string
  help: string
  /** Only grows; its name gets the suffix `_total`. */
  isCounter?: boolean
  read(): number
}

/** Durations by bucket, counted elsewhere: `counts[i]` of at most `boundsMs[i]` and more than the bound before, the last of more than all. */
export interface DurationMetric {
  /** Ends in `_seconds`, which is what Prometheus wants durations in. */
  name: string
  help: string
  boundsMs: readonly number[]
  read(): { counts: readonly number[]; sumMs: number }
}

/** Counters only grow; what can fall is a gauge, and its name says so by being listed by the stage. */
export interface MetricsOptions {
  sources(): readonly MetricSource[]
  /** `stage.name` of the slots that may fall. */
  gauges: ReadonlySet<string>
  /** `stage.name` starts of the slots that are shown otherwise. */
  hidden: readonly string[]
  computed: readonly ComputedMetric[]
  durations: readonly DurationMetric[]
}

const snake = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

export class Metrics {
  readonly #exporter = new PrometheusExporter({ preventServerStart: true })
  readonly #serializer = new PrometheusSerializer(undefined, false, undefined, true, true)
  readonly #registered = new Set<string>()
  readonly #options: MetricsOptions
  readonly #meter: ReturnType<MeterProvider['getMeter']>

  constructor(options: MetricsOptions) {
    this.#options = options
    this.#meter = new MeterProvider({ readers: [this.#exporter] }).getMeter('millrace')
    for (const { name, help: description, isCounter, read } of options.computed) {
      const instrument = isCounter
        ? this.#meter.createObservableCounter(name, { description })
        : this.#meter.createObservableGauge(name, { description })
      instrument.addCallback((result) => result.observe(read()))
    }
  }

  /** The page that `/metrics` answers, in the text format 0.0.4. */
  async scrape(): Promise<string> {
    this.#registerNewSources()
    const { resourceMetrics, errors } = await this.#exporter.collect()
    if (errors.length > 0) throw errors[0]
    return this.#serializer.serialize(resourceMetrics) + this.#options.durations.map(histogramText).join('')
  }

  #registerNewSources(): void {
    for (const { stage, block } of this.#options.sources()) {
      for (const slot of block.names) {
        const key = `${stage}.${slot}`
        if (this.#registered.has(key)) continue
        this.#registered.add(key)
        if (this.#options.hidden.some((start) => key.startsWith(start))) continue
        const gauge = this.#options.gauges.has(key)
        const name = `millrace_${stage}_${snake(slot)}`
        const description = `${stage}: ${snake(slot).replaceAll('_', ' ')}`
        const instrument = gauge
          ? this.#meter.createObservableGauge(name, { description })
          : this.#meter.createObservableCounter(name, { description })
        instrument.addCallback((result: ObservableResult) => {
          for (const source of this.#options.sources())
            if (source.stage === stage) result.observe(source.block.get(slot), { worker: source.worker })
        })
      }
    }
  }
}

/** OpenTelemetry has no observable histogram, so these lines are written here (text format 0.0.4, "Histograms"). */
function histogramText({ name, help, boundsMs, read }: DurationMetric): string {
  const { counts, sumMs } = read()
  let count = 0
  const buckets = counts.map((own, i) => {
    count += own
    const bound = boundsMs[i]
    return `${name}_bucket{le="${bound === undefined ? '+Inf' : bound / 1000}"} ${count}\n`
  })
  return `# HELP ${name} ${help}\n# TYPE ${name} histogram\n${buckets.join('')}${name}_sum ${sumMs / 1000}\n${name}_count ${count}\n`
}

/** OpenTelemetry's own diagnostics stay silent: errors surface through `scrape`. */
otelMetrics.disable()
