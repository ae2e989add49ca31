// @ts-check
// A quick chart of a result: bars of a column by another, or a line over time or numbers.

import { h, replace, s } from './dom.js'
import { roundUp } from './chart.js'
import { count, short } from './format.js'

/** @typedef {import('./csv.js').Row} Row */

/** More of them nobody can read. */
const most = { bars: 40, points: 2000 }
const barHeight = 28
const lineHeight = 300

/**
 * A value as a number, or as the moment that it says, in ms; NaN when it is neither.
 * @param {string|null|undefined} value
 */
export function numberOf(value) {
  if (value === null || value === undefined || value.trim() === '') return NaN
  const number = Number(value)
  if (!Number.isNaN(number)) return number
  const time = /^(\d{4}-\d\d-\d\d)(?: (\d\d:\d\d:\d\d(?:\.\d+)?))?(?: UTC)?$/.exec(value)
  return time ? Date.parse(`${time[1]}T${time[2] ?? '00:00:00'}Z`) : NaN
}

/**
 * What a column holds, by its first values.
 * @param {Row[]} rows
 * @param {number} column
 * @returns {'number'|'time'|'text'}
 */
export function kindOf(rows, column) {
  const values = rows.slice(0, 200).map((row) => row[column]).filter((value) => value !== null)
  if (values.length === 0 || values.some((value) => Number.isNaN(numberOf(value)))) return 'text'
  return values.every((value) => !Number.isNaN(Number(value))) ? 'number' : 'time'
}

export class Plot {
  /**
   * @param {HTMLElement} box is drawn into
   * @param {HTMLElement} note says what is left out
   * @param {{kind: HTMLSelectElement, x: HTMLSelectElement, y: HTMLSelectElement}} choices
   */
  constructor(box, note, choices) {
    this.box = box
    this.note = note
    this.choices = choices
    /** @type {string[]} */
    this.columns = []
    /** @type {Row[]} */
    this.rows = []
    for (const choice of Object.values(choices)) choice.addEventListener('change', () => this.draw())
    new ResizeObserver(() => this.draw()).observe(box)
  }

  /**
   * @param {string[]} columns
   * @param {Row[]} rows
   */
  show(columns, rows) {
    this.columns = columns
    this.rows = rows
    const kinds = columns.map((_, i) => kindOf(rows, i))
    const x = Math.max(0, kinds.findIndex((kind) => kind !== 'number'))
    const y = kinds.findIndex((kind, i) => kind === 'number' && i !== x)
    for (const [choice, chosen] of /** @type {const} */ ([[this.choices.x, x], [this.choices.y, y]])) {
      replace(choice, ...columns.map((name, i) => h('option', { value: i, selected: i === chosen }, name)))
    }
    this.choices.kind.value = kinds[x] === 'time' && rows.length > 2 ? 'line' : 'bars'
    this.draw()
  }

  draw() {
    const width = this.box.clientWidth
    if (width === 0) return
    const [x, y] = [Number(this.choices.x.value), Number(this.choices.y.value)]
    const points = this.rows
      .map((row) => ({ label: row[x] ?? 'NULL', x: numberOf(row[x]), y: numberOf(row[y]) }))
      .filter((point) => !Number.isNaN(point.y))
    if (points.length === 0) {
      this.note.textContent = this.rows.length === 0 ? 'There are no rows to draw.' : 'The height needs a column of numbers, such as a count(*).'
      return this.box.replaceChildren()
    }
    replace(this.box, this.choices.kind.value === 'line' ? this.line(points, width) : this.bars(points, width))
  }

  /**
   * @param {{label: string, y: number}[]} points
   * @param {number} width
   */
  bars(points, width) {
    const shown = points.slice(0, most.bars)
    this.note.textContent = points.length > shown.length ? `The first ${shown.length} of ${count(points.length)} rows.` : ''
    const low = Math.min(0, ...shown.map((point) => point.y))
    const high = Math.max(0, ...shown.map((point) => point.y))
    const names = Math.min(220, width * 0.34, 12 + 7.5 * Math.max(...shown.map((point) => cut(point.label, 30).length)))
    const room = width - names - 72
    const scale = high > low ? room / (high - low) : 0
    const zero = names + 8 - low * scale
    return s('svg', { class: 'plot', role: 'img', 'aria-label': this.label('Bars'), width, height: shown.length * barHeight, viewBox: `0 0 ${width} ${shown.length * barHeight}` },
      ...shown.flatMap((point, i) => {
        const long = Math.max(1, Math.abs(point.y) * scale)
        const middle = i * barHeight + barHeight / 2
        return [
          s('text', { class: 'bar-name', x: names, y: middle + 4, 'text-anchor': 'end' }, cut(point.label, Math.floor(names / 7.5)), s('title', null, point.label)),
          s('rect', { class: 'bar', x: point.y < 0 ? zero - long : zero, y: middle - 9, width: long, height: 18, rx: 3 }),
          s('text', { class: 'bar-value', x: (point.y < 0 ? zero : zero + long) + 6, y: middle + 4 }, value(point.y)),
        ]
      }))
  }

  /**
   * @param {{label: string, x: number, y: number}[]} all
   * @param {number} width
   */
  line(all, width) {
    const inOrder = all.every((point) => !Number.isNaN(point.x))
    let points = inOrder ? [...all].sort((a, b) => a.x - b.x) : all.map((point, i) => ({ ...point, x: i }))
    const step = Math.ceil(points.length / most.points)
    if (step > 1) points = points.filter((_, i) => i % step === 0)
    this.note.textContent = step > 1 ? `Every ${count(step)}th of ${count(all.length)} rows.` : inOrder ? '' : 'In the order of the rows.'
    const high = roundUp(points.reduce((top, point) => Math.max(top, point.y), 0))
    const lowest = points.reduce((bottom, point) => Math.min(bottom, point.y), 0)
    const low = lowest < 0 ? -roundUp(-lowest) : 0
    const [left, right, top, bottom] = [46, width - 8, 14, lineHeight - 26]
    const [first, last] = [points[0], points[points.length - 1]]
    const px = (/** @type {number} */ v) => (last.x > first.x ? left + ((v - first.x) / (last.x - first.x)) * (right - left) : (left + right) / 2)
    const py = (/** @type {number} */ v) => bottom - ((v - low) / (high - low)) * (bottom - top)
    const path = points.map((point) => `${px(point.x).toFixed(1)} ${py(point.y).toFixed(1)}`).join('L')
    return s('svg', { class: 'plot', role: 'img', 'aria-label': this.label('Line'), width, height: lineHeight, viewBox: `0 0 ${width} ${lineHeight}` },
      ...[0, 0.5, 1].flatMap((part) => {
        const v = low + (high - low) * part
        const at = Math.round(py(v)) + 0.5
        return [s('line', { class: part === 0 ? 'axis' : 'rule', x1: left, x2: right, y1: at, y2: at }),
          s('text', { x: left - 8, y: at + 4, 'text-anchor': 'end' }, short(v))]
      }),
      s('path', { class: 'line one', d: `M${path}${points.length === 1 ? 'h.01' : ''}` }),
      ...(points.length <= 60 ? points.map((point) => s('circle', { class: 'dot', cx: px(point.x), cy: py(point.y), r: 3 }, s('title', null, `${point.label}: ${value(point.y)}`))) : []),
      s('text', { x: left, y: lineHeight - 6 }, cut(first.label, 24)),
      points.length > 1 ? s('text', { x: right, y: lineHeight - 6, 'text-anchor': 'end' }, cut(last.label, 24)) : null)
  }

  /** @param {string} kind */
  label(kind) {
    return `${kind}: ${this.columns[Number(this.choices.y.value)]} by ${this.columns[Number(this.choices.x.value)]}`
  }
}

/**
 * @param {string} text
 * @param {number} length
 */
function cut(text, length) {
  const tidy = text.replace(/\.000000 UTC$/, '').replace(/(\d\d:\d\d):00(\.\d+)?$/, '$1')
  return tidy.length > length ? `${tidy.slice(0, Math.max(1, length - 1))}…` : tidy
}

/** @param {number} n */
function value(n) {
  return Number.isInteger(n) ? count(n) : String(Number(n.toPrecision(6)))
}
