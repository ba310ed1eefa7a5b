// Paths: which can be read in one way only, and which a row of a destination means.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { compilePathRule, isNormalPath } from '../../src/proxy/path-rule.ts'
import { computedMs } from '../support/time.ts'

test.each([
  '/',
  '/payments',
  '/payments/',
  '/v1/payment_intents/pi_1/confirm',
  '/a.b/..c/d../...',
  '/.well-known/x',
  '/a%20b/%C3%A9',
  '/{{$card_number}}',
  '/a;b=c,d@e:f!$&()*+=~',
])('normal: %s', (path) => {
  expect(isNormalPath(path)).toBe(true)
})

test.each([
  ['nothing', ''],
  ['no slash in front', 'payments'],
  ['a dot segment', '/a/./b'],
  ['a double dot segment', '/a/../b'],
  ['a dot segment at the end', '/a/.'],
  ['a double dot segment at the end', '/a/..'],
  ['dots alone', '/..'],
  ['an empty segment', '/a//b'],
  ['an empty segment in front', '//evil.example/a'],
  ['an empty segment at the end', '/a//'],
  ['a backslash', '/a\\b'],
  ['an encoded dot', '/a/%2e%2E/b'],
  ['a half encoded dot segment', '/a/.%2e/b'],
  ['an encoded slash', '/a%2fb'],
  ['an encoded slash in upper case', '/a%2Fb'],
  ['an encoded backslash', '/a%5cb'],
  ['a blank', '/a b'],
  ['a tab', '/a\tb'],
  ['a line break', '/a\nb'],
  ['a NUL', '/a\0b'],
  ['a fragment', '/a#b'],
  ['a query', '/a?b'],
  ['DEL', '/a\u007fb'],
  ['beyond ASCII', '/é'],
  ['full-width dots', '/a/\uff0e\uff0e/b'],
])('not normal: %s', (_, path) => {
  expect(isNormalPath(path)).toBe(false)
})

test.each([
  [
    '/payments',
    ['/payments'],
    ['/payments/', '/payment', '/payments2', '/x/payments', '/Payments', '/'],
  ],
  [
    '/payments*',
    ['/payments', '/payments/', '/payments2', '/payments/a/b'],
    ['/payment', '/x/payments'],
  ],
  ['/payments/*', ['/payments/', '/payments/a/b'], ['/payments', '/payments2/a']],
  ['/*/charge', ['/a/charge', '/a/b/charge', '//charge'], ['/charge', '/a/charges', '/a/charge/']],
  ['/a/*/b/*/c', ['/a/1/b/2/c', '/a/1/b/b/b/c', '/a/b/b/b/c'], ['/a/1/b/c', '/a/1/c', '/a/b/c']],
  ['/*', ['/', '/a', '/a/b'], ['', 'a']],
  ['/a*a', ['/aa', '/aba', '/aaa'], ['/a', '/ab']],
  ['/a**b', ['/ab', '/axb'], ['/a']],
  ['/a.c', ['/a.c'], ['/abc']],
  ['/(a|b)+', ['/(a|b)+'], ['/a']],
])('%s means %j and not %j', (pattern, matching, others) => {
  const matches = compilePathRule(pattern)

  expect(matching.filter((path) => !matches(path))).toEqual([])
  expect(others.filter(matches)).toEqual([])
})

test('a rule means what the same rule means as a regular expression', () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'b', '/', '*'), maxLength: 8 })
  fc.assert(
    fc.property(text, text, (pattern, path) => {
      const regular = new RegExp(`^${pattern.replaceAll('*', '.*')}$`)
      expect(compilePathRule(pattern)(path)).toBe(regular.test(path))
    }),
    { numRuns: 3000 },
  )
})

test('a rule of many stars is decided in no time', () => {
  const matches = compilePathRule(`/${'*a'.repeat(400)}b`)
  const before = computedMs()

  matches(`/${'a'.repeat(100_000)}`)

  expect(computedMs() - before).toBeLessThan(500)
})
