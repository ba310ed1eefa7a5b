// The contract suite of external vaults: every promise of src/vault/external/contract.ts, asked of an adapter over a
// real server that can be told to fail. An adapter runs it with `describeExternalVault(name, open)`.

import { describe, expect, test } from 'vitest'
import { type CardDigits, parseCardNumber } from '../../src/core/card-number.ts'
import type { ExternalVault, VaultFailure } from '../../src/vault/external/contract.ts'
import { VISA } from '../support/sallyport.ts'

/** What happens to the next request for a number, an insertion or a deletion, in the words of the contract. */
export type Trouble =
  | 'refuses_credentials_once'
  | 'refuses_credentials'
  | 'forbids'
  | 'limits_rate'
  | 'fails'
  | 'is_silent'
  | 'breaks_off'
  | 'resets'
  | 'says_nonsense'
  | 'says_too_much'
  | 'cannot_be_reached'
  | 'has_no_tokens'
  | 'does_and_is_silent'

export type OpenVault = AsyncDisposable & {
  readonly vault: ExternalVault
  /** As another client of the vault would; answers with the alias. */
  keep(value: string): string
  /** What is kept under an alias now. */
  kept(alias: string): string | undefined
  readonly count: number
  cause(trouble: Trouble): void
}

/** What comes of each, for whatever is asked. */
const FAILURES: readonly (readonly [Trouble, VaultFailure])[] = [
  ['refuses_credentials', 'unauthenticated'],
  ['forbids', 'unauthenticated'],
  ['limits_rate', 'rate_limited'],
  ['fails', 'unavailable'],
  ['is_silent', 'timeout_unknown'],
  ['breaks_off', 'timeout_unknown'],
  ['resets', 'timeout_unknown'],
  ['says_too_much', 'timeout_unknown'],
  ['cannot_be_reached', 'unavailable'],
  ['has_no_tokens', 'unavailable'],
]

const cardOf = (digits: string) => parseCardNumber(Buffer.from(digits)) as CardDigits

async function retrieved(vault: ExternalVault, alias: string): Promise<string> {
  const answer = await vault.retrieve(alias)
  if (answer.kind === 'failed') return answer.failure
  const text = answer.number.toString('latin1')
  answer.number.fill(0)
  return text
}

export function describeExternalVault(name: string, open: () => Promise<OpenVault>): void {
  describe(`${name} as an external vault`, () => {
    test('a number that was inserted is retrieved under its alias', async () => {
      await using opened = await open()
      const number = cardOf(VISA)

      const inserted = await opened.vault.insert(number)

      if (inserted.kind === 'failed') throw new Error(inserted.failure)
      expect(inserted.alias).not.toContain(VISA)
      expect(opened.kept(inserted.alias)).toBe(VISA)
      expect(await retrieved(opened.vault, inserted.alias)).toBe(VISA)
    })

    test('what was handed in stays as it is: it is the caller who overwrites it', async () => {
      await using opened = await open()
      const number = cardOf(VISA)

      await opened.vault.insert(number)

      expect(number.toString()).toBe(VISA)
    })

    test('an alias that nobody has is not found', async () => {
      await using opened = await open()

      for (const alias of ['tok_none', '.', '..', 'a/../b', '%2e%2e', '?x', '#x']) {
        expect([alias, await retrieved(opened.vault, alias)]).toEqual([alias, 'not_found'])
      }
    })

    test('what is kept under an alias and is no card number is not found', async () => {
      await using opened = await open()

      for (const value of ['4242424242424241', '123', 'Jane Doe', '']) {
        expect(await retrieved(opened.vault, opened.keep(value))).toBe('not_found')
      }
    })

    test('blanks and dashes in what is kept are no part of the number', async () => {
      await using opened = await open()

      expect(await retrieved(opened.vault, opened.keep('4242 4242-4242 4242'))).toBe(VISA)
    })

    test('what was deleted is not found, and may be deleted again', async () => {
      await using opened = await open()
      const alias = opened.keep(VISA)

      expect(await opened.vault.delete(alias)).toEqual({ kind: 'deleted' })
      expect(await opened.vault.delete(alias)).toEqual({ kind: 'deleted' })

      expect(opened.kept(alias)).toBeUndefined()
      expect(await retrieved(opened.vault, alias)).toBe('not_found')
    })

    test('credentials that are refused once are renewed, and nothing is done twice', async () => {
      await using opened = await open()
      await opened.vault.health()
      opened.cause('refuses_credentials_once')

      const inserted = await opened.vault.insert(cardOf(VISA))

      expect(inserted.kind).toBe('inserted')
      expect(opened.count).toBe(1)
    })

    describe.each(FAILURES)('where it %s', (trouble, failure) => {
      test(`a retrieval is ${failure}`, async () => {
        await using opened = await open()
        const alias = opened.keep(VISA)
        opened.cause(trouble)

        expect(await retrieved(opened.vault, alias)).toBe(failure)
      })

      test(`an insertion is ${failure}`, async () => {
        await using opened = await open()
        opened.cause(trouble)

        expect(await opened.vault.insert(cardOf(VISA))).toEqual({ kind: 'failed', failure })
      })

      test(`a deletion is ${failure}, and what it is about is still there`, async () => {
        await using opened = await open()
        const alias = opened.keep(VISA)
        opened.cause(trouble)

        expect(await opened.vault.delete(alias)).toEqual({ kind: 'failed', failure })
        expect(opened.kept(alias)).toBe(VISA)
      })

      test('its health says so', async () => {
        await using opened = await open()
        opened.cause(trouble)
        const state = failure === 'rate_limited' ? 'degraded' : 'down'

        expect(await opened.vault.health()).toEqual({ state, failure })
      })

      test('the next one is asked anew', async () => {
        await using opened = await open()
        const alias = opened.keep(VISA)
        opened.cause(trouble)
        await opened.vault.retrieve(alias)

        const isLasting = trouble === 'cannot_be_reached'
        expect(await retrieved(opened.vault, alias)).toBe(isLasting ? failure : VISA)
      })
    })

    test('an insertion that was carried out and not answered is unknown', async () => {
      await using opened = await open()
      opened.cause('does_and_is_silent')

      const failure = 'timeout_unknown'
      expect(await opened.vault.insert(cardOf(VISA))).toEqual({ kind: 'failed', failure })
      expect(opened.count).toBe(1)
    })

    test('an answer that makes no sense is unavailable', async () => {
      await using opened = await open()
      const alias = opened.keep(VISA)

      opened.cause('says_nonsense')
      expect(await retrieved(opened.vault, alias)).toBe('unavailable')
      opened.cause('says_nonsense')
      expect((await opened.vault.insert(cardOf(VISA))).kind).toBe('failed')
    })

    test('a vault that answers is up, and asking changes nothing', async () => {
      await using opened = await open()
      opened.keep(VISA)

      expect(await opened.vault.health()).toEqual({ state: 'up' })
      expect(opened.count).toBe(1)
    })
  })
}
