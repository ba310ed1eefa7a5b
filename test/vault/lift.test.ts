// Number and code of a card, and the value of a token, leave the body before anything parses it: they are lifted, the
// chunks of the socket are overwritten, and what is said about a broken body holds nothing of it.

import { inspect } from 'node:util'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AppError } from '../../src/core/errors.ts'
import { wipe } from '../../src/core/wipeable.ts'
import { liftSecrets, liftValue, secretOf } from '../../src/vault/lift.ts'
import { VISA } from '../support/sallyport.ts'

const textOf = (secret: Buffer | undefined) => secret?.toString('latin1')

/** The value of the first property of that name, at any depth. */
function find(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined
  if (Object.hasOwn(value, name)) return (value as Record<string, unknown>)[name]
  for (const inner of Object.values(value)) {
    const found = find(inner, name)
    if (found !== undefined) return found
  }
  return undefined
}

function refusal(
  chunks: readonly Buffer[],
  lift: (chunks: readonly Buffer[]) => unknown = liftSecrets,
): AppError {
  try {
    lift(chunks)
  } catch (error) {
    expect(error).toBeInstanceOf(AppError)
    return error as AppError
  }
  throw new Error('it was not refused')
}

describe('lifting', () => {
  test.each([
    ['at the top', `{"card_number":"${VISA}","card_cvc":"737"}`],
    ['in the card', `{"a":{"card":{"card_number":"${VISA}","x":1,"card_cvc":"737"}},"b":[]}`],
    ['in a list', `{"list":[1,{"card_cvc":"737"},{"card_number":"${VISA}"}]}`],
    ['with blanks around the colon', `{ "card_number" \r\n:\t "${VISA}" ,"card_cvc"  : "737"}`],
    ['by an escaped name', `{"card\\u005fnumber":"${VISA}","\\u0063ard_cvc":"737"}`],
    ['behind a quote in a string', `{"x":"\\"","card_number":"${VISA}","card_cvc":"737"}`],
    ['behind a backslash in a string', `{"x":"\\\\","card_number":"${VISA}","card_cvc":"737"}`],
    [
      'behind their names as values',
      `{"x":"card_number","y":["card_cvc"],"card_number":"${VISA}","card_cvc":"737"}`,
    ],
    ['behind a byte order mark', `\ufeff{"card_number":"${VISA}","card_cvc":"737"}`],
  ])('number and code are lifted %s', (_, json) => {
    const lifted = liftSecrets([Buffer.from(json)])

    const number = find(lifted.body, 'card_number') as string
    const cvc = find(lifted.body, 'card_cvc') as string
    expect(textOf(secretOf(number, lifted.secrets))).toBe(VISA)
    expect(textOf(secretOf(cvc, lifted.secrets))).toBe('737')
    expect(JSON.stringify(lifted.body)).not.toMatch(/4242|737/)
  })

  test('of a name that stands twice the last value counts, and the first is lifted as well', () => {
    const json = `{"card_number":"4000000000000002","card_number":"${VISA}"}`

    const { body, secrets } = liftSecrets([Buffer.from(json)])

    expect(secrets.map(textOf)).toEqual(['4000000000000002', VISA])
    expect(textOf(secretOf(find(body, 'card_number') as string, secrets))).toBe(VISA)
  })

  test('a number that is written as a JSON number stays one without its digits', () => {
    const { body, secrets } = liftSecrets([
      Buffer.from(`{"card_number":${VISA},"card_cvc":-7.37e2}`),
    ])

    expect(body).toEqual({ card_number: 0, card_cvc: 0 })
    expect(secrets).toEqual([])
  })

  test('an empty value stays empty and names no secret', () => {
    const { body, secrets } = liftSecrets([Buffer.from('{"card_number":"","card_cvc":""}')])

    expect(body).toEqual({ card_number: '', card_cvc: '' })
    expect(secretOf('', secrets)).toBeUndefined()
  })

  test('a value that is neither string nor number stays what it is', () => {
    const json = '{"card_number":null,"card_cvc":[true,{}]}'

    expect(liftSecrets([Buffer.from(json)])).toEqual({
      body: { card_number: null, card_cvc: [true, {}] },
      secrets: [],
    })
  })

  test('other names and texts that only look like it stay as they are', () => {
    const value = {
      Card_Number: '1',
      card_numbers: '2',
      ' card_number': '3',
      note: '"card_number":"4"',
      deep: { number: '5', cvc: '6' },
    }

    expect(liftSecrets([Buffer.from(JSON.stringify(value))])).toEqual({ body: value, secrets: [] })
  })

  test('a text that was not lifted cannot pass for a secret', () => {
    const secrets = [Buffer.from('1'), Buffer.from('2')]

    for (const text of ['', ' ', '2', '10', '0x', ' 0', '0\n', '-0', '٠']) {
      expect(secretOf(text, secrets)).toBeUndefined()
    }
    expect(secretOf('1   ', secrets)).toBe(secrets[1])
  })

  test('wiping overwrites the secrets', () => {
    const { secrets } = liftSecrets([Buffer.from(`{"card_number":"${VISA}","card_cvc":"737"}`)])

    wipe(secrets)

    expect(secrets.map((secret) => secret.every((byte) => byte === 0))).toEqual([true, true])
  })
})

describe('the chunks', () => {
  test.each([
    ['a good body', Buffer.from(`{"card_number":"${VISA}"}`), true],
    ['malformed JSON', Buffer.from(`{"card_number":"${VISA}"`), false],
    ['a string without an end', Buffer.from(`{"card_number":"${VISA}`), false],
    ['an escape without an end', Buffer.from(`{"card_number":"${VISA}\\`), false],
    ['an empty body', Buffer.alloc(0), false],
    ['no UTF-8', Buffer.from(`{"x":"\xff","card_number":"${VISA}"}`, 'latin1'), false],
    ['too many secrets', Buffer.from(`[${`{"card_number":"${VISA}"},`.repeat(11)}0]`), false],
  ])('are all zero after %s', (_, bytes, isGood) => {
    const chunks = [bytes.subarray(0, 7), bytes.subarray(7, 20), bytes.subarray(20)]

    if (isGood) liftSecrets(chunks)
    else expect(refusal(chunks).reason).toBe('malformed_body')

    expect(bytes.every((byte) => byte === 0)).toBe(true)
  })

  test('may be cut anywhere', () => {
    const json = `{"ü":"€ \\"","card\\u005fnumber" : "${VISA}","list":[{"card_cvc":"737"}],"n":1.50}`
    const bytes = Buffer.from(json)

    fc.assert(
      fc.property(fc.array(fc.nat(bytes.length), { maxLength: 8 }), (cuts) => {
        const places = [0, ...cuts.sort((a, b) => a - b), bytes.length]
        const chunks = places
          .slice(1)
          .map((end, index) => Buffer.from(bytes.subarray(places[index] as number, end)))

        const { body, secrets } = liftSecrets(chunks)

        expect(secrets.map(textOf)).toEqual([VISA, '737'])
        expect(find(body, 'ü')).toBe('€ "')
        expect(find(body, 'n')).toBe(1.5)
        expect(Buffer.concat(chunks).every((byte) => byte === 0)).toBe(true)
      }),
    )
  })
})

test('whatever stands around it, the rest of a body is what JSON.parse makes of it', () => {
  // No names that end with a quote and with a backslash: V8 14.6 takes the first for the second where it expects that.
  const names = fc.constantFrom('card_number', 'card_cvc', 'a', '', 'a"b', 'a\\b', 'card_number ')
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 3 },
      fc.string({ unit: 'grapheme' }),
      // Zero is the one number that is still itself when its digits are blanked.
      fc.constantFrom(null, true, 0, '', 'card_number', '\ud800'),
      fc.array(tie('value'), { maxLength: 3 }),
      fc.dictionary(names, tie('value'), { maxKeys: 3 }),
    ),
  }))
  const blanks = fc.constantFrom(undefined, 1, '\t')

  fc.assert(
    fc.property(value, blanks, (original, space) => {
      const json = JSON.stringify(original, null, space)
      const secretCount = [...json.matchAll(/(?<!\\)"card_(number|cvc)":\s*"(?!")/g)].length
      fc.pre(secretCount <= 10)

      const { body, secrets } = liftSecrets([Buffer.from(json)])

      expect(withSecrets(body, secrets)).toEqual(JSON.parse(json))
    }),
    { numRuns: 500 },
  )
})

/** Puts the secrets back, with their escapes read. */
function withSecrets(value: unknown, secrets: readonly Buffer[]): unknown {
  if (Array.isArray(value)) return value.map((inner) => withSecrets(inner, secrets))
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).map(([name, inner]) => {
    const isLifted = name === 'card_number' || name === 'card_cvc'
    const secret = isLifted && typeof inner === 'string' ? secretOf(inner, secrets) : undefined
    return secret === undefined
      ? [name, withSecrets(inner, secrets)]
      : [name, JSON.parse(`"${secret.toString('utf8')}"`)]
  })
  return Object.fromEntries(entries)
}

test('the refusal of a body that was cut anywhere holds none of its digits', () => {
  const json = `{"payment_method_data":{"card":{"card_number":"${VISA}","card_cvc":"737","x":${VISA}}}}`

  for (let end = 0; end < json.length; end++) {
    const error = refusal([Buffer.from(json.slice(0, end))])

    expect(error.reason).toBe('malformed_body')
    expect(error.cause).toBeUndefined()
    expect(error.details).toBeUndefined()
    const { stack: _, ...shown } = error
    expect(inspect({ ...shown, message: error.message })).not.toMatch(/[0-9]{3}/)
    expect(error.stack?.split('\n')[0]).not.toMatch(/[0-9]{3}/)
  }
})

test('the refusal of a body with a letter too many holds none of its digits', () => {
  const json = `{"card_number":"${VISA}","card_cvc":"737"}`

  for (let at = 0; at <= json.length; at++) {
    const bytes = Buffer.from(`${json.slice(0, at)}!${json.slice(at)}`)
    try {
      liftSecrets([bytes])
    } catch (error) {
      expect((error as AppError).reason).toBe('malformed_body')
      expect((error as AppError).message).not.toMatch(/[0-9]/)
    }
    expect(bytes.every((byte) => byte === 0)).toBe(true)
  }
})

describe('the value of a token', () => {
  const LIMITS = { bytes: 64, depth: 4 }
  const lift = (chunks: readonly Buffer[]) => liftValue(chunks, 'token_request', LIMITS)
  const liftText = (text: string) => lift([Buffer.from(text)])

  test.each([
    ['an object', `{"iban":"DE89370400440532013000","n":[1.50,{"a":null}]}`],
    ['a list', `[ "${VISA}" ,\t1 ]`],
    ['a string', `"${VISA}"`],
    ['a string with escapes', '"\\"\\u007d,\\\\"'],
    ['a number', VISA],
    ['a number with a fraction', '-1.50e+2'],
    ['true', 'true'],
    ['null', 'null'],
    ['an empty object', '{}'],
    ['names of its own kind', `{"token_request":{"token_request":"${VISA}"},"ttl_s":1}`],
    ['names of prototypes', '{"__proto__":{"x":1},"constructor":{"prototype":2}}'],
  ])('is lifted as its bytes: %s', (_, value) => {
    for (const json of [
      `{"token_request":${value},"ttl_s":60}`,
      `\ufeff { "ttl_s" : 60 , "token_request" : ${value}\r\n}`,
      `{"token\\u005frequest":${value},"ttl_s":60}`,
    ]) {
      const { body, secrets } = liftText(json)

      expect(secrets.map(textOf)).toEqual([Buffer.from(value).toString('latin1')])
      expect(body).toEqual({ token_request: 0, ttl_s: 60 })
    }
  })

  test('is not lifted from anywhere but the outermost object', () => {
    const value = { other: { token_request: '1' }, list: [{ token_request: '2' }] }

    expect(liftText(JSON.stringify(value))).toEqual({ body: value, secrets: [] })
  })

  test('is lifted once: a body that says it twice is refused', () => {
    for (const second of ['token_request', 'token\\u005frequest']) {
      const error = refusal([Buffer.from(`{"token_request":"${VISA}","${second}":1}`)], lift)

      expect([error.reason, error.details]).toEqual(['malformed_body', undefined])
    }
  })

  test.each([`"${VISA}"`, `["token_request","${VISA}"]`, VISA, 'null'])(
    'is not the body itself: %s',
    (text) => {
      expect(refusal([Buffer.from(text)], lift).reason).toBe('wrong_type')
    },
  )

  test('has as many bytes as it may, and not one more', () => {
    const value = (length: number) => `"${'€'.repeat(10)}${'x'.repeat(length - 32)}"`

    expect(liftText(`{"token_request" : ${value(64)} }`).secrets).toHaveLength(1)
    const error = refusal([Buffer.from(`{"token_request":${value(65)}}`)], lift)
    expect(error.reason).toBe('body_too_large')
  })

  test('is as deep as it may be, and no deeper', () => {
    const nested = (depth: number) => `{"token_request":${'['.repeat(depth)}${']'.repeat(depth)}}`

    expect(liftText(nested(4)).secrets.map(textOf)).toEqual(['[[[[]]]]'])
    expect(refusal([Buffer.from(nested(5))], lift).reason).toBe('malformed_body')
  })

  test.each([
    ['a good body', `{"token_request":"${VISA}","ttl_s":1}`, undefined],
    ['no value', '{"ttl_s":1}', undefined],
    ['malformed JSON', `{"token_request":"${VISA}"`, 'malformed_body'],
    ['a value twice', `{"token_request":"${VISA}","token_request":1}`, 'malformed_body'],
    ['no object', `"${VISA}"`, 'wrong_type'],
    ['too large a value', `{"token_request":"${VISA.repeat(5)}"}`, 'body_too_large'],
    ['an empty body', '', 'malformed_body'],
  ])('the chunks are all zero after %s', (_, json, reason) => {
    const bytes = Buffer.from(json)
    const chunks = [bytes.subarray(0, 7), bytes.subarray(7, 20), bytes.subarray(20)]

    if (reason === undefined) lift(chunks)
    else expect(refusal(chunks, lift).reason).toBe(reason)

    expect(bytes.every((byte) => byte === 0)).toBe(true)
  })

  test('the chunks may be cut anywhere', () => {
    const value = `{"ü":"€ \\"","n":1.50}`
    const bytes = Buffer.from(`{"customer_id":"ü","token_request" : ${value} ,"ttl_s":1}`)

    fc.assert(
      fc.property(fc.array(fc.nat(bytes.length), { maxLength: 8 }), (cuts) => {
        const places = [0, ...cuts.sort((a, b) => a - b), bytes.length]
        const chunks = places
          .slice(1)
          .map((end, index) => Buffer.from(bytes.subarray(places[index] as number, end)))

        const { body, secrets } = lift(chunks)

        expect(secrets.map((secret) => secret.toString())).toEqual([value])
        expect(body).toEqual({ customer_id: 'ü', token_request: 0, ttl_s: 1 })
        expect(Buffer.concat(chunks).every((byte) => byte === 0)).toBe(true)
      }),
    )
  })

  test('the refusal of a body that was cut anywhere holds none of it', () => {
    const json = `{"token_request":{"pan":"${VISA}","n":${VISA}}}`

    for (let end = 0; end < json.length; end++) {
      const error = refusal([Buffer.from(json.slice(0, end))], lift)

      expect(error.reason).toBe('malformed_body')
      expect([error.cause, error.details]).toEqual([undefined, undefined])
      expect(error.stack?.split('\n')[0]).not.toMatch(/[0-9]{3}/)
    }
  })
})
