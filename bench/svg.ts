// The little SVG that the pictures are made of: text, bars and lines, in colours that are read on white and on black. No
// scripts, no fonts but those that are there.

export type Point = readonly [x: number, y: number]

/** Classes of the style below. */
export type Tone = 'ours' | 'other' | 'floor' | `part${number}`

/** Eight parts of a whole, told apart also by who does not see red and green. */
const PARTS_ON_WHITE = [
  '4477aa',
  '66ccee',
  '228833',
  'ccbb44',
  'ee6677',
  'aa3377',
  '8c6d46',
  '999999',
]
const PARTS_ON_BLACK = [
  '6699cc',
  '77ddee',
  '44aa55',
  'ddcc66',
  'ff8899',
  'cc66aa',
  'b4966e',
  'aaaaaa',
]

const style = `
text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328 }
.title { font-size: 16px; font-weight: 600 }
.note { font-size: 12px; fill: #59636e }
.paper { fill: #ffffff }
.axis { stroke: #d1d9e0; stroke-width: 1; fill: none }
.ours { fill: #0969da; stroke: #0969da }
.other { fill: #8c959f; stroke: #8c959f }
.floor { fill: #c4ccd4; stroke: #c4ccd4 }
.line { fill: none; stroke-width: 2 }
.line.ours { stroke-width: 3 }
.bar { stroke: none }
text.ours, text.other, text.floor { stroke: none }
text.ours { font-weight: 600 }
text.other, text.floor { fill: #59636e }
${PARTS_ON_WHITE.map((colour, n) => `.part${n} { fill: #${colour}; stroke: #${colour} }`).join('\n')}
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.note, text.other, text.floor { fill: #9198a1 }
.paper { fill: #0d1117 }
.axis { stroke: #3d444d }
.ours { fill: #4493f8; stroke: #4493f8 }
.other { fill: #7d8590; stroke: #7d8590 }
.floor { fill: #484f58; stroke: #484f58 }
${PARTS_ON_BLACK.map((colour, n) => `.part${n} { fill: #${colour}; stroke: #${colour} }`).join('\n')}
}`

/** `summary`: for those who do not see it. */
export function svg(width: number, height: number, summary: string, parts: readonly string[]) {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">
<title>${escaped(summary)}</title>
<style>${style}
</style>
<rect class="paper" width="${width}" height="${height}"/>
${parts.join('\n')}
</svg>
`
}

export function text(
  x: number,
  y: number,
  content: string,
  options: { readonly anchor?: 'start' | 'middle' | 'end'; readonly class?: string } = {},
): string {
  const { anchor = 'start', class: name } = options
  const attributes = `${anchor === 'start' ? '' : ` text-anchor="${anchor}"`}${name === undefined ? '' : ` class="${name}"`}`
  return `<text x="${fixed(x)}" y="${fixed(y)}"${attributes}>${escaped(content)}</text>`
}

export function bar(x: number, y: number, width: number, height: number, tone: Tone): string {
  return `<rect class="bar ${tone}" x="${fixed(x)}" y="${fixed(y)}" width="${fixed(Math.max(0, width))}" height="${fixed(height)}" rx="2"/>`
}

export function line(points: readonly Point[], name: Tone | 'axis', dashes = ''): string {
  const path = points.map(([x, y]) => `${fixed(x)},${fixed(y)}`).join(' ')
  const kind = name === 'axis' ? 'axis' : `line ${name}`
  // A line of the tone's colour only: the style fills bars of the same tone.
  const dash = dashes === '' ? '' : ` stroke-dasharray="${dashes}"`
  return `<polyline class="${kind}" style="fill: none"${dash} points="${path}"/>`
}

const fixed = (value: number) => String(Math.round(value * 10) / 10)

const escaped = (content: string) =>
  content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
