"""The report engine: what it is given is on the page, whole, escaped, and never written over unasked."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from tool_loader import load_tool

from pct.evaluation.report import (
    Figure,
    Report,
    Section,
    Table,
    check_report_folder,
    make_provenance,
    render_report,
    write_report,
)
from pct.files.output import OutputError

ABOUT = make_provenance("small", "abc", torch.device("cpu"), data="a<b.json", seconds=1.0, seed=0, notes=["A & B"])


def _figure(name: str = "dots") -> Figure:
    return Figure.of(np.full((3, 5, 3), 200, np.uint8), "Dots <all> grey.", name)


def _report(**changes) -> Report:
    table = Table(["a", "b & c"], [["one", "2"], ["<three>", "4"]], highlight=1, caption="Numbers")
    blocks = ["Read `metrics.json` & more.", table, _figure(), _figure("second"), "Inside."]
    values = {
        "title": "How <good>",
        "measured": "3 poses",
        "cards": [("1.5 px", "error")],
        "sections": [Section("First", blocks), Section("Second", ["Nothing."])],
        "numbers": {"error": 1.5, "provenance": ABOUT},
    }
    return Report(**{**values, **changes})


class _Balance(HTMLParser):
    """Checks that every element that is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page_stands_alone_and_escapes_everything() -> None:
    page = render_report(_report())
    parser = _Balance()
    parser.feed(page)
    assert parser.open == []
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    texts = ("How <good>", "a<b.json", "A & B", "<three>", "b & c", "Inside.", "Dots <all> grey.", "1.5 px")
    for words in (*texts, "3 poses of a<b.json"):
        assert words in parser.text
    assert "Baselines" not in parser.text
    assert "<code>metrics.json</code> &amp; more" in page
    assert page.count("<figure>") == 2
    assert page.count('class="best"') == 2


def test_report_is_written_whole_and_not_overwritten(tmp_path: Path) -> None:
    page = write_report(_report(), tmp_path / "report")
    assert page == tmp_path / "report" / "index.html"
    assert json.loads((tmp_path / "report" / "metrics.json").read_text()) == {"error": 1.5, "provenance": ABOUT}
    assert sorted(f.name for f in (tmp_path / "report" / "pictures").iterdir()) == ["dots.png", "second.png"]
    before = page.stat().st_mtime_ns
    with pytest.raises(FileExistsError, match="force"):
        write_report(_report(), tmp_path / "report")
    assert page.stat().st_mtime_ns == before
    write_report(_report(title="New"), tmp_path / "report", force=True)
    assert "<h1>New</h1>" in page.read_text()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="is a file"):
        check_report_folder(tmp_path / "file", force=True)


def test_a_report_that_cannot_be_whole_leaves_no_page(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_report(_report(numbers={"error": float("nan"), "provenance": ABOUT}), tmp_path / "report")
    assert not (tmp_path / "report" / "index.html").exists()


@pytest.mark.parametrize("figures", [[_figure("")], [_figure(), _figure()]])
def test_figures_need_names_of_their_own(figures: list[Figure]) -> None:
    with pytest.raises(ValueError, match="needs a name of its own"):
        _ = _report(sections=[Section("One", figures)]).figures


def test_blocks_are_markdown_with_their_pictures_beside_it(tmp_path: Path) -> None:
    text = load_tool("markdown_page", "benchmarks").render_markdown(_report().sections[0].blocks, tmp_path, "first_")
    assert text.split("\n\n") == [
        "Read `metrics.json` & more.",
        "**Numbers**",
        "| a | b & c |\n| --- | ---: |\n| one | 2 |\n| <three> | 4 |",
        "![Dots <all> grey.](first_dots.png)",
        "![Dots <all> grey.](first_second.png)",
        "Inside.",
    ]
    for name in ("first_dots.png", "first_second.png"):
        assert (tmp_path / name).read_bytes() == _figure().png
