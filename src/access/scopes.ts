// Which scopes may meet in one key.

import type { Scope } from '../core/caller.ts'

/** Scopes that make sense for a key which belongs to no merchant. */
const INSTALLATION_SCOPES: ReadonlySet<string> = new Set<Scope>(['admin', 'audit:read'])

/**
 * Who calls the proxy does not decide where cards may go: neither directly (`policy:write`) nor by making a key
 * that does (`admin`).
 */
export function areScopesAllowed(scopes: readonly string[], ofInstallation: boolean): boolean {
  if (
    scopes.includes('proxy:invoke') &&
    (scopes.includes('policy:write') || scopes.includes('admin'))
  ) {
    return false
  }
  return !ofInstallation || scopes.every((scope) => INSTALLATION_SCOPES.has(scope))
}
