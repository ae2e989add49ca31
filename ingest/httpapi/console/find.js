// @ts-check
// One event by its id: its body, laid out and as it was posted, and its envelope.

import { explain, pause, problemOf, request } from './api.js'
import { byId, copyButton, h, notice, put, replace, save, seen } from './dom.js'
import { at, bytes, count } from './format.js'
import { laidOut, layOutLimit } from './json.js'
import { startTabs } from './tabs.js'

/** @type {AbortController|null} of the lookup under way */
let looking = null
/** @type {(panel: string) => void} */
let showPanel
/** The event that is shown, for its envelope. */
let shown = ''

/** Wires the view. */
export function startFind() {
  byId('find-form').addEventListener('submit', (/** @type {Event} */ event) => {
    event.preventDefault()
    const id = byId('find-id').value.trim()
    const hash = `#/find/${encodeURIComponent(id)}`
    if (location.hash === hash) find(id)
    else location.hash = hash // main.js comes back with it
  })
  showPanel = startTabs(byId('find-tabs'), (panel) => {
    if (panel === 'find-envelope') showEnvelope()
  })
}

/**
 * Looks an event up and shows it.
 * @param {string} id
 */
export async function find(id) {
  looking?.abort()
  const mine = (looking = new AbortController())
  byId('find-id').value = id
  byId('find-empty').hidden = id !== ''
  byId('found').hidden = true
  replace(byId('find-state'))
  if (id === '') return
  if (!/^[0-9A-Za-z]{27}$/.test(id)) {
    return replace(byId('find-state'), notice('bad', 'This can’t be an id', 'An id has 27 letters and digits, as in the answer to a POST.'))
  }
  try {
    const response = await arrival(id, mine.signal)
    if (response) await show(id, response, mine.signal)
  } catch (error) {
    if (mine.signal.aborted) return
    const { title, detail } = explain(error)
    replace(byId('find-state'), notice('bad', title, detail, h('button', { type: 'button', click: () => find(id) }, 'Try again')))
  }
}

/** Nobody looks at the view any more. */
export function leaveFind() {
  looking?.abort()
}

/**
 * Asks until the event is there, or it is known that it never will be.
 * @param {string} id
 * @param {AbortSignal} signal
 * @returns {Promise<Response>}
 */
async function arrival(id, signal) {
  for (let asked = 1; ; asked++) {
    const response = await request(`/v1/events/${id}`, { signal })
    if (response.status === 200) return response
    const problem = await problemOf(response)
    if (problem.kind !== 'event-pending') throw problem
    replace(byId('find-state'), h('div', { class: 'notice calm', 'data-state': 'pending' }, h('strong', null, 'On its way'),
      h('p', null, `${problem.detail} Asked ${asked === 1 ? 'once' : `${count(asked)} times`}; this page goes on asking.`),
      h('span', { class: 'spinner', 'aria-hidden': 'true' })))
    await pause(Math.max(1, problem.retryAfter) * 1000, signal)
    await seen()
  }
}

/**
 * @param {string} id
 * @param {Response} response
 * @param {AbortSignal} signal
 */
async function show(id, response, signal) {
  const blob = await response.blob()
  const text = await blob.text()
  if (signal.aborted) return
  shown = id
  replace(byId('find-state'))
  const attributes = attributesOf(response)
  replace(byId('found-title'), h('h2', { class: 'mono' }, id), h('span', { class: 'pill calm' }, attributes.get('type') ?? ''),
    h('span', { class: 'spacer' }), copyButton(() => text, 'Copy body'),
    h('button', { class: 'quiet small', type: 'button', click: () => save(`${id}.json`, blob) }, 'Download'))
  replace(byId('found-attributes'), ...[...attributes].map(([name, value]) =>
    h('div', null, h('dt', null, name), h('dd', null, h('span', { class: 'mono' }, value), aside(name, value)))))
  replace(byId('find-body'), more(text), code(laidOut(text)))
  replace(byId('find-raw'), more(text), code([text.slice(0, layOutLimit)]))
  replace(byId('find-envelope'))
  showPanel('find-body')
  byId('found').hidden = false
  byId('find-announce').textContent = `Found: ${bytes(blob.size)}`
}

/** The order in which attributes are read. */
const known = ['type', 'source', 'subject', 'time', 'receivedtime', 'partitionkey', 'originid', 'datacontenttype', 'size', 'sha256', 'dataschema', 'tenant', 'specversion']

/**
 * The attributes of the event, from the ce-* headers, which are percent-encoded.
 * @param {Response} response
 */
function attributesOf(response) {
  const attributes = new Map([...response.headers]
    .filter(([name]) => name.startsWith('ce-') && name !== 'ce-id')
    .map(([name, value]) => /** @type {[string, string]} */ ([name.slice(3), decoded(value)])))
  attributes.set('datacontenttype', response.headers.get('Content-Type') ?? '')
  const rank = (/** @type {string} */ name) => (known.indexOf(name) + known.length + 1) % (known.length + 1) // others come last
  return new Map([...attributes].sort(([a], [b]) => rank(a) - rank(b)))
}

/** @param {string} value */
function decoded(value) {
  try {
    return decodeURIComponent(value)
  } catch {
    return value // not percent-encoded after all
  }
}

/**
 * What helps to read a value.
 * @param {string} name
 * @param {string} value
 */
function aside(name, value) {
  const help = name === 'size' && Number(value) >= 1000 ? bytes(Number(value)) : name === 'receivedtime' ? at(value) : ''
  return help === '' ? null : h('span', { class: 'muted aside' }, help)
}

/** @param {(Node|string)[]} content */
function code(content) {
  return h('pre', { class: 'code', tabindex: 0 }, ...content)
}

/** @param {string} text */
function more(text) {
  return text.length <= layOutLimit ? null : h('p', { class: 'muted' }, `The beginning of ${count(text.length)} characters. Download it to have all.`)
}

/** The envelope is asked for when somebody wants to see it. */
async function showEnvelope() {
  const panel = byId('find-envelope')
  if (panel.childNodes.length > 0) return
  const id = shown
  put(panel, h('p', { class: 'muted' }, 'Asking…'))
  try {
    const response = await request(`/v1/events/${id}`, { headers: { Accept: 'application/cloudevents+json' } })
    if (response.status !== 200) throw await problemOf(response)
    const text = await response.text()
    if (id === shown) replace(panel, more(text), code(laidOut(text)))
  } catch (error) {
    const { title, detail } = explain(error)
    replace(panel, notice('bad', title, detail))
  }
}
