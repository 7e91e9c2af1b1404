"""Pose tokens: human poses as integers and back."""

from pct.geometry import bbox_from_keypoints
from pct.models.tokenizer import PoseTokenizer, TokenizerConfig
from pct.pose_space import PoseSpace
from pct.skeleton import SKELETONS, Skeleton, get_skeleton

__all__ = [
    "SKELETONS",
    "PoseSpace",
    "PoseTokenizer",
    "Skeleton",
    "TokenizerConfig",
    "bbox_from_keypoints",
    "get_skeleton",
]
__version__ = "0.1.0"
