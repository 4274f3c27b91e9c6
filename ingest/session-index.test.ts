import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Session } from './session.ts'
import { SessionIndex } from './session-index.ts'

test('sessions are found by credential and by device, however many there are of each', () => {
  const step = fc.record({
    tenant: fc.constantFrom('a', 'b'),
    id: fc.constantFrom('x', 'y'),
    credentialId: fc.constantFrom('', 'c1', 'c2'),
    isAdded: fc.boolean(),
    at: fc.nat(),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const index = new SessionIndex()
      const model: Session[] = []
      for (const { isAdded, at, ...principal } of steps) {
        if (isAdded) {
          const session = { principal } as unknown as Session
          index.all.add(session)
          index.addIdentified(session, session.principal!)
          model.push(session)
        } else if (model.length > 0) {
          const [session] = model.splice(at % model.length, 1)
          assert.equal(index.remove(session!), true)
          assert.equal(index.remove(session!), false)
        }
        const of = (is: (one: NonNullable<Session['principal']>) => boolean) =>
          model.filter((session) => is(session.principal!))
        for (const credential of ['c1', 'c2', 'c3'])
          assert.deepEqual(
            index.ofCredential(credential),
            of((one) => one.credentialId === credential),
          )
        for (const tenant of ['a', 'b'])
          for (const device of ['x', 'y'])
            assert.deepEqual(
              index.ofDevice(tenant, device),
              of((one) => one.tenant === tenant && one.id === device),
            )
      }
    }),
  )
})
