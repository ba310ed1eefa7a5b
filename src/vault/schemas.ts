// Schemas that the parts of the vault share.

import Type from 'typebox'

export const Name = Type.String({ minLength: 1, maxLength: 255 })
export const ProfileHeader = Type.Object({
  'x-profile-id': Type.Optional(
    Type.String({ description: "The merchant's default one if left out." }),
  ),
})
export const IdParams = Type.Object({ id: Type.String() })
export const Deleted = Type.Object({ id: Type.String() })
