// @ts-check
// The queries that were run in this browser. They stay in its local storage and are sent nowhere.

const name = 'penstock.queries'
const kept = 50

/**
 * @typedef {object} Past
 * @property {string} sql
 * @property {number} at when it was run, in ms
 * @property {string} state
 * @property {number} seconds
 * @property {number|null} rows
 */

/** @returns {Past[]} the newest first */
export function pastQueries() {
  try {
    const list = JSON.parse(localStorage.getItem(name) ?? '[]')
    return Array.isArray(list) ? list.filter((one) => typeof one?.sql === 'string') : []
  } catch {
    return [] // storage is forbidden, or holds something else
  }
}

/**
 * Adds one; an older run of the same SQL gives way.
 * @param {Past} past
 */
export function remember(past) {
  write([past, ...pastQueries().filter((one) => one.sql !== past.sql)].slice(0, kept))
}

export function forgetQueries() {
  write([])
}

/** @param {Past[]} list */
function write(list) {
  try {
    localStorage.setItem(name, JSON.stringify(list))
  } catch {
    // Storage is forbidden or full: then there is no history.
  }
}
