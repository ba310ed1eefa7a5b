// The table of errors in the README is the reference that clients read: it and the code say the same.

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { ERRORS } from '../../src/core/errors.ts'

test('the README lists every error with its status, code and retry safety, and no other', () => {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')
  const rows = readme.matchAll(
    /^\| `([a-z_]+)` \| ([0-9]{3}) \| ([A-Z]{2}_[0-9]{2}) \| (yes|\*\*no\*\*) \|$/gm,
  )

  const listed = [...rows].map(([, reason, status, code, retry]) => [
    reason,
    { status: Number(status), code, retrySafe: retry === 'yes' },
  ])

  const known = Object.entries(ERRORS).map(([reason, { status, code, retrySafe }]) => [
    reason,
    { status, code, retrySafe },
  ])
  expect(listed).toEqual(known)
})
