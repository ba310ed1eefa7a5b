// Headers as the parser hands them over: names and values in turn, duplicates kept, names in any case.

/** The first of this name, which is in lower case. */
export function headerValue(headers: readonly string[], name: string): string | undefined {
  for (let i = 0; i < headers.length; i += 2) {
    if (isNamed(headers[i] as string, name)) return headers[i + 1]
  }
  return undefined
}

/** In lower case, several as the one list that they stand for (RFC 9110, 5.3); empty when there is none. */
export function headerList(headers: readonly string[], name: string): string {
  // Written out: most answers have none of those that are asked for.
  let list: string | undefined
  for (let i = 0; i < headers.length; i += 2) {
    if (!isNamed(headers[i] as string, name)) continue
    const value = headers[i + 1] as string
    list = list === undefined ? value : `${list},${value}`
  }
  return list === undefined ? '' : list.trim().toLowerCase()
}

/** In place of all of the same name. */
export function setHeader(headers: string[], name: string, value: string): void {
  removeHeader(headers, name.toLowerCase())
  headers.push(name, value)
}

/** `name` in lower case. */
export function removeHeader(headers: string[], name: string): void {
  // Written out: each proxied request comes here, and makes no closure for it.
  for (let i = headers.length - 2; i >= 0; i -= 2) {
    if (isNamed(headers[i] as string, name)) headers.splice(i, 2)
  }
}

export function removeHeaders(headers: string[], isUnwanted: (name: string) => boolean): void {
  for (let i = headers.length - 2; i >= 0; i -= 2) {
    if (isUnwanted(headers[i] as string)) headers.splice(i, 2)
  }
}

/** Most names are of another length, and need no copy in lower case. */
function isNamed(header: string, name: string): boolean {
  return header.length === name.length && header.toLowerCase() === name
}
