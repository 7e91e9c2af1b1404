"""Pose tokens: human poses as integers and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pct.packages import load_when_asked

if TYPE_CHECKING:
    from pct.geometry import bbox_from_keypoints
    from pct.photos.estimator import PoseEstimator
    from pct.pose_space import PoseSpace
    from pct.skeleton import SKELETONS, Skeleton, get_skeleton
    from pct.tokenizer import PoseTokenizer, TokenizerConfig

__all__ = [
    "SKELETONS",
    "PoseEstimator",
    "PoseSpace",
    "PoseTokenizer",
    "Skeleton",
    "TokenizerConfig",
    "bbox_from_keypoints",
    "get_skeleton",
]
__version__ = "0.1.0"


# Where each name is. What it needs is loaded when it is asked for: help on the command line needs no torch, and tokens
# need nothing that reads photos.
_MODULES = {
    "PoseEstimator": "pct.photos.estimator",
    "bbox_from_keypoints": "pct.geometry",
    "PoseTokenizer": "pct.tokenizer",
    "TokenizerConfig": "pct.tokenizer",
    "PoseSpace": "pct.pose_space",
    "SKELETONS": "pct.skeleton",
    "Skeleton": "pct.skeleton",
    "get_skeleton": "pct.skeleton",
}
__getattr__ = load_when_asked(__name__, _MODULES)
