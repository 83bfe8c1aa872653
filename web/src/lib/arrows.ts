// Moving along tabs, or choices of which one holds, by the arrow keys; Tab leads to the chosen one alone.

/** Source: WAI-ARIA Authoring Practices, "Tabs" and "Radio Group": what has the focus is chosen, and round it goes. */
export function arrows(event: KeyboardEvent & { currentTarget: HTMLElement }): void {
  const all = [...event.currentTarget.querySelectorAll<HTMLElement>('[role=tab], [role=radio]')]
  const at = all.findIndex((each) => each === event.target)
  const steps: Record<string, number> = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: -1 }
  const to = steps[event.key]
  if (to === undefined || at < 0) return
  event.preventDefault()
  const next = all.at(to % all.length)!
  next.focus()
  next.click()
}
