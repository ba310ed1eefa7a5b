// The audit trail: append-only JSON lines, each with the SHA-256 of the line before, so that a line cannot be
// altered, removed or moved without breaking the chain.
//
// Lines of one turn of the event loop are written together with one synchronous write (2 µs; an asynchronous one
// costs 40) and handed to the operating system before anyone waiting for them goes on. They reach the disk by
// interval or with every batch, as configured. What cannot be written is not acknowledged: no record, no reveal.

import { hash } from 'node:crypto'
import {
  closeSync,
  constants,
  fdatasync,
  fdatasyncSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { type Clock, isoTime } from '../core/clock.ts'
import { type AuditEvent, auditLine } from './event.ts'

/** Told once, when the line is with the operating system, or with the error that kept it from there. */
export interface AuditWaiter {
  onAudited(error: unknown): void
}

export interface AuditTrail {
  /** `waiter` goes on only when it was told so without an error. */
  append(event: AuditEvent, waiter?: AuditWaiter): void
  /** The same as a promise, where a request is not counted in microseconds. */
  record(event: AuditEvent): Promise<void>
  readonly isWorking: boolean
  close(): Promise<void>
}

export type AuditConfig = {
  readonly folder: string
  /** One process writes to a file: a command that runs beside the server names one of its own. */
  readonly fileName?: string
  readonly sync: 'interval' | 'every-batch'
  readonly syncIntervalMs: number
}

const FILE_NAME = 'audit.jsonl'
const GENESIS = '0'.repeat(64)
const TAIL_BYTES = 64 * 1024
const LINE_FEED = 0x0a
/** More than what 64 connections say in one turn. It grows with the longest batch. */
const BUFFER_BYTES = 64 * 1024
/** Of one UTF-16 code unit. */
const MAX_UTF8_BYTES = 3

/** `onFatal`: a sync failed, so nobody knows what is on disk; the process has to end. */
export function openAuditTrail(
  config: AuditConfig,
  deps: { clock: Clock; version: string; onFatal: (error: unknown) => void },
): AuditTrail {
  mkdirSync(config.folder, { recursive: true, mode: 0o700 })
  const path = join(config.folder, config.fileName ?? FILE_NAME)
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_APPEND, 0o600)

  const tail = readTail(fd)
  let seq = tail.seq
  let previous = tail.hash
  let size = tail.size
  if (tail.cutBytes > 0) ftruncateSync(fd, size)

  let pending: { event: AuditEvent; waiter: AuditWaiter | undefined }[] = []
  let isScheduled = false
  let isDirty = false
  let isWorking = true
  let isTorn = false
  let isClosed = false
  // Kept: one for each batch would cost as much as a tenth of its lines.
  let buffer: Buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES)
  // The time of a line is the time of its batch: it is formatted once.
  const flush = (): void => {
    isScheduled = false
    if (pending.length === 0) return
    const batch = pending
    pending = []
    let nextSeq = seq
    let nextPrevious = previous
    let length = 0
    const time = isoTime(deps.clock())
    let failure: unknown
    try {
      for (const { event } of batch) {
        const line = auditLine(event, nextSeq + 1, time, nextPrevious)
        nextSeq += 1
        nextPrevious = hash('sha256', line)
        if (length + MAX_UTF8_BYTES * line.length >= buffer.length) {
          buffer = enlarged(buffer, length + MAX_UTF8_BYTES * line.length + 1)
        }
        length += buffer.write(line, length)
        buffer[length++] = LINE_FEED
      }
      if (isTorn) ftruncateSync(fd, size) // what an earlier failed write left behind
      isTorn = true
      for (let at = 0; at < length; ) at += writeSync(fd, buffer, at, length - at)
      isTorn = false
      size += length
      seq = nextSeq
      previous = nextPrevious
      isDirty = true
      if (config.sync === 'every-batch') syncNow()
      isWorking = true
    } catch (error) {
      isWorking = false
      failure = error
    }
    for (const { waiter } of batch) waiter?.onAudited(failure)
  }

  const syncNow = (): void => {
    try {
      fdatasyncSync(fd)
      isDirty = false
    } catch (error) {
      deps.onFatal(error)
      throw error
    }
  }

  /** The one that is under way: it needs the file to be open. */
  let syncing: Promise<void> | undefined
  const syncSoon = (): void => {
    if (!isDirty || syncing !== undefined) return
    isDirty = false
    syncing = new Promise((resolve) => {
      fdatasync(fd, (error) => {
        syncing = undefined
        if (error) deps.onFatal(error)
        resolve()
      })
    })
  }
  const timer =
    config.sync === 'interval' ? setInterval(syncSoon, config.syncIntervalMs).unref() : undefined

  const append = (event: AuditEvent, waiter?: AuditWaiter): void => {
    if (isClosed) {
      waiter?.onAudited(new Error('the audit trail is closed'))
      return
    }
    pending.push({ event, waiter })
    if (isScheduled) return
    isScheduled = true
    setImmediate(flush)
  }

  const record = (event: AuditEvent): Promise<void> =>
    new Promise((resolve, reject) => {
      append(event, { onAudited: (error) => (error === undefined ? resolve() : reject(error)) })
    })

  if (tail.cutBytes > 0) append({ kind: 'recovered', cutBytes: tail.cutBytes })
  append({ kind: 'start', version: deps.version })

  return {
    append,
    record,
    get isWorking() {
      return isWorking
    },
    async close() {
      append({ kind: 'stop', version: deps.version })
      flush()
      isClosed = true
      clearInterval(timer)
      await syncing
      try {
        syncNow()
      } finally {
        closeSync(fd)
      }
    },
  }
}

function enlarged(buffer: Buffer, atLeast: number): Buffer {
  const larger = Buffer.allocUnsafeSlow(Math.max(2 * buffer.length, atLeast))
  buffer.copy(larger)
  return larger
}

type Tail = { seq: number; hash: string; size: number; cutBytes: number }

/** Where the chain goes on. An incomplete last line, which nobody was ever told of, is left out of `size`. */
function readTail(fd: number): Tail {
  const fileSize = fstatSync(fd).size
  let window = Math.min(fileSize, TAIL_BYTES)
  for (;;) {
    const bytes = Buffer.alloc(window)
    for (let at = 0; at < window; ) {
      const read = readSync(fd, bytes, at, window - at, fileSize - window + at)
      if (read === 0) throw new Error('the audit file shrank while it was read')
      at += read
    }
    const end = bytes.lastIndexOf(LINE_FEED)
    const start = end === -1 ? -1 : bytes.lastIndexOf(LINE_FEED, end - 1)
    const isWhole = window === fileSize
    if (start === -1 && !isWhole) {
      window = Math.min(fileSize, window * 2) // the last line is longer than the window
      continue
    }
    if (end === -1) return { seq: 0, hash: GENESIS, size: 0, cutBytes: fileSize }
    const line = bytes.toString('utf8', start + 1, end)
    const seq = /^\{"seq":([0-9]{1,15}),/.exec(line)?.[1]
    if (seq === undefined) throw new Error('the last line of the audit file is not one of ours')
    const size = fileSize - window + end + 1
    return { seq: Number(seq), hash: hash('sha256', line), size, cutBytes: fileSize - size }
  }
}
