// Connections that end all at once: so many of them in a turn of the event loop, so that everybody else is served in between.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import { payloadOf, RawClient, recordsOf, startIngest, until } from './ingest-harness.ts'
import { ENDS_OF_TURN_MAX } from './limits.ts'

const COUNT = 400

const endings = {
  'an end': (client: RawClient) => client.socket.end(),
  'a reset': (client: RawClient) => client.socket.resetAndDestroy(),
}

for (const socketMode of ['auto', 'handle'] as const)
  for (const [name, end] of Object.entries(endings))
    test(`${socketMode}: ${name} of ${COUNT} connections; what they published is kept`, async (t) => {
      const harness = await startIngest({ options: { socketMode } })
      t.after(() => harness.close())
      const { mqtt } = harness.ports[0]!
      const ids = Array.from({ length: COUNT }, (_, i) => `device-${i}`)
      const clients = await Promise.all(ids.map((id) => RawClient.connect(mqtt, 4, id)))
      await until(() => harness.count('connections') === COUNT, 'all are there')
      for (const [i, client] of clients.entries())
        client.publish(`devices/${ids[i]}/telemetry`, payloadOf(i), 0)
      await until(() => harness.count('accepted') === COUNT, 'all are read')
      for (const client of clients) end(client)
      let [before, most, turns] = [COUNT, 0, 0]
      // The test is in the thread of the worker: between two immediates lies one turn.
      for (const deadline = Date.now() + 5000; before > 0 && Date.now() < deadline; turns++) {
        await nextTurn()
        const now = harness.count('connections')
        most = Math.max(most, before - now)
        before = now
      }
      assert.equal(before, 0)
      // What was left for the next turn in its poll phase, and what that did in its check phase.
      assert.ok(most <= 2 * ENDS_OF_TURN_MAX, `${most} in one turn`)
      assert.ok(most > 0 && turns >= COUNT / (2 * ENDS_OF_TURN_MAX))
      await sleep(20)
      const records = await recordsOf(harness.log, 'default.telemetry.raw')
      assert.deepEqual(records.map(({ key }) => key).sort(), ids.sort())
      assert.deepEqual([harness.failures, harness.warnings], [[], []])
    })
