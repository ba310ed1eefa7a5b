// The payments that cases send. Each is a text with a card in it, real or as placeholders, padded to the same length
// either way, so that no contender has fewer bytes to read than another.

export type CardTexts = { readonly number: string; readonly month: string; readonly year: string }

export const CARD: CardTexts = { number: '4242424242424242', month: '03', year: '2035' }

export const FIELDS = ['card_number', 'card_exp_month', 'card_exp_year'] as const

/** Where the fields stand in the JSON payment. */
export const POINTERS = {
  card_number: '/source/number',
  card_exp_month: '/source/expiry_month',
  card_exp_year: '/source/expiry_year',
} as const

export type BodyKind = 'json' | 'form' | 'xml' | 'ten-methods' | 'large'

type BodyShape = {
  readonly contentType: string
  readonly bytes: number
  /** Cards in it, each of a payment method of its own. */
  readonly cards: number
  readonly render: (cards: readonly CardTexts[], filler: string) => string
}

const json = (bytes: number): BodyShape => ({
  contentType: 'application/json',
  bytes,
  cards: 1,
  render: ([card], filler) =>
    JSON.stringify({ source: jsonSource(card), ...ORDER, description: filler }),
})

const jsonSource = (card: CardTexts | undefined) => ({
  type: 'card',
  number: card?.number,
  expiry_month: card?.month,
  expiry_year: card?.year,
  name: 'Jo Example',
})

const ORDER = {
  amount: 6540,
  currency: 'EUR',
  capture: true,
  reference: 'order-2026-000117',
  customer: { email: 'jo@example.com', name: 'Jo Example' },
  metadata: { cart: 'a81bc81b', shop: 'berlin-2' },
}

export const BODIES: Readonly<Record<BodyKind, BodyShape>> = {
  json: json(600),
  large: json(100_000),
  'ten-methods': {
    contentType: 'application/json',
    bytes: 3500,
    cards: 10,
    render: (cards, filler) =>
      JSON.stringify({ sources: cards.map(jsonSource), ...ORDER, description: filler }),
  },
  form: {
    contentType: 'application/x-www-form-urlencoded',
    bytes: 600,
    cards: 1,
    render: ([card], filler) =>
      `source[type]=card&source[number]=${card?.number}&source[exp_month]=${card?.month}` +
      `&source[exp_year]=${card?.year}&source[name]=Jo+Example&amount=6540&currency=eur&capture=true` +
      `&reference=order-2026-000117&customer[email]=jo%40example.com&metadata[cart]=a81bc81b&description=${filler}`,
  },
  xml: {
    contentType: 'application/xml',
    bytes: 800,
    cards: 1,
    render: ([card], filler) =>
      '<?xml version="1.0" encoding="UTF-8"?>\n<payment><source type="card">' +
      `<number>${card?.number}</number><expiry month="${card?.month}" year="${card?.year}"/>` +
      '<name>Jo Example</name></source><amount currency="EUR">6540</amount><capture>true</capture>' +
      '<reference>order-2026-000117</reference><customer><email>jo@example.com</email></customer>' +
      `<metadata><cart>a81bc81b</cart></metadata><description>${filler}</description></payment>`,
  },
}

/** Of exactly the bytes that its shape says. */
export function payment(kind: BodyKind, cards: readonly CardTexts[]): string {
  const { bytes, render } = BODIES[kind]
  return render(cards, 'x'.repeat(bytes - render(cards, '').length))
}

export function placeholders(token: string): CardTexts {
  return {
    number: `{{$card_number:${token}}}`,
    month: `{{$card_exp_month:${token}}}`,
    year: `{{$card_exp_year:${token}}}`,
  }
}

/** What the upstream has to see when the caller sent `sent` with these placeholders in it. */
export function withCards(sent: string, asked: readonly CardTexts[], cards: readonly CardTexts[]) {
  let text = sent
  for (const [n, { number, month, year }] of asked.entries()) {
    const card = cards[n] as CardTexts
    text = text.replace(number, card.number).replace(month, card.month).replace(year, card.year)
  }
  return text
}
