"""Dressed figures: the coloured capsules that generated people are drawn with."""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import numpy as np

from pct.people.camera import Capsule
from pct.people.kinematics import BODY_POINTS

_SKIN = np.array([[255, 224, 196], [240, 200, 165], [222, 170, 130], [190, 130, 90], [140, 90, 60], [90, 58, 40]])
_HAIR = np.array([[20, 16, 14], [50, 34, 24], [90, 60, 36], [150, 105, 60], [215, 180, 120], [150, 60, 30], [170] * 3])
_EYE = np.array([40.0, 32.0, 28.0])
_THIGH = 405.0  # the radii below are those of a person with thighs this long, in millimetres
# Joints at the two ends of the limbs, the radii there in millimetres, and what covers them.
_LIMBS = {
    "upper_arm": ("shoulder", "elbow", 54.0, 43.0, "sleeve"),
    "forearm": ("elbow", "wrist", 41.0, 29.0, "cuff"),
    "hand": ("wrist", "hand", 30.0, 22.0, "skin"),
    "thigh": ("hip", "knee", 86.0, 58.0, "bottom"),
    "shank": ("knee", "ankle", 56.0, 38.0, "leg"),
    "foot": ("ankle", "foot", 42.0, 32.0, "shoe"),
}
# Parts of a person; hands belong to the forearms and feet to the shanks.
PARTS = (
    "trunk",
    "head",
    *(f"{side}_{name}" for side in ("left", "right") for name in ("upper_arm", "forearm", "thigh", "shank")),
)
_PART_OF = {"hand": "forearm", "foot": "shank"}


@dataclass(frozen=True)
class Actor:
    """A dressed person in a scene.

    Attributes:
        points: The :data:`pct.people.kinematics.BODY_POINTS` (P, 3) in camera millimetres.
        girth: How thick the body is, against an average adult.
        solids: What it is drawn with, each with the number of its part in :data:`PARTS`.
    """

    points: np.ndarray
    girth: float
    solids: list[tuple[int, Capsule]]

    @classmethod
    def dress(cls, points: np.ndarray, rng: np.random.Generator) -> Actor:
        """Draw an appearance for a body (P, 3) in camera millimetres."""
        p = dict(zip(BODY_POINTS, points, strict=True))
        thigh = max(math.dist(p[f"{side}_hip"], p[f"{side}_knee"]) for side in ("left", "right"))
        girth = float(np.clip(rng.normal(1.0, 0.12), 0.75, 1.4)) * thigh / _THIGH
        colors = _draw_colors(rng)
        solids = [(PARTS.index("trunk"), solid) for solid in _trunk(p, colors, girth)]
        solids += [(PARTS.index("head"), solid) for solid in _head(p, colors, girth)]
        for side in ("left", "right"):
            for limb, (start, end, first, last, cover) in _LIMBS.items():
                part = PARTS.index(f"{side}_{_PART_OF.get(limb, limb)}")
                ends = p[f"{side}_{start}"], p[f"{side}_{end}"]
                solids.append((part, Capsule(*ends, (first * girth, last * girth), colors[cover])))
        return cls(points, girth, solids)


def draw_color(rng: np.random.Generator) -> np.ndarray:
    """Draw an RGB colour (3,) in 0..255, often a greyish one."""
    saturation = rng.uniform(0.0, 0.2) if rng.random() < 0.5 else rng.uniform(0.2, 0.95)
    return 255.0 * np.array(colorsys.hsv_to_rgb(rng.random(), saturation, rng.uniform(0.08, 1.0)), np.float32)


def _draw_colors(rng: np.random.Generator) -> dict[str, np.ndarray]:
    skin, hair = (table[rng.integers(len(table))] * rng.uniform(0.85, 1.1) for table in (_SKIN, _HAIR))
    top, bottom, bare = draw_color(rng), draw_color(rng), rng.random(3)
    sleeve, leg = top if bare[0] < 0.85 else skin, bottom if bare[2] < 0.65 else skin
    cuff = top if bare[0] < 0.85 and bare[1] < 0.5 else skin
    clothes = {"top": top, "sleeve": sleeve, "cuff": cuff, "bottom": bottom, "leg": leg, "shoe": draw_color(rng)}
    return {"skin": skin, "hair": hair, **clothes}


def _trunk(p: dict[str, np.ndarray], colors: dict[str, np.ndarray], girth: float) -> list[Capsule]:
    neck, top = (p["left_shoulder"] + p["right_shoulder"]) / 2, colors["top"]
    # Both ends, both radii, colour.
    parts = [
        (p["left_shoulder"], p["right_shoulder"], 52, 52, top),
        (neck + 0.3 * (p["spine"] - neck), p["spine"], 107, 107, top),
        (p["spine"], p["pelvis"], 107, 107, colors["bottom"]),
        (p["left_hip"], p["right_hip"], 85, 85, colors["bottom"]),
    ]
    for side in ("left", "right"):
        shoulder, hip = p[f"{side}_shoulder"], p[f"{side}_hip"]
        armpit = shoulder + 0.22 * (neck - shoulder) + 0.2 * (p["spine"] - neck)
        waist = hip + 0.2 * (p["pelvis"] - hip) + 0.45 * (p["spine"] - p["pelvis"])
        parts.append((armpit, waist, 62, 66, top))
        parts.append((neck + 0.45 * (p["upper_neck"] - neck), shoulder, 48, 50, top))
    return [Capsule(a, b, (first * girth, last * girth), color) for a, b, first, last, color in parts]


def _head(p: dict[str, np.ndarray], colors: dict[str, np.ndarray], girth: float) -> list[Capsule]:
    base, up, skin = p["upper_neck"], p["head_top"] - p["upper_neck"], colors["skin"]
    size = float(np.linalg.norm(up))
    back = (p["left_ear"] + p["right_ear"]) / 2 - p["nose"]
    back = 0.07 * size * back / np.linalg.norm(back)
    neck = (p["left_shoulder"] + p["right_shoulder"]) / 2
    # Both ends, both radii as shares of the head's size, colour.
    parts = [
        (base + 0.34 * up - back, base + 0.58 * up - back, 0.38, 0.42, skin),
        (base + 0.60 * up + back, base + 0.45 * up + 1.5 * back, 0.44, 0.40, colors["hair"]),
        (p["nose"], p["nose"] + 0.1 * up + back, 0.06, 0.04, skin),
    ]
    for side in ("left", "right"):
        eye, ear = p[f"{side}_eye"], p[f"{side}_ear"]
        parts += [(eye, eye, 0.06, 0.06, _EYE), (ear - 0.06 * up, ear + 0.06 * up, 0.09, 0.09, skin)]
    solids = [Capsule(a, b, (first * size, last * size), color) for a, b, first, last, color in parts]
    return [Capsule(neck, base + 0.15 * up, (58.0 * girth, 52.0 * girth), skin), *solids]
