"""Labels of generated people: who is left and right, and what hides a joint, on scenes whose truth is plain."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pct.people.camera import Camera, Canvas, Capsule, turn
from pct.people.figure import PARTS, Actor
from pct.people.kinematics import BODY_POINTS
from pct.people.scene import annotate
from pct.photos.persons import PersonPhoto
from pct.skeleton import COCO17

CAMERA = Camera(size=256, focal=400.0, pitch=0.0)
LIGHT, WHITE = np.array([0.0, 0.0, -1.0]), np.full(3, 255.0)
# Standing with arms a little away from the body, in millimetres: x to the left, y up, z to the front.
_LEFT = {
    "eye": (36, 1560, 105), "ear": (76, 1545, 5), "shoulder": (180, 1390, 0), "elbow": (260, 1110, 0),
    "wrist": (300, 870, 30), "hand": (310, 720, 50), "hip": (110, 880, 0), "knee": (115, 480, 10),
    "ankle": (115, 80, 0), "foot": (125, 10, 190),
}  # fmt: skip
_MIDDLE = {
    "pelvis": (0, 900, 0), "spine": (0, 1110, 0), "thorax": (0, 1400, 0), "neck": (0, 1440, 15),
    "upper_neck": (0, 1475, 30), "head": (0, 1590, 40), "head_top": (0, 1690, 30), "nose": (0, 1520, 160),
}  # fmt: skip


def standing() -> np.ndarray:
    points = {**_MIDDLE}
    for name, (x, y, z) in _LEFT.items():
        points[f"left_{name}"], points[f"right_{name}"] = (x, y, z), (-x, y, z)
    return np.array([points[name] for name in BODY_POINTS], dtype=float)


def place(azimuth: float, aside: float = 0.0, distance: float = 3500.0) -> Actor:
    points = (turn(standing(), azimuth) - (0, 850, 0)) @ CAMERA.axes.T + (aside, 0, distance)
    return Actor.dress(points, np.random.default_rng(0))


def draw(*actors: Actor) -> Canvas:
    canvas = Canvas(np.zeros((256, 256, 3), dtype=np.uint8), CAMERA, LIGHT)
    for number, actor in enumerate(actors):
        for part, solid in actor.solids:
            canvas.draw(solid, number * len(PARTS) + part)
    return canvas


def label(canvas: Canvas, actor: Actor, number: int = 0) -> PersonPhoto:
    person = annotate(canvas, actor, number)
    assert person is not None
    return person


def seen(person: PersonPhoto) -> set[str]:
    return {name for name, v in zip(COCO17.keypoint_names, person.visibility, strict=True) if v == 2}


def test_left_is_on_the_right_of_the_picture_when_people_face_the_camera() -> None:
    for azimuth, sign in ((0.0, 1.0), (math.pi, -1.0)):
        actor = place(azimuth)
        keypoints = label(draw(actor), actor).keypoints
        for left, right in COCO17.flip_pairs:
            assert sign * (keypoints[left, 0] - keypoints[right, 0]) > 0


def test_everything_is_seen_from_the_front_and_no_face_from_behind() -> None:
    actor = place(0.0)
    assert seen(label(draw(actor), actor)) == set(COCO17.keypoint_names)
    behind = place(math.pi)
    hidden = set(COCO17.keypoint_names) - seen(label(draw(behind), behind))
    assert {"nose", "left_eye", "right_eye"} <= hidden <= {"nose", "left_eye", "right_eye", "left_ear", "right_ear"}


def test_the_far_side_is_hidden_in_profile() -> None:
    # Turned to the person's left by 90 degrees, the right side is the nearer one.
    actor = place(math.pi / 2)
    names = seen(label(draw(actor), actor))
    assert {"right_shoulder", "right_elbow", "right_wrist", "right_ear", "right_knee", "nose"} <= names
    # The hand hangs before the nearer hip.
    assert "right_hip" not in names
    assert not names & {"left_shoulder", "left_hip", "left_ear", "left_eye"}


def test_things_hide_what_is_behind_them_only() -> None:
    actor = place(0.0)
    # A bar across the lower half of the picture.
    low = {n for n, (_, y) in zip(COCO17.keypoint_names, label(draw(actor), actor).keypoints, strict=True) if y > 151}
    assert "left_knee" in low
    for depth, hidden in ((2500.0, low), (5000.0, set())):
        canvas = draw(actor)
        area = label(canvas, actor).area
        ends = np.array([(-600.0, 830.0, 2500.0), (600.0, 830.0, 2500.0)]) * depth / 2500
        bar = Capsule(ends[0], ends[1], (0.27 * depth, 0.27 * depth), WHITE)
        canvas.draw(bar, 9 * len(PARTS))
        person = label(canvas, actor)
        assert seen(person) == set(COCO17.keypoint_names) - hidden
        assert (person.visibility > 0).all()
        assert (person.area < area) == bool(hidden)


def test_other_people_hide_joints_whatever_the_order_of_drawing() -> None:
    near, far = place(0.0, distance=2600.0), place(0.0, aside=60.0, distance=3500.0)
    canvas, reverse = draw(near, far), draw(far, near)
    front, back = label(canvas, near, 0), label(canvas, far, 1)
    assert seen(front) == set(COCO17.keypoint_names)
    assert (back.visibility == 1).sum() > 8
    assert np.array_equal(back.visibility, label(reverse, far, 0).visibility)
    assert abs(front.area - label(reverse, near, 1).area) < 0.01 * front.area


def test_joints_outside_the_picture_are_not_labelled_and_do_not_widen_the_box() -> None:
    actor = place(0.0, aside=1100.0)
    person = label(draw(actor), actor)
    outside = person.visibility == 0
    assert 0 < outside.sum() < 17
    assert (person.keypoints[outside] == 0).all()
    assert person.bbox[0] + person.bbox[2] == 256
    # The head, cut off at the side, is the highest thing that is seen.
    assert person.bbox[1] < 60
    gone = place(0.0, aside=3000.0)
    assert annotate(draw(gone), gone, 0) is None


def test_boxes_are_tight() -> None:
    actor = place(0.3)
    canvas = draw(actor)
    rows, columns = np.nonzero(canvas.owner >= 0)
    x, y, width, height = label(canvas, actor).bbox
    assert [x, y, x + width, y + height] == pytest.approx(
        [columns.min(), rows.min(), columns.max(), rows.max()], abs=2.5
    )


def test_a_capsule_is_as_wide_as_its_radii_and_as_deep_as_its_surface() -> None:
    limb = Capsule(np.array([-300.0, 0, 4000]), np.array([300.0, 0, 4000]), (100.0, 200.0), WHITE)
    canvas = Canvas(np.zeros((256, 256, 3), dtype=np.uint8), CAMERA, LIGHT)
    canvas.draw(limb, 7)
    for x, radius in ((-300, 100), (0, 150), (300, 200)):
        column = round(127.5 + x / 10)
        owned = canvas.owner[:, column] == 7
        assert owned.sum() == pytest.approx(2 * radius / 10, abs=2)
        assert canvas.depth[:, column].min() == pytest.approx(4000 - radius, abs=5)
    assert np.isinf(canvas.depth[canvas.owner < 0]).all()
