// What the theme leaves out for who has no mouse or no screen: names, and code and tables that the keyboard can scroll.
const mend = () => {
  document.querySelector("[data-md-component=search]")?.setAttribute("aria-label", "Search")
  document.querySelectorAll("pre > code, .md-typeset__scrollwrap").forEach(part => { part.tabIndex = 0 })
  document.querySelectorAll(".md-code__nav").forEach((nav, at) => nav.setAttribute("aria-label", `Code ${at + 1}`))
}
mend()
new MutationObserver(mend).observe(document.body, { childList: true, subtree: true }) // the theme makes some of them later

// Its menu, of a narrow window, opens by a label, which the keyboard cannot reach.
const label = document.querySelector(".md-header__button[for=__drawer]")
const button = document.createElement("button")
button.className = label.className
button.ariaLabel = "Menu"
button.append(...label.childNodes)
button.addEventListener("click", () => document.getElementById("__drawer").click())
label.replaceWith(button)
