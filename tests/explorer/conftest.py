"""The pages of the shipped models, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from pct.explorer.page import explore


@pytest.fixture(scope="session")
def pages(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    for name in ("coco17", "coco17-ordered", "h36m17"):
        (folder / f"{name}.html").write_text(explore(name), encoding="utf-8", newline="")
    return {path.stem: path for path in folder.iterdir()}
