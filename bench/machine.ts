// Where and of what figures were measured: without it they mean nothing.

import { execFileSync } from 'node:child_process'
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os'
import type { PeerDescription } from './peers/peers.ts'

export type Machine = {
  readonly cpu: string
  readonly cores: number
  readonly memoryBytes: number
  readonly kernel: string
  readonly node: string
  readonly commit: string
  readonly loadAverage: readonly number[]
  readonly isPinned: boolean
  /** Of what was compared with. */
  readonly contenders: readonly string[]
}

/** What one who only looks on causes. */
const QUIET_LOAD = 1

/** Asked before this process puts itself on one of them. */
export const coreCount = () => availableParallelism()

export function describeMachine(
  isPinned: boolean,
  cores: number,
  contenders: readonly PeerDescription[],
): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores,
    memoryBytes: totalmem(),
    kernel: `${process.platform} ${release()}`,
    node: process.version,
    commit: commit(),
    loadAverage: loadavg().map((value) => Math.round(value * 100) / 100),
    isPinned,
    contenders: contenders.map(({ title }) => title),
  }
}

/** With `+` when what ran was not what was committed. */
function commit(): string {
  const git = (...args: string[]) =>
    execFileSync('git', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  try {
    return git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain') === '' ? '' : '+')
  } catch {
    return 'unknown'
  }
}

export function machineText(machine: Machine): string {
  const { cpu, cores, memoryBytes, kernel, node, commit, loadAverage, isPinned } = machine
  return [
    `${cpu}, ${cores} cores, ${Math.round(memoryBytes / 2 ** 30)} GB, ${kernel}, Node ${node}, ` +
      `commit ${commit}, load average ${loadAverage.join(' ')} before the run`,
    isPinned
      ? 'Contender on core 0; load and upstream together on core 1.'
      : 'NOT PINNED (no taskset, or one core): contender, load and upstream compete; trust nothing but wide ratios.',
    ...((loadAverage[0] ?? 0) > QUIET_LOAD
      ? ['THE MACHINE IS BUSY: figures are too high, ratios are wide; repeat.']
      : []),
  ].join('\n')
}
