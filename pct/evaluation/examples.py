"""The poses that a report shows: worst and typical reconstructions, completions, and poses with one token varied."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pct.data.poses import PoseTable
from pct.evaluation.codebook import TokenAnatomy
from pct.evaluation.completion import Fill, hide_joints, hide_part
from pct.evaluation.crop_codec import CropCodec
from pct.evaluation.metrics import joint_distances
from pct.evaluation.root_codec import RootCodec

_NUM_RECONSTRUCTIONS = 8
_NUM_COMPLETIONS = 4
_NUM_TOKENS = 4
_NUM_VARIATIONS = 24


@dataclass(frozen=True)
class PoseExample:
    """One pose of a picture, in crop pixels (D = 2) or millimetres from the root (D = 3).

    Attributes:
        title: What to say about it.
        target_keypoints: True joints (K, D).
        target_visible: True where they are labelled (K,).
        keypoints: Joints of the model (K, D).
        given: True where the model was given the joint (K,).
        baseline_keypoints: Joints of the ridge regression (K, D), if there is one.
    """

    title: str
    target_keypoints: Tensor
    target_visible: Tensor
    keypoints: Tensor
    given: Tensor
    baseline_keypoints: Tensor | None = None


@dataclass(frozen=True)
class TokenVariation:
    """A pose decoded with one of its tokens replaced.

    Attributes:
        token: Which of the M tokens.
        keypoints: The pose as it is (K, D), in crop pixels or millimetres.
        variations: The pose with other entries there (R, K, D).
    """

    token: int
    keypoints: Tensor
    variations: Tensor


@dataclass(frozen=True)
class PoseExamples:
    """All poses of a report's pictures."""

    worst: list[PoseExample]
    typical: list[PoseExample]
    completions: list[PoseExample]
    variations: list[TokenVariation]


def reconstruction_examples(
    poses: PoseTable, target: Tensor, restored: Tensor, similarity: Tensor, error: Tensor, typical: bool
) -> list[PoseExample]:
    """Choose the poses with the lowest OKS, or those nearest to the median error among the mostly labelled.

    Args:
        poses: The table.
        target: True joints (N, K, 2) in crop pixels.
        restored: Reconstructed joints (N, K, 2) in crop pixels.
        similarity: OKS (N,).
        error: Mean error of each pose (N,) in crop pixels.
        typical: Typical instead of worst.
    """
    if typical:
        labelled = poses.visible.sum(dim=1)
        enough = labelled >= min(int(labelled.max()), round(0.7 * poses.visible.shape[1]))
        distance = (error - error[enough].median()).abs().masked_fill(~enough, torch.inf)
        rows = distance.argsort(stable=True)[: min(_NUM_RECONSTRUCTIONS, int(enough.sum()))]
    else:
        rows = similarity.argsort(stable=True)[:_NUM_RECONSTRUCTIONS]
    return [
        PoseExample(
            f"OKS {similarity[i]:.3f}, error {error[i]:.1f} px\nannotation {int(poses.annotation_ids[i])}",
            target[i],
            poses.visible[i],
            restored[i],
            poses.visible[i],
        )
        for i in rows.tolist()
    ]


def completion_examples(
    codec: CropCodec, target: Tensor, visible: Tensor, lower_body: tuple[int, ...], ridge: Fill | None, seed: int
) -> list[PoseExample]:
    """Hide joints of some well labelled poses and fill them in, by the tokenizer and by ridge regression."""
    most = visible.sum(dim=1).max()
    full = (visible.sum(dim=1) == most).nonzero().flatten()
    order = torch.randperm(len(full), generator=torch.Generator().manual_seed(seed))
    rows = full[order[: 2 * _NUM_COMPLETIONS]]
    first, second = rows[::2], rows[1::2]
    ways = [
        ("4 joints hidden", first, hide_joints(visible[first], 4, seed)),
        ("8 joints hidden", second, hide_joints(visible[second], 8, seed)),
        ("lower body hidden", second, hide_part(visible[second], lower_body)),
    ]
    return [
        _completion_example(codec, target[row], visible[row], hide, name, ridge)
        for name, chosen, hidden in ways
        for row, hide in zip(chosen.tolist(), hidden, strict=True)
        if hide.any()
    ]


def _completion_example(
    codec: CropCodec, target: Tensor, visible: Tensor, hide: Tensor, name: str, ridge: Fill | None
) -> PoseExample:
    known = visible & ~hide
    given = torch.where(known[:, None], target, torch.nan)[None]
    filled = codec.complete(given, known[None])[0]
    linear = None if ridge is None else ridge(given, known[None], hide[None])[0]
    text = f"{name}\nerror {float((filled - target)[hide].norm(dim=-1).mean()):.1f} px"
    if linear is not None:
        text += f", ridge {float((linear - target)[hide].norm(dim=-1).mean()):.1f} px"
    return PoseExample(text, target, visible, filled, known, linear)


def token_variations(
    codec: CropCodec | RootCodec, indices: Tensor, anatomy: TokenAnatomy, seed: int
) -> list[TokenVariation]:
    """Vary some tokens of one pose (M,): of the tokens that move most, those that move other joints than each other."""
    movement = torch.tensor(anatomy.random)  # (M, K)
    chosen: list[int] = []
    for token in movement.sum(dim=1).argsort(descending=True).tolist():
        if len(chosen) < _NUM_TOKENS and int(movement[token].argmax()) not in {
            int(movement[other].argmax()) for other in chosen
        }:
            chosen.append(token)
    generator = torch.Generator().manual_seed(seed)
    size = codec.tokenizer.config.codebook_size
    base = codec.decode(indices[None])[0]
    variations = []
    for token in sorted(chosen):
        changed = indices.expand(_NUM_VARIATIONS, -1).clone()
        changed[:, token] = torch.randint(size, (_NUM_VARIATIONS,), generator=generator)
        variations.append(TokenVariation(token, base, codec.decode(changed)))
    return variations


def choose_examples(
    codec: CropCodec,
    poses: PoseTable,
    target: Tensor,
    restored: Tensor,
    similarity: Tensor,
    indices: Tensor,
    ridge: Fill | None,
    anatomy: TokenAnatomy,
    seed: int,
) -> PoseExamples:
    """Choose the poses of a report's pictures.

    Args:
        codec: The tokenizer.
        poses: The table.
        target: True joints (N, K, 2) in crop pixels.
        restored: Reconstructed joints (N, K, 2) in crop pixels.
        similarity: OKS (N,).
        indices: Tokens (N, M).
        ridge: The ridge regression, if there is one.
        anatomy: What each token moves.
        seed: Of the random choices.
    """
    error = joint_distances(restored, target, poses.visible).sum(dim=1) / poses.visible.sum(dim=1).clamp(min=1)
    full = int(poses.visible.sum(dim=1).argmax())
    return PoseExamples(
        worst=reconstruction_examples(poses, target, restored, similarity, error, typical=False),
        typical=reconstruction_examples(poses, target, restored, similarity, error, typical=True),
        completions=completion_examples(codec, target, poses.visible, poses.skeleton.lower_body, ridge, seed),
        variations=token_variations(codec, indices[full], anatomy, seed),
    )
