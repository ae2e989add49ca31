// @ts-check
// Numbers, sizes and times as people read them.

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })
const tenth = new Intl.NumberFormat('en', { maximumFractionDigits: 1 })
const moment = new Intl.DateTimeFormat('en', { dateStyle: 'medium', timeStyle: 'medium', hourCycle: 'h23' })
const clock = new Intl.DateTimeFormat('en', { timeStyle: 'medium', hourCycle: 'h23' })

/** What stands for a number that is not known. */
export const unknown = '–'

/** @typedef {number|null|undefined} Maybe */

/** @param {Maybe} n */
export function count(n) {
  if (n === null || n === undefined) return unknown
  return n > 0 && n < 10 && !Number.isInteger(n) ? tenth.format(n) : whole.format(n)
}

/**
 * With three digits and a unit: 1.25 k, 34 M.
 * @param {number} n
 * @param {string[]} units of a thousand each
 */
function scaled(n, units) {
  let i = 0
  while (Math.abs(n) >= 999.5 && i < units.length - 1) {
    n /= 1000
    i++
  }
  const digits = n >= 99.5 ? 0 : n >= 9.95 ? 1 : 2
  return `${i === 0 ? (digits === 0 ? whole : tenth).format(n) : n.toFixed(digits)} ${units[i]}`.trim()
}

/** @param {Maybe} n */
export function bytes(n) {
  return n === null || n === undefined ? unknown : scaled(n, ['B', 'kB', 'MB', 'GB', 'TB', 'PB'])
}

/** @param {Maybe} n */
export function short(n) {
  return n === null || n === undefined ? unknown : scaled(n, ['', 'k', 'M', 'G', 'T'])
}

/** @param {Maybe} seconds */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return unknown
  if (seconds === 0) return '0 s'
  if (seconds < 0.00095) return `${Math.round(seconds * 1e6)} µs`
  if (seconds < 0.0095) return `${(seconds * 1e3).toFixed(1)} ms`
  if (seconds < 0.95) return `${Math.round(seconds * 1e3)} ms`
  if (seconds < 59.5) return `${seconds < 9.95 ? seconds.toFixed(1) : Math.round(seconds)} s`
  const minutes = Math.floor(seconds / 60 + 1e-9)
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`
  return `${Math.floor(minutes / 1440)} days`
}

/**
 * A moment in the reader's own time zone.
 * @param {string|number|undefined} time
 */
export function at(time) {
  const date = new Date(time ?? NaN)
  return Number.isNaN(date.getTime()) ? unknown : moment.format(date)
}

/** @param {string|number} time */
export function timeOfDay(time) {
  return clock.format(new Date(time))
}

/**
 * @param {number} n
 * @param {string} one
 * @param {string} [many]
 */
export function plural(n, one, many = `${one}s`) {
  return `${whole.format(n)} ${n === 1 ? one : many}`
}
