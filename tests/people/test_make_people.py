"""The tool that writes generated people: COCO files that read back, same bytes for any workers, nothing overwritten."""

from __future__ import annotations

import errno
import json
import multiprocessing
import resource
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from pct.cli import main as cli
from pct.files.output import OutputError
from pct.files.pose_files import load_keypoint_file
from pct.people.scene import GeneratedPersons
from pct.people.write import write_people
from pct.skeleton import COCO17


def options(folder: Path, *more: str) -> list[str]:
    return ["make-people", str(folder), "--num-images", "3", "--seed", "4", "--image-size", "64", "--quiet", *more]


def test_written_sets_hold_the_scenes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(options(tmp_path / "set")) == 0
    assert "3 photos" in capsys.readouterr().out
    content = json.loads((tmp_path / "set" / "annotations.json").read_text())
    poses = load_keypoint_file(tmp_path / "set" / "annotations.json", COCO17)
    row = 0
    for image, index in zip(content["images"], range(3), strict=True):
        scene = GeneratedPersons(3, 4, 64).scene(index)
        picture = cv2.imread(str(tmp_path / "set" / "images" / image["file_name"]))
        assert picture is not None
        assert np.array_equal(picture[:, :, ::-1], scene.persons[0].image)
        assert (image["id"], image["width"], image["camera"]["cx"]) == (index, 64, 31.5)
        for person in scene.persons:
            annotation = content["annotations"][row]
            assert annotation["keypoints"][2::3] == person.visibility.tolist()
            assert np.allclose(annotation["keypoints3d"], person.keypoints3d, atol=0.06)
            assert np.allclose(poses.keypoints[row], person.keypoints, atol=0.006)
            assert np.allclose(poses.bbox[row], person.bbox, atol=0.006)
            assert poses.area[row] == person.area
            row += 1
    assert row == len(content["annotations"]) == len(poses)
    ids = [a["id"] for a in content["annotations"]]
    assert len(set(ids)) == len(ids)
    assert min(ids) > 0


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenes that a worker draws at a time."""
    monkeypatch.setattr("pct.people.write._CHUNK", 4)


@pytest.mark.usefixtures("small_pieces")
def test_any_number_of_workers_writes_the_same_files(tmp_path: Path) -> None:
    people = GeneratedPersons(20, seed=4, image_size=32)
    counts = []
    for workers in (1, 2):
        # More than one piece of work for each worker.
        write_people(tmp_path / str(workers), people, workers, progress=counts.append)
    assert sum(counts) == 40
    files = [sorted(p for p in (tmp_path / n).rglob("*") if p.is_file()) for n in ("1", "2")]
    assert len(files[0]) == 21
    for a, b in zip(*files, strict=True):
        assert a.name == b.name
        assert a.read_bytes() == b.read_bytes()


def test_nothing_is_overwritten_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "chapter.tex").write_text("years of work")
    assert cli.main(options(folder)) == 0
    before = (folder / "annotations.json").read_bytes()
    other = ("--num-images", "2", "--seed", "5")
    assert cli.main(options(folder, *other)) == 1
    assert "annotations.json exists; give --force" in capsys.readouterr().err
    assert (folder / "annotations.json").read_bytes() == before
    assert cli.main(options(folder, *other, "--force")) == 0
    assert len(list((folder / "images").iterdir())) == 2
    assert sorted(p.name for p in folder.iterdir()) == ["annotations.json", "chapter.tex", "images"]


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    def write(path: Path, skeleton: object, images: object, annotations: Iterator[object]) -> None:
        next(annotations)  # other workers go on drawing
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pct.people.write.write_coco_json", write)
    with pytest.raises(OutputError) as caught:
        write_people(tmp_path / "set", GeneratedPersons(40, 1, 64), workers)
    assert not multiprocessing.active_children()  # that would draw into what is removed
    assert str(caught.value) == f"output {tmp_path / 'set'} cannot be written: No space left on device"
    assert not list(tmp_path.iterdir())


def test_a_photo_that_a_worker_cannot_write_is_said_in_one_sentence(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"cannot be written: File too large$"):
            write_people(tmp_path / "set", GeneratedPersons(4, 1, 128), workers=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("num-images", 0, "number of generated persons must be positive, got 0"),
        ("workers", -1, "number of workers must be positive, got -1"),
        ("seed", -5, "seed must not be negative, got -5"),
        ("image-size", 16, "image_size must be from 32 to 1024 pixels, got 16"),
        ("image-size", 2000, "32 to 1024 pixels, got 2000"),
    ],
)
def test_bad_options_are_refused(tmp_path: Path, capsys, option: str, value: int, message: str) -> None:
    assert cli.main(options(tmp_path / "set", f"--{option}", str(value))) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
