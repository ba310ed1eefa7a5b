// Every accident we know by which a value gets into a log line or an answer, tried on a secret.

import { Console } from 'node:console'
import { PassThrough } from 'node:stream'
import { format, inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { Secret } from '../../src/core/secret.ts'

const VALUE = '4242424242424242'
const LABEL = 'card '
const secret = new Secret(VALUE)

/** Bytes print as hexadecimal, so that form must not show up either. */
const BYTES = Buffer.from(VALUE)
const HEX_PAIRS = BYTES.toString('hex').match(/../g)?.join(' ') ?? ''

function expectHidden(text: string | undefined): void {
  expect(text).not.toContain(VALUE)
  expect(text).not.toContain(HEX_PAIRS)
  expect(text).not.toContain(BYTES.join(','))
  expect(text).not.toContain(BYTES.toString('base64'))
}

function logged(write: (console: Console) => void): string {
  const output = new PassThrough()
  write(new Console({ stdout: output, stderr: output }))
  return String(output.read())
}

test('only reveal() gives the value', () => {
  expect(secret.reveal()).toBe(VALUE)
})

describe('as text', () => {
  test.each([
    ['a template literal', () => `${secret}`],
    ['String()', () => String(secret)],
    ['toString()', () => secret.toString()],
    ['+', () => LABEL + secret],
    ['concat', () => ''.concat(String(secret), secret.toString())],
    ['join', () => [secret].join()],
    ['toLocaleString', () => [secret].toLocaleString()],
  ])('%s shows [secret]', (_how, write) => {
    expect(write()).toContain('[secret]')
    expectHidden(write())
  })

  test('a number made of it is none', () => {
    expect(Number(secret)).toBeNaN()
  })
})

describe('as JSON', () => {
  test.each([
    ['alone', secret],
    ['in an object', { card: { number: secret } }],
    ['in an array', [secret]],
    ['holding an object', new Secret({ number: VALUE })],
    ['holding bytes', new Secret(BYTES)],
  ])('%s it is "[secret]"', (_where, value) => {
    expect(JSON.stringify(value)).toContain('"[secret]"')
    expectHidden(JSON.stringify(value))
    expectHidden(JSON.stringify(value, null, 2))
  })

  test('a copy of its properties has none', () => {
    expect(Object.keys(secret)).toEqual([])
    expect(Reflect.ownKeys(secret)).toEqual([])
    expect(JSON.stringify({ ...secret })).toBe('{}')
    expect(JSON.stringify(structuredClone(secret))).toBe('{}')
  })
})

describe('inspected', () => {
  const deep = { a: { b: { c: { d: secret } } } }
  const places: readonly [string, unknown][] = [
    ['alone', secret],
    ['in an object', { number: secret }],
    ['deep in objects', deep],
    ['in an array', [secret]],
    ['in a Map', new Map([[secret, secret]])],
    ['in a Set', new Set([secret])],
    ['behind a Proxy', new Proxy({ number: secret }, {})],
    ['in a promise', Promise.resolve(secret)],
    ['in a secret', new Secret(secret)],
    ['holding bytes', new Secret(BYTES)],
    ['holding an object', new Secret({ number: VALUE })],
    ['as the cause of an error', new Error('failed', { cause: secret })],
    ['deep in the causes', new Error('a', { cause: new Error('b', { cause: deep }) })],
    ['among the errors of one', new AggregateError([secret], 'failed')],
    ['as a property of an error', Object.assign(new Error('failed'), { number: secret })],
  ]

  test.each(places)('%s it does not show', (_where, value) => {
    expectHidden(inspect(value))
    expectHidden(inspect(value, { showHidden: true, depth: null, showProxy: true, getters: true }))
    // Without our own printer Node falls back to the properties of the class; the private field is none.
    expectHidden(inspect(value, { customInspect: false, showHidden: true, depth: null }))
  })

  test.each(places)('%s it does not show on the console', (_where, value) => {
    expectHidden(
      logged((console) => {
        console.log(value)
        console.log('%s %o %O %j %d', secret, value, value, secret, secret)
        console.error('card', value)
        console.dir(value, { showHidden: true, depth: null, customInspect: false })
        console.table([{ value }])
      }),
    )
  })

  test('it says that it is a secret', () => {
    expect(inspect(deep, { depth: null })).toContain('[secret]')
    expect(format('%s %o %O', secret, secret, secret)).toBe('[secret] [secret] [secret]')
    expect(logged((console) => console.log(secret))).toBe('[secret]\n')
  })
})

test('the text of an error made with it shows nothing', () => {
  const error = new Error(`no card ${secret}`, { cause: secret })
  expectHidden(error.message)
  expectHidden(String(error))
  expectHidden(error.stack)
  expectHidden(String(error.cause))
})
