// The code of nginx-njs.conf; `cards` is the object preloaded there, by what stands between the braces of a placeholder.

function detokenize(r) {
  const body = r.requestText || ''
  let from = body.indexOf('{{$')
  if (from < 0) return body
  let text = ''
  let done = 0
  while (from >= 0) {
    const to = body.indexOf('}}', from)
    if (to < 0) break
    const value = cards[body.slice(from + 3, to)]
    if (value !== undefined) {
      text += body.slice(done, from) + value
      done = to + 2
    }
    from = body.indexOf('{{$', to)
  }
  return text + body.slice(done)
}

export default { detokenize }
