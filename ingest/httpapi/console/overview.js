// @ts-check
// How the server does: what it takes in, how quickly, and how far behind the sinks are.

import { LiveChart } from './chart.js'
import { byId, h, notice, put, replace } from './dom.js'
import { at, bytes, count, duration, short, unknown } from './format.js'

/** @param {import('./stats.js').Stats} stats */
export function startOverview(stats) {
  const charts = [
    new LiveChart({
      title: 'Events accepted', format: (n) => (n === null || n === undefined ? unknown : `${short(n)}/s`), least: 10,
      series: [{ name: 'events', color: 'one', value: (sample) => sample.events }],
    }),
    new LiveChart({
      title: 'Time to ack', format: duration, least: 0.005,
      series: [
        { name: 'p50', color: 'one', value: (sample) => sample.p50 },
        { name: 'p99', color: 'two', value: (sample) => sample.p99 },
      ],
    }),
    new LiveChart({
      title: 'Bytes accepted', format: (n) => (n === null || n === undefined ? unknown : `${bytes(n)}/s`), least: 1000,
      series: [{ name: 'bytes', color: 'one', value: (sample) => sample.bytes }],
    }),
    new LiveChart({
      title: 'Sink lag', format: duration, least: 5,
      series: [
        { name: 'index', color: 'one', value: (sample) => sample.lag.index },
        { name: 'lake', color: 'two', value: (sample) => sample.lag.lake },
      ],
    }),
    new LiveChart({
      title: 'Rows in the lake', format: short, least: 10,
      series: [{ name: 'rows', color: 'two', value: (sample) => sample.rows }],
    }),
    new LiveChart({
      title: 'Files in the lake', format: count, least: 10,
      series: [{ name: 'files', color: 'two', value: (sample) => sample.files }],
    }),
  ]
  put(byId('charts'), ...charts.map((chart) => chart.element))

  stats.addEventListener('look', () => {
    showTiles(stats.last)
    for (const chart of charts) chart.update(stats.samples)
    byId('overview-since').textContent = `Counting since ${at(stats.last.since)}`
    byId('overview-empty').hidden = stats.last.accepted.events > 0 || (stats.last.lake?.rows ?? 0) > 0
  })
  stats.addEventListener('standing', () => {
    const place = byId('overview-notice')
    if (stats.standing === 'live') replace(place)
    else if (stats.standing === 'silent') replace(place, notice('calm', 'No statistics here', stats.detail))
    else if (stats.standing === 'locked') replace(place, notice('warn', 'An API key is needed', stats.detail))
    else replace(place, notice('warn', 'The server does not answer', `${stats.detail} This page goes on as soon as it does.`))
  })
}

/** @param {any} look */
function showTiles(look) {
  const backlog = (look.sinks ?? []).reduce((/** @type {number} */ sum, /** @type {any} */ sink) => Math.max(sum, sink.backlogBytes), 0)
  replace(byId('tiles'),
    tile('Acked', count(look.accepted.events), `${bytes(look.accepted.bytes)} of documents`),
    look.stream && tile('Kept by the stream', bytes(look.stream.bytes), backlog > 0 ? `${bytes(backlog)} not yet in all sinks` : 'all of it in both sinks'),
    look.lake && tile('Rows in the lake', count(look.lake.rows), 'that SQL reads'),
    look.lake && tile('Files in the lake', count(look.lake.files), bytes(look.lake.bytes)),
  )
}

/**
 * @param {string} name
 * @param {string} value
 * @param {string} more
 */
function tile(name, value, more) {
  return h('div', { class: 'card tile' }, h('dt', null, name), h('dd', null, h('strong', null, value), h('span', { class: 'muted' }, more)))
}
