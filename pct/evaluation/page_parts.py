"""Pieces of a report's page: its style, tables, figures with captions, cards and numbers; HTML without JavaScript."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from pct.evaluation.figures import ReportFigure

_STYLE = """
:root { --ink: #23262e; --soft: #666b77; --line: #e2e4ea; --tint: #f5f7fa; --accent: #1a70c7; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: #fff; font: 16px/1.55 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1100px; margin: 0 auto; padding: 40px 24px 72px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 21px; margin: 52px 0 10px; padding-top: 18px; border-top: 1px solid var(--line); }
p { max-width: 76ch; margin: 8px 0; }
.lead { color: var(--soft); margin-bottom: 26px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(220px, 1fr)); gap: 12px; }
.card { background: var(--tint); border-radius: 10px; padding: 14px 16px; }
.card b { display: block; font-size: 27px; font-weight: 650; letter-spacing: -0.02em; }
.card span { color: var(--soft); font-size: 13.5px; line-height: 1.35; display: block; }
.whole { white-space: nowrap; }
.note { margin-top: 18px; border-left: 3px solid #e6a100; background: #fff9ea; padding: 8px 14px;
  border-radius: 0 6px 6px 0; }
.scroll { overflow-x: auto; margin: 14px 0; }
table { border-collapse: collapse; font-size: 14.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 14px 5px 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; }
th:first-child, td:first-child { text-align: left; }
td.best { color: var(--accent); font-weight: 650; }
.facts td { white-space: normal; text-align: left; vertical-align: top; }
.facts td:first-child { color: var(--soft); white-space: nowrap; }
figure { margin: 18px 0 26px; }
figure img { max-width: 100%; height: auto; display: block; }
figcaption { color: var(--soft); font-size: 14px; max-width: 90ch; margin-top: 6px; }
code { font: 13.5px/1.5 ui-monospace, Consolas, monospace; background: var(--tint); padding: 1px 5px;
  border-radius: 4px; overflow-wrap: anywhere; }
"""


def whole_page(title: str, sections: Iterable[str]) -> str:
    """Return the HTML file that holds some sections."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )


def cards_html(cards: Iterable[tuple[str, str]]) -> str:
    """Return big numbers, each with what it is."""
    boxes = "".join(f'<div class="card"><b>{escape(v)}</b><span>{escape(text)}</span></div>' for v, text in cards)
    return f'<div class="cards">{boxes}</div>'


def notes_html(notes: Iterable[str]) -> str:
    """Return sentences that a reader must not miss."""
    return "".join(f'<p class="note">{escape(note)}</p>' for note in notes)


def facts_html(facts: Iterable[tuple[str, str]]) -> str:
    """Return names and values, a line each; empty values are left out."""
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in facts if value)
    return f'<div class="scroll"><table class="facts">{rows}</table></div>'


def figure_html(figures: Mapping[str, ReportFigure], name: str) -> str:
    """Return a picture with its caption; nothing if there is no picture of that name."""
    if name not in figures:
        return ""
    figure = figures[name]
    data = base64.b64encode(figure.png).decode()
    return (
        f'<figure><img src="data:image/png;base64,{data}" width="{figure.width}" height="{figure.height}" '
        f'alt="{escape(figure.caption)}"><figcaption>{escape(figure.caption)}</figcaption></figure>'
    )


def table_html(header: Sequence[str], rows: Iterable[Sequence[str]], highlight: int | None = None) -> str:
    """Return a table; the column ``highlight`` is set off."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>"
        + "".join(f"<td{' class=best' if i == highlight else ''}>{escape(cell)}</td>" for i, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def format_percent(value: float | None) -> str:
    """Return a share in per cent, or a dash for None."""
    return "–" if value is None else f"{100 * value:.1f} %"


def format_number(value: float | None) -> str:
    """Return a number with two decimals, or a dash for None."""
    return "–" if value is None else f"{value:.2f}"
