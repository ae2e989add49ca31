// @ts-check
// Tabs as WAI-ARIA has them: one stop of the Tab key, arrow keys within.

/**
 * Wires the buttons of a role="tablist", each with aria-controls.
 * @param {HTMLElement} list
 * @param {(id: string) => void} [shown] is told which panel is seen now
 * @returns {(id: string) => void} shows a panel
 */
export function startTabs(list, shown) {
  const tabs = /** @type {HTMLElement[]} */ ([...list.querySelectorAll('[role=tab]')])

  /** @param {string} id */
  function show(id) {
    for (const tab of tabs) {
      const panel = tab.getAttribute('aria-controls') ?? ''
      const chosen = panel === id
      tab.setAttribute('aria-selected', String(chosen))
      tab.tabIndex = chosen ? 0 : -1
      const element = document.getElementById(panel)
      if (element) element.hidden = !chosen
    }
    shown?.(id)
  }

  list.addEventListener('click', (event) => {
    const tab = /** @type {HTMLElement} */ (event.target).closest('[role=tab]')
    if (tab) show(tab.getAttribute('aria-controls') ?? '')
  })
  list.addEventListener('keydown', (event) => {
    const now = tabs.findIndex((tab) => tab === document.activeElement)
    const to = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: tabs.length - 1 }[event.key]
    if (to === undefined || now < 0) return
    event.preventDefault()
    const tab = tabs[(to + tabs.length) % tabs.length]
    show(tab.getAttribute('aria-controls') ?? '')
    tab.focus()
  })
  return show
}
