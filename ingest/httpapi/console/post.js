// @ts-check
// Posts documents and batches until they are durable or it is known that they never will be, by README's retry rule.

import { explain, pause, postOnce, Problem } from './api.js'
import { bodyOf } from './lines.js'

/** The most rounds for the items of a batch. */
const rounds = 6

/**
 * Posts one document.
 * @param {Blob|string} body
 * @param {URLSearchParams} attributes
 * @param {AbortSignal} signal
 * @returns {Promise<{id: string, via: string}>}
 */
export async function postDocument(body, attributes, signal) {
  const response = await postOnce(pathOf(attributes), 'application/json', body, signal)
  return response.json()
}

/**
 * @typedef {object} Outcome of the lines of a batch
 * @property {string[]} ids
 * @property {LineProblem[]} problems
 */

/** @typedef {{line: number, title: string, detail: string}} LineProblem */

/**
 * Posts lines as one batch, and those items again that the server could not take just then.
 * @param {import('./lines.js').Line[]} lines
 * @param {URLSearchParams} attributes
 * @param {AbortSignal} signal
 * @param {Outcome} outcome is filled; after an error it has what is known of some
 */
export async function postLines(lines, attributes, signal, outcome) {
  let left = lines
  for (let round = 1; left.length > 0; round++) {
    const response = await postOnce(pathOf(attributes), 'application/x-ndjson', bodyOf(left), signal)
    const { items } = await response.json()
    /** @type {import('./lines.js').Line[]} */
    const later = []
    let wait = 0
    items.forEach((/** @type {any} */ item, /** @type {number} */ i) => {
      if (item.id) outcome.ids.push(item.id)
      // One whose outcome is unknown may be stored; another request would store it once more.
      else if (item.status === 503 && item.problem.type !== '/problems/outcome-unknown' && round < rounds) {
        later.push(left[i])
        wait = Math.max(wait, item.problem.retryAfter ?? 1)
      } else {
        const { title, detail } = explain(new Problem(item.status, item.problem))
        // The server counts the lines of the request, which is a part of the file.
        outcome.problems.push({ line: left[i].number, title, detail: detail.replace(/^Line \d+, byte \d+ of the body: /, '') })
      }
    })
    if (later.length > 0) await pause(wait * 1000, signal)
    left = later
  }
  outcome.problems.sort((a, b) => a.line - b.line)
}

/** @param {URLSearchParams} attributes */
function pathOf(attributes) {
  return attributes.size > 0 ? `/v1/events?${attributes}` : '/v1/events'
}
