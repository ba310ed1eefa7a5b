// What a declared type says about a body, as tables.

import { expect, test } from 'vitest'
import { charsetNamed, UTF_8 } from '../../src/proxy/charset.ts'
import { mediaTypeOf } from '../../src/proxy/media-type.ts'

test.each([
  ['application/json', 'json'],
  ['Application/JSON ; charset=utf-8', 'json'],
  ['application/vnd.api+json', 'json'],
  ['application/x-www-form-urlencoded', 'form'],
  ['application/xml', 'xml'],
  ['text/xml; charset=utf-8', 'xml'],
  ['application/soap+xml', 'xml'],
  ['image/svg+xml', 'xml'],
  ['text/html', 'structured'],
  ['multipart/form-data; boundary=x', 'multipart'],
  ['multipart/mixed', 'multipart'],
  ['image/png', 'binary'],
  ['application/pdf', 'binary'],
  ['application/octet-stream', 'binary'],
  ['text/plain', 'text'],
  ['text/csv', 'text'],
  ['application/unknown', 'text'],
  ['application/json, application/octet-stream', 'text'],
  ['application/octet-stream, application/json', 'text'],
  ['image/png, application/json', 'text'],
  ['image', 'text'],
  ['', 'text'],
  [undefined, 'text'],
])('%s is %s', (contentType, kind) => {
  expect(mediaTypeOf(contentType).kind).toBe(kind)
})

test.each([
  ['application/json', undefined, false],
  ['application/json; charset=UTF-8', 'utf-8', false],
  ['application/json; charset="utf8"', 'utf-8', false],
  ['application/json; charset="ut\\f-8"', 'utf-8', false],
  ['text/plain; charset=us-ascii', 'us-ascii', false],
  ['text/plain; charset=iso-8859-1', 'iso-8859-1', false],
  ['text/plain; a="; charset=utf-16"; charset=latin1', 'iso-8859-1', false],
  ['text/plain; charset=utf-8; charset=UTF8', 'utf-8', false],
  ['text/plain; xcharset=utf-16', undefined, false],
])('the charset of %s is %s', (contentType, charset, isUnreadable) => {
  const expected = charset === undefined ? undefined : charsetNamed(charset)

  expect(mediaTypeOf(contentType)).toMatchObject({ charset: expected, isUnreadable })
})

test.each([
  ['application/json; charset=utf-16', true],
  ['application/json; a=b; charset=utf-16le', true],
  ['application/json;charset = "UTF-32"', true],
  ['text/plain; charset=utf-7', true],
  ['text/plain; charset=ibm037', true],
  ['text/plain; charset=', true],
  ['text/plain; charset=utf-8; charset=iso-8859-1', true],
  ['text/plain; charset=utf-8; CHARSET=utf-16', true],
  ['multipart/form-data; boundary=x; charset=utf-16', true],
  ['image/png; charset=utf-16', false],
])('%s cannot be searched: %s', (contentType, isUnreadable) => {
  expect(mediaTypeOf(contentType).isUnreadable).toBe(isUnreadable)
})

test.each([
  ['multipart/form-data; boundary=x', 'x'],
  ['multipart/form-data; BOUNDARY="a b"', 'a b'],
  ['multipart/form-data; boundary=----WebKitFormBoundary7MA4', '----WebKitFormBoundary7MA4'],
  [`multipart/form-data; boundary=${'x'.repeat(70)}`, 'x'.repeat(70)],
  [`multipart/form-data; boundary=${'x'.repeat(71)}`, undefined],
  ['multipart/form-data', undefined],
  ['multipart/form-data; boundary=', undefined],
  ['multipart/form-data; boundary="a "', undefined],
  ['multipart/form-data; boundary="a\u00e9"', undefined],
  ['multipart/form-data; boundary="a<b"', undefined],
  ['multipart/form-data; boundary=a; boundary=b', undefined],
  ['multipart/form-data; boundary=a; boundary="a"', 'a'],
])('the boundary of %s is %s', (contentType, boundary) => {
  expect(mediaTypeOf(contentType).boundary).toBe(boundary)
})

test('a type is the same type however often it is asked for', () => {
  const types = Array.from({ length: 1000 }, (_, n) => `application/x-${n}; charset=utf-8`)

  for (const type of [...types, ...types]) {
    expect(mediaTypeOf(type)).toMatchObject({ essence: type.split(';')[0], charset: UTF_8 })
  }
})
