// @ts-check
// Requests to the server that the page came from.

import { askKey, currentKey } from './key.js'

/** An answer that says what is wrong: RFC 9457. */
export class Problem extends Error {
  /**
   * @param {number} status
   * @param {Record<string, any>} body
   */
  constructor(status, body) {
    super(body.title)
    this.status = status
    this.title = String(body.title ?? `The server answered ${status}`)
    this.detail = String(body.detail ?? '')
    /** @type {string} for example "event-pending" */
    this.kind = String(body.type ?? '').replace('/problems/', '')
    /** Seconds after which another try may help; 0: it won't. */
    this.retryAfter = Number(body.retryAfter ?? 0)
  }
}

/** There was no answer. */
export class Unreachable extends Error {
  title = 'The server does not answer'
  detail = 'It may be restarting, or the network is down.'
}

/**
 * Does a request and returns the answer, whatever its status. A 401 asks the user for a key first and tries again.
 * @param {string} path
 * @param {RequestInit & {quiet?: boolean}} [options] quiet: nobody has just asked for this
 * @returns {Promise<Response>}
 */
export async function request(path, options = {}) {
  const { quiet = false, ...init } = options
  for (;;) {
    const key = currentKey()
    const headers = new Headers(init.headers)
    if (key) headers.set('Authorization', `Bearer ${key}`)
    let response
    try {
      response = await fetch(path, { cache: 'no-store', redirect: 'error', ...init, headers })
    } catch (error) {
      if (init.signal?.aborted) throw error
      throw new Unreachable()
    }
    if (response.status !== 401) return response
    await askKey(key, quiet)
  }
}

/**
 * The problem in an answer.
 * @param {Response} response
 */
export async function problemOf(response) {
  let body = {}
  try {
    body = JSON.parse(await response.text())
  } catch {
    // Something between us and the server answered; its status is all that we know.
  }
  return new Problem(response.status, body)
}

/**
 * Does a request whose answer is JSON, and throws a Problem for any status of 400 and above.
 * @param {string} path
 * @param {RequestInit & {quiet?: boolean}} [options]
 * @returns {Promise<any>}
 */
export async function ask(path, options) {
  const response = await request(path, options)
  if (response.status >= 400) throw await problemOf(response)
  return response.json()
}

/**
 * Title and detail of whatever was thrown.
 * @param {unknown} error
 * @returns {{title: string, detail: string}}
 */
export function explain(error) {
  if (error instanceof Error && 'title' in error && 'detail' in error) {
    return { title: String(error.title), detail: String(error.detail) }
  }
  return { title: 'Something went wrong in this page', detail: String(error) }
}

/**
 * Waits. Ends with an error when the signal does.
 * @param {number} milliseconds
 * @param {AbortSignal} [signal]
 * @returns {Promise<void>}
 */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop)
      resolve()
    }, milliseconds)
    function stop() {
      clearTimeout(timer)
      reject(signal?.reason)
    }
    signal?.addEventListener('abort', stop, { once: true })
  })
}

/** How often a request is tried, before it is given up. */
const tries = 6

/**
 * Does a POST, and again with the same Idempotency-Key while another try may help: nothing is stored or started twice.
 * @param {string} path
 * @param {string} type
 * @param {Blob|string} body
 * @param {AbortSignal} [signal]
 * @returns {Promise<Response>} of any status, with JSON that is no problem document
 */
export async function postOnce(path, type, body, signal) {
  const headers = { 'Content-Type': type, 'Idempotency-Key': idempotencyKey() }
  for (let attempt = 1; ; attempt++) {
    const later = 2 ** attempt / 2
    let error
    let wait = 0
    try {
      const response = await request(path, { method: 'POST', headers, body, signal })
      const said = response.headers.get('Content-Type') ?? ''
      if (said.startsWith('application/json')) return response
      const problem = (error = await problemOf(response))
      // Without a problem document it is something before the server that speaks, such as a load balancer.
      wait = said.startsWith('application/problem') || response.status < 500 ? problem.retryAfter : later
    } catch (thrown) {
      error = thrown
      if (error instanceof Unreachable) wait = later
    }
    if (wait === 0 || attempt === tries) throw error
    await pause(wait * 1000, signal)
  }
}

/** crypto.randomUUID is there on https only. */
function idempotencyKey() {
  const random = crypto.getRandomValues(new Uint8Array(16))
  return `console-${Array.from(random, (b) => b.toString(16).padStart(2, '0')).join('')}`
}
