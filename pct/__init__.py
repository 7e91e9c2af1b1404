"""Pose tokens: human poses as integers and back."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pct.estimator import PoseEstimator
    from pct.geometry import bbox_from_keypoints
    from pct.models.tokenizer import PoseTokenizer, TokenizerConfig
    from pct.pose_space import PoseSpace
    from pct.skeleton import SKELETONS, Skeleton, get_skeleton

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
    "PoseEstimator": "pct.estimator",
    "bbox_from_keypoints": "pct.geometry",
    "PoseTokenizer": "pct.models.tokenizer",
    "TokenizerConfig": "pct.models.tokenizer",
    "PoseSpace": "pct.pose_space",
    "SKELETONS": "pct.skeleton",
    "Skeleton": "pct.skeleton",
    "get_skeleton": "pct.skeleton",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
