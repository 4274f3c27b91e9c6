// Every version of every request that the door offers, asked by @platformatic/kafka's own writers and read by its own
// readers: neither side's codec is judged by itself.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as platformatic from '@platformatic/kafka'
import { batchOf, openDoor, PARTITIONS, partitionOf, payloadOf, RAW } from './door-harness.ts'
import { APIS, type ApiName } from './messages.ts'

type Answer = Record<string, unknown>

/** Arguments of the client's function for that API; they are the same for all its versions. */
function argumentsOf(name: ApiName, version: number, id: string): unknown[] {
  const protocols = [{ name: 'range', metadata: Buffer.from('m') }]
  const partition = partitionOf('pump-1')
  switch (name) {
    case 'fetch': {
      const partitions = [
        {
          partition,
          currentLeaderEpoch: 0,
          fetchOffset: 1n,
          lastFetchedEpoch: -1,
          partitionMaxBytes: 1 << 20,
        },
      ]
      return [100, 1, 1 << 20, 0, 0, -1, [{ topicId: version < 13 ? RAW : id, partitions }], [], '']
    }
    case 'listOffsets':
      return [
        -1,
        0,
        [{ name: RAW, partitions: [{ partitionIndex: partition, currentLeaderEpoch: -1, timestamp: -1n }] }],
      ]
    case 'metadata':
      return [[RAW], false, false]
    case 'offsetCommit':
      return [
        'group',
        -1,
        '',
        null,
        [
          {
            name: RAW,
            partitions: [
              { partitionIndex: 1, committedOffset: 3n, committedLeaderEpoch: 0, committedMetadata: 'note' },
            ],
          },
        ],
      ]
    case 'offsetFetch':
      return [
        [
          {
            groupId: 'group',
            memberId: null,
            memberEpoch: -1,
            topics: [{ name: RAW, partitionIndexes: [1] }],
          },
        ],
        false,
      ]
    case 'findCoordinator':
      return [0, ['group']]
    case 'joinGroup':
      return [`joined-${version}`, 6000, 6000, '', null, 'consumer', protocols, null]
    case 'heartbeat':
      return ['nobody', 1, 'nobody', null]
    case 'leaveGroup':
      return ['nobody', [{ memberId: 'nobody', groupInstanceId: null, reason: null }]]
    case 'syncGroup':
      return ['nobody', 1, 'nobody', null, 'consumer', 'range', []]
    case 'describeGroups':
      return [['group'], false]
    case 'listGroups':
      return [[], []]
    case 'saslHandshake':
      return ['PLAIN']
    case 'saslAuthenticate':
      return [Buffer.from('\0user\0wrong')]
    case 'apiVersions':
      return ['test', '1.0']
    case 'createTopics':
      return [
        [{ name: 'mine', numPartitions: 1, replicationFactor: 1, assignments: [], configs: [] }],
        1000,
        false,
      ]
    case 'deleteTopics':
      return [[{ name: RAW }], 1000]
    case 'createPartitions':
      return [[{ name: RAW, count: 9, assignments: [] }], 1000, false]
    case 'initProducerId':
      return [null, 0, -1n, -1]
    case 'describeConfigs':
      return [[{ resourceType: 2, resourceName: RAW, configurationKeys: null }], false, false]
    case 'deleteGroups':
      return [['nobody']]
    case 'describeCluster':
      return [false, 1]
    case 'produce':
      return [
        -1,
        1000,
        [{ topic: RAW, partition, key: Buffer.from('pump-1'), value: payloadOf(version), timestamp: 1n }],
        {},
      ]
  }
}

/** What the answer of each API must say; the others are refusals, which the client's reader throws as such. */
const EXPECTED: Partial<Record<ApiName, (answer: Answer) => void>> = {
  metadata: ({ brokers, topics }) => {
    assert.equal((brokers as Map<number, unknown>).size ?? (brokers as unknown[]).length, 1)
    assert.equal((topics as { partitions: unknown[] }[])[0]!.partitions.length, PARTITIONS)
  },
  fetch: ({ responses }) => {
    const [{ partitions }] = responses as [{ partitions: { highWatermark: bigint; errorCode: number }[] }]
    assert.equal(partitions[0]!.errorCode, 0)
    assert.ok(partitions[0]!.highWatermark >= 3n)
  },
  listOffsets: ({ topics }) =>
    assert.ok((topics as [{ partitions: [{ offset: bigint }] }])[0].partitions[0].offset >= 3n),
  offsetCommit: ({ topics }) =>
    assert.equal((topics as [{ partitions: [{ errorCode: number }] }])[0].partitions[0].errorCode, 0),
  offsetFetch: (answer) => {
    const text = JSON.stringify(answer, (_, value) => (typeof value === 'bigint' ? Number(value) : value))
    assert.match(text, /"committedOffset":3/)
    assert.match(text, /note/)
  },
  describeConfigs: (answer) => assert.match(JSON.stringify(answer), /retention\.ms/),
  describeGroups: (answer) => assert.match(JSON.stringify(answer), /Empty/),
  listGroups: (answer) => assert.match(JSON.stringify(answer), /"group"/),
  initProducerId: ({ producerEpoch }) => assert.equal(producerEpoch, 0),
  produce: (answer) =>
    assert.match(
      JSON.stringify(answer, (_, value) => (typeof value === 'bigint' ? Number(value) : value)),
      /"baseOffset":\d/,
    ),
  apiVersions: ({ apiKeys }) => assert.equal((apiKeys as unknown[]).length, Object.keys(APIS).length),
  findCoordinator: (answer) => assert.match(JSON.stringify(answer), /127\.0\.0\.1/),
  saslHandshake: (answer) => assert.match(JSON.stringify(answer), /PLAIN/),
  describeCluster: (answer) => assert.match(JSON.stringify(answer), /127\.0\.0\.1/),
}

/** Error codes that a refusal must carry. */
const REFUSED: Partial<Record<ApiName, number>> = {
  heartbeat: 25,
  leaveGroup: 25,
  syncGroup: 25,
  createTopics: 44,
  deleteTopics: 44,
  createPartitions: 44,
  saslAuthenticate: 58,
  deleteGroups: 69,
}

for (const name of Object.keys(APIS) as ApiName[]) {
  const { min, max } = APIS[name]
  test(`${APIS[name].name} ${min} to ${max}`, async (t) => {
    const { door, log, failures, warnings } = await openDoor(t)
    const partition = partitionOf('pump-1')
    const batch = batchOf('pump-1', [payloadOf(1), payloadOf(2), payloadOf(3)])
    await log.append({ entries: [{ topic: RAW, partition, batch, recordCount: 3 }] })
    const { id } = (await log.describeTopic(RAW))!
    let connection: platformatic.Connection
    const open = async (): Promise<void> => {
      const opened = new platformatic.Connection('versions')
      t.after(() => opened.close())
      await opened.connect('127.0.0.1', door.port)
      connection = opened
    }
    await open()
    const ask = async (version: number, api = name): Promise<Answer | number[]> => {
      const call = (
        platformatic as unknown as Record<string, { api: { async(...all: unknown[]): Promise<Answer> } }>
      )[`${api}V${version}`]?.api
      assert.ok(call, `the client has no ${api}V${version}`)
      try {
        return await call.async(connection, ...argumentsOf(api, version, id))
      } catch (error) {
        const { errors, message } = error as { errors?: { apiCode?: number }[]; message: string }
        assert.ok(Array.isArray(errors), `${api} ${version}: ${message}`)
        return errors.map(({ apiCode }) => apiCode ?? 0)
      }
    }
    if (name === 'offsetFetch' || name === 'describeGroups' || name === 'listGroups')
      await ask(9, 'offsetCommit')
    for (let version = min; version <= max; version++) {
      if (name === 'saslAuthenticate') {
        // A wrong password ends the connection.
        await open()
        await ask(1, 'saslHandshake')
      }
      const answer = await ask(version)
      const context = `${name} ${version}: ${String(answer)}`
      if (name === 'joinGroup') {
        if (version < 4) assert.equal((answer as Answer)['generationId'], 1, context)
        else assert.deepEqual(answer, [79], context)
      } else if (REFUSED[name] !== undefined) assert.ok((answer as number[]).includes(REFUSED[name]), context)
      else {
        assert.ok(!Array.isArray(answer), context)
        EXPECTED[name]!(answer as Answer)
      }
    }
    assert.deepEqual(failures, [])
    assert.ok(
      warnings.every((warning) => name === 'saslAuthenticate' && /authentication failed/.test(warning)),
    )
  })
}
