"""A document as one self-contained page: no network, the system's fonts, light and dark, printable.

Knows documents; knows no study.
"""

import html
import re

from core.present.charts import FONT, themed
from core.present.colour import BACKGROUND, SPEAKERS, Themed
from core.present.document import Block, Cards, Code, Document, Items, Picture, Section, Table, Text
from core.present.drawing import drawn
from core.present.study_cards import VERDICTS, Card, Strip

# What charts are drawn with, and what it becomes on a dark page.
_THEMED = {
    "ink": Themed("#1B1F24", "#E9ECEF"),
    "faint": Themed("#E3E6EA", "#2A313A"),
    "page": BACKGROUND,
    "base": SPEAKERS["base"],
    "tuned": SPEAKERS["tuned"],
    "hybrid": SPEAKERS["hybrid"],
}
_STYLE = """
:root { color-scheme: light dark; LIGHT }
@media (prefers-color-scheme: dark) { :root { DARK } }
@media print { :root { color-scheme: light; LIGHT }
  details::details-content { content-visibility: visible; block-size: auto } nav { display: none } }
* { box-sizing: border-box }
body { background: var(--page); color: var(--ink); font: 16px/1.55 FONT; max-width: 50rem; margin: 0 auto;
  padding: 2rem 1.2rem 4rem }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .3rem } h2 { font-size: 1.25rem; margin: 3rem 0 .6rem;
  border-top: 1px solid var(--faint); padding-top: 1.2rem } h3 { font-size: 1rem; margin: 0 0 .3rem }
.lead { font-size: 1.05rem; opacity: .85; margin: 0 0 1.5rem } .small, figcaption, footer { font-size: .82rem }
.small, .limit, footer { opacity: .8 } .notice { border-left: 4px solid var(--tuned); padding: .5rem .9rem }
nav ol { padding-left: 0; list-style: none; columns: 2; font-size: .92rem } a { color: inherit }
table { border-collapse: collapse; width: 100%; font-size: .88rem; margin: 1rem 0 } th { text-align: left;
  font-weight: 600 } th, td { padding: .35rem .7rem .35rem 0; border-bottom: 1px solid var(--faint);
  vertical-align: top; overflow-wrap: break-word }
.long { overflow-wrap: anywhere; min-width: 9rem } .n { text-align: right; font-variant-numeric: tabular-nums }
.wide { overflow-x: auto } code { font: .85em/1.5 ui-monospace, 'DejaVu Sans Mono', monospace; overflow-wrap: anywhere }
pre { white-space: pre-wrap; border: 1px solid var(--faint); padding: .6rem .8rem; border-radius: 4px; margin: .4rem 0 }
.card { border: 1px solid var(--faint); border-left-width: 5px; border-radius: 6px; padding: .9rem 1.1rem;
  margin: 0 0 1rem; break-inside: avoid } .card p { margin: .35rem 0 }
.verdict { font-weight: 700; white-space: nowrap }
.effect { font-size: 1.15rem; font-weight: 600 } .strip { width: 100%; height: 26px; display: block }
.supported { --own: var(--v0); border-left-color: var(--v0) } .not-supported { --own: var(--v1);
  border-left-color: var(--v1) } .inconclusive, .no-difference-to-explain { --own: var(--v2);
  border-left-color: var(--v2) } .verdict, .own { color: var(--own) }
figure { margin: 2rem 0; break-inside: avoid } figure svg { max-width: 100%; height: auto; display: block;
  margin: .6rem 0 } figcaption b { display: block; font-size: 1rem } details { margin: 1rem 0 }
summary { cursor: pointer; font-weight: 600; margin-bottom: .8rem } .hash { overflow-wrap: anywhere }
footer { margin-top: 3rem; border-top: 1px solid var(--faint); padding-top: 1rem; overflow-wrap: anywhere }
"""


def as_html(document: Document) -> str:
    """The whole page."""
    sections = "".join(_section(section) for section in document.sections)
    links = "".join(f'<li><a href="#{s.key}">{_text(s.title)}</a></li>' for s in document.sections)
    notice = f'<p class="notice"><strong>{_text(document.notice)}</strong></p>' if document.notice else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{_text(document.title)}</title>
<style>{_style()}</style></head><body>
<header><h1>{_text(document.title)}</h1><p class="lead">{_text(document.subtitle)}</p>{notice}</header>
<nav aria-label="Contents"><ol>{links}</ol></nav>
<main>{sections}</main>
<footer>{_text(document.footer)}</footer>
</body></html>
"""


def _style() -> str:
    named = {**_THEMED, "v0": VERDICTS["supported"], "v1": VERDICTS["not supported"], "v2": VERDICTS["inconclusive"]}
    light = " ".join(f"--{name}: {colour.light};" for name, colour in named.items())
    dark = " ".join(f"--{name}: {colour.dark};" for name, colour in named.items())
    return _STYLE.replace("LIGHT", light).replace("DARK", dark).replace("FONT", FONT)


def _section(section: Section) -> str:
    blocks = "".join(_block(block) for block in section.blocks)
    return f'<section id="{section.key}"><h2>{_text(section.title)}</h2>{blocks}</section>'


def _block(block: Block) -> str:
    match block:
        case Text():
            return f"<p class='{'small' if block.small else 'plain'}'>{_text(block.words)}</p>"
        case Items():
            return "<ul>" + "".join(f"<li>{_text(item)}</li>" for item in block.items) + "</ul>"
        case Code():
            return f"<pre><code>{_text(block.line)}</code></pre>"
        case Table():
            return _table(block)
        case Picture():
            return _picture(block)
        case Cards():
            cards = "".join(_card(card) for card in block.cards)
            return f"<details><summary>{_text(block.folded)}</summary>{cards}</details>" if block.folded else cards


def _table(block: Table) -> str:
    def row(cells: tuple[str, ...], tag: str) -> str:
        return "".join(
            f"<{tag} class='{_kind(k in block.numbers, cell)}'>{_text(cell)}</{tag}>" for k, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in block.rows)
    header = row(block.header, "th")
    return f'<div class="wide"><table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table></div>'


def _kind(is_number: bool, cell: str) -> str:
    """How a cell stands: numbers to the right, hashes broken anywhere."""
    longest = max(map(len, cell.split()), default=0)
    return "n" if is_number else "long" if longest > 24 else "t"


def _card(card: Card) -> str:
    least = f"<p class='small'>{_text(card.least)}</p>"
    drawn_in = f' Drawn in <a href="#figure-{card.figure}">this figure</a>.' if card.figure else ""
    return f"""<article class="card {card.verdict.replace(" ", "-")}" id="claim-{card.number}">
<h3>{_text(card.number)} {_text(card.claim)}</h3>
<p class="verdict">{card.look.mark} {_text(card.verdict)}</p>
<p><span class="effect">{_text(card.effect)}</span> <span class="small">{_text(card.interval)}</span></p>
{strip_svg(card.strip) if card.strip else ""}<p>{_text(card.sentence)}{drawn_in}</p>{least}
<p class="small"><b>What would change it</b> {_text(card.would_change_it)}</p>
<p class="small limit"><b>Limit</b> {_text(card.limit)}</p></article>"""


def strip_svg(strip: Strip) -> str:
    """The effect on a line: dashed where none is, a tick at the smallest that matters.

    Its colours are the variables `--ink`, `--faint` and `--own` of whatever it stands in.
    """
    x = {name: f"{100 * getattr(strip, name):.2f}%" for name in ("none", "least", "value", "low", "high")}
    words = "effect with its interval; dashed: no effect; short line: the smallest that matters"
    return f"""<svg class="strip" role="img" aria-label="{words}"><title>{words}</title>
<line x1="0" x2="100%" y1="13" y2="13" stroke="var(--faint)"/>
<line x1="{x["none"]}" x2="{x["none"]}" y1="1" y2="25" stroke="var(--ink)" stroke-dasharray="3 3"/>
<line x1="{x["least"]}" x2="{x["least"]}" y1="7" y2="19" stroke="var(--ink)" stroke-width="1.5"/>
<line x1="{x["low"]}" x2="{x["high"]}" y1="13" y2="13" stroke="var(--own)" stroke-width="4"/>
<circle cx="{x["value"]}" cy="13" r="6" fill="var(--own)"/></svg>"""


def _picture(block: Picture) -> str:
    figure = block.figure
    chart = drawn(themed(figure.draw(figure.rows)), "svg").decode()
    return f"""<figure id="figure-{block.name}"><figcaption><b>{_text(figure.title)}</b>{_text(figure.legend)}
{_text(figure.noise_note)}</figcaption>{_on_any_page(chart, block)}<figcaption class="limit">{_text(figure.limit)}
<span class="hash">Data SHA-256 {figure.data_hash}.</span></figcaption></figure>"""


def _on_any_page(svg: str, block: Picture) -> str:
    """A chart whose ink follows the page's theme, with a name, and with ids that no other chart has."""
    for variable, colour in _THEMED.items():
        svg = re.sub(rf'(fill|stroke)="{colour.light}"', rf'\1="var(--{variable})"', svg, flags=re.IGNORECASE)
    svg = re.sub(r'\bid="|url\(#', lambda found: f"{found[0]}{block.name}-", svg)
    svg = re.sub(r'xmlns(:xlink)?="[^"]*"', "", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{_text(block.figure.title)}" ', 1)


def _text(words: str) -> str:
    return html.escape(words)
