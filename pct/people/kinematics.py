"""Generated people in 3D: a skeleton with varied bone lengths, put into drawn postures."""

from __future__ import annotations

import torch
from torch import Tensor

from pct.cameras import axis_rotation
from pct.people.postures import draw_angles
from pct.sides import derive_flip_pairs
from pct.skeleton import Skeleton

_MIDDLE = ("pelvis", "spine", "thorax", "neck", "upper_neck", "head", "head_top", "nose")
_PAIRED = ("eye", "ear", "shoulder", "elbow", "wrist", "hand", "hip", "knee", "ankle", "foot")
# The points of a body: `hand` and `foot` are finger tips and toes, which only the person's box needs.
BODY_POINTS = _MIDDLE + tuple(f"{side}_{name}" for name in _PAIRED for side in ("left", "right"))

_FLIP = torch.from_numpy(Skeleton("body", BODY_POINTS, flip_pairs=tuple(derive_flip_pairs(BODY_POINTS))).flip_index)

# Lengths as shares of the stature, after anthropometric tables (Drillis and Contini 1966; Winter, Biomechanics and
# Motor Control of Human Movement); hips are as wide as annotators click them, outside the joint.
_SHARES = {
    "pelvis_to_spine": 0.125,
    "spine_to_thorax": 0.165,
    "thorax_to_skull": 0.062,
    "skull_to_top": 0.125,
    "shoulder": 0.108,
    "upper_arm": 0.172,
    "forearm": 0.150,
    "hand": 0.095,
    "hip": 0.066,
    "thigh": 0.240,
    "shank": 0.240,
    "foot": 0.125,
}
# Points of the head, left, up and forward of the skull's base as shares of its height.
_HEAD_PLACES: dict[str, tuple[float, float, float]] = {
    "head": (0.0, 0.55, 0.05),
    "head_top": (0.0, 1.0, 0.0),
    "nose": (0.0, 0.22, 0.62),
    "left_eye": (0.17, 0.40, 0.50),
    "right_eye": (-0.17, 0.40, 0.50),
    "left_ear": (0.36, 0.32, 0.02),
    "right_ear": (-0.36, 0.32, 0.02),
}
_LENGTH_STD = 0.05  # of each length by itself, as a share
_STATURE = (1690.0, 110.0)  # adults, millimetres
_CHILD_SHARE, _CHILD_STATURE = 0.15, (1250.0, 180.0)
_MIRROR = torch.tensor([1.0, -1.0])

Lengths = dict[str, Tensor]


def generate_bodies(n: int, generator: torch.Generator) -> Tensor:
    """Generate people in drawn postures.

    The distribution is symmetric: a body and its mirror image are equally likely.

    Args:
        n: Number of people.
        generator: Source of randomness; the same state gives the same people.

    Returns:
        The :data:`BODY_POINTS` (n, P, 3) in millimetres: x to the left of a person who looks along z, y up, the
        lowest point at y = 0 and the pelvis at x = z = 0.

    Raises:
        ValueError: If ``n`` is not positive.
    """
    if n < 1:
        raise ValueError(f"the number of generated poses must be positive, got {n}")
    lengths = _draw_lengths(n, generator)
    angles = draw_angles(n, generator)
    root = axis_rotation(0, angles["lean"]) @ axis_rotation(2, -angles["roll"])
    points = {"pelvis": torch.zeros(n, 3)}
    _add_legs(points, root, lengths, angles)
    chest = _add_spine(points, root, lengths, angles)
    _add_head(points, chest, lengths, angles)
    _add_arms(points, chest, lengths, angles)
    bodies = torch.stack([points[name] for name in BODY_POINTS], dim=1)
    bodies = torch.where((torch.rand(n, generator=generator) < 0.5)[:, None, None], mirror_bodies(bodies), bodies)
    floor = bodies[:, :, 1].amin(dim=1)
    return bodies - torch.stack([torch.zeros(n), floor, torch.zeros(n)], dim=1)[:, None]


def mirror_bodies(bodies: Tensor) -> Tensor:
    """Return the mirror image (N, P, 3) of bodies: left and right change places."""
    return bodies[:, _FLIP] * torch.tensor([-1.0, 1.0, 1.0])


def _draw_lengths(n: int, generator: torch.Generator) -> Lengths:
    """Return bone lengths (n,) in millimetres, the same on both sides; children have larger heads, shorter legs."""
    child = torch.rand(n, generator=generator) < _CHILD_SHARE
    mean, std = (torch.where(child, *pair) for pair in zip(_CHILD_STATURE, _STATURE, strict=True))

    def normal() -> Tensor:
        # At 3 standard deviations nobody is smaller than a toddler.
        return torch.randn(n, generator=generator).clamp(-3, 3)

    stature = mean + std * normal()
    lengths = {name: stature * share * (1 + _LENGTH_STD * normal()) for name, share in _SHARES.items()}
    growth = torch.where(child, 1.0 - stature / _STATURE[0], 0.0).clamp(min=0.0)
    lengths["skull_to_top"] = lengths["skull_to_top"] * (1 + 0.9 * growth)
    for name in ("thigh", "shank"):
        lengths[name] = lengths[name] * (1 - 0.25 * growth)
    return lengths


def _add_spine(points: dict[str, Tensor], root: Tensor, lengths: Lengths, angles: dict[str, Tensor]) -> Tensor:
    """Add spine, thorax, neck and skull base; return the chest's rotation (n, 3, 3)."""
    half = (
        axis_rotation(1, angles["twist"] / 2)
        @ axis_rotation(0, angles["bend"] / 2)
        @ axis_rotation(2, -angles["side"] / 2)
    )
    middle = root @ half
    chest = middle @ half
    up = torch.tensor([0.0, 1.0, 0.0])
    # The lumbar spine stays with the pelvis for half of the bend.
    points["spine"] = lengths["pelvis_to_spine"][:, None] * (middle @ up)
    points["thorax"] = points["spine"] + lengths["spine_to_thorax"][:, None] * (chest @ up)
    return chest


def _add_head(points: dict[str, Tensor], chest: Tensor, lengths: Lengths, angles: dict[str, Tensor]) -> None:
    neck = chest @ axis_rotation(0, angles["nod"] / 2) @ axis_rotation(2, -angles["tilt"] / 2)
    turned = (
        axis_rotation(1, angles["turn"]) @ axis_rotation(0, angles["nod"] / 2) @ axis_rotation(2, -angles["tilt"] / 2)
    )
    head = neck @ turned
    forward = torch.tensor([0.0, 0.94, 0.34])  # the neck leans forward
    base = points["thorax"] + lengths["thorax_to_skull"][:, None] * (neck @ forward)
    points["upper_neck"] = base
    points["neck"] = (points["thorax"] + base) / 2
    size = lengths["skull_to_top"]
    for name, place in _HEAD_PLACES.items():
        points[name] = base + size[:, None] * (head @ torch.tensor(place))


def _add_arms(points: dict[str, Tensor], chest: Tensor, lengths: Lengths, angles: dict[str, Tensor]) -> None:
    raised, spread = _sides(angles, "raise"), _sides(angles, "spread_arm")
    # The shoulder girdle follows the upper arm: up when it is raised, forward when it reaches.
    height = (1 - torch.cos(raised) * torch.cos(spread)) / 2
    shift = torch.stack([1 - 0.25 * height, 0.45 * height - 0.12, 0.25 * torch.sin(raised)], dim=-1)
    shoulder = lengths["shoulder"][:, None, None] * shift
    upper = axis_rotation(0, -raised) @ axis_rotation(2, spread) @ axis_rotation(1, _sides(angles, "turn_arm"))
    fore = upper @ axis_rotation(0, -_sides(angles, "elbow"))
    elbow = shoulder + lengths["upper_arm"][:, None, None] * -upper[..., 1]
    wrist = elbow + lengths["forearm"][:, None, None] * -fore[..., 1]
    hand = wrist + lengths["hand"][:, None, None] * -fore[..., 1]
    for name, place in {"shoulder": shoulder, "elbow": elbow, "wrist": wrist, "hand": hand}.items():
        _add_pair(points, name, points["thorax"], chest, place)


def _add_legs(points: dict[str, Tensor], root: Tensor, lengths: Lengths, angles: dict[str, Tensor]) -> None:
    outwards = torch.tensor([1.0, -0.15, 0.0])
    hip = (lengths["hip"][:, None] * outwards)[:, None].expand(-1, 2, -1)
    upper = axis_rotation(0, -_sides(angles, "lift")) @ axis_rotation(2, _sides(angles, "spread"))
    upper = upper @ axis_rotation(1, _sides(angles, "turn_leg"))
    lower = upper @ axis_rotation(0, _sides(angles, "knee"))
    knee = hip + lengths["thigh"][:, None, None] * -upper[..., 1]
    ankle = knee + lengths["shank"][:, None, None] * -lower[..., 1]
    # Toes point forwards and a little down, from the height of the ankle to the floor.
    foot = ankle + lengths["foot"][:, None, None] * (lower @ torch.tensor([0.1, -0.35, 0.93]))
    for name, place in {"hip": hip, "knee": knee, "ankle": ankle, "foot": foot}.items():
        _add_pair(points, name, points["pelvis"], root, place)


def _add_pair(points: dict[str, Tensor], name: str, origin: Tensor, frame: Tensor, place: Tensor) -> None:
    """Add the left and the right point at ``place`` (n, 2, 3), given for a left limb in a frame at ``origin``."""
    x = place[..., :1] * _MIRROR[:, None]
    both = origin[:, None] + torch.cat([x, place[..., 1:]], dim=-1) @ frame.transpose(1, 2)
    points[f"left_{name}"], points[f"right_{name}"] = both[:, 0], both[:, 1]


def _sides(angles: dict[str, Tensor], name: str) -> Tensor:
    return torch.stack([angles[f"left_{name}"], angles[f"right_{name}"]], dim=1)
