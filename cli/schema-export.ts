// A stream's normalized topic in the words of other engines, generated from the contract's Avro schema: a table for
// Flink SQL, a reader for Spark Structured Streaming, a sink connector for Kafka Connect. docs/consumers.md shows
// how each is used. Where the log is Kafka normalize writes in transactions: all of them read what is committed. What
// they add to the contract's fields is called as in the tables.
import { type AvroField, type AvroNode, nullableOf, type RecordNode } from '../schemas/avro-node.ts'
import { parseAvroSchema } from '../schemas/avro-schema.ts'
import { normalizedTopic } from '../schemas/names.ts'

export interface ExportSource {
  tenant: string
  stream: string
  /** Avro JSON. */
  avro: string
}

/** Where the consumer finds the log and the registry. */
export interface ExportAddresses {
  bootstrap: string
  registry: string
  /** Of the names of topics: `--log-kafka-prefix`. */
  prefix: string
}

const recordOf = (avro: string): RecordNode => {
  const node = parseAvroSchema(avro)
  if (node.kind !== 'record') throw new TypeError('a stream’s schema is a record')
  return node
}

const isTimestamp = (node: AvroNode): node is Extract<AvroNode, { kind: 'long' }> =>
  node.kind === 'long' && (node.logical === 'timestamp-micros' || node.logical === 'timestamp-millis')

/** On one line; apostrophes escaped, because Python and SQL end their texts with them. */
const compact = (avro: string): string => JSON.stringify(JSON.parse(avro)).replaceAll("'", '\\u0027')

// Flink SQL (nightlies.apache.org/flink/flink-docs-stable, "Confluent Avro Format", "Kafka SQL Connector")

const flinkName = (name: string): string => `\`${name}\``
const flinkText = (text: string): string => `'${text.replaceAll("'", "''")}'`

/** The type that Flink's Avro format gives that value: it refuses a table whose columns have any other. */
function flinkType(node: AvroNode): string {
  const nullable = nullableOf(node)
  if (nullable !== undefined) return flinkValue(nullable.value)
  return `${flinkValue(node)} NOT NULL`
}

function flinkValue(node: AvroNode): string {
  if ('decimal' in node && node.decimal !== undefined)
    return `DECIMAL(${node.decimal.precision}, ${node.decimal.scale})`
  switch (node.kind) {
    case 'boolean':
      return 'BOOLEAN'
    case 'int':
      return node.logical === 'date' ? 'DATE' : 'INT'
    case 'long':
      return 'BIGINT'
    case 'float':
      return 'FLOAT'
    case 'double':
      return 'DOUBLE'
    case 'bytes':
      return 'BYTES'
    case 'fixed':
      return `VARBINARY(${node.size})`
    case 'string':
    case 'enum':
      return 'STRING'
    case 'array':
      return `ARRAY<${flinkType(node.items)}>`
    case 'map':
      return `MAP<STRING NOT NULL, ${flinkType(node.values)}>`
    case 'record':
      return `ROW<${node.fields.map((field) => `${flinkName(field.name)} ${flinkType(field.node)}`).join(', ')}>`
    default:
      throw new TypeError(`a stream holds no ${node.kind}`)
  }
}

export function flinkTable({ tenant, stream, avro }: ExportSource, at: ExportAddresses): string {
  const record = recordOf(avro)
  const columns = [
    '  `device_id` STRING',
    ...record.fields.map(({ name, node }) => `  ${flinkName(name)} ${flinkType(node)}`),
    "  `_log_partition` INT METADATA FROM 'partition' VIRTUAL",
    "  `_offset` BIGINT METADATA FROM 'offset' VIRTUAL",
    "  `_receive_time` TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL",
    ...record.fields.flatMap((field) => flinkTimestamp(field, record)),
  ]
  const options = {
    connector: 'kafka',
    topic: at.prefix + normalizedTopic(tenant, stream),
    'properties.bootstrap.servers': at.bootstrap,
    'properties.group.id': `flink-${tenant}-${stream}`,
    'properties.isolation.level': 'read_committed',
    'scan.startup.mode': 'earliest-offset',
    // A partition without a device would hold the watermark, should one be declared, for ever.
    'scan.watermark.idle-timeout': '10 s',
    'key.format': 'raw',
    'key.fields': 'device_id',
    'value.format': 'avro-confluent',
    'value.fields-include': 'EXCEPT_KEY',
    'value.avro-confluent.url': at.registry,
    // Without it Flink would make a schema of its own from the columns, in which an enum is a string.
    'value.avro-confluent.schema': compact(JSON.stringify(withoutTimes(JSON.parse(avro)))),
  }
  const texts = Object.entries(options).map(([name, value]) => `  ${flinkText(name)} = ${flinkText(value)}`)
  return `CREATE TABLE ${flinkName(stream)} (\n${columns.join(',\n')}\n) WITH (\n${texts.join(',\n')}\n);`
}

/** The schema with times as the plain numbers that they are: Flink makes local times, without a zone, of the others. */
function withoutTimes(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(withoutTimes)
  if (typeof schema !== 'object' || schema === null) return schema
  const parts = Object.entries(schema).map(([key, value]) =>
    ['type', 'items', 'values', 'fields'].includes(key) ? [key, withoutTimes(value)] : [key, value],
  )
  const { logicalType, ...plain } = Object.fromEntries(parts) as Record<string, unknown>
  if (logicalType === undefined) return plain
  return String(logicalType).startsWith('time') ? plain['type'] : { ...plain, logicalType }
}

/** A computed column of the time itself; the field is a number of micro- or milliseconds. */
function flinkTimestamp({ name, node }: AvroField, { fields }: RecordNode): string[] {
  const value = nullableOf(node)?.value ?? node
  if (!isTimestamp(value)) return []
  const millis = value.logical === 'timestamp-micros' ? `${flinkName(name)} / 1000` : flinkName(name)
  let column = `${name}_ts`
  while (fields.some((field) => field.name === column)) column += '_'
  return [`  ${flinkName(column)} AS TO_TIMESTAMP_LTZ(${millis}, 3)`]
}

// Spark Structured Streaming

export function sparkReader({ tenant, stream, avro }: ExportSource, at: ExportAddresses): string {
  const topic = at.prefix + normalizedTopic(tenant, stream)
  return `# ${topic} as a streaming DataFrame (PySpark with spark-sql-kafka-0-10 and spark-avro).
from pyspark.sql.avro.functions import from_avro
from pyspark.sql.functions import expr

SCHEMA = r'''${compact(avro)}'''


def read_${stream}(spark, **options):
    source = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", "${at.bootstrap}")
        .option("subscribe", "${topic}")
        .option("startingOffsets", "earliest")
        .option("kafka.isolation.level", "read_committed")
        .options(**options)
        .load()
    )
    # The value is Avro behind the Confluent frame: a zero byte and four bytes of schema id.
    return source.select(
        expr("CAST(key AS STRING)").alias("device_id"),
        from_avro(expr("substring(value, 6)"), SCHEMA).alias("reading"),
        expr("partition").alias("_log_partition"),
        expr("offset").alias("_offset"),
        expr("timestamp").alias("_receive_time"),
    ).select("device_id", "reading.*", "_log_partition", "_offset", "_receive_time")
`
}

// Kafka Connect

export function connectSink({ tenant, stream }: ExportSource, at: ExportAddresses): string {
  const config = {
    'connector.class': 'org.apache.kafka.connect.file.FileStreamSinkConnector',
    file: `/tmp/${tenant}.${stream}.txt`,
    'tasks.max': '1',
    topics: at.prefix + normalizedTopic(tenant, stream),
    'key.converter': 'org.apache.kafka.connect.storage.StringConverter',
    'value.converter': 'io.confluent.connect.avro.AvroConverter',
    'value.converter.schema.registry.url': at.registry,
    'consumer.override.isolation.level': 'read_committed',
    'errors.tolerance': 'none',
  }
  return JSON.stringify({ name: `millrace-${tenant}-${stream}`, config }, null, 2)
}
