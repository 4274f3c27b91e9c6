// Salted scrypt hashes of secrets, and a verifier that a storm of CONNECTs cannot drown.
//
//   $scrypt$ln=14,r=8,p=1$<salt>$<hash>        PHC string format; base64 without padding
//
// One verification costs 16 MiB and about 40 ms of a libuv thread. What was verified is remembered as an
// HMAC under a key of this process, so that a device that reconnects costs a hash of a few microseconds.
// An unknown user is verified against a dummy, so that its refusal takes the time of a wrong secret.
import { createHmac, randomBytes, type ScryptOptions, scrypt, timingSafeEqual } from 'node:crypto'

/** Secrets verified at the same time (libuv has four threads, and the log needs one). */
const VERIFICATIONS_RUNNING_MAX = 2
/** Secrets waiting to be verified, above which a client is told that the server is busy. */
const VERIFICATIONS_WAITING_MAX = 10_000

const LOG2_N = 14
const BLOCK_SIZE = 8
const PARALLELISM = 1
const SALT_BYTES = 16
const HASH_BYTES = 32

export interface SecretHash {
  /** Cost: log2 of scrypt's N. */
  log2n: number
  r: number
  p: number
  salt: Buffer
  hash: Buffer
}

/** The parts of a hash line, or undefined where it is none that we verify. */
export function parseHash(text: string): SecretHash | undefined {
  const match = /^\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/.exec(
    text,
  )
  if (match === null) return undefined
  const [log2n, r, p] = [Number(match[1]), Number(match[2]), Number(match[3])]
  const salt = Buffer.from(match[4]!, 'base64')
  const hash = Buffer.from(match[5]!, 'base64')
  // Above 2^18 × 32 one verification would hold a gigabyte.
  if (log2n < 1 || log2n > 18 || r < 1 || r > 32 || p < 1 || p > 16) return undefined
  if (salt.length < 8 || hash.length < 16 || hash.length > 64) return undefined
  return { log2n, r, p, salt, hash }
}

function derive(
  secret: Uint8Array,
  salt: Buffer,
  length: number,
  cost: { log2n: number; r: number; p: number },
) {
  const N = 2 ** cost.log2n
  const options: ScryptOptions = { N, r: cost.r, p: cost.p, maxmem: 256 * N * cost.r + (1 << 20) }
  return new Promise<Buffer>((resolve, reject) => {
    scrypt(secret, salt, length, options, (error, key) => (error ? reject(error) : resolve(key)))
  })
}

/** A new salted hash of `secret`, for the `hash` field of a credential. */
export async function hashPassword(secret: string | Uint8Array): Promise<string> {
  const salt = randomBytes(SALT_BYTES)
  const bytes = typeof secret === 'string' ? Buffer.from(secret) : secret
  const hash = await derive(bytes, salt, HASH_BYTES, { log2n: LOG2_N, r: BLOCK_SIZE, p: PARALLELISM })
  const text = (part: Buffer) => part.toString('base64').replace(/=+$/, '')
  return `$scrypt$ln=${LOG2_N},r=${BLOCK_SIZE},p=${PARALLELISM}$${text(salt)}$${text(hash)}`
}

const DUMMY: SecretHash = {
  log2n: LOG2_N,
  r: BLOCK_SIZE,
  p: PARALLELISM,
  salt: randomBytes(SALT_BYTES),
  hash: randomBytes(HASH_BYTES),
}

export class SecretVerifier {
  /** Hashes computed, for tests and metrics. */
  derivations = 0
  readonly #key = randomBytes(32)
  /** HMAC of the secret that was verified against a hash line. */
  readonly #verified = new Map<string, Buffer>()
  readonly #running = new Map<string, Promise<boolean>>()
  #active = 0
  readonly #waiting: (() => void)[] = []

  /**
   * Whether `secret` belongs to `hashText` (undefined: unknown user). True at once where it was verified
   * before; undefined where too many wait already.
   */
  verify(hashText: string | undefined, secret: Uint8Array): boolean | Promise<boolean> | undefined {
    const digest = createHmac('sha256', this.#key).update(secret).digest()
    const known = hashText === undefined ? undefined : this.#verified.get(hashText)
    if (known !== undefined && timingSafeEqual(known, digest)) return true
    // The clients of one gateway often come together with one secret: they share one verification.
    const flight = `${hashText ?? ''} ${digest.toString('base64')}`
    const running = this.#running.get(flight)
    if (running !== undefined) return running
    if (this.#waiting.length >= VERIFICATIONS_WAITING_MAX) return undefined
    const verification = this.#verifySlowly(hashText, secret, digest).finally(() =>
      this.#running.delete(flight),
    )
    this.#running.set(flight, verification)
    return verification
  }

  /** Forgets what was verified against a hash line that is no longer valid. */
  forget(hashText: string): void {
    this.#verified.delete(hashText)
  }

  async #verifySlowly(hashText: string | undefined, secret: Uint8Array, digest: Buffer): Promise<boolean> {
    // The bytes lie in the receive buffer of the connection.
    const copy = Uint8Array.from(secret)
    if (this.#active >= VERIFICATIONS_RUNNING_MAX)
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    else this.#active++
    try {
      const parsed = hashText === undefined ? undefined : parseHash(hashText)
      const expected = parsed ?? DUMMY
      this.derivations++
      const derived = await derive(copy, expected.salt, expected.hash.length, expected)
      const matches = timingSafeEqual(derived, expected.hash) && parsed !== undefined
      if (matches) this.#verified.set(hashText!, digest)
      return matches
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#active--
      else next()
    }
  }
}
