"""tools/evaluate_photos.py as a user calls it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
from tiny_boxes import write_boxes
from tiny_estimator import make_varied_classifier
from tiny_photo_models import make_heatmap_model
from tiny_photos import write_people


def _load_tool() -> ModuleType:
    path = Path(__file__).parents[2] / "tools" / "evaluate_photos.py"
    spec = importlib.util.spec_from_file_location("evaluate_photos", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TOOL = _load_tool()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos with ``people.json``, and the models ``pct`` and ``heat``."""
    path = tmp_path_factory.mktemp("tool")
    write_people(path, num_photos=4)
    make_varied_classifier().save_pretrained(path / "pct")
    make_heatmap_model().save_pretrained(path / "heat")
    return path


def run(folder: Path, out: Path, *more: str, model: str = "pct") -> int:
    common = ["--images", str(folder), "--samples", "2", "--out", str(out)]
    models = ["--model", str(folder / model)] if model else []
    return TOOL.main([str(folder / "people.json"), *common, *models, *more])


def test_it_measures_all_models_and_writes_a_report(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = write_boxes(tmp_path / "boxes.json", [(1, [12.0, 9.6, 24.0, 28.8], 0.9)])
    more = ["--model", f"again={folder / 'pct'}", "--heatmap", str(folder / "heat"), "--boxes", str(boxes)]
    assert run(folder, tmp_path / "out", *more) == 0
    printed = capsys.readouterr()
    assert [line.split()[0] for line in printed.out.splitlines()] == ["PCT", "again", "heatmaps", "report:"]
    assert "8/8" in printed.err  # the bar
    results = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert list(results["models"]) == ["PCT", "again", "heatmaps"]
    assert results["models"]["again"]["poses"] == results["models"]["PCT"]["poses"]
    assert (results["num_detections"], results["flip"]) == (1, True)
    assert (tmp_path / "out" / "index.html").is_file()


def test_models_have_names_of_their_own(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, tmp_path / "new", "--model", str(folder / "pct")) == 1
    assert "two models are called PCT" in capsys.readouterr().err
    taken = ["--model", f"heatmaps={folder / 'pct'}", "--heatmap", str(folder / "heat")]
    assert run(folder, tmp_path / "new", *taken, model="") == 1
    assert "give the one of --model another" in capsys.readouterr().err


def test_a_report_is_replaced_when_asked_for_only(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "metrics.json").write_text("mine")
    heatmaps = ["--heatmap", str(folder / "heat"), "--no-flip", "--limit", "3", "--quiet"]
    assert run(folder, out, *heatmaps, model="") == 1
    assert "--force" in capsys.readouterr().err
    assert (out / "metrics.json").read_text() == "mine"
    assert run(folder, out, *heatmaps, "--force", model="") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.startswith("heatmaps  AP ")
    results = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert (list(results["models"]), results["flip"], results["num_persons"]) == (["heatmaps"], False, 3)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--model", "other=nowhere"], "nowhere"),
        (["--heatmap", "pct"], "heatmap_model"),
        (["--images", "nowhere"], "no person with a photo"),
        (["--boxes", "nowhere.json"], "nowhere.json"),
        (["--boxes", "people.json"], "list"),
        (["--out", "people.json"], "is a file"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_status_1(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    more: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(folder)
    assert run(folder, tmp_path / "out", *more, "--quiet") == 1
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("evaluate_photos: error: ")
    assert words in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("more", [["--limit", "0"], ["--samples", "0"], ["--batch-size", "-1"]])
def test_senseless_numbers_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run(folder, tmp_path / "out", *more)
    assert stop.value.code == 2
    assert f"{more[0]} must be at least 1" in capsys.readouterr().err


def test_a_model_is_needed(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(folder, tmp_path / "out", model="")
    assert "give --model, --heatmap or both" in capsys.readouterr().err
