// A stream's normalized topic in the words of other engines, generated from the contract's Avro schema: a table for
// Flink SQL, a reader for Spark Structured Streaming, a sink connector for Kafka Connect. docs/consumers.md shows
// how each is used.
import {
  type AvroField,
  type AvroNode,
  nullableOf,
  parseAvroSchema,
  type RecordNode,
} from '../schemas/avro-schema.ts'
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

/** The type that Flink's Avro format gives that value. Times of day and timestamps come as the numbers that they are. */
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
      return `BINARY(${node.size})`
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
    "  `receive_time` TIMESTAMP_LTZ(3) METADATA FROM 'timestamp'",
    '  `partition` INT METADATA VIRTUAL',
    '  `offset` BIGINT METADATA VIRTUAL',
    ...record.fields.flatMap((field) => flinkTimestamp(field)),
  ]
  const options = {
    connector: 'kafka',
    topic: normalizedTopic(tenant, stream),
    'properties.bootstrap.servers': at.bootstrap,
    'properties.group.id': `flink-${tenant}-${stream}`,
    'scan.startup.mode': 'earliest-offset',
    'key.format': 'raw',
    'key.fields': 'device_id',
    'value.format': 'avro-confluent',
    'value.fields-include': 'EXCEPT_KEY',
    'value.avro-confluent.url': at.registry,
    // Without it Flink would make a schema of its own from the columns, in which an enum is a string.
    'value.avro-confluent.schema': compact(avro),
  }
  const texts = Object.entries(options).map(([name, value]) => `  ${flinkText(name)} = ${flinkText(value)}`)
  return `CREATE TABLE ${flinkName(stream)} (\n${columns.join(',\n')}\n) WITH (\n${texts.join(',\n')}\n);`
}

/** A computed column of the time itself; the field is a number of micro- or milliseconds. */
function flinkTimestamp({ name, node }: AvroField): string[] {
  const value = nullableOf(node)?.value ?? node
  if (!isTimestamp(value)) return []
  const millis = value.logical === 'timestamp-micros' ? `${flinkName(name)} / 1000` : flinkName(name)
  return [`  ${flinkName(`${name}_ts`)} AS TO_TIMESTAMP_LTZ(${millis}, 3)`]
}

// Spark Structured Streaming

export function sparkReader({ tenant, stream, avro }: ExportSource, at: ExportAddresses): string {
  return `# ${normalizedTopic(tenant, stream)} as a streaming DataFrame (PySpark with spark-sql-kafka-0-10 and spark-avro).
from pyspark.sql.avro.functions import from_avro
from pyspark.sql.functions import expr

SCHEMA = r'''${compact(avro)}'''


def read_${stream}(spark, **options):
    source = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", "${at.bootstrap}")
        .option("subscribe", "${normalizedTopic(tenant, stream)}")
        .option("startingOffsets", "earliest")
        .options(**options)
        .load()
    )
    # The value is Avro behind the Confluent frame: a zero byte and four bytes of schema id.
    return source.select(
        expr("CAST(key AS STRING)").alias("device_id"),
        from_avro(expr("substring(value, 6)"), SCHEMA).alias("reading"),
        expr("timestamp").alias("receive_time"),
        "partition",
        "offset",
    ).select("device_id", "reading.*", "receive_time", "partition", "offset")
`
}

// Kafka Connect

export function connectSink({ tenant, stream }: ExportSource, at: ExportAddresses): string {
  const config = {
    'connector.class': 'org.apache.kafka.connect.file.FileStreamSinkConnector',
    file: `/tmp/${tenant}.${stream}.txt`,
    'tasks.max': '1',
    topics: normalizedTopic(tenant, stream),
    'key.converter': 'org.apache.kafka.connect.storage.StringConverter',
    'value.converter': 'io.confluent.connect.avro.AvroConverter',
    'value.converter.schema.registry.url': at.registry,
    'errors.tolerance': 'none',
  }
  return JSON.stringify({ name: `millrace-${tenant}-${stream}`, config }, null, 2)
}
