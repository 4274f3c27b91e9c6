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
  unit?: string
  read(): { value: number; labels?: Record<string, string> }[]
}

/** Counters only grow; what can fall is a gauge, and its name says so by being listed by the stage. */
export interface MetricsOptions {
  sources(): readonly MetricSource[]
  /** `stage.name` of the slots that may fall. */
  gauges: ReadonlySet<string>
  computed: readonly ComputedMetric[]
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
    for (const metric of options.computed) {
      this.#meter
        .createObservableGauge(metric.name, {
          description: metric.help,
          ...(metric.unit ? { unit: metric.unit } : {}),
        })
        .addCallback((result) => {
          for (const { value, labels } of metric.read()) result.observe(value, labels ?? {})
        })
    }
  }

  /** The page that `/metrics` answers, in the text format 0.0.4. */
  async scrape(): Promise<string> {
    this.#registerNewSources()
    const { resourceMetrics, errors } = await this.#exporter.collect()
    if (errors.length > 0) throw errors[0]
    return this.#serializer.serialize(resourceMetrics)
  }

  #registerNewSources(): void {
    for (const { stage, block } of this.#options.sources()) {
      for (const slot of block.names) {
        const key = `${stage}.${slot}`
        if (this.#registered.has(key)) continue
        this.#registered.add(key)
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

/** OpenTelemetry's own diagnostics stay silent: errors surface through `scrape`. */
otelMetrics.disable()
