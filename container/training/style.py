"""How pages about jobs look: on a phone and on a desk, in light and in dark, without anything from elsewhere.

The colours of series are told apart by people who see few colours (after M. Okabe and K. Ito, "Color Universal Design",
2008), have a contrast of 3 to what is behind them, text one of 4.5 (WCAG 2.2), and lines differ in their dashes, too.
"""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --soft: #4f5b69; --page: #f4f5f7; --card: #fff; --line: #dfe3e9;
        --edge: #8a94a3; --cell: #7aa7d9; --link: #0b5ca8;
        --c0: #0072b2; --c1: #c2500a; --c2: #00805c; --c3: #8f3f8a; --c4: #7a6200; --c5: #5c6470 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8edf3; --soft: #aeb8c4; --page: #11161d; --card: #1a212b; --line: #2e3846; --edge: #6d7a8b;
          --cell: #1f5f9e; --link: #7cc0f5;
          --c0: #56b4e9; --c1: #f0a04b; --c2: #3fc79a; --c3: #d79bd0; --c4: #e6d44a; --c5: #b8c0ca } }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; color: var(--ink); background: var(--page); margin: 0 }
main { max-width: 1080px; margin: 0 auto; padding: 32px 20px 56px }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 4px }
h2 { font-size: 16px; line-height: 1.3; margin: 0 0 10px; overflow-wrap: anywhere }
h3 { font-size: 15px; margin: 0; display: flex; justify-content: space-between; gap: 12px }
h3 small { font-size: 13px; font-weight: 400; color: var(--soft); white-space: nowrap }
p { color: var(--soft); margin: 6px 0 } a { color: var(--link) }
section { columns: 440px 2; column-gap: 16px; margin: 20px 0 0 }
figure { background: var(--card); border: 1px solid var(--line); border-radius: 10px; margin: 0 0 16px; padding: 16px;
         break-inside: avoid }
figure > p { font-size: 13px; margin: 10px 0 0 } .wide { column-span: all; margin-top: 16px }
svg { width: 100%; display: block } svg text { font-size: 14px; fill: var(--soft) }
svg .axis { fill: var(--ink) } svg image { image-rendering: pixelated }
.frame { fill: none; stroke: var(--line) } .grid { stroke: var(--line) } .zero { stroke: var(--edge) }
.line { fill: none; stroke: var(--c); stroke-width: 2; stroke-linejoin: round } .dot { fill: var(--c) }
.mark { fill: var(--card); stroke: var(--c); stroke-width: 3 }
span { unicode-bidi: isolate }
.s0 { --c: var(--c0) } .s1 { --c: var(--c1); stroke-dasharray: 7 4 } .s2 { --c: var(--c2); stroke-dasharray: 2 3 }
.s3 { --c: var(--c3); stroke-dasharray: 10 3 2 3 } .s4 { --c: var(--c4); stroke-dasharray: 4 2 } .s5 { --c: var(--c5) }
.mark, .dot { stroke-dasharray: none }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 13px; color: var(--soft); margin-top: 8px }
.legend span { display: inline-flex; align-items: center; gap: 8px; white-space: nowrap }
.key { width: 22px; border-top: 3px solid var(--c) } .key.s1, .key.s4 { border-top-style: dashed }
.key.s2, .key.s3 { border-top-style: dotted }
.point { width: 12px; height: 12px; border: 3px solid var(--c); border-radius: 6px }
.scale { flex-wrap: nowrap; align-items: center; gap: 8px }
.scale i { flex: 0 1 160px; height: 10px; border-radius: 2px; border: 1px solid var(--line) }
.one { background: linear-gradient(to right, #fff, #2f6db3) }
.both { background: linear-gradient(to right, #d56254, #fff, #2f6db3) }
@media (prefers-color-scheme: dark) { svg image, .scale i { filter: invert(1) hue-rotate(180deg) } }
table { border-collapse: collapse; font-size: 13px; line-height: 1.4 }
th { text-align: left; font-weight: 500; color: var(--soft) }
td, th { padding: 3px 14px 3px 0; vertical-align: top; overflow-wrap: anywhere }
th[scope=col] { white-space: nowrap } td:last-child, th:last-child { padding-right: 0 }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
.scores th:not(:first-child) { text-align: right }
@media (max-width: 480px) {
  .scores td, .scores th { padding-right: 8px } .scores tr > :last-child { padding-right: 0 }
}
.facts { width: 100%; table-layout: fixed } .facts td { overflow-wrap: anywhere } .facts .number { text-align: left }
.bars { width: 100% } .bars td { vertical-align: middle }
.bars th { color: var(--ink); font-weight: 400; min-width: 84px; max-width: 180px }
.bar { width: 60%; vertical-align: middle } .bar i { display: block; height: 12px; min-width: 1px; border-radius: 2px;
                                                    background: var(--c) }
.scroll { overflow-x: auto; position: relative } .scroll:focus-visible { outline: 2px solid var(--link) }
.cells { border-collapse: separate; border-spacing: 2px; text-align: center }
.cells th { padding: 3px 6px; white-space: nowrap; vertical-align: middle }
.cells tr:first-child th:not(:first-child) { text-align: center }
.cells td { padding: 4px 7px; border-radius: 3px; min-width: 32px; white-space: nowrap;
            background: color-mix(in srgb, var(--cell) calc(var(--share) * 100%), var(--page)) }
.cells td:last-child { padding-right: 7px }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(88px, 1fr)); gap: 14px 10px }
.pictures img { image-rendering: pixelated; display: block; border-radius: 4px }
.pictures span { font-size: 12px; line-height: 1.35; color: var(--soft); display: block; margin-top: 4px }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(300px, 100%), 1fr)); gap: 24px 32px }
.cards article > p { font-size: 13px }
.share { height: 6px; border-radius: 3px; background: var(--line); margin: 6px 0 8px }
.share i { display: block; height: 100%; border-radius: 3px; background: var(--c0) }
.cards .words { font-size: 15px; line-height: 1.6; color: var(--ink) }
.words span { display: inline-block; margin-right: 6px } .cards { overflow-wrap: anywhere }
.cards ol { margin: 6px 0 0; padding-left: 20px; font-size: 13px; color: var(--soft) } .cards li { margin: 4px 0 }
details { margin-top: 8px } summary { cursor: pointer; font-size: 13px; color: var(--link) }
main > details { margin-top: 20px }
main > details > summary { font-size: 15px } main > details table { margin-top: 8px }
time { white-space: nowrap }
@media (min-width: 700px) { svg text { font-size: 10.5px } }
@media (max-width: 500px) { main { padding: 20px 12px 40px } figure { padding: 14px 12px } }
"""
