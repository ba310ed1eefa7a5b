// Captures payment methods in a page: what the card holder types is sealed here, to a key that the vault destroys within
// two hours, and nothing between this page and the vault can read it. Served with NaCl in front of it, as one module.
//
//   import { Sallyport } from 'https://vault.example/v2/capture.js'
//   const capture = await Sallyport.capture({ origin: 'https://vault.example', sdkAuthorization })
//   const session = await capture.confirm({ card_number, card_exp_month, card_exp_year, card_cvc, card_holder_name })
//
// It keeps nothing, logs nothing, and talks to `origin` alone. Everything it throws is a CaptureError. `nacl` is the NaCl in
// front of it.

/**
 * `code`: `incomplete_field_set` and `validation_error` (then `fields` names the fields; nothing was sent),
 * `session_expired` (ask your server for a new session) or `tokenization_failed` (then `reason` is the vault's, if it
 * answered).
 */
export class CaptureError extends Error {
  constructor(code, details = {}) {
    super(code)
    this.name = 'CaptureError'
    this.code = code
    this.fields = details.fields ?? []
    this.reason = details.reason
    this.requestId = details.requestId
  }
}

/** `sdkAuthorization`: of the answer with which your server's session was made. */
export async function capture({ origin, sdkAuthorization }) {
  const sessionId = sessionOf(sdkAuthorization)
  const session = `/v2/payment-method-sessions/${sessionId}`

  async function call(method, path, body) {
    let response
    let answer
    try {
      response = await fetch(new URL(path, origin), {
        method,
        headers: {
          ...(path === CAPTURE_KEY ? {} : { authorization: sdkAuthorization }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        cache: 'no-store',
        credentials: 'omit',
        redirect: 'error',
        referrerPolicy: 'no-referrer',
      })
      answer = await response.json()
    } catch {
      throw new CaptureError('tokenization_failed') // not reached, or this page's origin is not allowed
    }
    if (response.ok) return answer
    const { reason, request_id: requestId } = answer.error ?? {}
    const code = response.status === 401 ? 'session_expired' : 'tokenization_failed'
    throw new CaptureError(code, { reason, requestId })
  }

  /** Sealed to this session and the vault's key of this hour. */
  async function seal(data) {
    const key = await call('GET', CAPTURE_KEY)
    if (key.algorithm !== 'x25519-xsalsa20-poly1305') throw new CaptureError('tokenization_failed')
    const text = JSON.stringify({ session_id: sessionId, payment_method_data: data })
    const plaintext = new TextEncoder().encode(text)
    const { publicKey, secretKey } = nacl.box.keyPair()
    const shared = nacl.box.before(fromBase64url(key.public_key), secretKey)
    const nonce = nacl.randomBytes(nacl.box.nonceLength)
    const box = nacl.box.after(plaintext, nonce, shared)
    for (const secret of [plaintext, secretKey, shared]) secret.fill(0)
    return {
      key_id: key.key_id,
      ephemeral_public_key: toBase64url(publicKey),
      nonce: toBase64url(nonce),
      box: toBase64url(box),
    }
  }

  return {
    /**
     * Adds a card, and answers with the session. `options`: `payment_method_subtype`, `storage_type`, `return_url` as in
     * the vault's API.
     */
    async confirm(card, options = {}) {
      const sealed = await seal({ card: checkedCard(card) })
      return call('POST', `${session}/confirm`, {
        payment_method_type: 'card',
        ...options,
        payment_method_data: { sealed },
      })
    },

    /** What the customer has saved; each has a `payment_method_token`. */
    async list() {
      return (await call('GET', `${session}/list-payment-methods`)).customer_payment_methods
    },

    /** `card_cvc`, for the next payment with it, `card_holder_name`, `nick_name`. */
    async update(token, changes) {
      const card = pick(changes, ['card_cvc', 'card_holder_name', 'nick_name'])
      if (card.card_cvc !== undefined && !isCode(card.card_cvc)) throw invalid(['card_cvc'])
      return call('PUT', `${session}/update-saved-payment-method`, {
        payment_method_token: token,
        payment_method_data: { sealed: await seal({ card }) },
      })
    },

    async remove(token) {
      await call('DELETE', session, { payment_method_token: token })
    },
  }
}

export const Sallyport = { capture, CaptureError }

const CAPTURE_KEY = '/v2/capture-key'
const NEEDED = ['card_number', 'card_exp_month', 'card_exp_year']
const KNOWN = [...NEEDED, 'card_cvc', 'card_holder_name', 'nick_name', 'card_network']

/** The vault checks all of it again, and does not say what it found wrong. */
function checkedCard(said) {
  const card = pick(said, KNOWN)
  const missing = NEEDED.filter((field) => card[field] === undefined)
  if (missing.length > 0) throw new CaptureError('incomplete_field_set', { fields: missing })
  const wrong = [
    ...(isCardNumber(card.card_number) ? [] : ['card_number']),
    ...wrongDate(card.card_exp_month, card.card_exp_year),
    ...(card.card_cvc === undefined || isCode(card.card_cvc) ? [] : ['card_cvc']),
  ]
  if (wrong.length > 0) throw invalid(wrong)
  return card
}

function invalid(fields) {
  return new CaptureError('validation_error', { fields })
}

/** Empty input fields say nothing. */
function pick(said, names) {
  const picked = {}
  for (const name of names) {
    const text = String(said[name] ?? '').trim()
    if (text !== '') picked[name] = text
  }
  return picked
}

/** 12 to 19 digits that pass Luhn (ISO/IEC 7812-1); blanks and dashes between them. */
function isCardNumber(text) {
  const digits = text.replaceAll(/[ -]/g, '')
  if (!/^[0-9]{12,19}$/.test(digits)) return false
  let sum = 0
  for (let i = 0; i < digits.length; i++) {
    const digit = Number(digits.at(-1 - i))
    sum += i % 2 === 0 ? digit : digit * 2 - (digit > 4 ? 9 : 0)
  }
  return sum % 10 === 0
}

/** A card is good until the end of its month, wherever on earth that is. */
function wrongDate(month, year) {
  if (!/^(0?[1-9]|1[0-2])$/.test(month)) return ['card_exp_month']
  if (!/^([0-9]{2}|20[0-9]{2})$/.test(year)) return ['card_exp_year']
  const end = Date.UTC(Number(year.length === 2 ? `20${year}` : year), Number(month), 1, 12)
  return Date.now() < end ? [] : ['card_exp_year']
}

function isCode(text) {
  return /^[0-9]{3,4}$/.test(text)
}

/** What the vault gave the server to pass on says which session it is for. */
function sessionOf(sdkAuthorization) {
  let text = ''
  try {
    text = atob(sdkAuthorization)
  } catch {}
  const id = /(?:^|,)payment_method_session_id=([^,]+)/.exec(text)?.[1]
  if (id === undefined) throw new CaptureError('session_expired')
  return encodeURIComponent(id)
}

function fromBase64url(text) {
  const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'))
  return Uint8Array.from(binary, (character) => character.charCodeAt(0))
}

function toBase64url(bytes) {
  let binary = ''
  for (const byte of bytes) binary += String.fromCharCode(byte)
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
}
