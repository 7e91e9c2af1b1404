"""The tool that writes generated people: COCO files that read back, same bytes for any workers, nothing overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from pct.cli import main as cli
from pct.files.keypoint_file import load_keypoint_file
from pct.people.scene import SceneSource
from pct.people.write import write_people
from pct.skeleton import COCO17


def options(folder: Path, *more: str) -> list[str]:
    return ["make-people", str(folder), "--num-images", "3", "--seed", "4", "--image-size", "64", "--quiet", *more]


def test_written_sets_hold_the_scenes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(options(tmp_path / "set", "--first-index", "10")) == 0
    assert "3 photos" in capsys.readouterr().out
    content = json.loads((tmp_path / "set" / "annotations.json").read_text())
    poses = load_keypoint_file(tmp_path / "set" / "annotations.json", COCO17)
    row = 0
    for image, index in zip(content["images"], range(10, 13), strict=True):
        scene = SceneSource.open(4, 64).generate(index)
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


def test_any_number_of_workers_writes_the_same_files(tmp_path: Path) -> None:
    source = SceneSource(seed=4, image_size=32)
    counts = []
    for workers in (1, 2):
        # More than one piece of work for each worker.
        write_people(tmp_path / str(workers), source, 40, workers=workers, progress=counts.append)
    assert sum(counts) == 80
    files = [sorted(p for p in (tmp_path / n).rglob("*") if p.is_file()) for n in ("1", "2")]
    assert len(files[0]) == 41
    for a, b in zip(*files, strict=True):
        assert a.name == b.name
        assert a.read_bytes() == b.read_bytes()


def test_nothing_is_overwritten_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(options(tmp_path / "set")) == 0
    before = (tmp_path / "set" / "annotations.json").read_bytes()
    assert cli.main(options(tmp_path / "set", "--first-index", "7")) == 1
    assert "exists; give --force" in capsys.readouterr().err
    assert (tmp_path / "set" / "annotations.json").read_bytes() == before
    assert cli.main(options(tmp_path / "set", "--first-index", "7", "--force")) == 0
    assert (tmp_path / "set" / "images" / "000000000007.jpg").exists()
    assert not (tmp_path / "set" / "images" / "000000000000.jpg").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_other_folders_are_never_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    assert cli.main(options(tmp_path / "thesis", "--force")) == 1
    assert "no set of generated people" in capsys.readouterr().err
    assert (tmp_path / "thesis" / "chapter.tex").exists()


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "broken.jpg").write_bytes(b"broken")
    source = SceneSource.open(1, 64, backgrounds=photos)
    with pytest.raises(ValueError, match=r"broken\.jpg"):
        write_people(tmp_path / "set", source, 2)
    assert [p.name for p in tmp_path.iterdir()] == ["photos"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--num-images", "0"], "number of images must be positive, got 0"),
        (["--workers", "-1"], "number of workers must be positive, got -1"),
        (["--seed", "-5"], "-5"),
        (["--image-size", "8"], "got 8"),
        (["--quality", "101"], "got 101"),
        (["--first-index", "-2"], "-2"),
        (["--backgrounds", "nowhere"], "nowhere does not exist"),
        (["--mocap", "nowhere.npz"], "nowhere.npz does not exist"),
    ],
)
def test_bad_options_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert cli.main(options(tmp_path / "set", *more)) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_parent_folder_must_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(options(tmp_path / "a" / "set")) == 1
    assert "does not exist" in capsys.readouterr().err
