// The version of this build, from package.json, which npm also goes by.

import manifest from '../package.json' with { type: 'json' }

export const VERSION: string = manifest.version

/** The release of Node whose HTTP parser the data plane was tested with: it is not documented, and may change in any. */
export const NODE_VERSION: string = manifest.engines.node
