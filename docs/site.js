// What the theme leaves out for who has no mouse or no screen: names, and code and tables that the keyboard can scroll.
const mend = () => {
  document.querySelector("[data-md-component=search]")?.setAttribute("aria-label", "Search")
  document.querySelectorAll("pre > code, .md-typeset__scrollwrap").forEach(part => { part.tabIndex = 0 })
  document.querySelectorAll(".md-code__nav").forEach((nav, at) => nav.setAttribute("aria-label", `Code ${at + 1}`))
}
mend()
new MutationObserver(mend).observe(document.body, { childList: true, subtree: true }) // the theme makes some of them later
