"""Postures of generated people: joint angles drawn from everyday and sports activities, within anatomical limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

# 0 everywhere is standing upright with hanging arms. Angles of the trunk bend forwards (lean, bend, nod), to the
# person's left (roll, side, tilt), or turn to the left (twist, turn); lean and roll turn the whole body.
TRUNK = ("lean", "roll", "bend", "side", "twist", "nod", "tilt", "turn")
# Raised forwards, raised to the side, turned outwards about the bone, bent.
ARM = ("raise", "spread_arm", "turn_arm", "elbow")
LEG = ("lift", "spread", "turn_leg", "knee")
_SIDED = tuple(f"{side}_{name}" for side in ("left", "right") for name in ARM + LEG)
ANGLES = TRUNK + _SIDED

# Lowest and highest angle in degrees.
LIMITS: dict[str, tuple[float, float]] = {
    "lean": (-180, 180),
    "roll": (-180, 180),
    "bend": (-25, 75),
    "side": (-35, 35),
    "twist": (-50, 50),
    "nod": (-50, 55),
    "tilt": (-35, 35),
    "turn": (-75, 75),
    "raise": (-55, 180),
    "spread_arm": (-25, 175),
    "turn_arm": (-90, 95),
    "elbow": (0, 150),
    "lift": (-30, 130),
    "spread": (-20, 65),
    "turn_leg": (-40, 50),
    "knee": (0, 150),
}


@dataclass(frozen=True)
class Posture:
    """How a group of angles is distributed.

    Attributes:
        weight: How often it is drawn, relative to the others.
        angles: (mean, standard deviation) in degrees by angle; an angle of :data:`ARM` or :data:`LEG` without
            ``left_``/``right_`` holds for both sides, each drawn by itself. Others are (0, 3.5).
        swing: Amplitude in degrees by angle, over one common phase; the right side is half a period behind.
        arms: Which of :data:`ARM_CHOICE` the arms are drawn from.
    """

    weight: float
    angles: Mapping[str, tuple[float, float]]
    swing: Mapping[str, float] | None = None
    arms: str = "calm"


# Trunk and legs.
STANCES: dict[str, Posture] = {
    "stand": Posture(32, {"lean": (2, 4), "lift": (3, 4), "spread": (4, 4), "turn_leg": (6, 8), "knee": (5, 5)}),
    "rest on a leg": Posture(
        12, {"roll": (3, 4), "right_lift": (12, 8), "spread": (6, 5), "left_knee": (3, 3), "right_knee": (24, 12)}
    ),
    "bend over": Posture(
        11, {"lean": (16, 20), "bend": (20, 13), "nod": (20, 18), "lift": (18, 15), "spread": (6, 5), "knee": (10, 10)}
    ),
    "walk": Posture(
        11, {"lean": (4, 4), "lift": (6, 6), "knee": (22, 8)}, {"lift": 22, "knee": 17, "raise": -22, "twist": 6}
    ),
    "run": Posture(
        5,
        {"lean": (12, 7), "bend": (8, 6), "lift": (20, 10), "knee": (58, 15)},
        {"lift": 40, "knee": 35, "raise": -40, "twist": 12},
        "run",
    ),
    "sit": Posture(
        19, {"lean": (-5, 11), "bend": (14, 13), "lift": (85, 14), "spread": (12, 11), "knee": (80, 28)}, arms="seated"
    ),
    "ride": Posture(
        7, {"lean": (15, 14), "bend": (15, 10), "lift": (62, 18), "spread": (24, 11), "knee": (68, 22)}, arms="ride"
    ),
    "crouch": Posture(
        4, {"lean": (18, 14), "bend": (25, 12), "lift": (105, 14), "spread": (14, 12), "knee": (118, 16)}
    ),
    "ready": Posture(
        16,
        {"lean": (14, 14), "roll": (0, 9), "bend": (16, 11), "lift": (38, 17), "spread": (20, 9), "knee": (48, 20)},
        arms="active",
    ),
    "lunge or kick": Posture(
        10,
        {"lean": (5, 14), "left_lift": (63, 25), "spread": (12, 11), "left_knee": (53, 30), "right_knee": (28, 20)},
        arms="active",
    ),
    "lie": Posture(3, {"lean": (-20, 80), "roll": (25, 40), "lift": (20, 22), "spread": (9, 9), "knee": (30, 30)}),
}

# One arm; both arms have the same one in SAME_ARMS of the persons.
ARMS: dict[str, Mapping[str, tuple[float, float]]] = {
    "hang": {"raise": (0, 12), "spread_arm": (11, 8), "turn_arm": (-8, 22), "elbow": (18, 14)},
    "hold": {"raise": (25, 18), "spread_arm": (9, 9), "turn_arm": (-30, 22), "elbow": (86, 22)},
    "lap": {"raise": (34, 18), "spread_arm": (12, 10), "turn_arm": (-18, 18), "elbow": (50, 23)},
    "hip": {"raise": (-15, 10), "spread_arm": (40, 9), "turn_arm": (-60, 14), "elbow": (92, 14)},
    "face": {"raise": (42, 16), "spread_arm": (18, 14), "turn_arm": (-25, 18), "elbow": (128, 14)},
    "reach": {"raise": (70, 25), "spread_arm": (9, 19), "turn_arm": (-15, 30), "elbow": (34, 27)},
    "overhead": {"raise": (155, 20), "spread_arm": (10, 14), "turn_arm": (0, 30), "elbow": (30, 28)},
    "sideways": {"raise": (8, 22), "spread_arm": (74, 22), "turn_arm": (22, 45), "elbow": (38, 30)},
    "running": {"raise": (0, 12), "spread_arm": (12, 8), "turn_arm": (-15, 14), "elbow": (85, 20)},
}
ARM_CHOICE: dict[str, dict[str, float]] = {
    "calm": {"hang": 45, "hold": 29, "lap": 7, "hip": 5, "face": 14, "reach": 12, "overhead": 4, "sideways": 5},
    "seated": {"hang": 8, "hold": 34, "lap": 32, "face": 17, "reach": 8, "sideways": 2},
    "active": {"hang": 23, "hold": 18, "lap": 12, "reach": 30, "overhead": 8, "sideways": 20, "running": 7},
    "run": {"running": 70, "hang": 10, "sideways": 8, "reach": 8, "overhead": 4},
    "ride": {"lap": 40, "reach": 36, "hold": 10, "hang": 5, "sideways": 4, "overhead": 3, "face": 2},
}
SAME_ARMS = 0.6


def draw_angles(n: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw the joint angles of ``n`` persons.

    Returns:
        Radians (n,) for each of :data:`ANGLES`, within :data:`LIMITS`.
    """
    stances = list(STANCES.values())
    stance = _draw(torch.tensor([s.weight for s in stances]).expand(n, -1), generator)
    arms = _draw_arms(torch.tensor([list(ARM_CHOICE).index(s.arms) for s in stances])[stance], generator)
    mean_std = _table([s.angles for s in stances])[stance]  # (n, angles, 2)
    swing = torch.tensor([[float((s.swing or {}).get(_plain(name), 0)) for name in ANGLES] for s in stances])[stance]
    arm_table = _table(list(ARMS.values()))
    for side, name in enumerate(("left", "right")):
        columns = [ANGLES.index(f"{name}_{angle}") for angle in ARM]
        mean_std[:, columns] = arm_table[arms[:, side]][:, columns]
    phase = torch.rand(n, 1, generator=generator) * 2 * math.pi
    behind = torch.tensor([math.pi if name.startswith("right") else 0.0 for name in ANGLES])
    noise = torch.randn(n, len(ANGLES), generator=generator)
    degrees = mean_std[..., 0] + mean_std[..., 1] * noise + swing * torch.sin(phase + behind)
    return {name: torch.deg2rad(degrees[:, i].clamp(*limits(name))) for i, name in enumerate(ANGLES)}


def limits(angle: str) -> tuple[float, float]:
    """Return the lowest and highest value in degrees of one of :data:`ANGLES`."""
    return LIMITS[_plain(angle)]


def _draw(weights: Tensor, generator: torch.Generator) -> Tensor:
    return torch.multinomial(weights.float(), 1, replacement=True, generator=generator)[:, 0]


def _draw_arms(choice: Tensor, generator: torch.Generator) -> Tensor:
    """Return the rows of ARMS (n, 2) for left and right, from the rows of ARM_CHOICE (n,)."""
    weights = torch.tensor([[float(mix.get(name, 0)) for name in ARMS] for mix in ARM_CHOICE.values()])[choice]
    left, right = _draw(weights, generator), _draw(weights, generator)
    same = torch.rand(len(choice), generator=generator) < SAME_ARMS
    return torch.stack([left, torch.where(same, left, right)], dim=1)


def _table(postures: list[Mapping[str, tuple[float, float]]]) -> Tensor:
    """Return (postures, angles, 2): mean and standard deviation in degrees."""
    return torch.tensor([[p.get(name, p.get(_plain(name), (0.0, 3.5))) for name in ANGLES] for p in postures])


def _plain(angle: str) -> str:
    return angle.removeprefix("left_").removeprefix("right_")
