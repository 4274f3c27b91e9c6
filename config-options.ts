// Every option of a Millrace process, declared once: name, kind, default, range, one sentence. The command line, the
// variables, the configuration file (config.ts), `--help`, `millrace config` and docs/config.md (config-text.ts) derive
// from it; Config in config.ts is its type.
type OptionKind = 'address' | 'path' | 'text' | 'secret' | 'integer' | 'choice' | 'choices' | 'boolean'

export interface OptionSpec {
  kind: OptionKind
  default: string | number | boolean | readonly string[] | undefined
  /** What the value is, in one sentence, for --help and docs/config.md. */
  doc: string
  unit?: string
  min?: number
  max?: number
  choices?: readonly string[]
  /** An address that may also be `off`. */
  mayBeOff?: boolean
  /** What a text must be, and how it is said. */
  pattern?: RegExp
  expected?: string
}

const MIB = 1024 * 1024

export const OPTIONS = {
  data: {
    kind: 'path',
    default: './data',
    doc: 'Folder of the log and, where nothing else is said, of the catalog and the warehouse. Made if missing.',
  },
  config: { kind: 'path', default: undefined, doc: 'Configuration file (YAML) with any of these options.' },
  mqtt: {
    kind: 'address',
    default: '127.0.0.1:1883',
    mayBeOff: true,
    doc: 'Where MQTT over TCP listens. Port 0 picks a free one.',
  },
  ws: {
    kind: 'address',
    default: '127.0.0.1:8083',
    mayBeOff: true,
    doc: 'Where MQTT over WebSocket listens (path /mqtt).',
  },
  http: {
    kind: 'address',
    default: '127.0.0.1:8080',
    doc: 'Where HTTP listens: health, metrics, schema registry, API.',
  },
  kafka: {
    kind: 'address',
    default: 'off',
    mayBeOff: true,
    doc: 'Where the embedded log answers the Kafka protocol (usually port 9092).',
  },
  'kafka-advertised': {
    kind: 'address',
    default: 'off',
    mayBeOff: true,
    doc: 'Address that Kafka clients are told to use; `off`: the one by which each has come.',
  },
  log: {
    kind: 'text',
    default: 'embedded',
    pattern: /^(embedded|kafka:\/\/[^\s/:,]+:\d{1,5}(,[^\s/:,]+:\d{1,5})*)$/,
    expected: 'embedded, or kafka://HOST:PORT,HOST:PORT…',
    doc: 'Where the log is: `embedded` (the journal in the data folder), or the brokers of a Kafka cluster.',
  },
  'log-kafka-prefix': {
    kind: 'text',
    default: undefined,
    pattern: /^[A-Za-z0-9._-]{1,64}$/,
    expected: '1 to 64 of A–Z a–z 0–9 . _ -',
    doc: 'Before the name of every topic, consumer group and transactional id on Kafka.',
  },
  'log-kafka-replication': {
    kind: 'integer',
    default: 0,
    min: 0,
    max: 16,
    unit: 'copies, 0 = as many as there are brokers, 3 at most',
    doc: 'Copies of each partition of a topic that is made; one less must have a record before it is acknowledged.',
  },
  'log-kafka-compression': {
    kind: 'choice',
    default: 'none',
    choices: ['none', 'lz4', 'zstd'],
    doc: 'How batches are packed for Kafka.',
  },
  'log-kafka-tls': {
    kind: 'choice',
    default: 'off',
    choices: ['off', 'on'],
    doc: 'Whether connections to Kafka are encrypted.',
  },
  'log-kafka-tls-ca': {
    kind: 'path',
    default: undefined,
    doc: 'PEM file of the authorities that Kafka’s certificates are checked against; the system’s where absent.',
  },
  'log-kafka-tls-cert': {
    kind: 'path',
    default: undefined,
    doc: 'PEM file of the certificate that this process shows to Kafka.',
  },
  'log-kafka-tls-key': { kind: 'path', default: undefined, doc: 'PEM file of its key.' },
  'log-kafka-sasl': {
    kind: 'choice',
    default: 'off',
    choices: ['off', 'PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'],
    doc: 'How this process says to Kafka who it is.',
  },
  'log-kafka-username': { kind: 'text', default: undefined, doc: 'Name for SASL.' },
  'log-kafka-password': { kind: 'secret', default: undefined, doc: 'Password for SASL. Not as a flag.' },
  'log-kafka-password-file': { kind: 'path', default: undefined, doc: 'File that holds it.' },
  'schema-registry': {
    kind: 'text',
    default: 'off',
    pattern: /^(off|https?:\/\/[^\s@]+)$/,
    expected: 'off, or http(s)://HOST[:PORT][/PATH]',
    doc: 'External schema registry with Confluent’s API, which gives the ids and judges compatibility; `off`: the embedded one does.',
  },
  'schema-registry-username': { kind: 'text', default: undefined, doc: 'User name for the registry.' },
  'schema-registry-password': {
    kind: 'secret',
    default: undefined,
    doc: 'Password for the registry. Not as a flag.',
  },
  'schema-registry-password-file': { kind: 'path', default: undefined, doc: 'File that holds it.' },
  'schema-registry-ca': {
    kind: 'path',
    default: undefined,
    doc: 'PEM file of the authorities that the registry’s certificate is checked against; the system’s where absent.',
  },
  'schema-registry-unknown': {
    kind: 'choice',
    default: 'wait',
    choices: ['wait', 'refuse'],
    doc: 'What becomes of a schema that is not known here yet while the registry does not answer: its registration waits, or is refused.',
  },
  roles: {
    kind: 'choices',
    default: ['ingest', 'normalize', 'sink'],
    choices: ['ingest', 'normalize', 'sink'],
    doc: 'Stages that this process runs.',
  },
  workers: {
    kind: 'integer',
    default: 1,
    min: 1,
    max: 64,
    doc: 'Ingest worker threads; each serves its share of the connections.',
  },
  contracts: {
    kind: 'path',
    default: undefined,
    doc: 'Folder with contracts (*.yaml) beside the shipped ones.',
  },
  credentials: {
    kind: 'path',
    default: undefined,
    doc: 'Credentials file. Without one, anonymous clients are accepted from loopback addresses only.',
  },
  'log-level': {
    kind: 'choice',
    default: 'info',
    choices: ['debug', 'info', 'warn', 'error', 'silent'],
    doc: 'Least severity that is written to standard error.',
  },
  'log-segment-bytes': {
    kind: 'integer',
    default: 128 * MIB,
    min: MIB,
    max: 1024 * MIB,
    unit: 'bytes',
    doc: 'Size of one preallocated segment file of the journal.',
  },
  'log-retention-age-ms': {
    kind: 'integer',
    default: 24 * 3_600_000,
    min: 1000,
    max: Number.MAX_SAFE_INTEGER,
    unit: 'milliseconds',
    doc: 'How long a stream’s topics keep records that every stage has dealt with.',
  },
  'log-retention-bytes': {
    kind: 'integer',
    default: 4096 * MIB,
    min: MIB,
    max: Number.MAX_SAFE_INTEGER,
    unit: 'bytes per partition',
    doc: 'How much of a partition is kept of what every stage has dealt with.',
  },
  'log-partitions': {
    kind: 'integer',
    default: 4,
    min: 1,
    max: 1024,
    unit: 'partitions',
    doc: 'Partitions of the topics of a new stream whose contract says nothing of them; topics that exist keep theirs.',
  },
  'log-backlog-bytes': {
    kind: 'integer',
    default: 8192 * MIB,
    min: MIB,
    max: Number.MAX_SAFE_INTEGER,
    unit: 'bytes per partition',
    doc: 'How far a partition’s slowest stage may fall behind before its devices are slowed.',
  },
  'log-reserve-bytes': {
    kind: 'integer',
    default: 512 * MIB,
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    unit: 'bytes',
    doc: 'Free disk below which the log refuses appends.',
  },
  'mqtt-packet-bytes-max': {
    kind: 'integer',
    default: 262_144,
    min: 1024,
    max: 16 * MIB,
    unit: 'bytes',
    doc: 'Largest MQTT packet that is accepted; announced to MQTT 5 clients.',
  },
  'mqtt-receive-maximum': {
    kind: 'integer',
    default: 2048,
    min: 1,
    max: 65_535,
    unit: 'messages',
    doc: 'QoS 1 messages an MQTT 5 client may have unacknowledged; announced in CONNACK.',
  },
  'mqtt-connections-max': {
    kind: 'integer',
    default: 100_000,
    min: 1,
    max: 10_000_000,
    unit: 'connections per worker',
    doc: 'Connections above this are refused.',
  },
  'device-rate-max': {
    kind: 'integer',
    default: 0,
    min: 0,
    max: 10_000_000,
    unit: 'messages per second, 0 = none',
    doc: 'Rate above which one connection is slowed.',
  },
  'ingest-bytes-max': {
    kind: 'integer',
    default: 64 * MIB,
    min: MIB,
    max: 4096 * MIB,
    unit: 'bytes per worker',
    doc: 'Received and not yet durable bytes that a worker holds before it stops reading.',
  },
  sockets: {
    kind: 'choice',
    default: 'auto',
    choices: ['auto', 'handle', 'documented'],
    doc: 'How clients are read and written: `auto` by Node’s handles, and the acknowledgements of a commit by io_uring where the kernel lets us, `handle` without io_uring, `documented` without anything that Node does not document.',
  },
  'sink-commit-age-ms': {
    kind: 'integer',
    default: 3000,
    min: 100,
    max: 3_600_000,
    unit: 'milliseconds',
    doc: 'Age of a table’s oldest uncommitted row at which it is committed.',
  },
  'sink-commit-bytes': {
    kind: 'integer',
    default: 128 * MIB,
    min: MIB,
    max: 2048 * MIB,
    unit: 'bytes',
    doc: 'Uncommitted bytes of a table at which it is committed.',
  },
  'sink-encoders': {
    kind: 'integer',
    default: 1,
    min: 0,
    max: 64,
    unit: 'threads',
    doc: 'Threads that encode Parquet; 0 encodes in the sink’s own thread.',
  },
  'table-maintenance-ms': {
    kind: 'integer',
    default: 300_000,
    min: 0,
    max: 86_400_000,
    unit: 'milliseconds, 0 = never',
    doc: 'How often tables are looked at for small files and orphans. Manifests and snapshots are tended after commits in any case.',
  },
  'table-file-bytes': {
    kind: 'integer',
    default: 128 * MIB,
    min: MIB,
    max: 512 * MIB,
    unit: 'bytes',
    doc: 'Size that compaction brings data files to.',
  },
  'table-snapshot-age-ms': {
    kind: 'integer',
    default: 3_600_000,
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    unit: 'milliseconds',
    doc: 'Age from which a snapshot expires; the current one and those of branches and tags stay.',
  },
  'table-snapshots-max': {
    kind: 'integer',
    default: 200,
    min: 1,
    max: 100_000,
    unit: 'snapshots',
    doc: 'Newest snapshots of a table that may stay.',
  },
  'table-orphan-age-ms': {
    kind: 'integer',
    default: 86_400_000,
    min: 3_600_000,
    max: Number.MAX_SAFE_INTEGER,
    unit: 'milliseconds',
    doc: 'Age from which a file of ours that no snapshot refers to is removed.',
  },
  catalog: {
    kind: 'text',
    default: 'sqlite',
    pattern: /^(sqlite(:.+)?|https?:\/\/[^\s?#@]+)$/,
    expected:
      'sqlite, sqlite:FILE, or the address of an Iceberg REST catalog (http://HOST:PORT/PATH, without /v1)',
    doc: 'Where the tables’ catalog is: `sqlite` (catalog.db in the data folder), `sqlite:FILE` (for several processes of one machine), or the address of an Iceberg REST catalog, as far as its /v1.',
  },
  warehouse: {
    kind: 'text',
    default: undefined,
    pattern: /^(s3:\/\/[a-z0-9][a-z0-9.-]+(\/[^/]+)*\/?|(?!\w+:\/\/).+)$/,
    expected: 'a folder, s3://BUCKET/PREFIX, or the name of a warehouse of the REST catalog',
    doc: 'Where the tables’ files go: a folder (default: `warehouse` in the data folder) or s3://BUCKET/PREFIX. With a REST catalog the name of the warehouse that is asked for there; the catalog decides where its tables lie.',
  },
  'warehouse-timeout-ms': {
    kind: 'integer',
    default: 20_000,
    min: 100,
    max: 600_000,
    unit: 'milliseconds',
    doc: 'How long one request to a REST catalog or to S3 may take, before it counts as failed and is tried again.',
  },
  'catalog-credential': {
    kind: 'secret',
    default: undefined,
    doc: 'OAuth2 client credentials for the REST catalog, `CLIENT_ID:CLIENT_SECRET`. Not as a flag.',
  },
  'catalog-credential-file': {
    kind: 'path',
    default: undefined,
    doc: 'File that holds them.',
  },
  'catalog-token': {
    kind: 'secret',
    default: undefined,
    doc: 'Bearer token for the REST catalog, in place of client credentials. Not as a flag.',
  },
  'catalog-token-file': { kind: 'path', default: undefined, doc: 'File that holds it.' },
  'catalog-oauth2-uri': {
    kind: 'text',
    default: undefined,
    pattern: /^https?:\/\/[^\s@]+$/,
    expected: 'an http(s) address',
    doc: 'Token endpoint for the client credentials. Default: /v1/oauth/tokens of the catalog.',
  },
  'catalog-oauth2-scope': {
    kind: 'text',
    default: 'catalog',
    doc: 'Scope that is asked for with the client credentials.',
  },
  's3-path-style': {
    kind: 'choice',
    default: 'auto',
    choices: ['auto', 'on', 'off'],
    doc: 'Whether requests to S3 name the bucket in the path, and not in the host. `auto`: where AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL names a server. Endpoint, region and credentials are AWS’s standard variables and files.',
  },
  status: {
    kind: 'choice',
    default: 'auto',
    choices: ['auto', 'live', 'lines', 'off'],
    doc: 'The status line: live on a terminal, a line every 10 s otherwise (auto).',
  },
} as const satisfies Record<string, OptionSpec>

export type OptionName = keyof typeof OPTIONS

export const optionNames = Object.keys(OPTIONS) as OptionName[]

export const variableOf = (name: string): string => `MILLRACE_${name.replaceAll('-', '_').toUpperCase()}`
