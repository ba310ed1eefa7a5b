// Finding placeholders in header values, Basic credentials and text without a structure.

import { describe, expect, test } from 'vitest'
import { UTF_8 } from '../../../src/proxy/charset.ts'
import { scanBasic, scanHeader, textScanner } from '../../../src/proxy/scan/text.ts'
import { N, refusalOf, scanAll, seen } from './scanned.ts'

const text = (body: string) => scanAll(textScanner(UTF_8), body)

test('a header says its name', () => {
  const [found] = scanHeader(Buffer.from(`a ${N} b`), 'x-pan')

  expect(found).toMatchObject({
    start: 2,
    end: 2 + N.length,
    place: { in: 'header', name: 'x-pan' },
  })
})

test('a placeholder begins after text that looks like its start', () => {
  const body = `{{ {{{{x ${N}`

  expect(seen(text(body), body)).toEqual([[N, { in: 'body', at: undefined }]])
})

test('any opener that is no placeholder refuses', () => {
  expect(refusalOf(() => text(`${N} {{$`))).toBe('placeholder_malformed')
})

describe('Basic credentials', () => {
  const canHoldColon = (credentials: string) =>
    scanBasic(Buffer.from(credentials)).map(({ place, encode }) => {
      expect(place).toEqual({ in: 'basic' })
      return encode(Buffer.from('a:b')) !== undefined
    })

  test.each([
    ['a password', `user:${N}`, [true]],
    ['a user', `${N}:password`, [false]],
    ['a user alone', N, [false]],
    ['a user and a password', `${N}:${N}`, [false, true]],
    ['a user of two', `${N}-${N}:x`, [false, false]],
    ['a password of two', `u:${N}:${N}`, [true, true]],
    ['without a token', '{{$card_bin}}:{{$card_last4}}', [false, true]],
  ])('a value with a colon cannot stand in the user: %s', (_, credentials, expected) => {
    expect(canHoldColon(credentials)).toEqual(expected)
  })

  test.each([
    ['an unknown field', 'u:{{$nope}}'],
    ['an opener in disguise', 'u:%7b%7b%24card_number}}'],
    ['an opener with references', '&#123;{$card_number}}:p'],
  ])('refused: %s', (_, credentials) => {
    expect(refusalOf(() => scanBasic(Buffer.from(credentials)))).toBe('placeholder_malformed')
  })
})
