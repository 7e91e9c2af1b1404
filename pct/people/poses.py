"""Generated poses: people in 3D, and as random cameras see them, in tables like those read from files."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from pct.cameras import camera_rotations
from pct.people.kinematics import BODY_POINTS, generate_bodies
from pct.poses import Poses
from pct.skeleton import H36M17, Skeleton

# Other names of the same body point, and names that mean another point in one skeleton.
_ALIASES = {"hip": "pelvis", "neck_nose": "upper_neck"}
_OWN_MEANING = {("crowdpose14", "head"): "head_top"}

# From y up to the axes of a camera that a person looks at: x right, y down, z forward.
_UPRIGHT = (1.0, -1.0, -1.0)
_CHUNK = 8192  # people at a time: the working memory stays in the cache
_IMAGE_SIDE = 640.0
_AREA_SHARE = 0.52  # median of segment area over box area on COCO

# The face points are not annotated when they look away from the camera by more than this (cosine of the angle
# between the head's forward, or the ear's outward, direction and the direction to the camera).
_FACE_COSINE = {"nose": -0.25, "eye": -0.05, "ear": -0.2}

# Points that are hidden together, and how often.
_HIDDEN: dict[tuple[str, ...], float] = {("nose", "left_eye", "right_eye", "left_ear", "right_ear"): 0.05}
for _side in ("left", "right"):
    _HIDDEN[(f"{_side}_wrist",)] = 0.07
    _HIDDEN[(f"{_side}_elbow", f"{_side}_wrist")] = 0.05
    _HIDDEN[(f"{_side}_ankle",)] = 0.03
    _HIDDEN[(f"{_side}_knee", f"{_side}_ankle")] = 0.03

_BEYOND = 0.03  # of the longer side of the body: joints this far outside the picture are annotated


def generate_poses(n: int, skeleton: Skeleton, seed: int) -> Poses:
    """Generate poses of people in images: the data that is there without any download.

    Postures, viewpoints, truncation and missing joints are like those of COCO's persons (how
    like is in ``tests/people/test_bodies.py``). Boxes surround the seen part of the body, hands and feet included, with
    the inaccuracy of hand-drawn boxes. Every person has an image of its own. Areas are 0.52 of the box area.

    Args:
        n: Number of poses.
        skeleton: A built-in skeleton, or any whose joints have names of body points.
        seed: The same seed gives the same poses; their number does not change the first 8192 of them.

    Raises:
        ValueError: If ``n`` is not positive, or a joint is none that the body has.
    """
    joints = body_joints(skeleton)
    chunks = [_seen_in_images(bodies, joints, generator) for bodies, generator in _draw_bodies(n, seed)]
    keypoints, visible, bbox = (torch.cat(parts)[:n] for parts in zip(*chunks, strict=True))
    return Poses(
        skeleton=skeleton,
        keypoints=torch.where(visible[..., None], keypoints, 0.0),
        visible=visible,
        bbox=bbox,
        area=_AREA_SHARE * bbox[:, 2] * bbox[:, 3],
        image_ids=torch.arange(n),
        annotation_ids=torch.arange(n),
    )


def generate_poses3d(n: int, skeleton: Skeleton = H36M17, seed: int = 0) -> Poses:
    """Generate 3D poses in the axes of an upright camera; all are of one clip, subject and action ``generated``.

    Args:
        n: Number of poses.
        skeleton: As in :func:`generate_poses`.
        seed: The same seed gives the same poses.

    Raises:
        ValueError: If ``n`` is not positive, or a joint is none that the body has.
    """
    joints = body_joints(skeleton)
    keypoints = torch.cat([bodies[:, joints] for bodies, _ in _draw_bodies(n, seed)])[:n] * torch.tensor(_UPRIGHT)
    return Poses(
        skeleton=skeleton,
        keypoints=keypoints,
        visible=torch.ones(keypoints.shape[:2], dtype=torch.bool),
        clip_index=torch.zeros(n, dtype=torch.int64),
        clip_ids=("generated",),
        subject_ids=("generated",),
        actions=("generated",),
    )


def body_joints(skeleton: Skeleton) -> list[int]:
    """Return the rows of BODY_POINTS that are the skeleton's joints.

    Raises:
        ValueError: If a joint is none that the body has; names those it has.
    """
    names = [_OWN_MEANING.get((skeleton.name, n), _ALIASES.get(n, n)) for n in skeleton.keypoint_names]
    unknown = [n for n in names if n not in BODY_POINTS]
    if unknown:
        raise ValueError(
            f"generated poses have no joint {', '.join(unknown)} (skeleton {skeleton.name}); they have "
            f"{', '.join((*BODY_POINTS, *_ALIASES))}"
        )
    return [BODY_POINTS.index(n) for n in names]


def _draw_bodies(n: int, seed: int) -> Iterator[tuple[Tensor, torch.Generator]]:
    """Yield ``n`` people or more in chunks, each with the source of randomness for how they are seen."""
    if n < 1:
        raise ValueError(f"the number of generated poses must be positive, got {n}")
    generator = torch.Generator().manual_seed(seed)
    for _ in range(math.ceil(n / _CHUNK)):
        yield generate_bodies(_CHUNK, generator), generator


def _seen_in_images(bodies: Tensor, joints: list[int], generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    points, facing = _photograph(bodies, generator)
    frame, inside = _truncate(points, generator)
    visible = (inside & facing & ~_lose(len(bodies), generator))[:, joints]
    # Nobody annotates a person of whom no joint is seen: those are photographed whole.
    unseen = ~visible.any(dim=1)
    whole = _box(points)
    frame = torch.where(unseen[:, None], whole, frame)
    visible = visible | unseen[:, None]
    keypoints, bbox = _place(points[:, joints], frame, generator)
    return keypoints, visible, bbox


def _photograph(bodies: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Look at bodies (n, P, 3) with perspective cameras from around.

    Returns:
        Image positions (n, P, 2), x right and y down, in focal lengths, and whether each point is not hidden by the
        head it belongs to (n, P).
    """
    n = len(bodies)
    # Photographers prefer faces.
    front, around = 52 * torch.randn(n, generator=generator), 360 * torch.rand(n, generator=generator)
    azimuth = torch.where(torch.rand(n, generator=generator) < 0.56, front, around)
    pitch = 6 + 7 * torch.randn(n, generator=generator)
    pitch += (torch.rand(n, generator=generator) < 0.12) * 27 * torch.rand(n, generator=generator)
    axes = camera_rotations(azimuth, pitch, 3 * torch.randn(n, generator=generator))
    upright = (bodies - bodies.mean(dim=1, keepdim=True)) * torch.tensor(_UPRIGHT)
    seen = upright @ axes.transpose(1, 2)
    distance = 1000 * torch.exp(1.6 + 0.5 * torch.randn(n, generator=generator).clamp(-2, 2))
    # Cameras step back until nothing is nearer than 70 cm: a hand at the lens would fill the picture.
    distance = torch.maximum(distance, 700.0 - seen[..., 2].amin(dim=1))
    seen = seen + distance[:, None, None] * torch.tensor([0.0, 0.0, 1.0])
    return seen[..., :2] / seen[..., 2:], _facing(seen)


def _facing(seen: Tensor) -> Tensor:
    def point(name: str) -> Tensor:
        return seen[:, BODY_POINTS.index(name)]

    left = torch.nn.functional.normalize(point("left_ear") - point("right_ear"), dim=1)
    middle = (point("left_ear") + point("right_ear")) / 2
    up = torch.nn.functional.normalize(point("head_top") - middle, dim=1)
    to_camera = torch.nn.functional.normalize(-middle, dim=1)
    ahead, aside = (torch.linalg.cross(left, up) * to_camera).sum(dim=1), (left * to_camera).sum(dim=1)
    facing = torch.ones(seen.shape[:2], dtype=torch.bool)
    facing[:, BODY_POINTS.index("nose")] = ahead > _FACE_COSINE["nose"]
    for side, sign in (("left", 1.0), ("right", -1.0)):
        facing[:, BODY_POINTS.index(f"{side}_eye")] = ahead + 0.5 * sign * aside > _FACE_COSINE["eye"]
        facing[:, BODY_POINTS.index(f"{side}_ear")] = sign * aside > _FACE_COSINE["ear"]
    return facing


def _box(points: Tensor) -> Tensor:
    """Return the body's box (n, 4) as left, top, right, bottom: its points and the flesh around them."""
    low, high = points.amin(dim=1), points.amax(dim=1)
    flesh = 0.03 * (high - low).amax(dim=1, keepdim=True)
    return torch.cat([low - flesh, high + flesh], dim=1)


def _truncate(points: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Cut bodies off at image borders and objects in front of them.

    Returns:
        Box of what is seen (n, 4) as left, top, right, bottom, and whether each point lies in it (n, P).
    """
    n = len(points)
    box = _box(points)
    size = (box[:, 2:] - box[:, :2]).repeat(1, 2)
    # How often the body is cut from the left, the top, the right and the bottom; how deep at least and at most.
    often = torch.tensor([0.10, 0.09, 0.10, 0.55])
    shallow, deep = torch.tensor([[0.05, 0.05, 0.05, 0.25], [0.55, 0.7, 0.55, 0.75]])
    depth = shallow + torch.rand(n, 4, generator=generator) * (deep - shallow)
    depth = torch.where(torch.rand(n, 4, generator=generator) < often, depth, 0.0)
    # Cuts from opposite sides leave at least a seventh.
    both = depth[:, :2] + depth[:, 2:]
    depth = depth * (0.85 / both.clamp(min=0.85)).repeat(1, 2)
    window = box + depth * size * torch.tensor([1.0, 1.0, -1.0, -1.0])
    # Annotators also click joints that lie just beyond the border.
    beyond = _BEYOND * size[:, None, :2].amax(dim=-1, keepdim=True)
    inside = (points > window[:, None, :2] - beyond).all(dim=-1) & (points < window[:, None, 2:] + beyond).all(dim=-1)
    # What is left of the body does not reach the other borders of the window: the box is that of the points in it.
    known = inside[..., None]
    low = torch.where(known, points, torch.inf).amin(dim=1)
    high = torch.where(known, points, -torch.inf).amax(dim=1)
    flesh = 0.03 * size[:, :2].amax(dim=1, keepdim=True)
    tight = torch.cat([torch.maximum(low - flesh, window[:, :2]), torch.minimum(high + flesh, window[:, 2:])], dim=1)
    cut = depth > 0
    seen = torch.where(cut, window, tight)
    return torch.where(inside.any(dim=1, keepdim=True), seen, box), inside


def _lose(n: int, generator: torch.Generator) -> Tensor:
    """Return which points (n, P) annotators left out: ends of limbs behind something, hidden faces, single points."""
    share = 0.15 * torch.rand(n, 1, generator=generator) ** 3
    lost = torch.rand(n, len(BODY_POINTS), generator=generator) < share
    for names, often in _HIDDEN.items():
        columns = [BODY_POINTS.index(name) for name in names]
        lost[:, columns] |= torch.rand(n, 1, generator=generator) < often
    return lost


def _place(keypoints: Tensor, frame: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Bring joints and box to pixels, somewhere in an image, and make the box as inaccurate as drawn ones."""
    n = len(keypoints)
    longer = (frame[:, 2:] - frame[:, :2]).amax(dim=1)
    pixels = torch.exp(5.0 + 0.7 * torch.randn(n, generator=generator)).clamp(24.0, _IMAGE_SIDE)
    scale = (pixels / longer)[:, None]
    error = 0.015 * pixels[:, None] * torch.randn(n, 4, generator=generator).clamp(-2.5, 2.5)
    corners = torch.cat([torch.zeros(n, 2), (frame[:, 2:] - frame[:, :2]) * scale], dim=1)
    low = corners[:, :2] + error[:, :2]
    size = (corners[:, 2:] + error[:, 2:] - low).clamp(min=4.0)
    offset = torch.rand(n, 2, generator=generator) * (_IMAGE_SIDE - size).clamp(min=0.0) - low
    placed = (keypoints - frame[:, None, :2]) * scale[:, None] + offset[:, None]
    return placed, torch.cat([low + offset, size], dim=1)
