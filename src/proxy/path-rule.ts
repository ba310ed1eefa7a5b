// Paths: which are in normal form, and which a policy row means. A path that could be read in two ways (dot
// segments, empty segments, backslashes, encoded separators) is refused, never rewritten (RFC 3986, 6.2.2).

// Empty and dot segments (with the parameters some servers allow them), backslashes, encoded separators, and encoded
// characters that need no encoding.
const NOT_NORMAL =
  /\/\/|\\|\/\.{1,2}(;|\/|$)|%2f|%5c|%(2[de]|3[0-9]|4[1-9a-f]|5[0-9af]|6[1-9a-f]|7[0-9ae])/i
const VISIBLE_QUERY = /^[\x21\x22\x24-\x7e]*$/
const VISIBLE = /^\/[\x21\x22\x24-\x3e\x40-\x7e]*$/ // visible ASCII without # and ?

/** `query` with its question mark, or empty. */
export function isPlainQuery(query: string): boolean {
  return VISIBLE_QUERY.test(query)
}

export function isNormalPath(path: string): boolean {
  return VISIBLE.test(path) && !NOT_NORMAL.test(path)
}

/** In `pattern`, `*` is any run of characters, slashes included. Linear in the length of the path. */
export function compilePathRule(pattern: string): (path: string) => boolean {
  const [first = '', ...rest] = pattern.split('*')
  const last = rest.pop()
  if (last === undefined) return (path) => path === first
  return (path) => {
    if (!path.startsWith(first)) return false
    let at = first.length
    for (const piece of rest) {
      const found = path.indexOf(piece, at)
      if (found === -1) return false
      at = found + piece.length
    }
    return path.length - last.length >= at && path.endsWith(last)
  }
}
