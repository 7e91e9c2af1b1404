"""Blocks of a report as Markdown, for the pages of docs/ that benchmarks write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pct.evaluation.report import Block, Figure, Table
from pct.files.output import write_atomically


def render_markdown(blocks: Sequence[Block], folder: Path, prefix: str = "") -> str:
    """Return blocks of a report as Markdown; pictures are written into a folder, ``prefix`` before their names."""
    parts = []
    for block in blocks:
        if isinstance(block, Figure):
            name = f"{prefix}{block.name}.png"
            write_atomically(folder / name, block.png)
            parts.append(f"![{block.caption}]({name})")
        elif isinstance(block, Table):
            rows = [block.header, ["---", *["---:"] * (len(block.header) - 1)], *block.rows]
            caption = f"**{block.caption}**\n\n" if block.caption else ""
            parts.append(caption + "\n".join("| " + " | ".join(cells) + " |" for cells in rows))
        else:
            parts.append(block)
    return "\n\n".join(parts)
