"""The tool that splits a COCO-format file by photo."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "split_photos.py"


def run(*arguments: str) -> int:
    spec = importlib.util.spec_from_file_location("split_photos", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main(list(arguments))


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    content = {
        "info": {"year": 2026},
        "categories": [{"id": 1, "name": "person"}],
        "images": [{"id": i, "file_name": f"{i}.jpg", "license": 4} for i in range(10)],
        "annotations": [{"id": n, "image_id": n % 10} for n in range(25)],
    }
    (tmp_path / "all.json").write_text(json.dumps(content))
    return [str(tmp_path / name) for name in ("all.json", "first.json", "second.json")]


def test_every_photo_is_in_one_part_with_its_persons(files: list[str]) -> None:
    assert run(*files, "--share", "0.3") == 0
    whole, first, second = (json.loads(Path(f).read_text()) for f in files)
    for name in ("images", "annotations"):
        assert sorted(e["id"] for part in (first, second) for e in part[name]) == [e["id"] for e in whole[name]]
    assert len(second["images"]) == 3
    for part in (first, second):
        assert {a["image_id"] for a in part["annotations"]} == {i["id"] for i in part["images"]}
        assert part["info"] == whole["info"]
        assert part["categories"] == whole["categories"]


def test_the_seed_decides(files: list[str]) -> None:
    run(*files)
    before = Path(files[2]).read_text()
    run(*files, "--force")
    assert Path(files[2]).read_text() == before
    run(*files, "--force", "--seed", "1")
    assert Path(files[2]).read_text() != before


def test_nothing_is_overwritten_unasked(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path(files[2]).write_text("mine")
    assert run(*files) == 1
    assert "--force" in capsys.readouterr().err
    assert not Path(files[1]).exists()
    assert Path(files[2]).read_text() == "mine"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"images": [], "annotations": []}'])
def test_other_files_are_refused(files: list[str], content: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(files[0]).write_text(content)
    assert run(*files) == 1
    assert "error" in capsys.readouterr().err


def test_a_share_of_all_is_refused(files: list[str]) -> None:
    assert run(*files, "--share", "1") == 1
