// @ts-check
// Cuts SQL into tokens, to colour them and to know what the caret is in.

import { columns, functions, keywords, tables } from './words.js'

/** @typedef {{kind: string, start: number, end: number}} Token */

const pattern = /(?<comment>--[^\n]*|\/\*[^]*?(?:\*\/|$))|(?<text>'(?:[^']|'')*(?:'|$))|(?<name>"(?:[^"]|"")*(?:"|$))|(?<number>\b[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?\b)|(?<word>[A-Za-z_][A-Za-z0-9_]*)/gi

const kinds = new Map([
  ...keywords.map((word) => /** @type {const} */ ([word.toLowerCase(), 'keyword'])),
  ...functions.map((word) => /** @type {const} */ ([word, 'function'])),
  ...columns.map(([word]) => /** @type {const} */ ([word, 'column'])),
  ...tables.map((word) => /** @type {const} */ ([word, 'column'])),
])

/** Beyond so many characters nothing is coloured, so that typing stays quick. */
const longest = 50_000

/**
 * @param {string} sql
 * @returns {Token[]} what has a colour, in order
 */
export function tokens(sql) {
  if (sql.length > longest) return []
  const found = []
  for (const match of sql.matchAll(pattern)) {
    const start = match.index
    const end = start + match[0].length
    const groups = match.groups ?? {}
    let kind = Object.keys(groups).find((name) => groups[name] !== undefined) ?? ''
    if (kind === 'word') kind = kinds.get(match[0].toLowerCase()) ?? ''
    // A column may have the name of a function, and is one unless it is called.
    if (kind === 'function' && sql[end] !== '(') kind = ''
    if (kind !== '') found.push({ kind, start, end })
  }
  return found
}
