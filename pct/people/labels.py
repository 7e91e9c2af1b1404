"""Labels of generated people: joints, what hides them, boxes and areas, from what a canvas shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pct.people.camera import Camera
from pct.people.figure import PARTS
from pct.people.poses import body_joints
from pct.people.render import Canvas, Capsule
from pct.skeleton import COCO17, H36M17

_MIN_AREA = 36.0 / 256**2  # share of the picture from which on a person is annotated

COCO_POINTS, _H36M = body_joints(COCO17), body_joints(H36M17)
# How far, in millimetres, the own body's surface may be in front of a joint that is still seen: what is around it
# in an average adult.
_DEEP = {"nose": 40.0, "eye": 40.0, "ear": 75.0, "shoulder": 110.0, "elbow": 80.0, "wrist": 65.0,
         "hip": 160.0, "knee": 105.0, "ankle": 75.0}  # fmt: skip
# Limbs that a joint is part of never hide it, however they point at the camera.
_LIMBS_OF = {"shoulder": ("upper_arm",), "elbow": ("upper_arm", "forearm"), "wrist": ("forearm",), "hip": ("thigh",),
             "knee": ("thigh", "shank"), "ankle": ("shank",)}  # fmt: skip
_OWN_LIMB = np.array(
    [
        [part in [f"{name.split('_')[0]}_{limb}" for limb in _LIMBS_OF.get(name.split("_")[-1], ())] for part in PARTS]
        for name in COCO17.keypoint_names
    ]
)
# Places along a limb at which its box is measured.
_SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_TOLERANCE = np.array([_DEEP[name.split("_")[-1]] for name in COCO17.keypoint_names])


@dataclass(frozen=True)
class ScenePerson:
    """An annotated person of a scene.

    Attributes:
        keypoints: COCO joints (17, 2) float32 in image pixels; 0 where outside the picture.
        visibility: (17,) int64: 2 seen, 1 hidden by the person's own body, someone or something else, 0 outside.
        bbox: Box (4,) float32 xywh of the whole body, hidden parts included, cut off at the picture's border.
        area: Pixels of the person that are seen, at least 1.
        joints3d: Human3.6M joints (17, 3) float32 in camera millimetres: x right, y down, z forward.
    """

    keypoints: np.ndarray
    visibility: np.ndarray
    bbox: np.ndarray
    area: float
    joints3d: np.ndarray


@dataclass(frozen=True)
class Actor:
    """A dressed person in a scene.

    Attributes:
        points: The :data:`pct.people.kinematics.BODY_POINTS` (P, 3) in camera millimetres.
        solids: What it is drawn with, each with the number of its part in :data:`pct.people.figure.PARTS`.
        girth: How thick the body is, against an average adult.
    """

    points: np.ndarray
    solids: list[tuple[int, Capsule]]
    girth: float


def outline(canvas: Canvas, actor: Actor) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of a whole person in pixels, cut off at the picture's border."""
    boxes = np.array([box for _, solid in actor.solids for box in _pieces(canvas, solid)])
    size = canvas.size
    boxes = boxes[((boxes[:, :2] < size) & (boxes[:, 2:] > 0)).all(axis=1)].clip(0, size)
    left, top = boxes[:, :2].min(axis=0, initial=size).tolist()
    right, bottom = boxes[:, 2:].max(axis=0, initial=0).tolist()
    return left, top, right, bottom


def _pieces(canvas: Canvas, solid: Capsule) -> list[tuple[float, float, float, float]]:
    """Return boxes of short pieces: what of a long limb lies outside the picture must not widen the box inside."""
    (ax, ay, scale_a), (bx, by, scale_b) = canvas.project(solid.start), canvas.project(solid.end)
    ra, rb = solid.radii[0] * scale_a, solid.radii[1] * scale_b
    pieces = []
    for share in _SHARES:
        x, y, r = ax + share * (bx - ax), ay + share * (by - ay), ra + share * (rb - ra)
        pieces.append((x - r, y - r, x + r, y + r))
    return pieces


def annotate(canvas: Canvas, actor: Actor, number: int, camera: Camera) -> ScenePerson | None:
    """Label a person, or return None where too little of it is seen."""
    first = number * len(PARTS)
    area = int(((canvas.owner >= first) & (canvas.owner < first + len(PARTS))).sum())
    joints = actor.points[COCO_POINTS]
    pixels = camera.project(joints)
    inside = inside_picture(pixels, canvas.size)
    columns, rows = np.round(pixels).clip(0, canvas.size - 1).astype(int).T
    seen, before = canvas.owner[rows, columns], joints[:, 2] - canvas.depth[rows, columns]
    own, part = seen // len(PARTS) == number, seen % len(PARTS)
    own_limb = own & _OWN_LIMB[np.arange(len(part)), part]
    hidden = ~own_limb & (before > np.where(own, _TOLERANCE * actor.girth, 0.0))
    visibility = np.where(inside, np.where(hidden, 1, 2), 0)
    if area < _MIN_AREA * canvas.size**2 or not (visibility == 2).any():
        return None
    left, top, right, bottom = outline(canvas, actor)
    return ScenePerson(
        keypoints=np.where(inside[:, None], pixels, 0.0).astype(np.float32),
        visibility=visibility.astype(np.int64),
        bbox=np.array([left, top, right - left, bottom - top], dtype=np.float32),
        area=float(max(area, 1)),
        joints3d=actor.points[_H36M].astype(np.float32),
    )


def inside_picture(pixels: np.ndarray, size: int) -> np.ndarray:
    """Return which pixels (n, 2) lie in a picture of ``size`` pixels a side (n,)."""
    return np.asarray(((pixels >= -0.5) & (pixels < size - 0.5)).all(axis=-1))
