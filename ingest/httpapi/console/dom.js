// @ts-check
// Builds the page out of elements and texts. What a server or a user says becomes text nodes, never markup.

/** @typedef {Node|string|number|null|undefined|false} Child */

/**
 * An HTML element. Functions among the properties are listeners (`click`), booleans are present or absent, all else are
 * attributes.
 * @param {string} tag
 * @param {Record<string, any>|null} [properties]
 * @param {...Child} children
 * @returns {any} HTMLElement
 */
export function h(tag, properties, ...children) {
  return fill(document.createElement(tag), properties, children)
}

/**
 * An SVG element.
 * @param {string} tag
 * @param {Record<string, any>|null} [properties]
 * @param {...Child} children
 * @returns {any} SVGElement
 */
export function s(tag, properties, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), properties, children)
}

/**
 * @param {Element} element
 * @param {Record<string, any>|null|undefined} properties
 * @param {Child[]} children
 */
function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (typeof value === 'function') element.addEventListener(name, value)
    else if (typeof value === 'boolean') element.toggleAttribute(name, value)
    else if (value !== null && value !== undefined) element.setAttribute(name, String(value))
  }
  put(element, ...children)
  return element
}

/**
 * Adds children; nothing is added for null, undefined and false.
 * @param {Element} element
 * @param {...Child} children
 */
export function put(element, ...children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue
    element.append(child instanceof Node ? child : document.createTextNode(String(child)))
  }
}

/**
 * Puts children in the place of those that are there.
 * @param {Element} element
 * @param {...Child} children
 */
export function replace(element, ...children) {
  element.replaceChildren()
  put(element, ...children)
}

/**
 * The element of an id in index.html.
 * @param {string} id
 * @returns {any} HTMLElement
 */
export function byId(id) {
  const element = document.getElementById(id)
  if (!element) throw new Error(`the page has no #${id}`)
  return element
}

/**
 * A notice: what is wrong, and what to do about it.
 * @param {'bad'|'warn'|'calm'} tone
 * @param {string} title
 * @param {string} [detail]
 * @param {...Child} more
 */
export function notice(tone, title, detail, ...more) {
  return h('div', { class: `notice ${tone}` }, h('strong', null, title), detail ? h('p', null, detail) : null, ...more)
}

/**
 * Has the browser keep a file.
 * @param {string} name
 * @param {Blob} blob
 */
export function save(name, blob) {
  const url = URL.createObjectURL(blob)
  h('a', { href: url, download: name }).click()
  setTimeout(() => URL.revokeObjectURL(url), 60_000) // the download has begun by then
}

/**
 * A button that copies a text. Browsers allow for it on https and on localhost only; elsewhere there is none.
 * @param {() => string} text
 * @param {string} label
 * @returns {Child}
 */
export function copyButton(text, label) {
  if (!navigator.clipboard) return null
  const button = h('button', { class: 'quiet small', type: 'button', click: copy }, label)
  async function copy() {
    try {
      await navigator.clipboard.writeText(text())
      button.textContent = 'Copied'
    } catch {
      button.textContent = 'Not allowed' // the browser asked, and the user said no
    }
    setTimeout(() => (button.textContent = label), 1500)
  }
  return button
}

/** Returns once the page is seen: at once, unless it is in a tab behind. */
export function seen() {
  return /** @type {Promise<void>} */ (new Promise((resolve) => {
    function look() {
      if (document.hidden) return
      document.removeEventListener('visibilitychange', look)
      resolve()
    }
    document.addEventListener('visibilitychange', look)
    look()
  }))
}
