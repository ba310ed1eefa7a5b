// Runs one case: its contender in a process of its own, prepared, validated, measured, ended. Holds what all of them
// share: the folder for their data, the upstreams, the certificates, the filled vaults.

import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startAutocannon } from './autocannon-load.ts'
import type { Case } from './cases.ts'
import { Contender, type Tls } from './contender.ts'
import { type Figures, measure, startLoad } from './load.ts'
import { FEW_STORED } from './options.ts'
import { type Certificates, makeCertificates } from './peers/certificates.ts'
import { type Prepared, prepare, prepareDirect } from './prepare.ts'
import { answerSlowClients, startSlowClients } from './slow-clients.ts'
import { measureSteadily, type SteadyFigures } from './steady-rate.ts'
import { type StoredMethods, storeMethods } from './stored.ts'
import { startUpstream, type Upstream } from './upstream.ts'

const WARM_UP_S = 2

export type RunnerOptions = {
  readonly isPinned: boolean
  readonly windowS: number
  readonly steadyS: number
  readonly rate: number
  readonly manyStored: number
  readonly hasAutocannon: boolean
  readonly profileFolder: string | undefined
  readonly say: (text: string) => void
}

export class Runner implements Disposable {
  readonly #options: RunnerOptions
  readonly #folder: string
  readonly #adminKey = randomBytes(24).toString('hex')
  readonly #certificates: Certificates
  readonly #upstreams = new Map<'http' | 'https', Upstream>()
  readonly #stored = new Map<number, StoredMethods>()
  readonly #removeFolder: () => void

  constructor(options: RunnerOptions) {
    this.#options = options
    this.#folder = mkdtempSync(join(tmpdir(), 'sallyport-bench-'))
    // Contenders end with their channel to us; their data goes here, whichever way this process ends.
    this.#removeFolder = () => rmSync(this.#folder, { recursive: true, force: true })
    process.on('exit', this.#removeFolder)
    this.#certificates = makeCertificates(this.#folder)
  }

  [Symbol.dispose](): void {
    for (const upstream of this.#upstreams.values()) upstream.close()
    process.off('exit', this.#removeFolder)
    this.#removeFolder()
  }

  /** At full load, and then, if asked, at a steady rate. */
  async run(
    each: Case,
    hasSteady: boolean,
  ): Promise<{ load: Figures; steady: SteadyFigures | undefined }> {
    const stored = await this.#storedFor(each)
    const folder = stored?.folder ?? mkdtempSync(join(this.#folder, `${each.name}-`))
    const upstream = await this.#upstream(each.tls === 'none' ? 'http' : 'https')
    const contender = await this.#start(each, upstream, folder)
    const usage = () => contender.usage()
    try {
      const idleRssBytes = (await usage()).rssBytes
      const prepared = await prepare(each, {
        target: { origin: contender.origin, ca: contender.ca },
        upstream,
        upstreamCa: each.tls === 'none' ? undefined : this.#certificates.ca,
        adminKey: this.#adminKey,
        stored,
      })
      const { windowS, steadyS, rate } = this.#options
      const times = { warmUpS: WARM_UP_S, windowS }
      const figures = await this.#besideSlowClients(each, prepared, () =>
        measure(prepared, () => this.#startLoad(each, prepared), upstream, usage, times),
      )
      return {
        load: { ...figures, idleRssBytes },
        steady: hasSteady
          ? await measureSteadily(prepared, upstream, usage, { rate, warmUpS: 0, windowS: steadyS })
          : undefined,
      }
    } finally {
      await contender.stop()
      // An audit trail of seconds is large; a filled vault is for the next round.
      if (stored === undefined) rmSync(folder, { recursive: true, force: true })
    }
  }

  async runDirect(): Promise<SteadyFigures> {
    const upstream = await this.#upstream('http')
    return measureSteadily(prepareDirect(upstream), upstream, undefined, {
      rate: this.#options.rate,
      warmUpS: WARM_UP_S,
      windowS: this.#options.steadyS,
    })
  }

  #start(each: Case, upstream: Upstream, folder: string): Promise<Contender> {
    const tls: Tls = each.tls === 'none' ? {} : { tls: each.tls, certificates: this.#certificates }
    return Contender.start(each.peer, {
      upstream: upstream.origin,
      folder,
      adminKey: this.#adminKey,
      isPinned: this.#options.isPinned,
      isGuarded: each.guards === 'all',
      profileFolder: this.#options.profileFolder,
      ...tls,
    })
  }

  async #startLoad({ connections }: Case, prepared: Prepared) {
    if (!this.#options.hasAutocannon) return startLoad(prepared, connections)
    const { target, same } = prepared
    if (same === undefined) throw new Error('autocannon sends the same every time')
    return startAutocannon(target, same.request, same.answer.toString(), connections)
  }

  async #besideSlowClients<T>(
    { slowClients }: Case,
    { target, slow }: Prepared,
    work: () => Promise<T>,
  ): Promise<T> {
    if (slowClients === 0 || slow === undefined) return work()
    const clients = await startSlowClients(target, slow, slowClients)
    try {
      return await Promise.race([work(), clients.failed])
    } finally {
      clients.stop()
    }
  }

  async #upstream(protocol: 'http' | 'https'): Promise<Upstream> {
    let upstream = this.#upstreams.get(protocol)
    if (upstream === undefined) {
      upstream = await startUpstream({
        ...(protocol === 'https' ? { tls: this.#certificates } : {}),
        answerOtherwise: answerSlowClients,
      })
      this.#upstreams.set(protocol, upstream)
    }
    return upstream
  }

  async #storedFor(each: Case): Promise<StoredMethods | undefined> {
    if (each.work.kind !== 'stored') return undefined
    const count = each.work.amount === 'few' ? FEW_STORED : this.#options.manyStored
    let stored = this.#stored.get(count)
    if (stored === undefined) {
      const folder = join(this.#folder, `stored-${count}`)
      const upstream = await this.#upstream('http')
      mkdirSync(folder)
      this.#options.say(`storing ${count} payment methods ...`)
      stored = await storeMethods(folder, count, this.#adminKey, upstream, (data) =>
        this.#start(each, upstream, data),
      )
      this.#options.say(` ${stored.fillSeconds.toFixed(0)} s\n`)
      this.#stored.set(count, stored)
    }
    return stored
  }
}
