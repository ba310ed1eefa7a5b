// The page that is committed: bench/RESULTS.md, made from a report and never by hand.

import { GROUPS } from './cases.ts'
import { machineText } from './machine.ts'
import type { Options } from './options.ts'
import {
  caseTable,
  count,
  type Report,
  spreadText,
  steadyTable,
  type Table,
  verdictsOf,
  verdictTable,
} from './report.ts'
import { streamMemoryText } from './stream-memory.ts'

const PICTURES: Readonly<Record<string, string>> = {
  'cost.svg': 'Processor time for one proxied request, by contender',
  'latency.svg': 'Latency at a steady rate',
  'breakdown.svg': 'Where the processor time of a request goes',
}

export function resultsPage(
  report: Report,
  options: Pick<Options, 'rounds' | 'windowS' | 'steadyS'>,
  pictures: readonly string[],
): string {
  const { machine, ratios, streamMemory, leftOut } = report
  const parts = [
    '# Results',
    'Written by `npm run bench -- --full --record`; what the figures mean stands in [README.md](README.md).',
    machineText(machine).replaceAll('\n', '  \n'),
    `Contenders: ${machine.contenders.join(', ')}. ${options.rounds} rounds; each case ${options.windowS} s at full load, ` +
      `${options.steadyS} s at a steady rate. Ratios and differences are within a round: median (min..max).`,
    ...pictures.map((name) => `![${PICTURES[name] ?? name}](pictures/${name})`),
    `## Targets\n\n${markdown(verdictTable(verdictsOf(report)))}`,
    `## Ratios of processor time\n\n${ratios.map(({ title, spread }) => `- ${title}: ${spreadText(spread)}`).join('\n')}`,
    ...Object.entries(GROUPS).flatMap(([group, title]) => {
      const cases = report.cases.filter((each) => each.group === group)
      return cases.length === 0 ? [] : [`## ${title}\n\n${markdown(caseTable(cases))}`]
    }),
  ]
  const [steady] = report.steady
  if (steady !== undefined) {
    parts.push(
      `## Latency at a steady ${count(steady.rate)} requests/s\n\n${markdown(steadyTable(report.steady))}\n\n` +
        `The generator's own lateness: p99 ${steady.latenessP99Ms.toFixed(3)} ms.`,
    )
  }
  if (streamMemory !== undefined) {
    parts.push(`## A large body, streamed\n\n${streamMemoryText(streamMemory)}`)
  }
  if (leftOut.length > 0) parts.push(leftOut.join('  \n'))
  return `${parts.join('\n\n')}\n`
}

function markdown({ head, rows }: Table): string {
  const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  return [row(head), row(head.map((_, n) => (n === 0 ? '---' : '---:'))), ...rows.map(row)].join(
    '\n',
  )
}
