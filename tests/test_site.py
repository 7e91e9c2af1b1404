"""The documentation site: its links are those of the repository, and it builds without a warning."""

from __future__ import annotations

from pathlib import Path

import pytest
from tool_loader import load_tool

ROOT = Path(__file__).parents[1]
pytest.importorskip("mkdocstrings", reason="needs the extra docs")
site = load_tool("docs_site")


# A link, the file that it stands in, the file's page, and where the link is to lead from there.
LINKS = """
docs/tokens.md README.md index.md tokens.md
docs/results README.md index.md results/tokens.md
CONTRIBUTING.md README.md index.md contributing.md
../pct/weights/photos/README.md docs/photos.md photos.md cards/photos.md
tokens_px.png docs/results/tokens.md results/tokens.md tokens_px.png
../../README.md#use docs/results/tokens.md results/tokens.md ../index.md#use
http://example.org/a.md README.md index.md http://example.org/a.md
"""


@pytest.mark.parametrize("row", LINKS.split("\n")[1:-1])
def test_links_of_the_repository_lead_to_pages_of_the_site(row: str) -> None:
    link, file, page, wanted = row.split()
    assert site.relink(f"[a]({link}), b", file, page) == f"[a]({wanted}), b"


def test_it_builds_without_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"), strict=True)
    config.plugins.on_startup(command="build", dirty=False)
    build(config)
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    page = (tmp_path / "site" / "api" / "tokenizer" / "index.html").read_text(encoding="utf-8")
    assert "encode_columns" in page
    assert ":meth:" not in page
    assert (tmp_path / "site" / "cards" / "coco17" / "index.html").exists()
