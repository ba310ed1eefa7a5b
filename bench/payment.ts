// The payment that every case sends: 600 bytes of JSON whatever stands where the card belongs, so that no contender
// has fewer bytes to read than another.

export type CardTexts = { readonly number: string; readonly month: string; readonly year: string }

export const CARD: CardTexts = { number: '4242424242424242', month: '03', year: '2035' }

const PAYMENT_BYTES = 600

/** Where the fields stand in the payment. */
export const POINTERS = {
  card_number: '/source/number',
  card_exp_month: '/source/expiry_month',
  card_exp_year: '/source/expiry_year',
} as const

export function payment(card: CardTexts): string {
  const text = (description: string) =>
    JSON.stringify({
      source: {
        type: 'card',
        number: card.number,
        expiry_month: card.month,
        expiry_year: card.year,
        name: 'Jo Example',
      },
      amount: 6540,
      currency: 'EUR',
      capture: true,
      reference: 'order-2026-000117',
      customer: { email: 'jo@example.com', name: 'Jo Example' },
      metadata: { cart: 'a81bc81b', shop: 'berlin-2' },
      description,
    })
  return text('x'.repeat(PAYMENT_BYTES - Buffer.byteLength(text(''))))
}

export function placeholders(token: string): CardTexts {
  return {
    number: `{{$card_number:${token}}}`,
    month: `{{$card_exp_month:${token}}}`,
    year: `{{$card_exp_year:${token}}}`,
  }
}

/** What the upstream has to see when the caller sent `sent` with these placeholders in it. */
export function withCard(sent: string, asked: CardTexts, card: CardTexts): string {
  return sent
    .replace(asked.number, card.number)
    .replace(asked.month, card.month)
    .replace(asked.year, card.year)
}
