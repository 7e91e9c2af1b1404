"""Dressed figures: what generated people look like, and the capsules that they are drawn with."""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import numpy as np

from pct.people.kinematics import BODY_POINTS
from pct.people.render import Capsule, Material

_SKIN = np.array([[255, 224, 196], [240, 200, 165], [222, 170, 130], [190, 130, 90], [140, 90, 60], [90, 58, 40]])
_HAIR = np.array([[20, 16, 14], [50, 34, 24], [90, 60, 36], [150, 105, 60], [215, 180, 120], [150, 60, 30], [170] * 3])
_STATURE = 1690.0  # the radii below are those of a person this tall, in millimetres
# Joints at the two ends of the limbs, and the radii there of bare ones, millimetres.
_LIMBS = {
    "upper_arm": ("shoulder", "elbow", 50.0, 40.0),
    "forearm": ("elbow", "wrist", 40.0, 28.0),
    "hand": ("wrist", "hand", 30.0, 22.0),
    "thigh": ("hip", "knee", 82.0, 55.0),
    "shank": ("knee", "ankle", 54.0, 36.0),
    "foot": ("ankle", "foot", 42.0, 32.0),
}
# Parts of a person; hands belong to the forearms and feet to the shanks.
PARTS = (
    "trunk",
    "head",
    *(f"{side}_{name}" for side in ("left", "right") for name in ("upper_arm", "forearm", "thigh", "shank")),
)
_PART_OF = {"hand": "forearm", "foot": "shank"}
_INDEX = {name: i for i, name in enumerate(BODY_POINTS)}


@dataclass(frozen=True)
class Look:
    """A person's appearance.

    Attributes:
        skin: Bare skin.
        hair: Hair.
        top: Shirt or jacket.
        bottom: Trousers or shorts.
        shoe: Shoes.
        sleeve: How far sleeves go down the arm: 0 none, 1 to the elbow, 2 to the wrist.
        leg: How far trousers go down the leg: 0.3 shorts, 1 to the knee, 2 to the ankle.
        build: Radii against those of an average person.
        long_hair: Whether hair covers the neck.
        loose: How much wider than the limb the clothes are.
    """

    skin: Material
    hair: Material
    top: Material
    bottom: Material
    shoe: Material
    sleeve: float
    leg: float
    build: float
    long_hair: bool
    loose: float


def draw_look(rng: np.random.Generator) -> Look:
    """Draw an appearance."""
    skin = (_SKIN[rng.integers(len(_SKIN))] * rng.uniform(0.88, 1.08) + rng.normal(0, 5, 3)).clip(20, 255)
    hair = (_HAIR[rng.integers(len(_HAIR))] * rng.uniform(0.6, 1.3)).clip(5, 250)
    return Look(
        skin=Material(skin, skin),
        hair=Material(hair, hair),
        top=draw_cloth(rng, plain=0.5),
        bottom=draw_cloth(rng, plain=0.75),
        shoe=draw_cloth(rng, plain=0.9),
        sleeve=float(rng.choice([0.0, rng.uniform(0.3, 1.6), 2.0], p=[0.12, 0.48, 0.4])),
        leg=float(rng.choice([rng.uniform(0.3, 1.6), 2.0], p=[0.37, 0.63])),
        build=float(np.clip(rng.normal(1.0, 0.12), 0.75, 1.4)),
        long_hair=rng.random() < 0.35,
        loose=float(rng.uniform(1.04, 1.28)),
    )


def draw_color(rng: np.random.Generator) -> np.ndarray:
    """Draw an RGB colour (3,) in 0..255, often a greyish one."""
    saturation = rng.uniform(0.0, 0.2) if rng.random() < 0.5 else rng.uniform(0.2, 0.95)
    return 255.0 * np.array(colorsys.hsv_to_rgb(rng.random(), saturation, rng.uniform(0.08, 1.0)), np.float32)


def draw_cloth(rng: np.random.Generator, plain: float) -> Material:
    """Draw what clothes and things are made of; ``plain`` is the share of those in one colour."""
    across, along = rng.choice([0.0, rng.uniform(15.0, 120.0)], 2)
    color = draw_color(rng)
    return Material(color, color) if rng.random() < plain else Material(color, draw_color(rng), across, along)


def girth_of(points: np.ndarray, build: float) -> float:
    """Return how thick a body (BODY_POINTS (P, 3) in any frame, millimetres) is from its size and build."""

    def span(a: str, b: str) -> float:
        return math.dist(points[_INDEX[a]].tolist(), points[_INDEX[b]].tolist())

    thigh = max(span("left_hip", "left_knee"), span("right_hip", "right_knee"))
    # These bones are 0.77 of the stature (Drillis and Contini, as in pct.people.kinematics).
    stature = (span("pelvis", "spine") + span("spine", "thorax") + 2 * thigh) / 0.77
    return build * stature / _STATURE


def dress(points: np.ndarray, look: Look, girth: float) -> list[tuple[int, Capsule]]:
    """Return the capsules of a person, each with the number of its part in :data:`PARTS`.

    Args:
        points: The :data:`pct.people.kinematics.BODY_POINTS` (P, 3) in camera millimetres.
        look: The appearance.
        girth: How thick the body is, against an average adult; see :func:`girth_of`.
    """
    p = {name: points[i] for name, i in _INDEX.items()}
    solids = [(PARTS.index("trunk"), solid) for solid in _trunk(p, look, girth)]
    solids += [(PARTS.index("head"), solid) for solid in _head(p, look, girth)]
    for side in ("left", "right"):
        for limb, (start, end, *radii) in _LIMBS.items():
            part = PARTS.index(f"{side}_{_PART_OF.get(limb, limb)}")
            a, b = p[f"{side}_{start}"], p[f"{side}_{end}"]
            solids += [(part, solid) for solid in _limb(limb, a, b, (radii[0] * girth, radii[1] * girth), look)]
    return solids


def _limb(limb: str, a: np.ndarray, b: np.ndarray, radii: tuple[float, float], look: Look) -> list[Capsule]:
    if limb in ("hand", "foot"):
        return [Capsule(a, a + 0.85 * (b - a), radii, look.skin if limb == "hand" else look.shoe)]
    cloth, reach = (look.top, look.sleeve) if limb in ("upper_arm", "forearm") else (look.bottom, look.leg)
    covered = min(max(reach - (0.0 if limb in ("upper_arm", "thigh") else 1.0), 0.0), 1.0)
    solids = [Capsule(a, b, radii, look.skin)] if covered < 1.0 else []
    if covered > 0.0:
        wide = radii[0] * look.loose, (radii[0] + covered * (radii[1] - radii[0])) * look.loose
        solids.append(Capsule(a, a + covered * (b - a), wide, cloth))
    return solids


def _trunk(p: dict[str, np.ndarray], look: Look, girth: float) -> list[Capsule]:
    top, depth = (p["left_shoulder"] + p["right_shoulder"]) / 2, 100.0 * girth * math.sqrt(look.loose)
    nape = top + 0.45 * (p["upper_neck"] - top)
    solids = [
        Capsule(p["left_shoulder"], p["right_shoulder"], (52.0 * girth, 52.0 * girth), look.top),
        Capsule(top + 0.3 * (p["spine"] - top), p["spine"], (depth, depth), look.top),
        Capsule(p["spine"], p["pelvis"], (depth, depth), look.bottom),
        Capsule(p["left_hip"], p["right_hip"], (85.0 * girth, 85.0 * girth), look.bottom),
    ]
    for side in ("left", "right"):
        shoulder, hip = p[f"{side}_shoulder"], p[f"{side}_hip"]
        armpit = shoulder + 0.22 * (top - shoulder) + 0.2 * (p["spine"] - top)
        waist = hip + 0.2 * (p["pelvis"] - hip) + 0.45 * (p["spine"] - p["pelvis"])
        solids.append(Capsule(armpit, waist, (62.0 * girth, 66.0 * girth), look.top))
        solids.append(Capsule(nape, shoulder, (48.0 * girth, 50.0 * girth), look.top))
    return solids


def _head(p: dict[str, np.ndarray], look: Look, girth: float) -> list[Capsule]:
    base, up = p["upper_neck"], p["head_top"] - p["upper_neck"]
    size = float(np.linalg.norm(up))
    back = (p["left_ear"] + p["right_ear"]) / 2 - p["nose"]
    back = 0.07 * size * back / np.linalg.norm(back)
    neck = (p["left_shoulder"] + p["right_shoulder"]) / 2
    dark, red = Material(np.array([40.0, 32, 28]), np.zeros(3)), Material(0.6 * look.skin.color, np.zeros(3))
    mouth = [p["nose"] - 0.2 * up + back + 0.25 * (p[f"{side}_eye"] - p["nose"]) for side in ("left", "right")]
    solids = [
        Capsule(neck, base + 0.15 * up, (58.0 * girth, 52.0 * girth), look.skin),
        Capsule(base + 0.34 * up - back, base + 0.58 * up - back, (0.38 * size, 0.42 * size), look.skin),
        Capsule(base + 0.60 * up + back, base + (0.1 if look.long_hair else 0.45) * up + 1.5 * back,
                (0.44 * size, 0.40 * size), look.hair),
        Capsule(p["nose"], p["nose"] + 0.1 * up + back, (0.06 * size, 0.04 * size), look.skin),
        Capsule(mouth[0], mouth[1], (0.05 * size, 0.05 * size), red),
    ]  # fmt: skip
    for side in ("left", "right"):
        ear = p[f"{side}_ear"]
        solids.append(Capsule(p[f"{side}_eye"], p[f"{side}_eye"], (0.06 * size, 0.06 * size), dark))
        solids.append(Capsule(ear - 0.06 * up, ear + 0.06 * up, (0.09 * size, 0.09 * size), look.skin))
    return solids
