// What is read out of a JSON answer: values to be kept with the payment method, and whether the payment was declined.
// On bytes: an answer is not parsed.

import { isJson } from '../../core/json-check.ts'
import { type JsonPath, jsonScalar, selectJson } from '../../core/json-path.ts'
import type { CredentialRecord } from '../../store/contract.ts'

export type CaptureRule = { readonly path: JsonPath; readonly as: CredentialRecord['kind'] }
export type DeclineRule = { readonly path: JsonPath; readonly values: readonly Buffer[] }

const MAX_DEPTH = 256
const MAX_CAPTURED_BYTES = 4096

export type Captured = { readonly kind: CredentialRecord['kind']; readonly value: Buffer }

export function capturedIn(json: Buffer, rules: readonly CaptureRule[]): readonly Captured[] {
  if (rules.length === 0 || !isJson(json, MAX_DEPTH)) return []
  return rules.flatMap(({ path, as }) => {
    const value = scalarAt(json, path)
    const isUsable = value !== undefined && value.length > 0 && value.length <= MAX_CAPTURED_BYTES
    // A copy: the answer may be overwritten before it has been kept.
    return isUsable ? [{ kind: as, value: Buffer.from(value) }] : []
  })
}

/** PSPs decline with status 402, or with 2xx and a word in the body. */
export function isDecline(json: Buffer, rules: readonly DeclineRule[]): boolean {
  if (rules.length === 0 || !isJson(json, MAX_DEPTH)) return false
  return rules.some(({ path, values }) => {
    const value = scalarAt(json, path)
    return value !== undefined && values.some((each) => each.equals(value))
  })
}

/** Undefined unless the path selects exactly one that is neither null, object nor array. */
function scalarAt(json: Buffer, path: JsonPath): Buffer | undefined {
  const [first, ...others] = selectJson(json, path)
  if (first === undefined || others.length > 0) return undefined
  const scalar = jsonScalar(first)
  return scalar.kind === 'text' ? scalar.bytes : undefined
}
