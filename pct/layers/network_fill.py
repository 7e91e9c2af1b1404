"""A network that estimates unknown joints from known ones, starting from the linear estimate."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pct.layers.gaussian_fill import GaussianFill
from pct.layers.mixer import ResidualBlock

# A pose narrower than this share of the crop's half side counts as that wide, so that a single spot has a scale.
_LEAST_SPREAD = 0.05


class NetworkFill(GaussianFill):
    """The linear estimate of the unknown joints, and what a residual MLP over all joints adds to it.

    Completing a pose and writing it down exactly pull one network in two directions; so the first is given to a network
    of its own, which has its own loss. It sees the linearly completed pose in a frame of its own (centred, of unit
    spread) beside where and how large it is in the crop, and corrects it in that frame. In evaluation mode the
    correction is the mean of that for the pose and for its mirror image.

    Args:
        num_keypoints: Joints K.
        num_dims: Coordinates D a joint.
        width: Width of the network.
        num_blocks: Residual blocks.
        flip_index: Permutation (K,) of the joints that a mirror makes.
        middle: Coordinate of the crop's middle, in model units.
        half: Half of the crop's side, in model units.
    """

    flip_index: Tensor

    def __init__(
        self,
        num_keypoints: int,
        num_dims: int,
        width: int,
        num_blocks: int,
        flip_index: Sequence[int],
        middle: float = 0.0,
        half: float = 1.0,
    ) -> None:
        super().__init__(num_keypoints, num_dims)
        self.crop_middle, self.crop_half = middle, half
        self.register_buffer("flip_index", torch.tensor(flip_index), persistent=False)
        numbers = num_keypoints * num_dims
        self.start = nn.Linear(numbers + num_keypoints + num_dims + 1, width)
        self.blocks = nn.ModuleList(ResidualBlock(width, width) for _ in range(num_blocks))
        self.norm = nn.LayerNorm(width)
        self.correction = nn.Linear(width, numbers)
        # Training starts at the linear estimate.
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)

    def fit(self, keypoints: Tensor, visible: Tensor) -> None:
        """Fit mean and covariance to normalised joints (N, K, D) with ``visible`` (N, K) and their mirror images."""
        mirrored = self._mirror(keypoints - self.crop_middle) + self.crop_middle
        super().fit(torch.cat([keypoints, mirrored]), torch.cat([visible, visible[:, self.flip_index]]))

    def forward(self, keypoints: Tensor, visible: Tensor) -> Tensor:
        """Return joints (B, K, D) with the estimate where not ``visible`` (B, K); unknown ones may hold anything."""
        joints = super().forward(keypoints, visible)
        placed = (joints - self.crop_middle) / self.crop_half
        correction = self._correct(placed, visible)
        if not self.training:
            mirrored = self._correct(self._mirror(placed), visible[:, self.flip_index])
            correction = (correction + self._mirror(mirrored)) / 2
        return torch.where(visible[..., None], joints, joints + correction * self.crop_half)

    def _correct(self, joints: Tensor, visible: Tensor) -> Tensor:
        """Return what to add (B, K, D) to joints whose crop is [-1, 1]."""
        center = joints.mean(dim=1, keepdim=True)
        centred = joints - center
        spread = centred.square().sum(dim=-1).mean(dim=1).sqrt().clamp(min=_LEAST_SPREAD)[:, None, None]
        parts = [(centred / spread).flatten(1), visible.to(joints.dtype), center.flatten(1), spread.log().flatten(1)]
        x = self.start(torch.cat(parts, dim=1))
        for block in self.blocks:
            x = block(x)
        with torch.autocast(x.device.type, enabled=False):
            return self.correction(self.norm(x.float())).view_as(joints) * spread

    def _mirror(self, joints: Tensor) -> Tensor:
        """Mirror joints (B, K, D), or displacements, at x = 0."""
        signs = torch.ones(joints.shape[-1], dtype=joints.dtype, device=joints.device)
        signs[0] = -1
        return joints[:, self.flip_index] * signs
