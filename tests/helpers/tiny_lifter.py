"""Tiny lifters and pairs that the tests of lifters share."""

from __future__ import annotations

import torch
from tiny_bodies import make_tokenizer_3d

from pct.lifting.config import LifterConfig, TokenHeadSizes
from pct.lifting.detector_noise import NoiseConfig
from pct.lifting.lifter import Lifter
from pct.lifting.pairs import CameraConfig
from pct.people.poses import generate_poses3d
from pct.pose_space import PoseSpace
from pct.skeleton import H36M17
from pct.tokenizer import PoseTokenizer
from pct.training.lifting.data import LiftingBatch, PhotographedPoses, fixed_pairs

SPACE = PoseSpace(kind="root3d")


def make_lifter(kind: str = "", tokenizer: PoseTokenizer | None = None, **changes) -> Lifter:
    """A tiny MLP-mixer; ``kind`` is that of its token head, none without."""
    torch.manual_seed(0)
    sizes = {"network": "mixer", "width": 16, "depth": 1, "skeleton": H36M17, "space": SPACE, **changes}
    if not kind:
        return Lifter(LifterConfig(**sizes))
    config = LifterConfig(**sizes, head="tokens", tokens=TokenHeadSizes(kind, width=16, num_blocks=1))
    return Lifter(config, tokenizer or make_tokenizer_3d())


def make_pairs(count: int = 16, noise: NoiseConfig | None = None) -> LiftingBatch:
    """Generated bodies, photographed; with a detector's errors where there are some."""
    source = PhotographedPoses(generate_poses3d(count, seed=0), CameraConfig())
    return fixed_pairs(source, SPACE, noise or NoiseConfig.clean(), count)
