// The table of errors as a contract: what clients branch on, what tells them that a payment may be sent again, and
// that nothing a caller sent comes back in an error.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  AppError,
  ERRORS,
  errorBody,
  fieldDetail,
  invalidField,
  type Reason,
} from '../../src/core/errors.ts'

const reasons = Object.keys(ERRORS) as Reason[]

/** Which statuses may go with a type; a client may branch on either. */
const STATUSES = {
  invalid_request: [400, 401, 403, 405, 409, 413, 415, 422, 429],
  object_not_found: [404],
  duplicate_request: [409],
  connector_error: [502, 504],
  server_not_available: [500, 503],
} as const satisfies Record<string, readonly number[]>

describe('the table', () => {
  test.each(reasons)('%s has a status that goes with its type, and a code', (reason) => {
    const row = ERRORS[reason]
    expect(STATUSES[row.type]).toContain(row.status)
    expect(row.code).toMatch(/^(IR|HE|CE)_[0-9]{2}$/)
    expect(reason).toMatch(/^[a-z]+(_[a-z]+)*$/)
  })

  test.each(reasons)('%s has a message of one fixed sentence without digits', (reason) => {
    expect(ERRORS[reason].message).toMatch(/^[A-Z][^0-9${}%]*\.$/)
  })

  test('only where the destination may have seen the request, or an earlier one under its key, it is not safe to send it again', () => {
    // A wrong entry here makes a merchant charge twice.
    expect(reasons.filter((reason) => !ERRORS[reason].retrySafe)).toEqual([
      'idempotency_in_flight',
      'idempotency_mismatch',
      'outcome_unknown',
      'upstream_reset',
      'upstream_protocol_error',
      'upstream_timeout',
      'response_blocked',
      'internal_error',
    ])
  })
})

describe('AppError', () => {
  test.each(reasons)('%s carries what its row says', (reason) => {
    const error = new AppError(reason)
    expect(error).toBeInstanceOf(Error)
    expect(error).toMatchObject({
      name: 'AppError',
      reason,
      status: ERRORS[reason].status,
      code: ERRORS[reason].code,
      message: ERRORS[reason].message,
      details: undefined,
    })
    expect('cause' in error).toBe(false)
  })

  test('keeps its cause, its details and a code of its own', () => {
    const cause = new Error('driver')
    const error = new AppError('not_found', { cause, details: { field: 'name' }, code: 'IR_02' })
    expect(error).toMatchObject({ cause, details: { field: 'name' }, code: 'IR_02', status: 404 })
  })
})

describe('the name of a field', () => {
  test.each(['card_number', 'card.number', '$ref', '_', 'a', 'Address2', 'a12345', 'a'.repeat(64)])(
    '%s is repeated',
    (name) => {
      expect(fieldDetail(name)).toEqual({ field: name })
    },
  )

  test.each([
    ['digits in front', '4242424242424242'],
    ['six digits in a row', 'card_424242'],
    ['a card number behind a word', 'card4242424242424242'],
    ['a BIN between letters', 'a424242b'],
    ['nothing', ''],
    ['a name that is too long', 'a'.repeat(65)],
    ['a blank', 'card number'],
    ['a dash in front', '-a'],
    ['a line feed', 'card\n'],
    ['a NUL', 'card\0'],
    ['a quote', 'card"'],
    ['markup', '<script>'],
    ['a slash', 'a/b'],
    ['brackets', 'items[0]'],
    ['a placeholder', '{{card_number}}'],
    ['a dot in front', '.a'],
    ['letters that are not ASCII', 'ключ'],
    ['digits that are not ASCII', 'a\u0664\u0662\u0664\u0662\u0664\u0662'],
  ])('%s is not repeated', (_what, name) => {
    expect(fieldDetail(name)).toBeUndefined()
    expect(invalidField('unknown_field', name).details).toBeUndefined()
  })

  test.each([
    '_4242_4242_4242_4242',
    'n4242.4242.4242.4242',
    'n4242-4242-4242-4242',
    'card_42424_24242_42424_2',
    '$4$2$4$2$4$2$4$2$4$2$4$2$4$2$4$2',
  ])('%s is a card number with separators and is not repeated', (name) => {
    expect(fieldDetail(name)).toBeUndefined()
  })

  test('whatever is repeated is a short plain name without six digits in a row', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'aZ_$.09 -\0'), maxLength: 70 }), (name) => {
        const details = fieldDetail(name)
        if (details === undefined) return
        expect(details).toEqual({ field: name })
        expect(name).toMatch(/^[\w$.-]{1,64}$/)
        expect(name).not.toMatch(/[0-9]{6}/)
      }),
    )
  })

  test('an error about a field names it', () => {
    expect(invalidField('wrong_type', 'card_exp_month')).toMatchObject({
      reason: 'wrong_type',
      details: { field: 'card_exp_month' },
    })
  })
})

describe('the body', () => {
  test.each(reasons)('of %s is its row, the reason and the request', (reason) => {
    const { type, code, message } = ERRORS[reason]
    expect(errorBody(reason, 'req_1')).toStrictEqual({
      error: { type, code, reason, message, request_id: 'req_1' },
    })
  })

  test('has the details, the code and retry_safe where they are given, in the order of the reference', () => {
    const body = errorBody('not_found', 'req_1', {
      code: 'IR_02',
      details: { field: 'id' },
      retrySafe: false,
    })
    expect(JSON.stringify(body)).toBe(
      '{"error":{"type":"object_not_found","code":"IR_02","reason":"not_found",' +
        '"message":"There is no such thing here.","details":{"field":"id"},"retry_safe":false,' +
        '"request_id":"req_1"}}',
    )
  })

  test('has no key for what is undefined', () => {
    const body = errorBody('not_found', 'req_1', { code: undefined, details: undefined })
    expect(Object.keys(body.error)).toEqual(['type', 'code', 'reason', 'message', 'request_id'])
  })
})
