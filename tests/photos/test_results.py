"""Results of photos as the field has them: what a source may be, what a result gives, tracks, and empty photos."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import supervision
from PIL import Image
from tiny_photo_models import make_varied_classifier
from tiny_videos import write_video

from pct.files.photo import PhotoError
from pct.photos.estimator import PoseEstimator
from pct.photos.results.result import PoseResult
from pct.pose_space import PoseSpace
from pct.skeleton import COCO17

BOXES = np.array([[20.0, 10, 30, 60], [50, 30, 25.5, 25]], np.float32)
LEFT_WRIST = COCO17.keypoint_names.index("left_wrist")


class Walkers:
    """Stands for a detector: finds two persons on each photo that is not black, a little farther apart each time."""

    def __init__(self) -> None:
        self.calls = 0

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        count = 2 * int(image.max() > 0)
        self.calls += 1
        boxes = (BOXES + np.array([[-1, 0, 0, 0], [1, 0, 0, 0]]) * self.calls)[:: (-1) ** self.calls]
        return boxes[:count].astype(np.float32), np.array([0.9, 0.8], np.float32)[:count]


def make_estimator(**changes) -> PoseEstimator:
    return PoseEstimator(make_varied_classifier(**changes), batch_size=4, detector=Walkers())


def make_photo(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (90, 100, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(2):
        Image.fromarray(make_photo(number)).save(tmp_path / f"{number}.png")
    return tmp_path


@pytest.fixture(scope="module")
def result() -> PoseResult:
    return make_estimator()(make_photo())[0]


def test_every_kind_of_source_gives_a_result_a_photo(folder: Path, result: PoseResult) -> None:
    photo, path = make_photo(), folder / "0.png"
    for source in [path, str(path), Image.fromarray(photo), [photo], folder, [path]]:
        results = make_estimator()(source)
        assert len(results) == (2 if source is folder else 1)
        np.testing.assert_allclose(results[0].keypoints.xy, result.keypoints.xy, atol=1e-3)
        assert results[0].orig_shape == (90, 100)
    assert make_estimator()(folder)[1].path == str(folder / "1.png")
    assert result.path is None


def test_a_result_has_joints_boxes_tokens_and_samples(result: PoseResult) -> None:
    assert len(result) == 2
    np.testing.assert_allclose(result.keypoints.xyn * [100, 90], result.keypoints.xy, rtol=1e-5)
    np.testing.assert_allclose(result.boxes.xyxy[:, 2:] - result.boxes.xyxy[:, :2], BOXES[::-1, 2:])
    assert result.boxes.id is None
    assert result.keypoints.conf.shape == (2, 17)
    assert result.tokens.ids.shape == result.tokens.probs.shape == (2, 6)
    assert result.samples.shape == (16, 2, 17, 2)
    assert repr(result) == "PoseResult(2 persons on a photo of 100x90 pixels)"
    with pytest.raises(ValueError, match=r"places on the photo; take \.xy"):
        result.keypoints.xyz  # noqa: B018


def test_results_are_drawn_and_saved(result: PoseResult, tmp_path: Path) -> None:
    picture = result.plot()
    assert picture.size == (100, 90)
    assert 0.02 < (np.asarray(picture) != result.orig_img).any(axis=-1).mean() < 0.9
    result.save(tmp_path / "drawn.png")
    assert (np.asarray(Image.open(tmp_path / "drawn.png")) == np.asarray(picture)).all()
    result.save(tmp_path / "drawn.jpg")
    with pytest.raises(ValueError, match=r"drawn\.gif: pictures are written as \.jpg"):
        result.save(tmp_path / "drawn.gif")
    with pytest.raises(FileExistsError):
        result.save(tmp_path / "drawn.png")


def test_results_become_json_tables_and_keypoints_of_supervision(result: PoseResult) -> None:
    entries = json.loads(result.to_json())
    assert [entry["tokens"] for entry in entries] == result.tokens.ids.tolist()
    np.testing.assert_allclose(np.reshape(entries[0]["keypoints"], (17, 3))[:, :2], result.keypoints.xy[0], atol=0.01)
    table = result.to_df()
    assert table.shape == (2, 7 + 3 * 17 + 6)
    np.testing.assert_allclose(table["left_wrist_x"], result.keypoints.xy[:, LEFT_WRIST, 0])
    assert table["token_5"].tolist() == result.tokens.ids[:, 5].tolist()
    keypoints = result.to_supervision()
    np.testing.assert_array_equal(keypoints.xy, result.keypoints.xy)
    np.testing.assert_array_equal(keypoints[1].data["tokens"][0], result.tokens.ids[1])
    edges = supervision.EdgeAnnotator(edges=[(a + 1, b + 1) for a, b in COCO17.edges])
    assert (edges.annotate(result.orig_img.copy(), keypoints) != result.orig_img).any()


def test_a_photo_without_a_person_is_an_empty_result() -> None:
    (result,) = make_estimator()(np.zeros((50, 60, 3), np.uint8))
    assert len(result) == 0
    assert result.keypoints.xy.shape == (0, 17, 2)
    assert result.boxes.xyxy.shape == (0, 4)
    assert json.loads(result.to_json()) == []
    assert len(result.to_df()) == 0
    assert len(result.to_supervision()) == 0
    assert (np.asarray(result.plot()) == 0).all()


def test_given_boxes_are_of_one_photo_or_one_of_each() -> None:
    estimator, photos = make_estimator(), [make_photo(0), make_photo(1)]
    assert [len(r) for r in estimator(photos, boxes=[BOXES, []])] == [2, 0]
    assert estimator(photos[0], boxes=BOXES[:1])[0].boxes.conf.tolist() == [1.0]
    assert [len(r) for r in estimator.stream(iter(photos), iter([BOXES[:1], BOXES]))] == [1, 2]
    assert estimator.detector.calls == 0
    with pytest.raises(ValueError, match="boxes are of 1 photos and there are 2"):
        estimator(photos, boxes=[BOXES])
    with pytest.raises(ValueError, match="there are no boxes for a photo"):
        list(estimator.stream(iter(photos), [BOXES]))


def test_what_cannot_be_read_is_an_error_or_reported(folder: Path) -> None:
    (folder / "bad.png").write_text("no photo")
    with pytest.raises(PhotoError, match=r"bad\.png: not a photo"):
        make_estimator()(folder)
    said: list[ValueError] = []
    assert len(list(make_estimator().stream(folder, report=said.append))) == 2
    assert [type(error) for error in said] == [PhotoError]
    with pytest.raises(ValueError, match=r"none\.jpg: no such file"):
        make_estimator()("none.jpg")


def test_videos_are_a_generator_of_frames_through_which_persons_keep_their_track(tmp_path: Path) -> None:
    pytest.importorskip("trackers")
    write_video(tmp_path / "walk.mp4", count=12, fps=10)
    for source in (tmp_path / "walk.mp4", [make_photo()] * 6):
        found = make_estimator()(source, track=True, video_fps=5)
        assert isinstance(found, list) == isinstance(source, list)
        results = list(found)
        assert len(results) == 6
        left = [int(r.boxes.id[r.boxes.xyxy[:, 0].argmin()]) for r in results]
        right = [int(r.boxes.id[r.boxes.xyxy[:, 0].argmax()]) for r in results]
        assert (len(set(left[1:])), len(set(right[1:]))) == (1, 1)
        assert left[-1] != right[-1]
        assert json.loads(results[-1].to_json())[0]["track_id"] in (left[-1], right[-1])
        if source == tmp_path / "walk.mp4":
            assert results[2].path == str(source)
            assert json.loads(results[2].to_json())[0]["file_name"] == "walk.mp4#2"


@pytest.mark.parametrize(
    ("package", "extra"), [("pandas", "interop"), ("supervision", "interop"), ("trackers", "track")]
)
def test_a_missing_package_is_named(result: PoseResult, monkeypatch, package: str, extra: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    calls = {
        "pandas": result.to_df,
        "supervision": result.to_supervision,
        "trackers": lambda: make_estimator()([make_photo()], track=True),
    }
    with pytest.raises(ModuleNotFoundError, match=rf'needs the package {package}; pip install "pct\[{extra}\]"'):
        calls[package]()


def test_poses_in_space_have_no_places_on_the_photo() -> None:
    (result,) = make_estimator(space=PoseSpace("root3d"))(make_photo())
    assert result.keypoints.xyz.shape == (2, 17, 3)
    assert "nose_z" in result.to_df()
    with pytest.raises(ValueError, match=r"millimetres in space, no places on the photo; take \.xyz"):
        result.to_supervision()
