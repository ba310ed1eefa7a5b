// The version of this build, from package.json, which npm also goes by.

import manifest from '../package.json' with { type: 'json' }

export const VERSION: string = manifest.version
