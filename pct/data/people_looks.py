"""What generated people look like: skin, hair, clothes, and the solids of a dressed body."""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from pct.data.kinematics import BODY_POINTS
from pct.data.people_render import TEXTURE_SIDE, Capsule, Ellipsoid, Material, Paint, Solid

_SKIN = np.array([[255, 224, 196], [240, 200, 165], [222, 170, 130], [190, 130, 90], [140, 90, 60], [90, 58, 40]])
_HAIR = np.array([[20, 16, 14], [50, 34, 24], [90, 60, 36], [150, 105, 60], [215, 180, 120], [150, 60, 30], [170] * 3])
_NUM_TEXTURES = 48
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
# Parts of a body; hands belong to the forearms and feet to the shanks.
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
        hair: Hair colour (3,).
        top: Shirt or jacket.
        bottom: Trousers or shorts.
        shoe: Shoes; None is barefoot.
        glove: Gloves; None is bare hands.
        sleeve: How far sleeves go down the arm: 0 none, 1 to the elbow, 2 to the wrist.
        leg: How far trousers go down the leg: 0.3 shorts, 1 to the knee, 2 to the ankle.
        build: Radii against those of an average person.
        hair_length: 0 is bald, 1 short, above 1.5 over the neck.
        loose: How much wider than the limb the clothes are.
    """

    skin: Material
    hair: np.ndarray
    top: Material
    bottom: Material
    shoe: Material | None
    glove: Material | None
    sleeve: float
    leg: float
    build: float
    hair_length: float
    loose: float


def draw_look(rng: np.random.Generator) -> Look:
    """Draw an appearance."""
    skin = _SKIN[rng.integers(len(_SKIN))] * rng.uniform(0.88, 1.08) + rng.normal(0, 5, 3)
    skin = skin.clip(20, 255)
    hair = (_HAIR[rng.integers(len(_HAIR))] * rng.uniform(0.6, 1.3)).clip(5, 250)
    top = _draw_cloth(rng)
    bottom = top if rng.random() < 0.12 else _draw_cloth(rng, plain=0.75)
    return Look(
        skin=Material(skin, skin),
        hair=hair,
        top=top,
        bottom=bottom,
        shoe=_draw_cloth(rng, plain=0.9) if rng.random() < 0.88 else None,
        glove=_draw_cloth(rng, plain=0.9) if rng.random() < 0.06 else None,
        sleeve=float(rng.choice([0.0, rng.uniform(0.3, 0.8), rng.uniform(0.8, 1.6), 2.0], p=[0.12, 0.38, 0.1, 0.4])),
        leg=float(rng.choice([rng.uniform(0.3, 0.9), rng.uniform(1.0, 1.6), 2.0], p=[0.27, 0.1, 0.63])),
        build=float(np.clip(rng.normal(1.0, 0.12), 0.75, 1.4)),
        hair_length=float(rng.choice([0.0, 1.0, 2.0], p=[0.08, 0.57, 0.35])),
        loose=float(rng.uniform(1.04, 1.28)),
    )


def dress(points: np.ndarray, look: Look, stature: float) -> list[tuple[int, Solid]]:
    """Return the solids of a person, each with the number of its part in :data:`PARTS`.

    Args:
        points: The :data:`pct.data.kinematics.BODY_POINTS` (P, 3) in camera millimetres.
        look: The appearance.
        stature: The person's height in millimetres, which limbs are as thick as it asks for.
    """
    thick = look.build * stature / _STATURE
    solids = [(0, solid) for solid in _trunk(points, look, thick)]
    solids += [(1, solid) for solid in _head(points, look, thick)]
    for side in ("left", "right"):
        for limb, (start, end) in _LIMBS.items():
            part = PARTS.index(f"{side}_{_PART_OF.get(limb, limb)}")
            a, b = points[_INDEX[f"{side}_{start}"]], points[_INDEX[f"{side}_{end}"]]
            radii = (_RADII[limb][0] * thick, _RADII[limb][1] * thick)
            solids += [(part, solid) for solid in _limb(limb, a, b, radii, look)]
    return solids


def stature_of(points: np.ndarray) -> float:
    """Estimate the height of a person in millimetres from bone lengths (BODY_POINTS (P, 3) in any frame)."""

    def span(a: str, b: str) -> float:
        return math.dist(points[_INDEX[a]].tolist(), points[_INDEX[b]].tolist())

    thigh = max(span("left_hip", "left_knee"), span("right_hip", "right_knee"))
    return (span("pelvis", "spine") + span("spine", "thorax") + 2 * thigh) / 0.77


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


def _trunk(points: np.ndarray, look: Look, thick: float) -> list[Solid]:
    p = {name: points[i] for name, i in _INDEX.items()}
    chest = _frame(p["left_shoulder"] - p["right_shoulder"], p["thorax"] - p["spine"])
    hips = _frame(p["left_hip"] - p["right_hip"], p["spine"] - p["pelvis"])
    width = np.linalg.norm(p["left_shoulder"] - p["right_shoulder"])
    hip_width = np.linalg.norm(p["left_hip"] - p["right_hip"])
    upper, lower = np.linalg.norm(p["thorax"] - p["spine"]), np.linalg.norm(p["spine"] - p["pelvis"])
    depth = 112.0 * thick * math.sqrt(look.loose)
    solids: list[Solid] = [
        Ellipsoid(
            p["spine"] + 0.55 * (p["thorax"] - p["spine"]),
            chest,
            np.array([0.47 * width, 0.75 * upper, depth]),
            look.top,
        ),
        Ellipsoid(
            p["spine"], hips, np.array([0.4 * width * math.sqrt(look.build), 0.9 * lower, 0.95 * depth]), look.top
        ),
        Ellipsoid(p["pelvis"], hips, np.array([0.5 * hip_width + 62 * thick, 0.75 * lower, 1.02 * depth]), look.bottom),
        Capsule(p["left_shoulder"], p["right_shoulder"], (55.0 * thick, 55.0 * thick), look.top),
    ]
    for side in ("left", "right"):
        shoulder, hip = p[f"{side}_shoulder"], p[f"{side}_hip"]
        armpit = shoulder + 0.2 * (p["thorax"] - shoulder) + 0.2 * (p["spine"] - p["thorax"])
        waist = hip + 0.15 * (p["pelvis"] - hip) + 0.35 * (p["spine"] - p["pelvis"])
        solids.append(Capsule(armpit, waist, (62.0 * thick, 68.0 * thick), look.top))
    return solids


def _head(points: np.ndarray, look: Look, thick: float) -> list[Solid]:
    p = {name: points[i] for name, i in _INDEX.items()}
    base = p["upper_neck"]
    size = float(np.linalg.norm(p["head_top"] - base))
    axes = _frame(p["left_ear"] - p["right_ear"], p["head_top"] - base)
    semi = size * np.array([0.36, 0.56, 0.45])
    center = base + size * axes @ np.array([0.0, 0.46, 0.10])
    solids: list[Solid] = [
        Capsule(p["thorax"], base + 0.15 * (p["head_top"] - base), (62.0 * thick, 52.0 * thick), look.skin),
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


def _draw_cloth(rng: np.random.Generator, plain: float = 0.5) -> Material:
    color, accent = _draw_color(rng), _draw_color(rng)
    index = int(rng.integers(_NUM_TEXTURES))
    if rng.random() < plain:
        # Even plain cloth has folds.
        accent = color * rng.uniform(0.7, 0.95)
        index = 0
    return Material(color, accent, textures()[index], float(rng.uniform(2.0, 8.0)))


def _draw_color(rng: np.random.Generator) -> np.ndarray:
    grey = rng.random() < 0.35
    saturation = rng.uniform(0.0, 0.12) if grey else rng.uniform(0.15, 0.95)
    return 255.0 * np.array(colorsys.hsv_to_rgb(rng.random(), saturation, rng.uniform(0.08, 1.0)))


@cache
def textures() -> np.ndarray:
    """Return the textures (T, TEXTURE_SIDE, TEXTURE_SIDE) in [0, 1]: noise first, stripes, checks, dots, patches."""
    rng = np.random.default_rng(0)
    ramp = np.arange(TEXTURE_SIDE)
    columns, rows = np.meshgrid(ramp, ramp)
    bank = [_noise(rng, 8)]
    while len(bank) < _NUM_TEXTURES:
        period = int(rng.choice([8, 16, 32]))
        share = rng.uniform(0.25, 0.75) * period
        across, down = (rows % period < share), (columns % period < share)
        kind = len(bank) % 7
        if kind == 0:
            bank.append(across.astype(np.float32))
        elif kind == 1:
            bank.append(down.astype(np.float32))
        elif kind == 2:
            bank.append((across ^ down).astype(np.float32))
        elif kind == 3:
            bank.append(0.5 * across + 0.5 * down)
        elif kind == 4:
            half = period / 2
            bank.append(
                ((rows % period - half) ** 2 + (columns % period - half) ** 2 < share**2 / 4).astype(np.float32)
            )
        elif kind == 5:
            bank.append((_noise(rng, int(rng.choice([4, 8, 16]))) > 0.5).astype(np.float32))
        else:
            bank.append(_noise(rng, int(rng.choice([4, 16, 32]))))
    return np.stack(bank).astype(np.float32)


def _noise(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Return smooth periodic noise (TEXTURE_SIDE, TEXTURE_SIDE) in [0, 1] with ``cells`` values a side."""
    spectrum = np.fft.fft2(rng.standard_normal((TEXTURE_SIDE, TEXTURE_SIDE)))
    frequency = np.fft.fftfreq(TEXTURE_SIDE) * TEXTURE_SIDE
    distance = np.hypot(frequency[:, None], frequency[None])
    noise = np.fft.ifft2(spectrum * np.exp(-((distance / cells) ** 2))).real
    return ((noise - noise.mean()) / (4 * noise.std()) + 0.5).clip(0, 1)
