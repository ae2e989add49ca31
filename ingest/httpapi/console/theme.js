// @ts-check
// Light, dark, or as the system has it. A classic script in the head: the page must not flash in the other theme first.
'use strict'
;(() => {
  const name = 'penstock.theme'
  const next = { auto: 'light', light: 'dark', dark: 'auto' }
  const title = { auto: 'as the system', light: 'light', dark: 'dark' }

  /** @returns {'auto'|'light'|'dark'} */
  function chosen() {
    let stored = null
    try {
      stored = localStorage.getItem(name)
    } catch {
      // Storage may be forbidden; the theme is then the system's.
    }
    return stored === 'light' || stored === 'dark' ? stored : 'auto'
  }

  /** @param {'auto'|'light'|'dark'} theme */
  function show(theme) {
    document.documentElement.dataset.theme = theme
    const button = document.getElementById('theme')
    if (button) {
      const label = `Theme: ${title[theme]}`
      button.setAttribute('aria-label', label)
      button.title = label
    }
  }

  show(chosen())
  document.addEventListener('DOMContentLoaded', () => {
    let theme = chosen()
    show(theme)
    document.getElementById('theme')?.addEventListener('click', () => {
      theme = /** @type {'auto'|'light'|'dark'} */ (next[theme])
      try {
        localStorage.setItem(name, theme)
      } catch {
        // As above: then it lasts as long as the page.
      }
      show(theme)
    })
  })
})()
