"""Pose tokens: human poses as integers and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pct.geometry import bbox_from_keypoints
from pct.models.tokenizer import PoseTokenizer, TokenizerConfig
from pct.pose_space import PoseSpace
from pct.skeleton import SKELETONS, Skeleton, get_skeleton

if TYPE_CHECKING:
    from pct.estimator import PoseEstimator

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


def __getattr__(name: str) -> Any:
    # What reads photos is loaded when it is asked for: tokens need none of it.
    if name == "PoseEstimator":
        from pct.estimator import PoseEstimator

        return PoseEstimator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
