// Whoever may call the proxy chooses the filters. So a destination that says what it was sent says it in a form that the
// caller chose: what could not be searched in its answer is not sent, and what is sent is masked.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  answered,
  MASKED,
  NUMBER,
  openWorld,
  type Reached,
  readingsWithNumber,
  reasonOf,
  type World,
} from './echo.ts'

let world: World
let psp: Reached

beforeAll(async () => {
  world = await openWorld()
  psp = await world.reach('psp')
})

afterAll(async () => {
  await world[Symbol.asyncDispose]()
})

/** Through one filter after the other; `value` is what the destination was told. */
async function sent(field: string, filters: string) {
  psp.psp.asked.length = 0
  const answer = await psp.charge(
    ({ body }) => [answered(`{"message":"bad value","sent":${body}}`)],
    { body: `{"value":"{{$${field}: ${world.token} | ${filters}}}"}` },
  )
  const told = psp.psp.asked[0]?.body.toString('latin1') ?? ''
  return { answer, value: /"value":"?([^"}]*)/.exec(told)?.[1] }
}

describe('a number is not sent in a form that could not be found again', () => {
  test.each([
    'base64 | base64',
    'base64url | base64',
    'hex | base64',
    'base64 | hex',
    'hex | hex | hex',
    'base64 | first(16)',
    'base64 | last(18)',
    'hex | first(22)',
    'upper | first(9)',
    'first(7)',
    'first(13) | last(7)',
    'last(9)',
    'last(7) | hex',
    'first(13) | mask',
    'first(12) | sha256',
    'sha256 | base64',
    'pad(30)',
    'map(4000056655665556=x)',
  ])('`%s`', async (filters) => {
    const { answer, value } = await sent('card_number', filters)

    expect([answer.status, reasonOf(answer), value]).toEqual([403, 'field_not_allowed', undefined])
  })
})

test.each(['first(2)', 'pad(8)', 'base64', 'sha256', 'hex', 'map(917=x)'])(
  'a code is not sent as `%s`',
  async (filters) => {
    const { answer } = await sent('card_cvc', filters)

    expect([answer.status, reasonOf(answer)]).toEqual([403, 'field_not_allowed'])
  },
)

test.each([
  ['upper', MASKED],
  ['digits | string', MASKED],
  ['urlencode', MASKED],
  ['json', MASKED],
  ['base64', Buffer.from(MASKED).toString('base64')],
  ['base64url', Buffer.from(MASKED).toString('base64url')],
  ['hex', Buffer.from(MASKED).toString('hex')],
  ['sha256', '*'.repeat(64)],
])('a number that went as `%s` is masked', async (filters, masked) => {
  const { answer, value } = await sent('card_number', filters)

  expect(value).not.toContain('*')
  expect(answer.text).toContain(`{"value":"${masked}"}`)
  expect(readingsWithNumber(answer.raw)).toEqual([])
  expect(answer.header('Sallyport-Redactions')).toBe('1')
})

test.each([
  ['mask', MASKED],
  ['first(6)', NUMBER.slice(0, 6)],
  ['last(4)', NUMBER.slice(-4)],
])('what may be shown is nothing to be masked: `%s`', async (filters, shown) => {
  const { answer } = await sent('card_number', filters)

  expect(answer.text).toContain(`{"value":"${shown}"}`)
})
