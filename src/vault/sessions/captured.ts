// What a browser sealed to our capture key: opened here, lifted like any body that carries a card, and held to the session
// it was sealed for, so that a box which somebody recorded is of no use in a session of their own.

import Type, { type Static, type TObject } from 'typebox'
import { Compile } from 'typebox/compile'
import { invalidField } from '../../core/errors.ts'
import type { SessionId } from '../../core/ids.ts'
import { wipe } from '../../core/wipeable.ts'
import type { Keyring } from '../../crypto/keyring.ts'
import { strict } from '../../http/schemas.ts'
import { liftSecrets } from '../lift.ts'

const base64url = (length: number) =>
  Type.String({ pattern: `^[A-Za-z0-9_-]{${length}}$`, description: 'base64url' })

export const SealedBody = Type.Object(
  {
    key_id: Type.String({ maxLength: 32, description: 'Of `GET /v2/capture-key`.' }),
    ephemeral_public_key: base64url(43),
    nonce: base64url(32),
    box: Type.String({
      pattern: '^[A-Za-z0-9_-]+$',
      description:
        'NaCl box of the JSON `{"session_id", "payment_method_data"}`, base64url. The session has to be this one.',
    }),
  },
  { ...strict, description: 'Sealed in the browser to the capture key.' },
)

export type Opened<Data> = { readonly data: Data; readonly secrets: readonly Buffer[] }

/** Throws `invalid_value` of `sealed`, whatever is wrong with it. The caller overwrites the secrets. */
export type OpenCaptured<Data> = (
  sessionId: SessionId,
  sealed: Static<typeof SealedBody>,
) => Promise<Opened<Data>>

/** `schema`: of the `payment_method_data` in the box. */
export function createOpenCaptured<Schema extends TObject>(
  keyring: Pick<Keyring, 'openCaptured'>,
  schema: Schema,
): OpenCaptured<Static<Schema>> {
  const validator = Compile(
    Type.Object({ session_id: Type.String(), payment_method_data: Type.Unknown() }, strict),
  )
  const data = Compile(schema)

  return async (sessionId, sealed) => {
    const plaintext = await keyring.openCaptured(sealed.key_id, {
      ephemeralPublicKey: Buffer.from(sealed.ephemeral_public_key, 'base64url'),
      nonce: Buffer.from(sealed.nonce, 'base64url'),
      box: Buffer.from(sealed.box, 'base64url'),
    })
    if (plaintext === undefined) throw invalidField('invalid_value', 'sealed')
    const { body, secrets } = liftSecrets([plaintext])
    const isOurs = validator.Check(body) && body.session_id === sessionId
    const content: unknown = isOurs ? body.payment_method_data : undefined
    if (!data.Check(content)) {
      wipe(secrets)
      throw invalidField('invalid_value', 'sealed')
    }
    return { data: content, secrets }
  }
}
