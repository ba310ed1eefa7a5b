import { expect, test } from 'vitest'
import { inOrder } from '../../src/transfer/in-order.ts'

/** Works that end when they are told to. */
function gates(count: number) {
  const all = Array.from({ length: count }, () => Promise.withResolvers<number>())
  return { all, work: (index: number) => () => all[index]?.promise ?? Promise.reject() }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

test('results are taken in the order in which the works began, whichever ends first', async () => {
  const taken: number[] = []
  const works = inOrder<number>(10, (value) => taken.push(value))
  const { all, work } = gates(3)
  for (const index of [0, 1, 2]) await works.begin(work(index))

  all[2]?.resolve(2)
  await turn()
  expect(taken).toEqual([])
  all[0]?.resolve(0)
  await turn()
  expect(taken).toEqual([0])
  all[1]?.resolve(1)
  await works.end()
  expect(taken).toEqual([0, 1, 2])
})

test('no more are under way, or wait to be taken, than are allowed', async () => {
  const works = inOrder<number>(2, () => {})
  const { all, work } = gates(3)
  await works.begin(work(0))
  await works.begin(work(1))
  let hasBegun = false
  const third = works.begin(async () => {
    hasBegun = true
    return 2
  })

  all[1]?.resolve(1) // it waits for the first
  await turn()
  expect(hasBegun).toBe(false)
  all[0]?.resolve(0)
  await third
  expect(hasBegun).toBe(true)
})

test('after a failure nothing that was begun behind it is taken, and what was begun before is', async () => {
  const taken: number[] = []
  const works = inOrder<number>(10, (value) => taken.push(value))
  const { all, work } = gates(3)
  for (const index of [0, 1, 2]) await works.begin(work(index))

  all[0]?.resolve(0)
  all[2]?.resolve(2)
  await turn()
  all[1]?.reject(new Error('broken'))

  await expect(works.end()).rejects.toThrow('broken')
  expect(taken).toEqual([0])
  await expect(works.begin(async () => 3)).rejects.toThrow('broken')
})

test('a failure is told when all have ended', async () => {
  const works = inOrder<number>(10, () => {})
  const { all, work } = gates(2)
  await works.begin(work(0))
  await works.begin(work(1))
  all[0]?.reject(new Error('broken'))
  let isTold = false
  const end = works.end().catch(() => {
    isTold = true
  })

  await turn()
  expect(isTold).toBe(false)
  all[1]?.resolve(1)
  await end
  expect(isTold).toBe(true)
})

test('many works keep their order', async () => {
  const taken: number[] = []
  const works = inOrder<number>(16, (value) => taken.push(value))
  for (let index = 0; index < 1000; index++) {
    await works.begin(async () => {
      for (let wait = (index * 7) % 5; wait > 0; wait--) await turn()
      return index
    })
  }
  await works.end()

  expect(taken).toEqual(Array.from({ length: 1000 }, (_, index) => index))
})
