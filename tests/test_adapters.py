"""Results of other libraries become poses and tokens: by names, whatever the library, and bad ones are named."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import supervision
import torch
from tiny_photo_models import make_varied_classifier

from pct import adapters
from pct.people.poses import generate_poses
from pct.photos.estimator import PoseEstimator
from pct.poses import Poses
from pct.skeleton import COCO17, Skeleton
from pct.tokenizer import PoseTokenizer

POSES = generate_poses(3, COCO17, seed=0)
XY = POSES.keypoints.numpy()
KNOWN = POSES.visible.numpy()
SIZE = (640, 480)
TOKENIZER = PoseTokenizer.from_pretrained()


def mediapipe_person(row: int) -> list[SimpleNamespace]:
    """The 33 landmarks of a person; those that COCO does not have lie somewhere."""
    person = [SimpleNamespace(x=0.9, y=0.1, visibility=0.7) for _ in adapters.MEDIAPIPE33]
    for joint, name in enumerate(COCO17.keypoint_names):
        x, y = XY[row, joint] / SIZE
        person[adapters.MEDIAPIPE33.index(name)] = SimpleNamespace(x=x, y=y, visibility=float(KNOWN[row, joint]))
    return person


def ultralytics(conf: np.ndarray | None = KNOWN * 0.9) -> SimpleNamespace:
    corners = torch.cat([POSES.bbox[:, :2], POSES.bbox[:, :2] + POSES.bbox[:, 2:]], dim=1)
    conf = None if conf is None else torch.from_numpy(conf)
    return SimpleNamespace(
        keypoints=SimpleNamespace(xy=POSES.keypoints, conf=conf), boxes=SimpleNamespace(xyxy=corners)
    )


def coco(boxed: bool = True) -> list[dict]:
    flat = np.concatenate([XY, KNOWN[..., None] * 0.5], axis=-1).reshape(3, -1)
    entries = [{"image_id": 7, "category_id": 1, "score": 0.5, "keypoints": joints.tolist()} for joints in flat]
    return [{**e, "bbox": b} for e, b in zip(entries, POSES.bbox.tolist(), strict=True)] if boxed else entries


SOURCES = {
    "supervision": lambda: supervision.KeyPoints(XY, keypoint_confidence=KNOWN.astype(np.float32)),
    "supervision, visible": lambda: supervision.KeyPoints(XY, visible=KNOWN),
    "supervision, zeros": lambda: supervision.KeyPoints(XY * KNOWN[..., None]),
    "ultralytics": ultralytics,
    "coco": coco,
    "coco without boxes": lambda: coco(boxed=False),
    "mediapipe": lambda: SimpleNamespace(pose_landmarks=[mediapipe_person(row) for row in range(3)]),
}


@pytest.mark.parametrize("source", SOURCES)
def test_every_library_gives_the_same_poses(source: str) -> None:
    table = adapters.as_poses(SOURCES[source](), image_size=SIZE)
    assert torch.equal(table.visible, POSES.visible)
    known = table.visible[..., None]
    torch.testing.assert_close(table.keypoints * known, POSES.keypoints * known, atol=1e-3, rtol=0)
    if source in ("ultralytics", "coco"):
        torch.testing.assert_close(table.bbox, POSES.bbox)
    assert TOKENIZER.encode(table).shape == (3, 34)


def test_a_tokenizer_takes_results_as_they_are(tmp_path) -> None:
    expected = TOKENIZER.encode(POSES.keypoints, POSES.visible, POSES.bbox)
    (tmp_path / "results.json").write_text(json.dumps([{**e, "id": i} for i, e in enumerate(coco())]))
    for found in (ultralytics(), coco(), [ultralytics()], tmp_path / "results.json", POSES):
        assert torch.equal(TOKENIZER.encode(found), expected)
    assert TOKENIZER.encode([]).shape == (0, 34)
    assert TOKENIZER.encode(supervision.KeyPoints.empty()).shape == (0, 34)


def test_what_an_estimator_finds_can_be_encoded() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (90, 100, 3), dtype=np.uint8)
    results = PoseEstimator(make_varied_classifier())([photo] * 2, boxes=[[[20, 10, 30, 60]], [[0, 0, 90, 80]] * 2])
    table = adapters.as_poses(results)
    assert table.image_ids.tolist() == [1, 2, 2]
    assert table.annotation_ids.tolist() == [1, 2, 3]
    torch.testing.assert_close(table.keypoints[0], torch.from_numpy(results[0].keypoints.xy[0]))
    assert torch.equal(TOKENIZER.encode(results[1]), TOKENIZER.encode(table.select(torch.tensor([1, 2]))))


def test_joints_go_by_their_names() -> None:
    order = np.random.default_rng(0).permutation(17)[:9]
    names = [COCO17.keypoint_names[joint] for joint in order]
    table = adapters.from_supervision(supervision.KeyPoints(XY[:, order]), names=names)
    absent = np.setdiff1d(np.arange(17), order)
    assert not table.visible[:, absent].any()
    known = table.visible[:, order].numpy()
    np.testing.assert_allclose(table.keypoints[:, order].numpy()[known], XY[:, order][known])
    legacy = SimpleNamespace(pose_landmarks=SimpleNamespace(landmark=mediapipe_person(0)))
    torch.testing.assert_close(adapters.from_mediapipe(legacy, SIZE).visible, POSES.visible[:1])
    nobody = SimpleNamespace(pose_landmarks=None)
    assert len(adapters.from_mediapipe(nobody, SIZE)) == 0


def test_unsure_joints_are_unknown_where_a_floor_is_set() -> None:
    conf = np.linspace(0.1, 0.9, 17)[None].repeat(3, 0)
    table = adapters.from_ultralytics(ultralytics(conf), min_conf=0.24)
    assert (table.visible.numpy() == (conf > 0.24) & (XY != 0).any(-1)).all()


@pytest.mark.parametrize(
    ("read", "reason"),
    [
        (lambda: adapters.from_supervision(supervision.KeyPoints(XY[:, :2]), names=["nose", "tail"]), "named tail"),
        (lambda: adapters.from_supervision(supervision.KeyPoints(XY[:, :5])), "has 5 joints, and coco17 has 17; give"),
        (lambda: adapters.from_supervision(supervision.KeyPoints(XY), names=["nose"]), "1 names are given"),
        (
            lambda: adapters.from_supervision(supervision.KeyPoints(XY / 1000)),
            "pose 0: the joints are shares of",
        ),
        (lambda: adapters.from_ultralytics(ultralytics(np.zeros((3, 17)))), "pose 0: no visible joint"),
        (lambda: adapters.as_poses(ultralytics(), Skeleton("two", ("neck", "tail"))), "none of the joints nose"),
        (lambda: TOKENIZER.encode(SOURCES["mediapipe"]()), "shares of the photo; give pct.adapters.from_mediapipe"),
        (lambda: TOKENIZER.encode(object()), "supervision.KeyPoints, COCO results, .* got object"),
        (lambda: TOKENIZER.encode([[1, 2]]), "got list"),
        (lambda: TOKENIZER.encode(POSES.keypoints), "encode needs the person's bbox"),
        (lambda: adapters.from_coco([{"keypoints": [1, 2]}]), r"x, y, confidence a joint; got \[2\]"),
        (lambda: adapters.from_coco([{"bbox": [1, 2, 3, 4]}]), r"got \[0\]"),
        (lambda: adapters.from_coco("none.json"), "none.json"),
    ],
)
def test_what_is_no_pose_is_named(read, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read()


def test_a_file_with_a_bad_pose_is_refused(tmp_path) -> None:
    entries = [{**entry, "id": i} for i, entry in enumerate(coco())]
    entries[1]["bbox"] = [0, 0, 0, 0]
    (tmp_path / "results.json").write_text(json.dumps(entries))
    with pytest.raises(ValueError, match=r"results\.json: annotation 1: bbox is"):
        adapters.as_poses(tmp_path / "results.json")
    assert isinstance(adapters.as_poses(POSES), Poses)
