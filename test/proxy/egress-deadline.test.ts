// Time limits that follow one another on one timer: each passes when it should, once, and only if nothing has come.

import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Deadline } from '../../src/proxy/egress/deadline.ts'

/** When it passed, counted from now. */
function watched(): { deadline: Deadline; passed: number[] } {
  const startMark = performance.now()
  const passed: number[] = []
  return { deadline: new Deadline(() => passed.push(performance.now() - startMark)), passed }
}

test('it passes once, not too early', async () => {
  const { deadline, passed } = watched()

  deadline.set(50)
  await sleep(200)

  expect(passed.length).toBe(1)
  expect(passed[0]).toBeGreaterThan(48)
})

test('it passes when the last one that was set does, be that later or sooner', async () => {
  const later = watched()
  later.deadline.set(20)
  later.deadline.set(120)
  const sooner = watched()
  sooner.deadline.set(60_000)
  sooner.deadline.set(30)

  await sleep(300)

  expect([later.passed.length, sooner.passed.length]).toEqual([1, 1])
  expect(later.passed[0]).toBeGreaterThan(118)
})

test('it is put off again and again', async () => {
  const { deadline, passed } = watched()

  for (let n = 0; n < 10; n++) {
    deadline.set(1000)
    await sleep(10)
  }
  deadline.set(30)
  await sleep(200)

  expect(passed.length).toBe(1)
})

test('cleared, it does not pass; set again, it does', async () => {
  const { deadline, passed } = watched()

  deadline.set(20)
  deadline.clear()
  await sleep(60)
  const before = passed.length
  deadline.set(20)
  await sleep(150)

  expect([before, passed.length]).toEqual([0, 1])
})

test('ended, it does not pass', async () => {
  const { deadline, passed } = watched()

  deadline.set(20)
  deadline.end()
  await sleep(60)

  expect(passed).toEqual([])
})

test('what came in time counts, also when the process was too busy to look', async () => {
  const { deadline, passed } = watched()
  deadline.set(30)
  const came = new Promise<void>((resolve) => setImmediate(() => setImmediate(resolve)))

  const untilMark = performance.now() + 60
  while (performance.now() < untilMark); // busy
  const { port1, port2 } = new MessageChannel()
  port2.onmessage = () => deadline.set(60_000)
  port1.postMessage('it came')
  await came
  await sleep(50)
  port1.close()
  deadline.end()

  expect(passed).toEqual([])
})
