// Card numbers for tests: any number of them with a right check digit, and what a text may show of one.

import { randomInt } from 'node:crypto'
import { expect } from 'vitest'
import type { Answer } from '../support/sallyport.ts'

/** Random digits under a test BIN. */
export function randomCard(bin = '424242', length = 16): string {
  let digits = bin
  while (digits.length < length - 1) digits += randomInt(10)
  return digits + checkDigit(digits)
}

function checkDigit(digits: string): number {
  let sum = 0
  for (let i = 0; i < digits.length; i++) {
    const digit = Number(digits[digits.length - 1 - i])
    const weighed = i % 2 === 0 ? digit * 2 : digit
    sum += weighed > 9 ? weighed - 9 : weighed
  }
  return (10 - (sum % 10)) % 10
}

/** Ids and times are made of digits, too, and may have six in a row by chance. */
export function withoutIds(text: string): string {
  return text
    .replaceAll(/(req|mer|pro|key|cus|pm|tok)_[0-9a-f]{32}/g, '')
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, '')
}

/** No six digits in a row of the number, as a refusal may show. */
export function expectNoDigitsOf(number: string, answer: Answer): void {
  const text = withoutIds(answer.text) + JSON.stringify([...answer.headers].filter(isNotId))
  for (let at = 0; at + 6 <= number.length; at++) {
    expect(text).not.toContain(number.slice(at, at + 6))
  }
}

/** At most the first six and the last four (PCI DSS 3.4.1). */
export function expectMasked(number: string, answer: Answer): void {
  const [bin, last4] = [number.slice(0, 6), number.slice(-4)]
  const text = withoutIds(answer.text).replaceAll(`"${bin}"`, '').replaceAll(`"${last4}"`, '')
  for (let at = 0; at + 5 <= number.length; at++) {
    expect(text).not.toContain(number.slice(at, at + 5))
  }
}

function isNotId([name]: [string, string]): boolean {
  return name !== 'sallyport-request-id' && name !== 'date'
}
