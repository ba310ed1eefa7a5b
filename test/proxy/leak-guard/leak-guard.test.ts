// What the guard masks and what it leaves alone, as tables: one row is one form of a value, with what comes out.

import { describe, expect, test } from 'vitest'
import { LeakGuard, type Sensitive } from '../../../src/proxy/leak-guard/leak-guard.ts'
import {
  AMEX,
  API_KEY,
  base64,
  CODE,
  escaped,
  HASH,
  hex,
  MASTERCARD,
  masked,
  maskedInPieces,
  number,
  percent,
  sha256,
  text,
  VISA,
} from './sensitive.ts'

/** The same as a whole, and in pieces of one byte. */
function expectMasked(sensitive: readonly Sensitive[], body: string, expected: string, count = 1) {
  const borders = Array.from(body, (_, at) => at)
  expect(masked(sensitive, body)).toEqual({ text: expected, count })
  expect(maskedInPieces(sensitive, body, borders)).toEqual({ text: expected, count })
}

const base64Of = (value: string, before: number) =>
  Buffer.from(`${'x'.repeat(before)}${value}yz`).toString('base64')

describe('a card number is masked but for BIN and last four', () => {
  test.each([
    ['in a JSON string', '{"number":"4242424242424242"}', '{"number":"424242******4242"}'],
    ['as an element', '<pan>4242424242424242</pan>', '<pan>424242******4242</pan>'],
    ['in a form', 'a=1&pan=4242424242424242', 'a=1&pan=424242******4242'],
    ['in text', 'Card 4242424242424242 expired', 'Card 424242******4242 expired'],
    ['between letters', 'x4242424242424242y', 'x424242******4242y'],
    ['alone in a string', '"4242424242424242"', '"424242******4242"'],
    ['with blanks', '"4242 4242 4242 4242"', '"4242 42** **** 4242"'],
    ['with dashes', '"4242-4242-4242-4242"', '"4242-42**-****-4242"'],
    ['with dots', '"4242.4242.4242.4242"', '"4242.42**.****.4242"'],
    ['with different ones', '"4242 4242-4242.4242"', '"4242 42**-****.4242"'],
    [
      'with a separator between any two digits',
      '"4-2-4-2-4-2-4-2-4-2-4-2-4-2-4-2"',
      '"4-2-4-2-4-2-*-*-*-*-*-*-4-2-4-2"',
    ],
    ['with blanks of a form', 'a=4242+4242+4242+4242', 'a=4242+42**+****+4242'],
    [
      'with percent-encoded separators',
      'a=4242%204242%2d4242%2E4242',
      'a=4242%2042**%2d****%2E4242',
    ],
    [
      'with escaped separators',
      '"4242\\u00204242\\u002D4242\\u002e4242"',
      '"4242\\u002042**\\u002D****\\u002e4242"',
    ],
    ['percent-encoded', percent(VISA), '%34%32%34%32%34%32%2A%2A%2A%2A%2A%2A%34%32%34%32'],
    [
      'escaped',
      escaped(VISA),
      '\\u0034\\u0032\\u0034\\u0032\\u0034\\u0032\\u002a\\u002a\\u002a\\u002a\\u002a\\u002a\\u0034\\u0032\\u0034\\u0032',
    ],
    [
      'escaped twice',
      escaped(VISA).replaceAll('\\', '\\\\'),
      `${escaped('424242******4242')}`.replaceAll('\\', '\\\\'),
    ],
    ['partly encoded', '%342424242%34242424\\u0032', '%3424242**%2A***424\\u0032'],
    ['in hex', `"${hex(VISA)}"`, `"${hex('424242******4242')}"`],
    ['in base64', base64(VISA, 0), base64Of('424242******4242', 0)],
    ['in base64 behind a byte', base64(VISA, 1), base64Of('424242******4242', 1)],
    ['in base64 behind two bytes', base64(VISA, 2), base64Of('424242******4242', 2)],
    ['in base64 without padding', 'NDI0MjQyNDI0MjQyNDI0Mg', 'NDI0MjQyKioqKioqNDI0Mg'],
    ['before other digits', '"42424242424242421230"', '"424242******42421230"'],
    ['after other digits', '"1742424242424242420"', '"17424242******42420"'],
    ['found in two ways', '"424242424242424242"', '"424242********4242"'],
    [
      'after a longer beginning of it',
      '"4242 4242 4242 42 x 4242424242424242"',
      '"4242 4242 4242 42 x 424242******4242"',
    ],
    ['after a doubled separator', '"42  4242424242424242"', '"42  424242******4242"'],
    ['after what begins like an escape', '"%44242424242424242"', '"%4424242******4242"'],
    ['that begins within an escape', '"\\u0024242424242424242"', '"\\u002424242******4242"'],
  ])('%s', (_, body, expected) => {
    expectMasked([number(VISA)], body, expected)
  })

  test.each([
    ['12 digits', '501800000009', '501800**0009'],
    ['15 digits', AMEX, '378282*****0005'],
    ['19 digits', '6304000000000000000', '630400*********0000'],
  ])('of %s', (_, digits, expected) => {
    expectMasked([number(digits)], `"${digits}"`, `"${expected}"`)
  })

  test('every time it stands there', () => {
    expectMasked(
      [number(VISA)],
      '["4242424242424242","4242 4242 4242 4242","x"]',
      '["424242******4242","4242 42** **** 4242","x"]',
      2,
    )
  })

  test('among several', () => {
    expectMasked(
      [number(VISA), number(AMEX), number(MASTERCARD)],
      `"${AMEX}","${VISA}"/${MASTERCARD}`,
      '"378282*****0005","424242******4242"/555555******4444',
      3,
    )
  })
})

describe('as a bare JSON number it stays a number', () => {
  test.each([
    ['a value', '{"number":4242424242424242}', '{"number":4242420000004242}'],
    ['before another', '{"n": 4242424242424242 ,"a":1}', '{"n": 4242420000004242 ,"a":1}'],
    ['on a line', '{\n  "n":\t4242424242424242\n}', '{\n  "n":\t4242420000004242\n}'],
    ['in a list', '[1,4242424242424242,2]', '[1,4242420000004242,2]'],
    ['first in a list', '[ 4242424242424242]', '[ 4242420000004242]'],
    ['the whole body', '4242424242424242', '4242420000004242'],
    ['the whole body, between blanks', ' \n4242424242424242\n', ' \n4242420000004242\n'],
    ['negative', '{"n":-4242424242424242}', '{"n":-4242420000004242}'],
    ['a part of a longer one', '{"n":42424242424242421230}', '{"n":42424200000042421230}'],
    ['with decimals', '{"n":4242424242424242.00}', '{"n":4242420000004242.00}'],
    ['with a decimal point in it', '{"n":4.242424242424242E15}', '{"n":4.242420000004242E15}'],
    ['hex of it', `{"n":${hex(VISA)}}`, `{"n":${hex('4242420000004242')}}`],
  ])('%s', (_, body, expected) => {
    expectMasked([number(VISA)], body, expected)
    expect(() => JSON.parse(expected)).not.toThrow()
  })

  test.each([
    ['between quotes', '{"n":"4242424242424242"}', '{"n":"424242******4242"}'],
    ['in a string that has commas', '"a, 4242424242424242"', '"a, 424242******4242"'],
    ['with separators', '[4242 4242 4242 4242]', '[4242 42** **** 4242]'],
    ['percent-encoded', '[%34242424242424242]', '[%3424242******4242]'],
    ['before a unit', '{"n":4242424242424242EUR}', '{"n":424242******4242EUR}'],
    ['in a form', 'n=4242424242424242', 'n=424242******4242'],
    [
      'far from where a value begins',
      `:${' '.repeat(99)}4242424242424242`,
      `:${' '.repeat(99)}424242******4242`,
    ],
    [
      'far from where a value ends',
      `:4242424242424242${' '.repeat(99)},`,
      `:424242******4242${' '.repeat(99)},`,
    ],
  ])('but not %s', (_, body, expected) => {
    expectMasked([number(VISA)], body, expected)
  })
})

describe('guesses tell nothing: what is masked depends on BIN, last four and length only', () => {
  const FORMS: readonly (readonly [string, (digits: string) => string])[] = [
    ['as it is', (digits) => `"${digits}"`],
    ['with separators', (digits) => digits.replaceAll(/(....)(?=.)/g, '$1-')],
    ['as a bare number', (digits) => `{"n":${digits}}`],
    ['percent-encoded', percent],
    ['escaped', escaped],
    ['in hex', hex],
    ['in base64', (digits) => base64(digits, 0)],
    ['in base64 behind a byte', (digits) => base64(digits, 1)],
    ['in base64 behind two bytes', (digits) => base64(digits, 2)],
    ['in base64url', (digits) => Buffer.from(`>>>${digits}`).toString('base64url')],
  ]
  const NUMBERS = ['501800000009', AMEX, VISA, '4000000000000002', '6304000000000000000']

  describe.each(FORMS)('%s', (_, write) => {
    test.each(NUMBERS)('guesses of %s are masked like itself', (digits) => {
      const hidden = digits.length - 10
      const last = 10 ** hidden - 1
      const steps = Math.min(last, 300)
      const expected = masked([number(digits)], write(digits))
      expect(expected.count).toBe(1)
      expect(expected.text).not.toBe(write(digits.replace(digits.slice(6, -4), '9'.repeat(hidden))))

      for (let step = 0; step <= steps; step++) {
        const middle = `${Math.floor((last * step) / steps)}`.padStart(hidden, '0')
        const guess = `${digits.slice(0, 6)}${middle}${digits.slice(-4)}`

        expect(masked([number(digits)], write(guess))).toEqual(expected)
      }
    })

    test.each([
      ['another BIN', '4242434242424242'],
      ['other last four', '4242424242425242'],
      ['a digit less', '424242424244242'],
      ['a digit more', '42424200000004242'],
    ])('numbers with %s stay', (_, other) => {
      expectMasked([number(VISA)], write(other), write(other), 0)
    })
  })

  test.each([
    ['"cvc":"', '"', '***'],
    ['{"cvc":', '}', '100'],
    ['cvc=', '&', '***'],
    ['<cvc>', '</cvc>', '***'],
  ])('every code in %s...%s', (before, after, expected) => {
    for (let value = 0; value <= 999; value++) {
      const body = `${before}${`${value}`.padStart(3, '0')}${after}`

      expect(masked([CODE], body)).toEqual({ text: `${before}${expected}${after}`, count: 1 })
    }
  })

  test('every code of four digits', () => {
    for (let value = 0; value <= 9999; value += 7) {
      const digits = `${value}`.padStart(4, '0')

      expect(masked([CODE], `{"cid":${digits},"cvc":"${digits}"}`)).toEqual({
        text: '{"cid":1000,"cvc":"****"}',
        count: 2,
      })
    }
  })
})

describe('when the hash of a number was sent, all that look like one are masked', () => {
  const digest = sha256(VISA)
  const stars = '*'.repeat(64)

  test.each([
    ['itself', `"${digest}"`, `"${stars}"`],
    ['another one', `{"hash":"${sha256(AMEX)}"}`, `{"hash":"${stars}"}`],
    ['in capitals', `<h>${digest.toUpperCase()}</h>`, `<h>${stars}</h>`],
    ['between letters', `x${digest}y`, `x${stars}y`],
    ['after an escape', `a=%2F${digest}&`, `a=%2F${stars}&`],
    ['percent-encoded', percent(digest), percent(stars).toUpperCase()],
    ['escaped', escaped(digest), escaped(stars)],
    ['cut off', digest, stars],
  ])('%s', (_, body, expected) => {
    expectMasked([HASH], body, expected)
  })

  test.each([
    ['a shorter one', digest.slice(1)],
    ['a longer one', `${digest}0`],
    ['one that a digit stands before', `0${digest}`],
    ['SHA-512', `${digest}${digest}`],
    ['base64', base64(digest, 0)],
    ['two halves', `${digest.slice(32)}-${digest.slice(32)}`],
  ])('and not %s', (_, body) => {
    expectMasked([HASH], body, body, 0)
  })

  test('in a header, too', () => {
    const guard = new LeakGuard([HASH])

    expect(guard.maskHeader('etag', `"${digest}"`)?.value).toBe(`"${stars}"`)
    expect(guard.maskHeader('etag', `"${digest.slice(2)}"`)).toBeUndefined()
  })
})

describe('a code is masked where its name tells what it is', () => {
  test.each([
    ['a JSON string', '{"cvc":"123"}', '{"cvc":"***"}'],
    ['with blanks around', '{"cvc" :\n "123" }', '{"cvc" :\n "***" }'],
    ['a bare JSON number', '{"cvc": 123}', '{"cvc": 100}'],
    ['a bare JSON number in the middle', '{"cvc":123 ,"a":1}', '{"cvc":100 ,"a":1}'],
    ['JSON in a JSON string', '"{\\"cvc\\":\\"123\\"}"', '"{\\"cvc\\":\\"***\\"}"'],
    [
      'JSON in JSON in a JSON string',
      '"{\\\\\\"cvc\\\\\\":\\\\\\"123\\\\\\"}"',
      '"{\\\\\\"cvc\\\\\\":\\\\\\"***\\\\\\"}"',
    ],
    ['JSON, percent-encoded', '%7B%22cvc%22%3A%22123%22%7D', '%7B%22cvc%22%3A%22***%22%7D'],
    ['an escaped name', '{"\\u0063vc":"123"}', '{"\\u0063vc":"***"}'],
    ['escaped digits', '{"cvc":"1\\u00323"}', '{"cvc":"*\\u002a*"}'],
    ['percent-encoded digits', 'cvc=%31%32%33', 'cvc=%2A%2A%2A'],
    ['a form field', 'a=1&cvv2=123&b=2', 'a=1&cvv2=***&b=2'],
    ['a form field at the end', 'cvc=123', 'cvc=***'],
    ['a field in brackets', 'card[cvc]=123', 'card[cvc]=***'],
    ['a field in encoded brackets', 'card%5Bcvc%5D=123&a', 'card%5Bcvc%5D=***&a'],
    ['a query', '"https://psp.test/?cvc=123#a"', '"https://psp.test/?cvc=***#a"'],
    ['an element', '<cvc>123</cvc>', '<cvc>***</cvc>'],
    [
      'an element of a namespace',
      '<ns:cvNumber>123</ns:cvNumber>',
      '<ns:cvNumber>***</ns:cvNumber>',
    ],
    ['an element with attributes', '<cvc a="b">\n123\n</cvc>', '<cvc a="b">\n***\n</cvc>'],
    ['a CDATA section', '<cvc> <![CDATA[123]]></cvc>', '<cvc> <![CDATA[***]]></cvc>'],
    ['an attribute', '<card cvc="123"/>', '<card cvc="***"/>'],
    [
      'an attribute between single quotes',
      "<card a='1' x:cvc = '123'/>",
      "<card a='1' x:cvc = '***'/>",
    ],
    ['a line of headers', 'X-CVC: 123\r\n', 'X-CVC: ***\r\n'],
    ['a sentence', '"message":"wrong cvc=123."', '"message":"wrong cvc=***."'],
    ['a string that is cut off', '{"cvc":"123', '{"cvc":"***'],
  ])('%s', (_, body, expected) => {
    expectMasked([CODE], body, expected)
  })

  test.each([
    'cvc',
    'CVC',
    'cvc2',
    'card_cvc',
    'cardcvc',
    'cardCvv2Code',
    'cvn',
    'cvNumber',
    'CV_CODE',
    'cid',
    'card-cid',
    'cardCID',
    'csc',
    'CV2',
    'cvd',
    'securityCode',
    'SECURITYCODE',
    'card.security_code',
    'security code',
    'verificationCode',
    'verification_value',
    'CardVerificationNumber',
    'cardVerification',
    'verification',
    `${'a'.repeat(80)}_cvc`,
  ])('called %s', (name) => {
    expectMasked(
      [CODE],
      `<a ${name.replace(' ', '')}="1234">`,
      `<a ${name.replace(' ', '')}="****">`,
    )
    if (name.length <= 64) expectMasked([CODE], `{"${name}":"1234"}`, `{"${name}":"****"}`)
  })

  test.each([
    'amount',
    'acid',
    'cider',
    'recvCount',
    'recv_count',
    'security',
    'code',
    'verification_amount',
    'verificationResult',
    'processing_id',
    'discount',
    'cv',
  ])('and not called %s', (name) => {
    expectMasked([CODE], `{"${name}":"123"}`, `{"${name}":"123"}`, 0)
  })

  test.each([
    ['a longer number', '{"cvc":"12345"}'],
    ['a shorter one', '{"cvc":"12"}'],
    ['a part of a text', '{"cvc":"123 EUR"}'],
    ['the beginning of a word', 'cvc=123abc'],
    ['a decimal', 'cvc=123.50'],
    ['a range', 'cvc=123-456'],
    ['the result of a check', '{"cvc_check":"pass","amount":123}'],
    ['the value of the next name', '{"cvc":"","amount":123}'],
    ['the next element', '<cvc>pass</cvc><amount>123</amount>'],
    ['text behind an element', '<cvc>pass</cvc>123'],
    ['text behind an empty element', '<cvc/>123'],
    ['another attribute', '<cvc amount="123">'],
    ['behind no name at all', '123'],
    ['behind a colon alone', ':123'],
    ['behind a bracket', '<123>'],
    ['with a name that is too far away', `cvc=${' '.repeat(99)}123`],
  ])('and not %s', (_, body) => {
    expectMasked([CODE], body, body, 0)
  })

  test('an honest amount that is the same stays', () => {
    const body = '{"amount":123,"cvc":"123","lines":[123,"123"],"url":"/v1/123"}'
    expectMasked([CODE], body, body.replace('"cvc":"123"', '"cvc":"***"'))
  })
})

describe('a credential is masked as a whole', () => {
  const stars = '*'.repeat(API_KEY.length)

  test.each([
    ['as it is', `{"key":"${API_KEY}"}`, `{"key":"${stars}"}`],
    ['within other text', `x${API_KEY}y`, `x${stars}y`],
    ['percent-encoded', percent(API_KEY), percent(stars).toUpperCase()],
    [
      'partly percent-encoded',
      API_KEY.replaceAll('_', '%5f'),
      stars.replace(/^(..)\*(....)\*/, '$1%2A$2%2A'),
    ],
    ['escaped', escaped(API_KEY), escaped(stars)],
    ['in hex', hex(API_KEY), hex(stars)],
    ['in hex of capitals', hex(API_KEY).toUpperCase(), hex(stars)],
  ])('%s', (_, body, expected) => {
    expectMasked([text(API_KEY)], body, expected)
  })

  test.each([0, 1, 2])('in base64 behind %i bytes', (before) => {
    const body = base64(API_KEY, before)

    const { text: out, count } = masked([text(API_KEY)], body)

    const decoded = Buffer.from(out, 'base64').toString('latin1')
    expect(count).toBe(1)
    expect(out).toHaveLength(body.length)
    // Of the outermost bytes some bits stay.
    expect(decoded.slice(before + 1, before + API_KEY.length - 1)).toBe(stars.slice(2))
    expect(decoded.slice(before + API_KEY.length)).toBe('yz')
  })

  const CRYPTOGRAM = 'AgAAA/BABk4+DWZ4C28yUQ=='
  const SIGNS = 'p"s\\s/w%o+r d?'
  const LITERAL = 'a%41b\\u0042c%zz'
  test.each([
    [
      'a slash as JSON may escape it',
      CRYPTOGRAM,
      '"AgAAA\\/BABk4+DWZ4C28yUQ=="',
      `"${'*'.repeat(25)}"`,
    ],
    [
      'signs in a form',
      CRYPTOGRAM,
      'AgAAA%2FBABk4%2bDWZ4C28yUQ%3D%3D',
      `*****%2A*****%2A**********%2A%2A`,
    ],
    ['a plus that was made a blank', CRYPTOGRAM, 'AgAAA/BABk4 DWZ4C28yUQ==', '*'.repeat(24)],
    ['signs as they are', SIGNS, SIGNS, '*'.repeat(SIGNS.length)],
    [
      'signs in JSON',
      SIGNS,
      JSON.stringify(SIGNS),
      `"${'*'.repeat(JSON.stringify(SIGNS).length - 2)}"`,
    ],
    ['signs in a form', SIGNS, encodeURIComponent(SIGNS), '*%2A*%2A*%2A*%2A*%2A*%2A*%2A'],
    ['what looks like escapes as it is', LITERAL, LITERAL, '**2A*****2a****'],
    [
      'what looks like escapes in a form',
      LITERAL,
      encodeURIComponent(LITERAL),
      '*%2A***%2A******%2A**',
    ],
    [
      'base64 with signs',
      '>>>???>>>',
      Buffer.from('>>>???>>>').toString('base64'),
      'Kioq'.repeat(3),
    ],
    [
      'base64url with signs',
      '>>>???>>>',
      Buffer.from('>>>???>>>').toString('base64url'),
      'Kioq'.repeat(3),
    ],
    [
      'base64 with signs among letters',
      'pass~~~???>>>~~~',
      'cGFzc35+fj8/Pz4+Pn5+fg==',
      `${'Kioq'.repeat(5)}Kg==`,
    ],
    [
      'letters of more than one byte',
      'caf\u00e9-caf\u00e9',
      'caf\u00c3\u00a9-caf\u00c3\u00a9',
      '*'.repeat(11),
    ],
  ])('%s', (_, value, body, expected) => {
    expectMasked([text(value)], body, expected)
  })

  test('and not when it is shorter than eight bytes', () => {
    expectMasked([text('Bearer ')], 'Bearer x', 'Bearer x', 0)
  })
})

describe('of finds that overlap all is masked', () => {
  test.each([
    [
      'a number in a credential',
      [number(VISA), text(`key-${VISA}-key`)],
      `key-${VISA}-key`,
      '*'.repeat(24),
    ],
    [
      'a number that a credential ends in',
      [text('key-value-4242'), number(VISA)],
      `key-value-${VISA}`,
      `${'*'.repeat(14)}42******4242`,
    ],
    [
      'two numbers',
      [number('4242424242424242'), number('4242424242425555')],
      '"42424242424242425555"',
      '"424242**********5555"',
    ],
    ['a code in a credential', [CODE, text('a=1&cvc=123&b')], 'a=1&cvc=123&b', '*'.repeat(13)],
  ] as const)('%s', (_, sensitive, body, expected) => {
    expectMasked(sensitive, body, expected)
  })
})

describe('what is not the value stays', () => {
  const ALL = [number(VISA), number(AMEX), CODE, HASH, text(API_KEY)]

  test.each([
    ['another number', '{"number":"5555555555554444"}'],
    ['a number with another BIN', '"4242414242424242"'],
    ['a number with other last four', '"4242424242424232"'],
    ['a number that is longer', '"42424200000000000000000000004242"'],
    ['a number that is shorter', '"424242424244242"'],
    ['a number that is interrupted', '"4242424 242 42x4242"'],
    ['one that was masked before', '"424242******4242"'],
    ['an order with the same last four', '{"order":"2026-0004242","last4":"4242","bin":"424242"}'],
    ['two separators in a row', '"424242--42"'],
    ['a line end between', '"424242\n42"'],
    ['a separator of another kind', '"4242/42/42"'],
    ['the first half of it', 'sk_live_51Hx'],
    ['another case of it', API_KEY.toUpperCase()],
    ['base64 of another number', base64(MASTERCARD, 0)],
    [
      'times',
      '{"at":"2026-05-01T12:30:45.123Z","unix":1767225600000,"date":"2026-05-01 12-30-45"}',
    ],
    ['nothing', ''],
    ['backslashes', '\\\\\\\\\\\\\\\\\\\\"\\'],
    ['escapes that break off', '%4 %zz \\u00 \\u00zz \\u12 %'],
    [
      'escapes of other signs',
      '{"url":"https:\\/\\/psp.test\\/a%2Fb%20c","name":"Zo\\u00eb \\u0026"}',
    ],
    ['bytes that are no text', '\xff\xfe\x00\x01'],
  ])('%s', (_, body) => {
    expectMasked(ALL, body, body, 0)
  })

  test('whatever it is, when nothing was revealed', () => {
    expectMasked([], `${VISA} ${API_KEY}`, `${VISA} ${API_KEY}`, 0)
  })
})

describe('in a header', () => {
  const guard = () => new LeakGuard([number(VISA), CODE, text(API_KEY)])

  test.each([
    ['x-card', VISA, '424242******4242'],
    [
      'location',
      `https://shop.test/back?pan=${VISA}&cvc=123`,
      'https://shop.test/back?pan=424242******4242&cvc=***',
    ],
    ['location', '/?a=4242%204242%204242%204242', '/?a=4242%2042**%20****%204242'],
    ['x-request-body', base64(VISA, 1), base64('424242******4242', 1)],
    ['x-echo', `Bearer ${API_KEY}`, `Bearer ${'*'.repeat(API_KEY.length)}`],
    ['x-cvc', '123', '***'],
    ['x-security-code', '"123"', '"***"'],
    ['set-cookie', 'a=\xe9; cvv=123; Path=/', 'a=\xe9; cvv=***; Path=/'],
    ['x-json', '{"cvc":123}', '{"cvc":***}'],
  ])('%s: %s', (name, value, expected) => {
    expect(guard().maskHeader(name, value)?.value).toBe(expected)
  })

  test.each([
    ['content-length', '123'],
    ['x-amount', '123'],
    ['date', 'Fri, 01 May 2026 12:30:45 GMT'],
    ['x-request-id', '550e8400-e29b-41d4-a716-446655440000'],
    ['strict-transport-security', 'max-age=63072000; includeSubDomains; preload'],
    ['x-card', '424242******4242'],
    ['etag', '"33a64df551425fcc55e4d42a148795d9f25f89d4"'],
    ['x-empty', ''],
  ])('nothing is touched in %s: %s', (name, value) => {
    expect(guard().maskHeader(name, value)).toBeUndefined()
  })

  test('places are counted', () => {
    expect(guard().maskHeader('x-cards', `${VISA}, ${VISA}`)?.count).toBe(2)
  })

  test('that is longer than any other', () => {
    const long = `${'x'.repeat(20_000)} ${VISA}`
    expect(guard().maskHeader('x-long', long)?.value).toBe(`${'x'.repeat(20_000)} 424242******4242`)
    expect(guard().maskHeader('x-long', 'x'.repeat(20_000))).toBeUndefined()
  })
})

describe('a stream', () => {
  const stream = () => new LeakGuard([number(VISA), CODE, text(API_KEY)]).stream()
  const push = (to: ReturnType<typeof stream>, piece: string) =>
    to.push(Buffer.from(piece)).toString()

  test.each([
    ['an event', 'data: {"amount":1200,"at":"2026-05-01"}\n\n', ''],
    ['a beginning of a number', '{"number":"', '4242 42'],
    ['a beginning of a credential', '{"key":"', 'sk_live_'],
    ['a beginning of a code', '{"cvc":"', '12'],
    ['what could be a code until more is known', '{"cvc":', '123'],
    ['what could be an escape', '{"a":"b', '\\u00'],
    ['a digit that is cut', 'a=', '%3'],
  ])('passes on at once all but the beginning of a find: %s', (_, passed, held) => {
    const guarded = stream()

    expect(push(guarded, passed + held)).toBe(passed)
    expect(push(guarded, 'x!')).toBe(`${held}x!`)
  })

  test('holds back as much as the longest form and no more, whatever comes', () => {
    const spelled = `"${'4242424242424242'.replaceAll(/./g, (digit) => `\\\\\\\\\\\\\\u003${digit}`).repeat(40)}`
    const guarded = stream()
    let pushed = 0
    let passed = 0
    let mostHeld = 0

    for (const byte of Buffer.from(spelled)) {
      pushed += 1
      passed += guarded.push(Buffer.from([byte])).length
      mostHeld = Math.max(mostHeld, pushed - passed)
    }

    expect(mostHeld).toBeLessThanOrEqual(16 * 12 + 64)
    expect(guarded.count).toBe(1)
  })

  test('of nothing ends with nothing', () => {
    expect(stream().end()).toHaveLength(0)
  })
})

test('a stream that is over, or has been given up, takes no more', () => {
  const guard = new LeakGuard([number(VISA)])
  const ended = guard.stream()
  const wiped = guard.stream()

  ended.end()
  wiped.wipe()

  for (const stream of [ended, wiped]) {
    expect(() => stream.push(Buffer.from(VISA))).toThrow('over')
    expect(() => stream.end()).toThrow('over')
  }
})

describe('a wiped guard', () => {
  test('refuses to look, rather than to find nothing', () => {
    const guard = new LeakGuard([number(VISA)])
    const stream = guard.stream()

    guard.wipe()

    expect(() => guard.maskBody(Buffer.from(VISA))).toThrow('wiped')
    expect(() => guard.maskHeader('a', VISA)).toThrow('wiped')
    expect(() => guard.stream()).toThrow('wiped')
    expect(() => stream.push(Buffer.from(VISA))).toThrow('wiped')
    expect(() => stream.end()).toThrow('wiped')
  })
})

describe('a hostile answer is read once, not over and over', () => {
  // A quarter of a megabyte: a step for each pair of bytes would take minutes.
  const SIZE = 1 << 18
  test.each([
    ['digits of the number', '42'],
    ['other digits', '1234567890'],
    ['digits with separators', '4-2 '],
    ['encoded digits', '%34'],
    ['escaped digits', '\\u0034'],
    ['numbers', '4242424242424242,'],
    ['bare numbers', ':4242424242424242                    '],
    ['codes', 'cvc=123&'],
    ['codes of other names', `${'a'.repeat(60)}=123&`],
    ['codes far from names', `${' '.repeat(31)}123`],
    ['tags', '<a '],
    ['separators', '- '],
    ['backslashes', '\\'],
    ['percent signs', '%'],
    ['base64 of the number', Buffer.from('424242').toString('base64')],
    ['all of the credential but its end', API_KEY.slice(0, -1)],
    ['the credential, percent-encoded but for its end', percent(API_KEY.slice(0, -1))],
  ])('%s', (_, unit) => {
    const sensitive = [number(VISA), CODE, HASH, text(API_KEY)]
    const body = unit.repeat(Math.ceil(SIZE / unit.length))
    const borders = Array.from({ length: body.length >> 10 }, (_, at) => at << 10)

    const whole = masked(sensitive, body)

    expect(whole.text).toHaveLength(body.length)
    expect(maskedInPieces(sensitive, body, borders)).toEqual(whole)
  })
})
