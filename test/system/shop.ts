// A merchant of an installation that runs in a process of its own, made through its front door.

export const ADMIN_KEY = 'system-test-admin-key-0123456789abcdef'

export async function call(
  origin: string,
  key: string,
  method: string,
  path: string,
  body?: unknown,
) {
  const response = await fetch(origin + path, {
    method,
    headers: { 'sallyport-key': key, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  return { status: response.status, body: (await response.json()) as any }
}

/** A merchant with keys for everything that a charge needs. */
export async function openShop({ origin }: { origin: string }, adminKey = ADMIN_KEY) {
  const admin = (method: string, path: string, body?: unknown) =>
    call(origin, adminKey, method, path, body)
  const { id } = (await admin('POST', '/v2/merchant-accounts', { merchant_name: 'Shop' })).body
  const key = async (...scopes: string[]) =>
    (await admin('POST', '/v2/api-keys', { merchant_id: id, name: 'k', scopes })).body
      .api_key as string
  return {
    vaultKey: await key('vault:read', 'vault:write'),
    proxyKey: await key('proxy:invoke'),
    policyKey: await key('policy:write'),
  }
}

export function cardBody(customer: string, number: string) {
  return {
    customer_id: customer,
    payment_method_type: 'card',
    payment_method_data: {
      card: { card_number: number, card_exp_month: '03', card_exp_year: '2035' },
    },
  }
}
