"""PoseNormalizer: 2D poses in image pixels to what a lifting network reads."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn


class PoseNormalizer(nn.Module):
    """Brings 2D joints into numbers near [-1, 1]; unknown joints become 0.

    ``box``: relative to the middle of the box around the known joints, in halves of its longer side; it needs nothing
    besides the joints, and tells nothing of where in the image the person is. ``screen``: ``2 u / w - 1`` and
    ``2 v / w - h / w``, the same factor on both axes, with the image's width w and height h (Pavllo et al., "3D Human
    Pose Estimation in Video", 2019).

    Args:
        num_keypoints: Joints K.
        kind: ``box`` or ``screen``.
        z_score: Then subtract each coordinate's mean and divide by its deviation, both from :meth:`fit` (Martinez et
            al., "A simple yet effective baseline", 2017).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, num_keypoints: int, kind: Literal["box", "screen"] = "box", z_score: bool = False) -> None:
        super().__init__()
        self.kind, self.z_score = kind, z_score
        if z_score:
            self.register_buffer("mean", torch.zeros(num_keypoints, 2))
            self.register_buffer("std", torch.ones(num_keypoints, 2))

    def forward(
        self, keypoints2d: Tensor, visible: Tensor, image_size: Tensor | None = None, mirror: Tensor | None = None
    ) -> Tensor:
        """Normalise poses.

        Args:
            keypoints2d: Joints (B, K, 2), or of T frames (B, T, K, 2), in image pixels; unknown ones may hold any
                number, NaN included.
            visible: True where a joint is known (B, [T,] K).
            image_size: Width and height (B, 2) or (2,) in pixels, for ``screen``.
            mirror: Joint that each joint changes places with (K,), for the poses of the mirrored images.

        Returns:
            Joints of the same shape, float32, 0 where unknown; each frame is normalised by itself.

        Raises:
            ValueError: If ``screen`` gets no image size or one that is not positive.
        """
        placed = self._place(keypoints2d.float(), visible, image_size)
        if mirror is not None:
            placed, visible = placed[..., mirror, :] * placed.new_tensor([-1.0, 1.0]), visible[..., mirror]
        if self.z_score:
            placed = (placed - self.mean) / self.std
        return torch.where(visible[..., None], placed, 0.0)

    @torch.no_grad()
    def fit(self, keypoints2d: Tensor, visible: Tensor, image_size: Tensor | None = None) -> None:
        """Take means and deviations of the known joints of training poses; nothing to do without ``z_score``.

        Raises:
            ValueError: If a joint is known in fewer than two poses.
        """
        if not self.z_score:
            return
        placed = self._place(keypoints2d.float(), visible, image_size).flatten(0, -3)
        known = visible.flatten(0, -2)[..., None]
        count = known.sum(dim=0)
        if (count < 2).any():
            joint = int((count[:, 0] < 2).nonzero()[0])
            raise ValueError(f"joint {joint} is known in {int(count[joint])} poses; its deviation needs two")
        mean = torch.where(known, placed, 0.0).sum(dim=0) / count
        variance = torch.where(known, placed - mean, 0.0).square().sum(dim=0) / count
        self.mean.copy_(mean)
        self.std.copy_(variance.sqrt().clamp(min=1e-3))

    def read_size(self, image_size: Tensor | None, keypoints2d: Tensor) -> Tensor | None:
        """Return width and height (B, 2) of the images of joints (B, ..., K, 2); None where they do not matter."""
        if self.kind == "box":
            return None
        if image_size is None:
            raise ValueError("this lifter reads places on the screen; give image_size: width and height in pixels")
        size = torch.as_tensor(image_size, dtype=torch.float32, device=keypoints2d.device)
        if size.shape not in ((2,), (len(keypoints2d), 2)):
            raise ValueError(f"image_size must be (2,) or ({len(keypoints2d)}, 2); got shape {tuple(size.shape)}")
        if not (size > 0).all() or not torch.isfinite(size).all():
            raise ValueError(f"image_size must be positive, got {size.reshape(-1, 2)[0].tolist()} (width, height)")
        return size.expand(len(keypoints2d), 2)

    def _place(self, keypoints2d: Tensor, visible: Tensor, image_size: Tensor | None) -> Tensor:
        size = self.read_size(image_size, keypoints2d)
        if size is not None:
            size = size.unflatten(0, (-1, *[1] * (keypoints2d.ndim - 2)))
            return (2 * keypoints2d - size) / size[..., :1]
        known = visible[..., None]
        low = torch.where(known, keypoints2d, torch.inf).amin(dim=-2, keepdim=True)
        high = torch.where(known, keypoints2d, -torch.inf).amax(dim=-2, keepdim=True)
        half = (high - low).amax(dim=-1, keepdim=True) / 2
        # A single known joint has no size; it lies in the middle whatever its unit.
        return (keypoints2d - (low + high) / 2) / torch.where(half > 0, half, 1.0)
