import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AppendRequest, AppendResult } from '../log/log.ts'
import { MemoryLog } from '../log/log-memory.ts'
import { recordsOf } from './ingest-harness.ts'
import { PRESENCE_RECORDS_PER_APPEND_MAX } from './limits.ts'
import { type PresenceEvent, PresenceLog } from './presence.ts'

const EVENT: PresenceEvent = {
  event: 'connect',
  time: 1_700_000_000_000,
  clientId: '',
  kind: 'device',
  credential: '',
  family: '',
  ownershipEpoch: 0,
  sessionEpoch: 1,
  protocol: '5.0',
  transport: 'tcp',
  peer: '',
  reason: 0,
  detail: '',
}

test('many events become durable in appends that are put together quickly, in their order', async () => {
  const sizes: number[] = []
  class CountingLog extends MemoryLog {
    override append(request: AppendRequest): Promise<AppendResult> {
      sizes.push(request.entries.reduce((sum, { recordCount }) => sum + recordCount, 0))
      return super.append(request)
    }
  }
  const log = new CountingLog()
  const presence = new PresenceLog(log, (error) => assert.fail(error as Error))
  const counts = { acme: 3 * PRESENCE_RECORDS_PER_APPEND_MAX - 5, default: 40 }
  for (const [tenant, count] of Object.entries(counts))
    for (let i = 0; i < count; i++) presence.record(tenant, 'device', { ...EVENT, sessionEpoch: i })
  await presence.flush()
  for (const [tenant, count] of Object.entries(counts)) {
    const records = await recordsOf(log, `${tenant}._presence`)
    assert.deepEqual(
      records.map(({ value }) => (JSON.parse(value.toString()) as PresenceEvent).sessionEpoch),
      Array.from({ length: count }, (_, i) => i),
    )
  }
  assert.deepEqual(sizes, [
    PRESENCE_RECORDS_PER_APPEND_MAX,
    PRESENCE_RECORDS_PER_APPEND_MAX,
    PRESENCE_RECORDS_PER_APPEND_MAX,
    35,
  ])
  assert.equal(presence.overflowCount, 0)
  presence.close()
  await log.close()
})
