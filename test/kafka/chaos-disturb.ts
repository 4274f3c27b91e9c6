// What a chaos run does to the processes, to the brokers and to the groups (chaos.ts), by a seeded hand.
//
// Two of the disturbances are rebalances of their own, of members that are alive and well: a further process joins a
// group and leaves it in order, and a member is removed by an administrator (`removeMembersFromConsumerGroup` of Kafka's
// Admin client, which is LeaveGroup; Kafka 4.3 takes it for members of KIP-848 too). The member learns of it when its
// next heartbeat or commit is refused.
import { setTimeout as sleep } from 'node:timers/promises'
import { type Connection, consumerGroupDescribeV0, leaveGroupV5 } from '@platformatic/kafka'
import { KafkaCluster } from '../../log/kafka-cluster.ts'
import { KAFKA, kafkaErrorCode } from '../../log/kafka-errors.ts'
import type { KafkaBrokers } from './broker.ts'
import { kafkaOptionsOf } from './options.ts'
import type { Supervised } from './supervised.ts'

/** Roles whose processes are members of a group. */
const GROUP_ROLES = ['normalize', 'sink'] as const
export type GroupRole = (typeof GROUP_ROLES)[number]
const READY_MS_MAX = 30_000
const GONE = new Set<number>([KAFKA.UNKNOWN_MEMBER_ID, KAFKA.GROUP_ID_NOT_FOUND])

interface Disturbed {
  kafka: KafkaBrokers
  processes: readonly Supervised[]
  devices: readonly { acknowledged: ReadonlySet<number>; drop(): void }[]
  /** A further process of that role, not started. */
  another: (role: GroupRole) => Supervised
  below: (max: number) => number
  say: (line: string) => void
  until: number
}

/** One disturbance after the other; all are undone when it returns. */
export async function disturb({
  kafka,
  processes,
  devices,
  another,
  below,
  say,
  until,
}: Disturbed): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  const brokers = kafka.pids.length
  const undone: Promise<void>[] = []
  const started = Date.now()
  let brokerIsDown = false
  let failure: unknown
  const cluster = await KafkaCluster.connect(kafkaOptionsOf(kafka), 'chaos')
  const actions: [weight: number, name: string, act: () => Promise<unknown>][] = [
    [4, 'kill -9', async () => one().end('SIGKILL')],
    [2, 'stop and start', async () => one().end('SIGTERM')],
    [
      3,
      'pause',
      async () => {
        const process = one()
        const ms = 1000 + below(14_000)
        process.pause()
        await sleep(ms)
        process.resume()
      },
    ],
    [
      2,
      'kill -9 of a broker',
      async () => {
        const index = below(brokers)
        await kafka.kill(index)
        await sleep(500 + below(4000))
        kafka.start(index)
        await kafka.ready()
        await sleep(2000)
      },
    ],
    [
      1,
      'pause of a broker',
      async () => {
        const index = below(brokers)
        kafka.signal(index, 'SIGSTOP')
        await sleep(1000 + below(9000))
        kafka.signal(index, 'SIGCONT')
        await sleep(2000)
      },
    ],
    [
      3,
      'dropped connections',
      async () => devices.forEach((device) => void (below(2) === 0 && device.drop())),
    ],
    [
      3,
      'a member that comes and goes',
      async () => {
        const role = GROUP_ROLES[below(GROUP_ROLES.length)]!
        const ms = 2000 + below(8000)
        const process = another(role)
        process.start()
        try {
          // While a broker is gone it waits for that before it is a member.
          const until = Date.now() + READY_MS_MAX
          while (!(await process.isReady()) && Date.now() < until) await sleep(200)
          await sleep(ms)
        } finally {
          await process.stop()
        }
      },
    ],
    [
      3,
      'a member that is removed',
      async () => {
        const role = GROUP_ROLES[below(GROUP_ROLES.length)]!
        return removeMember(cluster, `millrace-${role}`, below)
      },
    ],
  ]
  const one = (): Supervised => processes[below(processes.length)]!
  const weights = actions.reduce((sum, [weight]) => sum + weight, 0)
  while (Date.now() < until) {
    await sleep(1000 + below(4000))
    let at = below(weights)
    const [, name, act] = actions.find(([weight]) => (at -= weight) < 0)!
    const isBroker = name.endsWith('broker')
    // Of three brokers one may be gone; of one, none for longer than it takes to come back.
    if (isBroker && brokerIsDown) continue
    const sent = devices.reduce((sum, device) => sum + device.acknowledged.size, 0)
    say(`${((Date.now() - started) / 1000).toFixed(1)} s: ${name} (${sent} acknowledged)`)
    if (isBroker) brokerIsDown = true
    undone.push(
      act()
        .then((isDone) => {
          if (isDone !== false) counts[name] = (counts[name] ?? 0) + 1
        })
        .catch((error: unknown) => {
          failure ??= error
        })
        .finally(() => {
          if (isBroker) brokerIsDown = false
        }),
    )
    if (failure !== undefined) break
  }
  await Promise.all(undone)
  await cluster.close()
  if (failure !== undefined) throw failure
  return counts
}

/** Removes one of the group's members; false where it has none, or the one that was chosen was gone already. */
async function removeMember(
  cluster: KafkaCluster,
  group: string,
  below: (max: number) => number,
): Promise<boolean> {
  const remove = async (connection: Connection): Promise<boolean> => {
    const { groups } = await consumerGroupDescribeV0.api.async(connection, [group], false)
    const { members } = groups[0]!
    if (members.length === 0) return false
    const { memberId } = members[below(members.length)]!
    await leaveGroupV5.api.async(connection, group, [{ memberId, groupInstanceId: null, reason: 'chaos' }])
    return true
  }
  return cluster.onCoordinator('group', group, 'remove a member', (connection) =>
    remove(connection).catch((error: unknown) => {
      if (GONE.has(kafkaErrorCode(error) ?? 0)) return false
      throw error
    }),
  )
}
