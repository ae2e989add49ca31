// @ts-check
// Lays JSON out for reading without touching what it says: numbers keep their spelling and keys their order and doubles, which
// JSON.parse would lose.

import { h } from './dom.js'

/** @typedef {{kind: 'name'|'text'|'number'|'word'|'plain', text: string}} Piece */

/** How much of a document is laid out; a browser is slow with more. */
export const layOutLimit = 256 << 10

const word = /[^\s,:[\]{}"]+/y

/**
 * @param {string} source well-formed JSON; of anything else the result says no more than the source
 * @param {number} [limit] of characters, after which it ends
 * @returns {Piece[]} the same JSON with one member or element a line
 */
export function layOut(source, limit = layOutLimit) {
  /** @type {Piece[]} */
  const pieces = []
  let depth = 0
  let length = 0
  const add = (/** @type {Piece['kind']} */ kind, /** @type {string} */ text) => {
    pieces.push({ kind, text: text.slice(0, limit - length) })
    length += text.length
  }
  const line = () => add('plain', `\n${'  '.repeat(depth)}`)
  for (let at = skipBlanks(source, 0); at < source.length && length < limit; at = skipBlanks(source, at)) {
    const c = source[at]
    if (c === '{' || c === '[') {
      const inside = skipBlanks(source, at + 1)
      if (source[inside] === '}' || source[inside] === ']') {
        add('plain', c + source[inside])
        at = inside + 1
      } else {
        depth++
        add('plain', c)
        line()
        at++
      }
    } else if (c === '}' || c === ']') {
      depth = Math.max(0, depth - 1)
      line()
      add('plain', c)
      at++
    } else if (c === ',') {
      add('plain', ',')
      line()
      at++
    } else if (c === ':') {
      add('plain', ': ')
      at++
    } else if (c === '"') {
      const end = stringEnd(source, at)
      add(source[skipBlanks(source, end)] === ':' ? 'name' : 'text', source.slice(at, end))
      at = end
    } else {
      word.lastIndex = at
      const found = word.exec(source)?.[0] ?? c
      add(c >= 'a' ? 'word' : 'number', found)
      at += found.length
    }
  }
  return pieces
}

/**
 * @param {string} source
 * @param {number} at
 */
function skipBlanks(source, at) {
  while (at < source.length && ' \t\r\n'.includes(source[at])) at++
  return at
}

/**
 * Where the string that begins at a quote ends.
 * @param {string} source
 * @param {number} start
 */
function stringEnd(source, start) {
  for (let at = source.indexOf('"', start + 1); at >= 0; at = source.indexOf('"', at + 1)) {
    let escapes = 0
    while (source[at - 1 - escapes] === '\\') escapes++
    if (escapes % 2 === 0) return at + 1
  }
  return source.length
}

/**
 * Elements that show a document laid out, up to layOutLimit characters of it.
 * @param {string} source
 * @returns {HTMLElement[]}
 */
export function laidOut(source) {
  return layOut(source).map(({ kind, text }) => h('span', { class: `json-${kind}` }, text))
}
