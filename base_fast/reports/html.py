"""The page: one HTML file with everything in it, also well-formed XML, for light and dark screens and for paper."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

_CSS = """
:root { color-scheme: light dark; --ink: #1f2430; --muted: #687080; --grid: #dfe3e9; --paper: #ffffff; --page: #f5f6f8;
  --accent: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --muted: #a3abb9; --grid: #363d4a; --paper: #1c2129;
  --page: #12151a; --accent: #56b4e9; } }
/* Pictures are drawn for light paper; this turns light and dark around and leaves the hues. */
@media screen and (prefers-color-scheme: dark) { figure img { filter: invert(0.9) hue-rotate(180deg); } }
@media print { :root { color-scheme: light; --ink: #1f2430; --muted: #687080; --grid: #dfe3e9; --paper: #ffffff;
  --page: #ffffff; --accent: #0072b2; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); 
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
header, main, footer { max-width: 1240px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 32px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 12px; }
h2 { font-size: 20px; margin: 40px 0 12px; scroll-margin-top: 12px; }
h3 { font-size: 15px; margin: 20px 0 8px; }
a { color: var(--accent); text-decoration: none; } a:hover { text-decoration: underline; }
code, .code, pre { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: 12.5px; }
dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: 3px 16px; margin: 0 0 16px; font-size: 13.5px; }
dl.facts dt { color: var(--muted); } dl.facts dd { margin: 0; overflow-wrap: anywhere; }
nav ul { display: flex; flex-wrap: wrap; gap: 4px 20px; list-style: none; margin: 0; padding: 10px 0;
  border-top: 1px solid var(--grid); border-bottom: 1px solid var(--grid); }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(520px, 100%), 1fr)); gap: 16px;
  margin-bottom: 16px; }
.grid figure { margin: 0; }
ul.files { columns: 260px; margin: 0 0 16px; padding-left: 20px; font-size: 13.5px; }
figure, .table, details { background: var(--paper); border: 1px solid var(--grid); border-radius: 8px; padding: 14px;
  margin: 0 0 16px; break-inside: avoid; }
figure { overflow-x: auto; } figure img { display: block; width: 100%; height: auto; }
/* Wide figures keep their letters readable on narrow screens: they scroll. */
@media screen and (max-width: 640px) { figure img.wide { width: 760px; max-width: none !important; }
  td.code { min-width: 30ch; } }
figcaption { margin-top: 8px; color: var(--muted); font-size: 13px; overflow-wrap: anywhere; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px; }
caption { text-align: left; font-weight: 600; padding-bottom: 8px; white-space: nowrap; }
th, td { text-align: left; padding: 5px 18px 5px 0; border-bottom: 1px solid var(--grid); vertical-align: top; }
th { color: var(--muted); font-weight: 600; } tbody tr:last-child td { border-bottom: 0; }
.number { text-align: right; white-space: nowrap; } td.code { overflow-wrap: anywhere; }
.note { margin: 8px 0 0; color: var(--muted); font-size: 13px; }
summary { cursor: pointer; font-weight: 600; } details[open] > summary { margin-bottom: 12px; }
details figure, details .table { border: 0; padding: 0; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
footer { padding-top: 8px; padding-bottom: 32px; color: var(--muted); font-size: 13px; }
@media print { body { font-size: 11px; } nav { display: none; } h2 { break-after: avoid; } .grid { display: block; }
  .grid figure { margin-bottom: 12px; } header, main, footer { max-width: none; padding: 0; } }
"""


# Pixels from which a figure is wide: shrunk to a telephone, its letters would be 5 pixels high.
WIDE = 620


@dataclass
class Section:
    """A heading and blocks of markup under it; left out of the page while it has no blocks."""

    name: str
    title: str
    blocks: list[str] = field(default_factory=list)


def figure_block(uri: str, alt: str, width: int, caption: str = "") -> str:
    """A picture, shown at most `width` pixels wide, with its caption."""
    below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    wide = ' class="wide"' if width > WIDE else ""
    image = f'<img src="{html.escape(uri)}" alt="{html.escape(alt)}"{wide} style="max-width:{width}px"/>'
    return f"<figure>{image}{below}</figure>"


def grid_block(blocks: Sequence[str]) -> str:
    """Blocks side by side where the window is wide enough."""
    return f'<div class="grid">{"".join(blocks)}</div>'


def details_block(summary: str, blocks: Sequence[str]) -> str:
    """Blocks that unfold on a click."""
    return f"<details><summary>{html.escape(summary)}</summary>{''.join(blocks)}</details>"


def links_block(links: Sequence[tuple[str, str]]) -> str:
    """Files beside the page, by name and address."""
    items = "".join(
        f'<li><a href="{html.escape(quote(to, errors="surrogateescape"))}">{html.escape(name)}</a></li>'
        for name, to in links
    )
    return f'<ul class="files">{items}</ul>'


def text_block(text: str) -> str:
    """Preformatted text."""
    return f"<pre>{html.escape(text)}</pre>"


def page(title: str, facts: Sequence[tuple[str, str]], sections: Sequence[Section]) -> str:
    """The whole document."""
    sections = [section for section in sections if section.blocks]
    contents = "".join(f'<li><a href="#{html.escape(s.name)}">{html.escape(s.title)}</a></li>' for s in sections)
    terms = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in facts)
    described = f'<dl class="facts">{terms}</dl>' if terms else ""
    body = "\n".join(
        f'<section><h2 id="{html.escape(s.name)}">{html.escape(s.title)}</h2>\n{chr(10).join(s.blocks)}</section>'
        for s in sections
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<title>{html.escape(title)}</title>
<style>{_CSS}</style>
</head>
<body>
<header>
<h1>{html.escape(title)}</h1>
{described}
<nav aria-label="Contents"><ul>{contents}</ul></nav>
</header>
<main>
{body}
</main>
<footer>Written by base-fast report. The pictures stand beside this file as PNG.</footer>
</body>
</html>
"""
