// @ts-check
// A live chart: lines over the last minutes, with the present values above.

import { h, replace, s } from './dom.js'
import { timeOfDay, unknown } from './format.js'

/**
 * @typedef {object} Series
 * @property {string} name
 * @property {'one'|'two'} color
 * @property {(sample: any) => number|null|undefined} value
 */

const height = 176
const margin = { top: 18, bottom: 22 }
/** The least and the most time that the chart spans, in ms. */
const span = { least: 60_000, most: 300_000 }

/**
 * The next round number.
 * @param {number} n
 */
export function roundUp(n) {
  if (!(n > 0)) return 1
  const power = 10 ** Math.floor(Math.log10(n))
  for (const step of [1, 1.5, 2, 3, 4, 5, 6, 8, 10]) {
    if (step * power >= n * 0.999999) return step * power
  }
  return 10 * power
}

/** One chart in a card of its own. */
export class LiveChart {
  /**
   * @param {object} options
   * @param {string} options.title
   * @param {(n: number|null|undefined) => string} options.format
   * @param {Series[]} options.series
   * @param {number} options.least the least that the axis reaches to
   */
  constructor({ title, format, series, least }) {
    this.title = title
    this.format = format
    this.series = series
    this.least = least
    /** @type {any[]} */
    this.samples = []
    this.scale = { width: 0, last: 0, long: span.least, most: least }
    this.cursor = s('line', { class: 'cursor', y1: margin.top, y2: height - margin.bottom, visibility: 'hidden' })
    this.svg = s('svg', { class: 'plot', role: 'img', height })
    this.tip = h('div', { class: 'tip', hidden: true })
    this.values = series.map(() => h('span', { class: 'now' }, unknown))
    const legend = series.map((one, i) =>
      h('span', { class: 'series' }, series.length > 1 ? h('span', { class: `key ${one.color}` }) : null,
        series.length > 1 ? h('span', { class: 'muted' }, one.name) : null, this.values[i]),
    )
    this.box = h('div', { class: 'plot-box' }, this.svg, this.tip)
    this.element = h('figure', { class: 'card chart' },
      h('figcaption', null, h('h2', null, title), h('div', { class: 'legend' }, ...legend)), this.box)
    this.box.addEventListener('pointermove', (/** @type {PointerEvent} */ e) => this.point(e))
    this.box.addEventListener('pointerleave', () => this.unpoint())
    new ResizeObserver(() => this.draw()).observe(this.box)
  }

  /** @param {any[]} samples the oldest first, each with `at` in ms */
  update(samples) {
    this.samples = samples
    const last = samples[samples.length - 1]
    this.series.forEach((one, i) => (this.values[i].textContent = this.format(last && one.value(last))))
    this.draw()
  }

  draw() {
    const width = this.box.clientWidth
    if (width === 0) return
    const last = this.samples[this.samples.length - 1]?.at ?? 0
    const first = this.samples[0]?.at ?? 0
    const long = Math.min(span.most, Math.max(span.least, last - first))
    let most = this.least
    for (const sample of this.samples) {
      if (sample.at < last - long) continue
      for (const one of this.series) most = Math.max(most, one.value(sample) ?? 0)
    }
    most = roundUp(most)
    this.scale = { width, last, long, most }
    this.svg.setAttribute('viewBox', `0 0 ${width} ${height}`)
    this.svg.setAttribute('width', width)
    this.svg.setAttribute('aria-label', this.summary())
    replace(this.svg, ...this.grid(), ...this.series.flatMap((one) => this.line(one)), this.cursor)
  }

  /** @param {number} at */
  x(at) {
    const { width, last, long } = this.scale
    return width - 1 - ((last - at) / long) * (width - 1)
  }

  /** @param {number} value */
  y(value) {
    return height - margin.bottom - (value / this.scale.most) * (height - margin.top - margin.bottom)
  }

  grid() {
    const { width, most, long } = this.scale
    const lines = [0, 0.5, 1].flatMap((part) => {
      const y = Math.round(this.y(most * part)) + 0.5
      return [
        s('line', { class: part === 0 ? 'axis' : 'rule', x1: 0, x2: width, y1: y, y2: y }),
        part > 0 && s('text', { x: 0, y: y - 4 }, this.format(most * part)),
      ]
    })
    const minutes = Math.round(long / 6000) / 10
    return [
      ...lines.filter(Boolean),
      s('text', { x: 0, y: height - 5 }, `−${minutes} min`),
      s('text', { x: width, y: height - 5, 'text-anchor': 'end' }, 'now'),
    ]
  }

  /** @param {Series} one */
  line(one) {
    let path = ''
    let area = ''
    /** @type {[number, number][]} */
    let run = []
    const end = () => {
      if (run.length > 0) {
        const points = run.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join('L')
        path += `M${points}${run.length === 1 ? 'h.01' : ''}`
        area += `M${run[0][0].toFixed(1)} ${this.y(0)}L${points}L${run[run.length - 1][0].toFixed(1)} ${this.y(0)}Z`
      }
      run = []
    }
    for (const sample of this.samples) {
      const value = one.value(sample)
      if (value === null || value === undefined || sample.at < this.scale.last - this.scale.long) end()
      else run.push([this.x(sample.at), this.y(value)])
    }
    end()
    return [this.series.length === 1 && s('path', { class: `area ${one.color}`, d: area }), s('path', { class: `line ${one.color}`, d: path })]
      .filter(Boolean)
  }

  /** What the chart shows, for those who don't see it. */
  summary() {
    const last = this.samples[this.samples.length - 1]
    const now = this.series.map((one) => `${one.name} ${this.format(last && one.value(last))}`).join(', ')
    return `${this.title}, now: ${now}; the scale ends at ${this.format(this.scale.most)}`
  }

  /** @param {PointerEvent} event */
  point(event) {
    if (this.samples.length === 0) return
    const x = event.clientX - this.box.getBoundingClientRect().left
    let nearest = this.samples[0]
    for (const sample of this.samples) {
      if (Math.abs(this.x(sample.at) - x) < Math.abs(this.x(nearest.at) - x)) nearest = sample
    }
    const at = this.x(nearest.at)
    this.cursor.setAttribute('x1', at)
    this.cursor.setAttribute('x2', at)
    this.cursor.setAttribute('visibility', 'visible')
    replace(this.tip, h('span', { class: 'muted' }, timeOfDay(nearest.at)),
      ...this.series.map((one) => h('span', null, h('span', { class: `key ${one.color}` }), this.format(one.value(nearest)))))
    this.tip.hidden = false
    const room = this.scale.width - this.tip.offsetWidth
    this.tip.style.transform = `translateX(${Math.max(0, Math.min(room, at + 12 > room ? at - this.tip.offsetWidth - 12 : at + 12))}px)`
  }

  unpoint() {
    this.tip.hidden = true
    this.cursor.setAttribute('visibility', 'hidden')
  }
}
