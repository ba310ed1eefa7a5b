// Many things under way at once, whose results are taken in the order in which they were begun.

export type InOrder<T> = {
  /** Waits while as many as allowed are under way. Throws what one of them threw. */
  begin(work: () => Promise<T>): Promise<void>
  /** Until all have ended. Throws what one of them threw. */
  end(): Promise<void>
}

type Entry<T> = { result: { value: T } | undefined }

/** `take` is called with each result, in order; after one has failed with none that was begun behind it. */
export function inOrder<T>(limit: number, take: (value: T) => void): InOrder<T> {
  let entries: Entry<T>[] = []
  let first = 0
  let underWay = 0
  let failure: { error: unknown } | undefined
  let wake: (() => void) | undefined

  function settled(): void {
    underWay -= 1
    try {
      for (let entry = entries[first]; entry?.result !== undefined; entry = entries[first]) {
        if (failure !== undefined) break
        first += 1
        take(entry.result.value)
      }
    } catch (error) {
      failure ??= { error }
    }
    if (first > limit) {
      entries = entries.slice(first)
      first = 0
    }
    wake?.()
  }

  async function waitUntil(isEnough: () => boolean): Promise<void> {
    while (!isEnough()) {
      await new Promise<void>((resolve) => {
        wake = resolve
      })
      wake = undefined
    }
  }

  return {
    async begin(work) {
      if (entries.length - first >= limit) {
        await waitUntil(() => entries.length - first < limit || failure !== undefined)
      }
      if (failure !== undefined) throw failure.error
      const entry: Entry<T> = { result: undefined }
      entries.push(entry)
      underWay += 1
      work().then(
        (value) => {
          entry.result = { value }
          settled()
        },
        (error: unknown) => {
          failure ??= { error }
          settled()
        },
      )
    },
    async end() {
      await waitUntil(() => underWay === 0)
      if (failure !== undefined) throw failure.error
    },
  }
}
