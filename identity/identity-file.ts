// The credentials file, first writer of the credentials topic.
//
//   credentials:
//     - tenant: acme
//       device: boiler-7                # or gateway: hall-2, with devices: [hall-2-*, meter.17]
//       hash: $scrypt$ln=14,r=8,p=1$…   # made by `millrace credentials hash`
//       username: acme/boiler-7         # user name of CONNECT; this is the default
//       family: boiler                  # optional, as are epoch, publish and subscribe (topic filters)
//
// The file is read at start and whenever it changes. What it holds and the topic does not is written, what it
// no longer holds and it once wrote is removed; credentials of other writers are left alone. A file with an
// error changes nothing: at start it is `credentials_invalid`, later it is reported and the topic stays.
import { readFileSync, statSync } from 'node:fs'
import { isMap, isScalar, isSeq, LineCounter, parseDocument, type YAMLMap } from 'yaml'
import type { Log } from '../log/log.ts'
import { RecordBatchBuilder } from '../log/record-batch.ts'
import { CREDENTIALS_TOPIC, isValidDeviceId, isValidName } from '../schemas/names.ts'
import { isMillraceError, MillraceError } from '../std/errors.ts'
import { parseHash } from './identity-secret.ts'
import { CREDENTIALS_TOPIC_CONFIG, type Credential, CredentialsReader } from './identity-topic.ts'
import { isValidFilter } from './topic-filter.ts'

const SOURCE = 'file'
const WATCH_INTERVAL_MS = 250
const USERNAME_CHARACTERS_MAX = 256
const FIELDS = [
  'tenant',
  'device',
  'gateway',
  'devices',
  'hash',
  'username',
  'family',
  'epoch',
  'publish',
  'subscribe',
]
const DEVICE_PATTERN = /^[A-Za-z0-9._:*-]{1,128}$/

/** Reads and checks a credentials file. Throws `credentials_invalid` with file, line and field. */
export function readCredentialsFile(file: string): Credential[] {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw new MillraceError(
      'credentials_invalid',
      `--credentials: read ${JSON.stringify(file)}, expected a file: ${(error as Error).message}`,
      {},
      error,
    )
  }
  return parseCredentials(text, file)
}

/** As `readCredentialsFile`, for text; `file` names it in errors. */
export function parseCredentials(text: string, file: string): Credential[] {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const fail = (offset: number, field: string, problem: string): never => {
    const { line, col } = lines.linePos(offset)
    throw new MillraceError('credentials_invalid', `${file}:${line}:${col}: ${field}: ${problem}`, {
      file,
      line,
      field,
    })
  }
  const yamlError = document.errors[0]
  if (yamlError !== undefined) fail(yamlError.pos[0], 'YAML', yamlError.message.split('\n')[0]!)
  const root = document.contents
  const list = isMap(root) ? root.get('credentials', true) : undefined
  if (!isMap(root) || !isSeq(list)) return fail(0, 'credentials', 'a list of credentials is needed')
  for (const pair of root.items) {
    const name = String(pair.key)
    if (name !== 'credentials')
      fail(offsetOf(pair.key), name, 'there is no such field; allowed is credentials')
  }
  const seen = new Set<string>()
  return list.items.map((item) => {
    if (!isMap(item)) return fail(offsetOf(item), 'credentials', 'each credential is a map of fields')
    const credential = parseOne(item, fail)
    if (seen.has(credential.id))
      fail(offsetOf(item), 'username', `"${credential.id}" is used by another credential`)
    seen.add(credential.id)
    return credential
  })
}

type Fail = (offset: number, field: string, problem: string) => never

function offsetOf(node: unknown): number {
  return (node as { range?: [number, number, number] | null } | null)?.range?.[0] ?? 0
}

function parseOne(item: YAMLMap, fail: Fail): Credential {
  for (const pair of item.items) {
    const name = String(pair.key)
    if (!FIELDS.includes(name))
      fail(offsetOf(pair.key), name, `there is no such field; allowed are ${FIELDS.join(', ')}`)
  }
  const at = (field: string) => offsetOf(item.get(field, true) ?? item)
  const text = (field: string): string | undefined => {
    const node = item.get(field, true)
    if (node === undefined) return undefined
    // A device called 0017 must stay "0017": the text of the file counts, not YAML's reading of it.
    const value = isScalar(node) ? (typeof node.value === 'string' ? node.value : node.source) : undefined
    return value ?? fail(at(field), field, 'text is needed')
  }
  const texts = (field: string, check: (value: string) => boolean, allowed: string): string[] | undefined => {
    const node = item.get(field, true)
    if (node === undefined) return undefined
    if (!isSeq(node)) return fail(at(field), field, 'a list is needed')
    return node.items.map((entry) => {
      const value = isScalar(entry) ? String(entry.source ?? entry.value) : ''
      if (!check(value)) fail(offsetOf(entry), field, `"${value}" is not ${allowed}`)
      return value
    })
  }

  const tenant = text('tenant') ?? fail(offsetOf(item), 'tenant', 'it is missing')
  if (!isValidName(tenant)) fail(at('tenant'), 'tenant', `"${tenant}" is no valid name: [a-z][a-z0-9_]{0,47}`)
  const device = text('device')
  const gateway = text('gateway')
  if ((device === undefined) === (gateway === undefined))
    fail(offsetOf(item), 'device', 'exactly one of device and gateway is needed')
  const kind = device === undefined ? 'gateway' : 'device'
  const name = (device ?? gateway)!
  if (!isValidDeviceId(name)) fail(at(kind), kind, `"${name}" is no valid id: [A-Za-z0-9._:-]{1,128}`)
  const devices = texts(
    'devices',
    (value) => DEVICE_PATTERN.test(value),
    'a device id or a pattern of one with *',
  )
  if (kind === 'device' && devices !== undefined)
    fail(at('devices'), 'devices', 'only a gateway speaks for others')
  if (kind === 'gateway' && (devices === undefined || devices.length === 0))
    fail(at('gateway'), 'devices', 'a gateway needs the devices that it speaks for')
  const hash = text('hash') ?? fail(offsetOf(item), 'hash', 'it is missing')
  if (parseHash(hash) === undefined)
    fail(at('hash'), 'hash', 'not a salted scrypt hash; make one with `millrace credentials hash`')
  const username = text('username') ?? `${tenant}/${name}`
  if (username.length === 0 || username.length > USERNAME_CHARACTERS_MAX)
    fail(at('username'), 'username', `1 to ${USERNAME_CHARACTERS_MAX} characters are allowed`)
  const family = text('family') ?? ''
  if (family !== '' && !isValidName(family)) fail(at('family'), 'family', `"${family}" is no valid name`)
  const epoch = Number(text('epoch') ?? 0)
  if (!Number.isSafeInteger(epoch) || epoch < 0) fail(at('epoch'), 'epoch', 'a whole number is needed')
  const publish = texts('publish', isValidFilter, 'a topic filter')
  const subscribe = texts('subscribe', isValidFilter, 'a topic filter')
  return {
    id: username,
    tenant,
    kind,
    name,
    family,
    hash,
    epoch,
    devices: devices ?? [],
    ...(publish && { publish }),
    ...(subscribe && { subscribe }),
    source: SOURCE,
  }
}

/**
 * Makes the topic hold exactly `desired` of what `source` wrote. Returns how many records it took. Another
 * writer may be faster: then the state is read on and the difference made anew.
 */
export async function writeCredentials(
  log: Log,
  desired: readonly Credential[],
  source = SOURCE,
): Promise<number> {
  await log.createTopic(CREDENTIALS_TOPIC, CREDENTIALS_TOPIC_CONFIG)
  const current = new Map<string, Credential>()
  const reader = new CredentialsReader(log)
  const encoder = new TextEncoder()
  for (;;) {
    await reader.readOn((id, credential) => {
      if (credential === undefined) current.delete(id)
      else current.set(id, credential)
    })
    const builder = new RecordBatchBuilder()
    const now = Date.now()
    for (const credential of desired) {
      const text = JSON.stringify(credential)
      if (JSON.stringify(current.get(credential.id)) !== text)
        builder.append(now, encoder.encode(credential.id), encoder.encode(text))
    }
    for (const held of current.values()) {
      if (held.source === source && !desired.some((credential) => credential.id === held.id))
        builder.append(now, encoder.encode(held.id), undefined)
    }
    const recordCount = builder.recordCount
    if (recordCount === 0) return 0
    const entry = {
      topic: CREDENTIALS_TOPIC,
      partition: 0,
      batch: builder.finish(),
      recordCount,
      expectedOffset: reader.nextOffset,
    }
    try {
      await log.append({ entries: [entry] })
      return recordCount
    } catch (error) {
      if (!isMillraceError(error, 'offset_conflict')) throw error
    }
  }
}

/** Keeps the topic in step with a file until `close`. */
export class CredentialsFile {
  readonly #log: Log
  readonly #file: string
  readonly #onError: (error: unknown) => void
  readonly #onChange: () => void
  #stamp = ''
  #timer: NodeJS.Timeout | undefined
  #busy = false

  private constructor(log: Log, file: string, onChange: () => void, onError: (error: unknown) => void) {
    this.#log = log
    this.#file = file
    this.#onChange = onChange
    this.#onError = onError
  }

  /** Reads the file (throws `credentials_invalid`) and writes the difference; `onChange` runs after each later one. */
  static async open(
    log: Log,
    file: string,
    onChange: () => void,
    onError: (error: unknown) => void,
  ): Promise<CredentialsFile> {
    const watched = new CredentialsFile(log, file, onChange, onError)
    watched.#stamp = watched.#readStamp()
    await writeCredentials(log, readCredentialsFile(file))
    watched.#timer = setInterval(() => void watched.#look(), WATCH_INTERVAL_MS)
    watched.#timer.unref()
    return watched
  }

  close(): void {
    clearInterval(this.#timer)
  }

  // Polled, because a file that is replaced by rename (editors, Kubernetes) ends a watch on its inode.
  async #look(): Promise<void> {
    const stamp = this.#readStamp()
    if (this.#busy || stamp === this.#stamp) return
    this.#busy = true
    this.#stamp = stamp
    try {
      if ((await writeCredentials(this.#log, readCredentialsFile(this.#file))) > 0) this.#onChange()
    } catch (error) {
      this.#onError(error)
    } finally {
      this.#busy = false
    }
  }

  #readStamp(): string {
    try {
      const stats = statSync(this.#file)
      return `${stats.ino} ${stats.size} ${stats.mtimeMs}`
    } catch {
      return ''
    }
  }
}
