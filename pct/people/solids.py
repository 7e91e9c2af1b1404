"""Dressed bodies: the solids that a generated person is drawn with, from its points and its look."""

from __future__ import annotations

import math

import numpy as np

from pct.people.kinematics import BODY_POINTS
from pct.people.looks import Look, textures
from pct.people.render import Capsule, Ellipsoid, Material, Paint, Solid

_STATURE = 1690.0  # the radii below are those of a person this tall, in millimetres

# Radii at the two ends of the bare limbs, millimetres.
_RADII = {
    "upper_arm": (50.0, 40.0),
    "forearm": (40.0, 28.0),
    "hand": (30.0, 22.0),
    "thigh": (82.0, 55.0),
    "shank": (54.0, 36.0),
    "foot": (42.0, 32.0),
}
_LIMBS = {
    "upper_arm": ("shoulder", "elbow"),
    "forearm": ("elbow", "wrist"),
    "hand": ("wrist", "hand"),
    "thigh": ("hip", "knee"),
    "shank": ("knee", "ankle"),
    "foot": ("ankle", "foot"),
}
# Parts of a person; hands belong to the forearms and feet to the shanks. What is carried is no part of the body.
PARTS = (
    "trunk",
    "head",
    *(f"{side}_{name}" for side in ("left", "right") for name in ("upper_arm", "forearm", "thigh", "shank")),
    "thing",
)
TRUNK, HEAD, THING = PARTS.index("trunk"), PARTS.index("head"), PARTS.index("thing")
_PART_OF = {"hand": "forearm", "foot": "shank"}
_INDEX = {name: i for i, name in enumerate(BODY_POINTS)}


def dress(points: np.ndarray, look: Look, girth: float) -> list[tuple[int, Solid]]:
    """Return the solids of a person, each with the number of its part in :data:`PARTS`.

    Args:
        points: The :data:`pct.people.kinematics.BODY_POINTS` (P, 3) in camera millimetres.
        look: The appearance.
        girth: How thick the body is, against an average adult; see :func:`girth_of`.
    """
    solids = [(TRUNK, solid) for solid in _trunk(points, look, girth)]
    solids += [(HEAD, solid) for solid in _head(points, look, girth)]
    for side in ("left", "right"):
        for limb, (start, end) in _LIMBS.items():
            part = PARTS.index(f"{side}_{_PART_OF.get(limb, limb)}")
            a, b = points[_INDEX[f"{side}_{start}"]], points[_INDEX[f"{side}_{end}"]]
            radii = (_RADII[limb][0] * girth, _RADII[limb][1] * girth)
            solids += [(part, solid) for solid in _limb(limb, a, b, radii, look)]
    return solids + [(THING, solid) for solid in _things(points, look, girth)]


def girth_of(points: np.ndarray, build: float) -> float:
    """Return how thick a body (BODY_POINTS (P, 3) in any frame, millimetres) is from its size and build."""

    def span(a: str, b: str) -> float:
        return math.dist(points[_INDEX[a]].tolist(), points[_INDEX[b]].tolist())

    thigh = max(span("left_hip", "left_knee"), span("right_hip", "right_knee"))
    # These bones are 0.77 of the stature (Drillis and Contini, as in pct.people.kinematics).
    stature = (span("pelvis", "spine") + span("spine", "thorax") + 2 * thigh) / 0.77
    return build * stature / _STATURE


def _limb(limb: str, a: np.ndarray, b: np.ndarray, radii: tuple[float, float], look: Look) -> list[Solid]:
    if limb == "hand":
        return [Capsule(a, a + 0.75 * (b - a), radii, look.glove or look.skin)]
    if limb == "foot":
        return [Capsule(a, a + 0.95 * (b - a), radii, look.shoe or look.skin)]
    arm = limb in ("upper_arm", "forearm")
    cloth = look.top if arm else look.bottom
    covered = (look.sleeve if arm else look.leg) - (0.0 if limb in ("upper_arm", "thigh") else 1.0)
    covered = min(max(covered, 0.0), 1.0)
    solids: list[Solid] = []
    if covered < 1.0:
        solids.append(Capsule(a, b, radii, look.skin))
    if covered > 0.0:
        wide = radii[0] * look.loose, (radii[0] + covered * (radii[1] - radii[0])) * look.loose
        solids.append(Capsule(a, a + covered * (b - a), wide, cloth))
    return solids


def _trunk(points: np.ndarray, look: Look, girth: float) -> list[Solid]:
    p = {name: points[i] for name, i in _INDEX.items()}
    top, pelvis, spine = (p["left_shoulder"] + p["right_shoulder"]) / 2, p["pelvis"], p["spine"]
    chest = _frame(p["left_shoulder"] - p["right_shoulder"], top - spine)
    hips = _frame(p["left_hip"] - p["right_hip"], spine - pelvis)
    width, hip_width = (float(np.linalg.norm(p[f"left_{n}"] - p[f"right_{n}"])) for n in ("shoulder", "hip"))
    upper, lower = float(np.linalg.norm(top - spine)), float(np.linalg.norm(spine - pelvis))
    depth, belly = 106.0 * girth * math.sqrt(look.loose), 0.36 * width * look.build
    seat = 0.5 * hip_width + 58.0 * girth
    solids: list[Solid] = [
        Ellipsoid(spine + 0.55 * (top - spine), chest, np.array([0.47 * width, 0.72 * upper, depth]), look.top),
        Ellipsoid(spine, hips, np.array([belly, 0.9 * lower, 0.95 * depth]), look.top),
        Ellipsoid(pelvis + 0.2 * (spine - pelvis), hips, np.array([seat, 0.6 * lower, depth]), look.bottom),
        Capsule(p["left_shoulder"], p["right_shoulder"], (52.0 * girth, 52.0 * girth), look.top),
    ]
    nape = top + 0.45 * (p["upper_neck"] - top)
    for side in ("left", "right"):
        shoulder, hip = p[f"{side}_shoulder"], p[f"{side}_hip"]
        armpit = shoulder + 0.22 * (top - shoulder) + 0.2 * (spine - top)
        waist = hip + 0.2 * (pelvis - hip) + 0.45 * (spine - pelvis)
        solids.append(Capsule(armpit, waist, (62.0 * girth, 66.0 * girth), look.top))
        solids.append(Capsule(nape, shoulder, (48.0 * girth, 50.0 * girth), look.top))
    if look.skirt > 0:
        knees = (p["left_knee"] + p["right_knee"]) / 2
        spread = float(np.linalg.norm(p["left_knee"] - p["right_knee"])) / 2
        hem = seat + min(look.skirt, 1.0) * (max(spread + 60.0 * girth, seat) - seat)
        solids.append(Capsule(pelvis, pelvis + look.skirt * (knees - pelvis), (0.8 * seat, hem), look.bottom))
    return solids


def _things(points: np.ndarray, look: Look, girth: float) -> list[Solid]:
    """Return what a person carries."""
    p = {name: points[i] for name, i in _INDEX.items()}
    solids: list[Solid] = []
    if look.pack is not None:
        chest = _frame(p["left_shoulder"] - p["right_shoulder"], p["thorax"] - p["spine"])
        back = (p["thorax"] + p["spine"]) / 2 - 190.0 * girth * chest[:, 2]
        solids.append(Ellipsoid(back, chest, girth * np.array([150.0, 230.0, 110.0]), look.pack))
    if look.thing is not None:
        hand, wrist, elbow = (p[f"{look.thing_side}_{name}"] for name in ("hand", "wrist", "elbow"))
        grip = wrist + 0.7 * (hand - wrist)
        length, thickness = look.thing_size
        # Held across the forearm: rackets, sticks, bags, balls.
        across = np.cross(hand - elbow, p["thorax"] - p["pelvis"])
        across = across / max(float(np.linalg.norm(across)), 1e-6)
        solids.append(Capsule(grip, grip + length * across, (min(thickness, 40.0), thickness), look.thing))
    return solids


def _head(points: np.ndarray, look: Look, girth: float) -> list[Solid]:
    p = {name: points[i] for name, i in _INDEX.items()}
    base, shoulders = p["upper_neck"], (p["left_shoulder"] + p["right_shoulder"]) / 2
    size = float(np.linalg.norm(p["head_top"] - base))
    axes = _frame(p["left_ear"] - p["right_ear"], p["head_top"] - base)
    semi = size * np.array([0.36, 0.56, 0.45])
    center = base + size * axes @ np.array([0.0, 0.46, 0.10])
    solids: list[Solid] = [
        Capsule(shoulders, base + 0.15 * (p["head_top"] - base), (58.0 * girth, 52.0 * girth), look.skin),
        Ellipsoid(center, axes, semi, look.skin, _face(look)),
        Capsule(
            p["nose"] - 0.06 * size * axes[:, 2],
            p["nose"] - size * axes @ np.array([0, -0.10, 0.12]),
            (0.075 * size, 0.045 * size),
            look.skin,
        ),
    ]
    for side, sign in (("left", 1.0), ("right", -1.0)):
        ear = p[f"{side}_ear"] - sign * 0.03 * size * axes[:, 0]
        if look.hair_length < 1.5:
            solids.append(Ellipsoid(ear, axes, size * np.array([0.05, 0.14, 0.09]), look.skin))
    if look.hair_length > 1.5:
        hair = Material(look.hair, look.hair * 0.8, textures()[0], 3.0)
        behind = base + size * axes @ np.array([0.0, 0.33, -0.13])
        solids.append(Ellipsoid(behind, axes, size * np.array([0.42, 0.72, 0.36]), hair))
    if look.hat is not None:
        crown, brim = np.array([0.0, 0.74, 0.06]), np.array([0.0, 0.62, 0.40])
        solids.append(Ellipsoid(base + size * axes @ crown, axes, size * np.array([0.39, 0.34, 0.48]), look.hat))
        solids.append(Ellipsoid(base + size * axes @ brim, axes, size * np.array([0.33, 0.04, 0.34]), look.hat))
    return solids


def _face(look: Look) -> Paint:
    """Return the colours of a head: hair, eyes, brows and mouth on skin."""
    skin, hair, length = look.skin.color, look.hair, look.hair_length

    def paint(local: np.ndarray) -> np.ndarray:
        x, y, z = local[:, 0], local[:, 1], local[:, 2]
        colors = np.broadcast_to(skin, (len(x), 3)).copy()
        front = z > 0.3
        eye = front & ((np.abs(np.abs(x) - 0.45) < 0.17) & (np.abs(y + 0.10) < 0.09))
        pupil = eye & (np.abs(np.abs(x) - 0.45) < 0.08)
        brow = front & (np.abs(np.abs(x) - 0.45) < 0.24) & (np.abs(y - 0.08) < 0.045)
        mouth = front & (np.abs(x) < 0.32) & (np.abs(y + 0.58) < 0.06)
        colors[eye] = (235, 235, 230)
        colors[pupil] = (30, 25, 22)
        colors[brow] = 0.4 * skin + 0.6 * hair
        colors[mouth] = 0.5 * skin + np.array([70, 15, 20])
        if length > 0:
            # Hair begins above the forehead and reaches the nape behind the ears.
            colors[(y > 0.42 + 0.25 * np.minimum(z, 0.6)) | ((z < -0.12) & (y > -0.45))] = hair
        return colors

    return paint


def _frame(left: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Return axes (3, 3) as columns left, up, forward in camera coordinates from two that need not be square."""
    up = up / np.linalg.norm(up)
    left = left - (left @ up) * up
    left = left / np.linalg.norm(left)
    return np.stack([left, up, np.cross(left, up)], axis=1)
