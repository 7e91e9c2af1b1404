"""A network that estimates unknown joints from known ones, starting from the linear estimate."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pct.layers.gaussian_fill import GaussianFill
from pct.layers.mixer import ResidualBlock


class NetworkFill(GaussianFill):
    """The linear estimate of the unknown joints, and what a residual MLP over all joints adds to it.

    Completing a pose and writing it down exactly pull one network in two directions; so the first is given to a network
    of its own, which has its own loss.

    Args:
        num_keypoints: Joints K.
        num_dims: Coordinates D a joint.
        width: Width of the network.
        num_blocks: Residual blocks.
    """

    def __init__(self, num_keypoints: int, num_dims: int, width: int, num_blocks: int) -> None:
        super().__init__(num_keypoints, num_dims)
        numbers = num_keypoints * num_dims
        self.start = nn.Linear(numbers + num_keypoints, width)
        self.blocks = nn.ModuleList(ResidualBlock(width, width) for _ in range(num_blocks))
        self.norm = nn.LayerNorm(width)
        self.correction = nn.Linear(width, numbers)
        # Training starts at the linear estimate.
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)

    def forward(self, keypoints: Tensor, visible: Tensor) -> Tensor:
        """Return joints (B, K, D) with the estimate where not ``visible`` (B, K); unknown ones may hold anything."""
        joints = super().forward(keypoints, visible)
        x = self.start(torch.cat([joints.flatten(1), visible.to(joints.dtype)], dim=1))
        for block in self.blocks:
            x = block(x)
        with torch.autocast(x.device.type, enabled=False):
            correction = self.correction(self.norm(x.float()))
        return torch.where(visible[..., None], joints, joints + correction.view_as(joints))
