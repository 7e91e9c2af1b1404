"""PosePairs: 3D poses with their 2D poses, what lifters learn from; and mocap photographed by random cameras."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pct.cameras import camera_rotations
from pct.poses import Poses

_NEAREST = 500.0  # millimetres: nothing of a person is nearer to the camera
_STEPS = 6  # of moving the camera until size and place of the person in the picture are as drawn
_MARGIN = 0.02  # of the image that stays free at its borders, for what these steps leave


@dataclass(frozen=True, kw_only=True)
class PosePairs(Poses):
    """Poses in the camera's frame (x right, y down, z forward, absolute millimetres), each with its pose in the image.

    Attributes:
        keypoints2d: Joints (N, K, 2) in image pixels, float32; unknown joints hold 0.
        image_size: Width and height (N, 2) in pixels, float32.
        intrinsics: fx, fy, cx, cy (N, 4) in pixels, float32; NaN where the camera is not known.
    """

    keypoints2d: Tensor
    image_size: Tensor
    intrinsics: Tensor

    @property
    def keypoints3d(self) -> Tensor:
        """Joints (N, K, 3): the table's ``keypoints``."""
        return self.keypoints

    def flip(self) -> PosePairs:
        """Return the poses in a mirror: x of image, pose and principal point, and left and right change places."""
        index = torch.from_numpy(self.skeleton.flip_index)
        visible, turn = self.visible[:, index], torch.tensor([-1.0, 1.0, 1.0])
        edge = torch.nn.functional.pad(self.image_size[:, None, :1], (0, 1))  # (N, 1, 2): the width, 0
        moved = edge + self.keypoints2d[:, index] * turn[:2]
        center = edge[:, 0] + self.intrinsics[:, 2:] * turn[:2]
        return replace(
            self,
            keypoints2d=torch.where(visible[..., None], moved, 0.0),
            visible=visible,
            keypoints=torch.where(visible[..., None], self.keypoints[:, index] * turn, 0.0),
            intrinsics=torch.cat([self.intrinsics[:, :2], center], dim=1),
        )

    def _widths(self) -> dict[str, tuple[int, ...]]:
        own = {"keypoints2d": (self.skeleton.num_keypoints, 2), "image_size": (2,), "intrinsics": (4,)}
        return {**super()._widths(), **own}


@dataclass(frozen=True)
class CameraConfig:
    """How :func:`photograph` draws cameras.

    Attributes:
        image_sizes: Width and height in pixels; each pose draws one of them.
        focal: Lowest and highest focal length over the image's longer side; drawn evenly on a logarithmic scale.
        pitch: Mean and standard deviation in degrees of how far the camera looks down.
        above_share: Share of the cameras that look from above: their pitch grows by up to ``above`` degrees.
        above: See ``above_share``.
        roll: Standard deviation in degrees of the turn about the optical axis.
        person: Lowest and highest size of the person: the share of the image that their box fills along the axis
            along which it fills more.
    """

    image_sizes: tuple[tuple[int, int], ...] = ((1000, 1000),)
    focal: tuple[float, float] = (0.9, 2.8)
    pitch: tuple[float, float] = (5.0, 8.0)
    above_share: float = 0.12
    above: float = 40.0
    roll: float = 3.0
    person: tuple[float, float] = (0.35, 0.85)

    def __post_init__(self) -> None:
        if not self.image_sizes or any(len(size) != 2 or min(size) < 1 for size in self.image_sizes):
            raise ValueError(f"camera image_sizes must be pairs of positive pixels, got {self.image_sizes}")
        for name, top in (("focal", math.inf), ("person", 1.0)):
            low, high = getattr(self, name)
            if not 0 < low <= high <= top:
                raise ValueError(f"camera {name} must be two numbers 0 < low <= high <= {top}, got {(low, high)}")
        if not 0 <= self.above_share <= 1:
            raise ValueError(f"camera above_share must be in [0, 1], got {self.above_share}")


def clip_windows(clip_index: Tensor, rows: Tensor, frames: int) -> Tensor:
    """Return the rows (B, F) of the frames around ``rows`` (B,); a clip's first and last go on beyond its ends.

    Args:
        clip_index: Clip of each row of a table (N,).
        rows: The middle frames.
        frames: How many F.

    Raises:
        ValueError: If a clip's rows are not one after the other, in the clips' order.
    """
    if (clip_index.diff() < 0).any():
        raise ValueError("the poses are not in the order of their clips, so they have no neighbouring frames")
    lengths = clip_index.bincount()
    last = lengths.cumsum(0) - 1
    clips = clip_index[rows][:, None]
    around = rows[:, None] + torch.arange(frames) - frames // 2
    return around.clamp((last - lengths + 1)[clips], last[clips])


def photograph(
    poses: Poses, generator: torch.Generator, config: CameraConfig | None = None, frames: int = 1
) -> PosePairs:
    """See each pose through a random perspective camera.

    Persons are turned about the vertical by any angle, wholly within the picture and anywhere in it, and no joint
    is nearer to the camera than half a metre: who would have to be is smaller than drawn.

    Args:
        poses: 3D poses in upright millimetres (x right, y down, z forward).
        generator: Source of randomness; the same state gives the same pictures.
        config: How cameras are drawn; None for the defaults.
        frames: So many poses, one after the other, are of one clip and seen by one camera.

    Returns:
        One pair a pose, in their order, with their clips.

    Raises:
        ValueError: If a pose has no known joint.
    """
    config = config or CameraConfig()
    keypoints, visible = poses.keypoints, poses.visible
    if not visible.any(dim=1).all():
        raise ValueError(f"pose {int((~visible.any(dim=1)).nonzero()[0])} has no known joint to photograph")
    n = len(keypoints) // frames

    def draw(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(n, *shape, generator=generator)

    # To a camera the frames of a clip are one pose with so many more joints.
    rotations = _draw_rotations(n, config, generator)
    turned = keypoints.reshape(n, frames * keypoints.shape[1], 3) @ rotations.transpose(1, 2)
    sizes = torch.tensor(config.image_sizes, dtype=torch.float32)
    image_size = sizes[torch.randint(len(sizes), (n,), generator=generator)]
    shortest, longest = map(math.log, config.focal)
    focal = torch.exp(draw(shortest, longest)) * image_size.amax(dim=1)
    seen, known = visible.reshape(n, turned.shape[1]), visible[..., None]
    placed, pixels = _place(turned, seen, image_size, focal, draw(*config.person), draw(0, 1, 2))
    intrinsics = torch.cat([focal[:, None].expand(-1, 2), image_size / 2], dim=1)
    columns = {name: getattr(poses, name) for name in ("clip_index", "clip_ids", "subject_ids", "actions")}
    return PosePairs(
        skeleton=poses.skeleton,
        keypoints2d=torch.where(known, pixels.view(*visible.shape, 2), 0.0),
        visible=visible,
        keypoints=torch.where(known, placed.view(*visible.shape, 3), 0.0),
        image_size=image_size.repeat_interleave(frames, dim=0),
        intrinsics=intrinsics.repeat_interleave(frames, dim=0),
        **columns,
    )


def _draw_rotations(n: int, config: CameraConfig, generator: torch.Generator) -> Tensor:
    """Return the turns (N, 3, 3) of poses to the axes of random cameras."""
    azimuth = torch.rand(n, generator=generator) * 360
    pitch = config.pitch[0] + config.pitch[1] * torch.randn(n, generator=generator)
    above = torch.rand(n, generator=generator) < config.above_share
    pitch = pitch + above * torch.rand(n, generator=generator) * config.above
    roll = config.roll * torch.randn(n, generator=generator).clamp(-3, 3)
    return camera_rotations(azimuth, pitch, roll)


def _place(
    points: Tensor, visible: Tensor, image_size: Tensor, focal: Tensor, share: Tensor, place: Tensor
) -> tuple[Tensor, Tensor]:
    """Move poses before their cameras.

    Args:
        points: Turned poses (B, K, 3).
        visible: Known joints (B, K).
        image_size: Width and height (B, 2).
        focal: Focal lengths in pixels (B,).
        share: Of the image that the person's box fills (B,).
        place: Where in the free room the box lies (B, 2), 0 to 1.

    Returns:
        Camera millimetres (B, K, 3) and pixels (B, K, 2).
    """
    hidden = torch.where(visible, 0.0, torch.inf)[..., None]
    low, high = (points + hidden).amin(dim=1), (points - hidden).amax(dim=1)
    points = points - ((low + high) / 2)[:, None]
    extent, half = high - low, image_size[:, None] / 2
    nearest = _NEAREST + extent[:, 2] / 2
    distance = torch.maximum(focal * (extent[:, :2] / image_size).amax(dim=1) / share + extent[:, 2] / 2, nearest)
    shift = torch.zeros_like(place)
    # Size and place depend on each other through the perspective: a few steps of Newton's find both.
    for _ in range(_STEPS):
        depth = points[..., 2] + distance[:, None]
        scale = focal[:, None] / torch.where(visible, depth, 1.0)
        pixels = (points[..., :2] + shift[:, None]) * scale[..., None] + half
        low, first = (pixels + hidden).min(dim=1)
        high, last = (pixels - hidden).max(dim=1)
        size = high - low
        room = (image_size * (1 - _MARGIN) - size).clamp(min=0.0)
        wanted = (image_size - room) / 2 + place * room
        growth = (scale.gather(1, first) + scale.gather(1, last)) / 2
        # The nearest joint rules the size where the perspective is strong.
        change = (distance - extent[:, 2] / 2) * ((size / image_size).amax(dim=1) / share - 1)
        factor = torch.maximum(1 + change / distance, nearest / distance)
        distance = distance * factor
        # Farther persons have to be farther aside to stay where they are in the picture.
        shift = (shift + (wanted - (low + high) / 2) / growth) * factor[:, None]
    moved = points + torch.cat([shift, distance[:, None]], dim=1)[:, None]
    depth = torch.where(visible[..., None], moved[..., 2:], 1.0)
    return moved, focal[:, None, None] * moved[..., :2] / depth + half
