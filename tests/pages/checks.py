"""What a page must be: whole on a phone and on a desk, in light and in dark, and one that all can read."""

from __future__ import annotations

from tests.pages.browser import Browser

WIDTHS, SCHEMES = (390, 1200), ("light", "dark")

# What is wrong with a page: wider than the window, or with something that sticks out of its frame without a scroll bar;
# numbers that are broken over lines; labels of a drawing that lie on each other, or are cut off.
PROBLEMS = """(() => {
  const found = [], root = document.documentElement, seen = element => element.getClientRects().length > 0;
  const scrolled = ".scroll, .table, .md-typeset__scrollwrap, pre";
  if (root.scrollWidth > root.clientWidth) found.push(`${root.scrollWidth} pixels wide, of ${root.clientWidth}`);
  for (const one of document.querySelectorAll("main *"))
    if (!one.closest(scrolled) && seen(one) && one.getBoundingClientRect().right > root.clientWidth + 1)
      found.push(`sticks out: ${one.outerHTML.slice(0, 120)}`);
  for (const one of document.querySelectorAll("figure > *"))
    if (one.getBoundingClientRect().right > one.parentElement.getBoundingClientRect().right + 1)
      found.push(`wider than its figure: ${one.outerHTML.slice(0, 120)}`);
  for (const one of document.querySelectorAll(".number, .cells td")) {
    const range = document.createRange(); range.selectNodeContents(one);
    if (new Set([...range.getClientRects()].map(box => Math.round(box.top))).size > 1)
      found.push(`broken: ${one.textContent}`);
  }
  for (const drawing of document.querySelectorAll("figure > svg:has(.axis)")) {
    const frame = drawing.getBoundingClientRect();
    for (const one of drawing.querySelectorAll("text")) {
      const box = one.getBoundingClientRect();
      if (box.left < frame.left - 1 || box.right > frame.right + 1) found.push(`cut off: '${one.textContent}'`);
    }
    const boxes = [...drawing.querySelectorAll("text")].filter(one => one.textContent)
      .map(one => [one.getBoundingClientRect(), one.textContent]);
    boxes.forEach(([a, first], at) => boxes.slice(at + 1).forEach(([b, second]) => {
      if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3)
        found.push(`'${first}' lies on '${second}' in '${drawing.querySelector("title").textContent}'`);
    }));
  }
  return found;
})()"""
# Texts of drawings are parts of a picture that has a title; the map of the demo has 1,797 of them.
AXE = """axe.run({exclude: ["svg text"]}, {resultTypes: ["violations"]}).then(result =>
  result.violations.map(one => `${one.id}: ${one.help}: ${one.nodes.slice(0, 3).map(node => node.html).join(" ")}`))"""


def check(browser: Browser, axe: str, url: str, name: str) -> None:
    """Open the page in each width and scheme; ``axe`` is the program of accessibility rules.

    Raises:
        AssertionError: something is wrong with it.
    """
    for width in WIDTHS:
        for scheme in SCHEMES:
            browser.open(url, width=width, scheme=scheme)
            browser.run("document.querySelectorAll('details').forEach(one => one.open = true)")
            where = f"{name}, {width} pixels, {scheme}"
            assert browser.run(PROBLEMS) == [], where
            if width == WIDTHS[0]:
                browser.run(axe + "; 0")
                assert browser.run(AXE) == [], where
            assert browser.errors == [], where
