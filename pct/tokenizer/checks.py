"""Checks of what goes into a tokenizer: poses, tokens and probabilities of the right shape and range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pct.skeleton import Skeleton

if TYPE_CHECKING:
    from pct.tokenizer.model import PoseTokenizer


def check_precision(tokenizer: PoseTokenizer) -> None:
    """Refuse weights of another type than float32."""
    dtype = tokenizer.embedding.mask_token.dtype
    if dtype != torch.float32:
        raise ValueError(f"the weights are {dtype}; tokens are made and read in float32: use tokenizer.float()")


def check_indices(tokenizer: PoseTokenizer, indices: Tensor) -> Tensor:
    """Return tokens (B, m) as int64, if they are whole poses, or a prefix that the model can decode, of its ids."""
    m, v, shortest = tokenizer.config.num_tokens, tokenizer.config.codebook_size, tokenizer.shortest_prefix
    if indices.ndim != 2 or indices.is_floating_point() or indices.dtype == torch.bool:
        raise ValueError(f"indices must be integers (B, {m}); got {indices.dtype} of shape {tuple(indices.shape)}")
    length = indices.shape[1]
    if not shortest <= length <= m:
        ordered = (
            f"the tokens of this model are not ordered, so it takes all {m}"
            if shortest == m
            else f"a prefix of this model has {shortest} to {m}"
        )
        raise ValueError(f"indices have {length} tokens a pose; {ordered}")
    indices = indices.long()
    bad = (indices < 0) | (indices >= v)
    if bad.any():
        row, column = (int(i) for i in bad.nonzero()[0])
        raise ValueError(
            f"token {column} of row {row} is {int(indices[row, column])}; ids of this codebook go from 0 to {v - 1}"
        )
    return indices


def read_results(tokenizer: PoseTokenizer, found: Any, visible: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return joints (B, K, 2), which are known (B, K), and boxes (B, 4) of what :mod:`pct.adapters` reads."""
    if visible is not None or isinstance(found, (Tensor, np.ndarray)):
        raise ValueError("encode needs the person's bbox (B, 4); pct.bbox_from_keypoints makes one from joints")
    from pct.adapters import as_poses

    poses = as_poses(found, tokenizer.skeleton)
    return poses.keypoints, poses.visible, poses.bbox


def check_poses(tokenizer: PoseTokenizer, keypoints: Tensor, visible: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return joints (B, K, D), float32, and which are known (B, K), bool, if every pose can be encoded."""
    shape = (tokenizer.skeleton.num_keypoints, tokenizer.space.num_dims)
    keypoints = torch.as_tensor(keypoints, dtype=torch.float32, device=tokenizer.device)
    return check_joints("keypoints", keypoints, visible, tokenizer.skeleton, [shape], "encode")


def check_joints(
    name: str,
    keypoints: Tensor,
    visible: Tensor | None,
    skeleton: Skeleton,
    shapes: Sequence[tuple[int, ...]],
    purpose: str,
) -> tuple[Tensor, Tensor]:
    """Check that every pose has a known joint and all known joints are finite.

    Args:
        name: What errors call the joints.
        keypoints: Joints (B, ..., K, D), float32.
        visible: True where a joint is known (B, ..., K); all are when it is not given.
        skeleton: Whose joints.
        shapes: What may follow B.
        purpose: What poses are wanted for.

    Returns:
        The joints, and which are known, bool.

    Raises:
        ValueError: If not, or a shape is wrong.
    """
    if tuple(keypoints.shape[1:]) not in shapes:
        allowed = " or ".join(f"(B, {', '.join(map(str, shape))})" for shape in shapes)
        raise ValueError(f"{name} must be {allowed} for skeleton {skeleton.name}; got shape {tuple(keypoints.shape)}")
    if visible is None:
        visible = torch.ones(keypoints.shape[:-1], dtype=torch.bool, device=keypoints.device)
    visible = torch.as_tensor(visible, device=keypoints.device).bool()
    if visible.shape != keypoints.shape[:-1]:
        raise ValueError(f"visible must be {tuple(keypoints.shape[:-1])}; got shape {tuple(visible.shape)}")
    empty = ~visible.any(dim=-1)
    if empty.any():
        row = int(empty.nonzero()[0, 0])
        raise ValueError(f"pose of row {row} has no known joint, so there is nothing to {purpose}")
    broken = ~torch.isfinite(keypoints).all(dim=-1) & visible
    if broken.any():
        place = tuple(broken.nonzero()[0].tolist())
        raise ValueError(
            f"joint {skeleton.keypoint_names[place[-1]]} of row {place[0]} is {keypoints[place].tolist()}; "
            "known joints must be finite (mark it not visible to have it filled in)"
        )
    return keypoints, visible


def check_probs(tokenizer: PoseTokenizer, probs: Tensor) -> Tensor:
    """Return probabilities (B, M, V) as float32, if they have that shape."""
    probs = torch.as_tensor(probs, dtype=torch.float32, device=tokenizer.device)
    expected = (tokenizer.config.num_tokens, tokenizer.config.codebook_size)
    if probs.ndim != 3 or tuple(probs.shape[1:]) != expected:
        raise ValueError(f"probs must be (B, {expected[0]}, {expected[1]}); got shape {tuple(probs.shape)}")
    return probs
