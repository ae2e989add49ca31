// @ts-check
// Asks GET /v1/stats once a second while the page is seen, and makes rates of each two looks.

import { ask, explain, Problem } from './api.js'
import { seen } from './dom.js'
import { KeyNeeded } from './key.js'

/**
 * What happened between two looks, and how things stand at the second. Null is not known.
 * @typedef {object} Sample
 * @property {number} at in ms, by the server's clock
 * @property {number|null} events a second
 * @property {number|null} bytes a second
 * @property {number|null} p50 of the acks between the looks, in seconds
 * @property {number|null} p99
 * @property {Record<string, number>} lag by sink, in seconds
 * @property {number|null} rows in the lake
 * @property {number|null} files in the lake
 */

/**
 * What the server is to this page: it answers, it doesn't, it wants a key, or it has no statistics.
 * @typedef {'live'|'down'|'locked'|'silent'} Standing
 */

const every = 1000
/** How many samples are kept: five minutes of them. */
export const kept = 300
/** Looks that are farther apart say nothing of the time between: the page slept. */
const apart = 5000

/**
 * The q-quantile of a histogram, by a straight line within its bucket; null when it is empty. Of what is above the last bound
 * no more is known than the bound.
 * @param {number[]} bounds
 * @param {number[]} counts one more than bounds
 * @param {number} q
 * @returns {number|null}
 */
export function quantile(bounds, counts, q) {
  const total = counts.reduce((sum, n) => sum + n, 0)
  if (total <= 0) return null
  let rank = q * total
  for (let i = 0; i < bounds.length; i++) {
    if (rank <= counts[i]) {
      const low = i === 0 ? 0 : bounds[i - 1]
      return low + ((bounds[i] - low) * rank) / counts[i]
    }
    rank -= counts[i]
  }
  return bounds[bounds.length - 1]
}

/**
 * @param {any} before a look, or null
 * @param {any} now the next one
 * @returns {Sample}
 */
export function between(before, now) {
  /** @type {Sample} */
  const sample = {
    at: Date.parse(now.time), events: null, bytes: null, p50: null, p99: null, lag: {},
    rows: now.lake?.rows ?? null, files: now.lake?.files ?? null,
  }
  for (const sink of now.sinks ?? []) sample.lag[sink.sink] = sink.lagSeconds
  if (!before || before.since !== now.since) return sample
  const milliseconds = sample.at - Date.parse(before.time)
  if (milliseconds <= 0 || milliseconds > apart) return sample
  sample.events = ((now.accepted.events - before.accepted.events) * 1000) / milliseconds
  sample.bytes = ((now.accepted.bytes - before.accepted.bytes) * 1000) / milliseconds
  const acks = now.acks.counts.map((/** @type {number} */ n, /** @type {number} */ i) => n - before.acks.counts[i])
  sample.p50 = quantile(now.acks.bounds, acks, 0.5)
  sample.p99 = quantile(now.acks.bounds, acks, 0.99)
  return sample
}

/** Looks at the server for as long as the page is open. */
export class Stats extends EventTarget {
  constructor() {
    super()
    /** @type {Sample[]} the oldest first */
    this.samples = []
    /** @type {any} the last look */
    this.last = null
    /** @type {Standing|''} */
    this.standing = ''
    this.detail = ''
  }

  /** Looks now, and from now on. Events: "look", "standing". */
  async start() {
    for (;;) {
      await seen()
      const wait = await this.look()
      await new Promise((resolve) => setTimeout(resolve, wait))
    }
  }

  /** @returns {Promise<number>} when to look again, in ms */
  async look() {
    try {
      const now = await ask('/v1/stats', { quiet: true, signal: AbortSignal.timeout(5000) })
      if (this.last?.time !== now.time) {
        this.samples.push(between(this.last, now))
        this.samples.splice(0, this.samples.length - kept)
        this.last = now
      }
      this.stand('live', '')
      this.dispatchEvent(new Event('look'))
      return every
    } catch (error) {
      if (error instanceof Problem && error.status === 404) {
        this.stand('silent', 'This server has no statistics to show.')
        return 30 * every
      }
      const late = error instanceof DOMException
      this.stand(error instanceof KeyNeeded ? 'locked' : 'down', late ? 'It has not answered for 5 seconds.' : explain(error).detail)
      return every
    }
  }

  /**
   * @param {Standing} standing
   * @param {string} detail
   */
  stand(standing, detail) {
    if (standing === this.standing && detail === this.detail) return
    this.standing = standing
    this.detail = detail
    this.dispatchEvent(new Event('standing'))
  }
}
