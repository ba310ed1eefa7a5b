import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Deadlines, not measurements: they end what hangs, on a machine that is busy as well.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 20_000 } },
    // Half the time: files share the modules they load, and no test leaves state behind in its process.
    isolate: false,
    maxWorkers: 2,
  },
})
