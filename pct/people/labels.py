"""Labels of generated people: joints, what hides them, boxes and areas, from what a canvas shows."""

from __future__ import annotations

import numpy as np

from pct.people.camera import Camera
from pct.people.figure import PARTS, Actor
from pct.people.poses import body_joints
from pct.people.render import Canvas
from pct.photos.persons import PersonPhoto
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
_SHARES = np.linspace(0, 1, 6)[:, None]
_NO_PHOTO = np.empty((0, 0, 3), dtype=np.uint8)
_TOLERANCE = np.array([_DEEP[name.split("_")[-1]] for name in COCO17.keypoint_names])


def _outline(camera: Camera, actor: Actor) -> np.ndarray:
    """Return left, top, right and bottom (4,) of a whole person in pixels, cut off at the picture's border."""
    solids = [solid for _, solid in actor.solids]
    ends = np.array([(solid.start, solid.end) for solid in solids])  # (n, 2, 3)
    pixels = camera.project(ends)
    radii = np.array([solid.radii for solid in solids])[..., None] * camera.focal / ends[..., 2:]
    # In pieces: what of a long limb lies outside the picture must not widen the box inside.
    middles, widths = ((1 - _SHARES) * x[:, :1] + _SHARES * x[:, 1:] for x in (pixels, radii))
    low, high = (middles - widths).reshape(-1, 2), (middles + widths).reshape(-1, 2)
    seen = ((low < camera.size) & (high > 0)).all(axis=1)
    box = [low[seen].min(axis=0, initial=camera.size), high[seen].max(axis=0, initial=0)]
    return np.concatenate(box).clip(0, camera.size)


def annotate(canvas: Canvas, actor: Actor, number: int) -> PersonPhoto | None:
    """Label a person, or return None where too little of it is seen.

    Returns:
        A person without its photo. Visibility is 2 where a joint is seen, 1 where it is hidden by the person's own
        body, someone or something else, 0 outside the picture; the box is that of the whole body, hidden parts
        included, cut off at the picture's border.
    """
    camera, first = canvas.camera, number * len(PARTS)
    area = int(((canvas.owner >= first) & (canvas.owner < first + len(PARTS))).sum())
    joints = actor.points[COCO_POINTS]
    pixels = camera.project(joints)
    inside = camera.sees(pixels)
    columns, rows = np.round(pixels).clip(0, camera.size - 1).astype(int).T
    seen, before = canvas.owner[rows, columns], joints[:, 2] - canvas.depth[rows, columns]
    own, part = seen // len(PARTS) == number, seen % len(PARTS)
    own_limb = own & _OWN_LIMB[np.arange(len(part)), part]
    hidden = ~own_limb & (before > np.where(own, _TOLERANCE * actor.girth, 0.0))
    visibility = np.where(inside, np.where(hidden, 1, 2), 0)
    if area < _MIN_AREA * camera.size**2 or not (visibility == 2).any():
        return None
    box = _outline(camera, actor)
    return PersonPhoto(
        image=_NO_PHOTO,
        bbox=np.array([*box[:2], *(box[2:] - box[:2])], dtype=np.float32),
        keypoints=np.where(inside[:, None], pixels, 0.0).astype(np.float32),
        visibility=visibility.astype(np.int64),
        area=float(max(area, 1)),
        image_id=0,
        annotation_id=0,
        keypoints3d=actor.points[_H36M].astype(np.float32),
        intrinsics=camera.intrinsics,
    )
