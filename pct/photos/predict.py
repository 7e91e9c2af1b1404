"""Predict poses from normalised crops: expected, most likely and sampled poses of a classifier, tops of heatmaps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pct.evaluation.metrics import joint_scale
from pct.files.coco import AREA_SHARE
from pct.photos.classifier import PoseClassifier
from pct.photos.config import Calibration
from pct.photos.heatmap import HeatmapModel
from pct.pose_space import PoseSpace
from pct.skeleton import Skeleton

# Heights and confidences are taken to lie this far from 0 and 1, where their log-odds have no bounds.
_LEAST_HEIGHT = 1e-4
# A joint is found where its heatmap is higher.
_FOUND = 0.2


@dataclass(frozen=True)
class PhotoPrediction:
    """Poses of B persons in the three forms that tokens of a photo have; coordinates in model units.

    With the flip test, tokens and samples are those of the photo as it is, all else is the mean of both views.

    Attributes:
        keypoints: Expected pose (B, K, D): the decoded mixture of the codebook's entries.
        confidence: Of each joint (B, K), in [0, 1]: the keypoint similarity that is expected of it.
        indices: Most likely integer tokens (B, M), int64.
        token_probs: Their probabilities (B, M).
        likely_keypoints: The pose (B, K, D) that the most likely tokens decode to.
        samples: Poses (S, B, K, D) that sampled tokens decode to.
        probs: Probabilities of all entries (B, M, V) of the photo as it is.
        spread: Mean squared distance of the samples from the expected pose over each joint's squared scale (B, K).
        pose_scores: What poses are ranked by (B,): :func:`score_poses` of the confidence; by published conventions
            the mean over the tokens of the largest logit, without bounds; of heatmaps :func:`score_found_joints`.
        heights: How high the backbone's own heatmaps are at each joint (B, K), in [0, 1]; None if it has none.
    """

    keypoints: Tensor
    confidence: Tensor
    indices: Tensor
    token_probs: Tensor
    likely_keypoints: Tensor
    samples: Tensor
    probs: Tensor
    spread: Tensor
    pose_scores: Tensor
    heights: Tensor | None = None


def predict_poses(
    model: PoseClassifier | HeatmapModel, images: Tensor, flip: bool = True, **options: Any
) -> PhotoPrediction:
    """Predict poses by a model of any kind; see :func:`predict_tokens` with its options, :func:`predict_heatmaps`."""
    if isinstance(model, PoseClassifier):
        return predict_tokens(model, images, flip, **options)
    return predict_heatmaps(model, images, flip)


@torch.no_grad()
def predict_tokens(
    model: PoseClassifier,
    images: Tensor,
    flip: bool = True,
    num_samples: int = 16,
    generator: torch.Generator | None = None,
    boxes: Tensor | None = None,
) -> PhotoPrediction:
    """Predict tokens and poses of persons, with the confidence of every joint.

    Args:
        model: The classifier, in evaluation mode.
        images: Normalised crops (B, 3, H, W).
        flip: Average the poses with those of the mirrored crops (the flip test).
        num_samples: Poses S that are sampled; the confidence rests on them.
        generator: Of the random numbers that choose the samples; torch's own by default.
        boxes: The persons' boxes (B, 4) as x, y, width, height, whose areas are the scale of the confidence on photos;
            by default each is half as wide as long.

    Raises:
        ValueError: If ``num_samples`` is below 1 or the crops do not have the model's size.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}; confidence comes from the samples")
    count, tokenizer = len(images), model.tokenizer
    with torch.inference_mode():
        output = model(take_views(images, flip))
        probs = output.probs.float()
    token_probs, indices = probs.max(dim=-1)
    sampled = sample_tokens(probs[:count], num_samples, generator)
    # One call: what it takes beside its arithmetic is felt with small models.
    likely, samples = tokenizer.decode(torch.cat([indices, sampled.flatten(0, 1)])).tensor_split([len(indices)])
    skeleton, space = tokenizer.skeleton, tokenizer.space
    expected, likely = (merge_views(poses, count, skeleton, space) for poses in (output.keypoints, likely))
    samples = samples.unflatten(0, (num_samples, count))
    boxes = torch.tensor([[0, 0, 0.5, 1]]).expand(count, -1) if boxes is None else boxes
    area = area_in_model_units(boxes, model.image_size, space.crop_space)
    spread = joint_spread(expected, samples, joint_scale(space, skeleton, area.to(expected)))
    heights = None if output.heights is None else merge_views(output.heights, count, skeleton)
    confidence = confidence_from_spread(spread, model.config.calibration, space.num_dims, heights)
    published = output.logits.float().amax(dim=-1).mean(dim=-1).view(-1, count).mean(dim=0)
    return PhotoPrediction(
        keypoints=expected,
        confidence=confidence,
        indices=indices[:count].clone(),
        token_probs=token_probs[:count].clone(),
        likely_keypoints=likely,
        samples=samples,
        probs=probs[:count].clone(),
        spread=spread,
        pose_scores=published if space.conventions.score == "published" else score_poses(confidence),
        heights=heights,
    )


def score_poses(confidence: Tensor) -> Tensor:
    """Return the score (B,) in [0, 1] of poses: the mean of their joints' confidences (B, K), each weighed by itself.

    A joint that is not on the photo has little confidence and so little weight, as it has none in OKS.
    """
    return confidence.square().sum(dim=1) / confidence.sum(dim=1).clamp(min=_LEAST_HEIGHT)


def score_found_joints(heights: Tensor) -> Tensor:
    """Return the score (B,) of poses from heatmaps: the mean height (B, K) of the joints above 0.2; 0 without any.

    As in "Simple Baselines for Human Pose Estimation" (Xiao et al., 2018) and most since.
    """
    found = heights > _FOUND
    return (heights * found).sum(dim=1) / found.sum(dim=1).clamp(min=1)


def joint_spread(keypoints: Tensor, samples: Tensor, scale: Tensor) -> Tensor:
    """Return how far sampled poses lie from the expected one, in units of each joint's scale.

    Args:
        keypoints: Expected poses (B, K, D).
        samples: Sampled poses (S, B, K, D), in the same unit of length.
        scale: Of the joints (B, K) in that unit; see :func:`pct.evaluation.metrics.joint_scale`.

    Returns:
        Mean squared distances (B, K) over the squared scale: the exponent of the keypoint similarity is minus one half
        of such a number.
    """
    return (samples - keypoints).square().sum(dim=-1).mean(dim=0) / scale.square()


def confidence_from_spread(
    spread: Tensor, calibration: Calibration, num_dims: int = 2, heights: Tensor | None = None
) -> Tensor:
    """Return the keypoint similarity that is expected at a spread, in [0, 1].

    Calibration turns the doubt into the mean squared error to be expected, e^2, in squared scales of the joint. The
    mean of the similarity, exp(-d^2 / 2), over errors that are normal with that mean square in D dimensions is
    (1 + e^2 / D)^(-D / 2). Where the backbone has heatmaps of its own, they are a second witness: their log-odds are
    added.

    Args:
        spread: Of :func:`joint_spread`, any shape.
        calibration: Of the classifier.
        num_dims: D: 2 for poses on photos, 3 for those in space.
        heights: How high the backbone's own heatmaps are, of the spread's shape; None without.
    """
    error = calibration.factor * spread + calibration.floor**2
    confidence = (1 + error / num_dims) ** (-num_dims / 2)
    if heights is None or not calibration.height:
        return confidence
    witness = torch.logit(heights.to(confidence), _LEAST_HEIGHT)
    return (torch.logit(confidence, _LEAST_HEIGHT) + calibration.height * witness).sigmoid()


def area_in_model_units(boxes: Tensor, image_size: tuple[int, int], space: PoseSpace) -> Tensor:
    """Return the areas (B,) of persons in their crops, in square model units: 0.52 of those of their boxes.

    Args:
        boxes: (B, 4) as x, y, width, height, in any unit of length.
        image_size: Height and width of the model's input, to whose aspect boxes are grown.
        space: Of the crops (``crop2d``).
    """
    (low, high), (height, width), sizes = space.bounds, image_size, boxes[:, 2:]
    longer = (sizes / sizes.new_tensor([width, height])).amax(dim=1) * max(height, width)
    return AREA_SHARE * sizes.prod(dim=1) * ((high - low) / (space.padding * longer)).square()


def restore_poses(poses: Tensor, bbox: Tensor, space: PoseSpace) -> Tensor:
    """Bring poses from model units to image pixels, or to millimetres from their own root.

    A model of 3D poses knows a person's place as little as a photo does.

    Args:
        poses: Joints (S, B, K, D) in model units.
        bbox: The boxes (B, 4) that the crops were cut with, grown to the input's aspect, as x, y, width, height.
        space: Of the model.
    """
    reference = bbox if space.kind == "crop2d" else bbox.new_zeros(len(bbox), 3)
    restored = space.restore(poses.flatten(0, 1), reference.repeat(len(poses), 1)).view(poses.shape)
    return restored if space.kind == "crop2d" else restored - restored[:, :, space.root, None]


@torch.no_grad()
def predict_heatmaps(model: HeatmapModel, images: Tensor, flip: bool = True) -> PhotoPrediction:
    """Find the joints of persons at the tops of their heatmaps; there are no tokens and no samples.

    The confidence is the height of the heatmaps, without bounds for published ones.

    Args:
        model: The heatmap model, in evaluation mode.
        images: Normalised crops (B, 3, H, W).
        flip: Average the heatmaps with those of the mirrored crops (the flip test).
    """
    with torch.inference_mode():
        maps = model(take_views(images, flip))
    if flip:
        straight, mirrored = maps.chunk(2)
        maps = (straight + model.cells.mirror(mirrored, torch.from_numpy(model.skeleton.flip_index))) / 2
    keypoints, scores = model.decode(maps)
    none = scores[:, :0]
    return PhotoPrediction(
        keypoints=keypoints,
        confidence=scores,
        indices=none.long(),
        token_probs=none,
        likely_keypoints=keypoints,
        samples=keypoints[None][:0],
        probs=none[..., None],
        spread=torch.full_like(scores, torch.nan),
        pose_scores=score_found_joints(scores),
    )


def sample_tokens(probs: Tensor, num_samples: int, generator: torch.Generator | None = None) -> Tensor:
    """Choose each token by chance, independently of the others.

    The random numbers of a token are spread evenly over its S samples (Latin hypercube sampling, McKay et al., 1979),
    which makes the spread of few samples steadier. All persons share them: what a person gets does not depend on who
    else is in the batch.

    Args:
        probs: Probabilities of the entries (B, M, V).
        num_samples: S.
        generator: Of the random numbers; torch's own by default.

    Returns:
        Tokens (S, B, M), int64.
    """
    count, tokens, entries = probs.shape
    device = generator.device if generator is not None else torch.device("cpu")
    order, within = torch.rand(2, tokens, num_samples, generator=generator, device=device)
    numbers = ((order.argsort(dim=-1) + within) / num_samples).to(probs)
    cumulative = probs.cumsum(dim=-1)
    # Sums of many small numbers do not end at 1 exactly.
    chosen = torch.searchsorted(cumulative, numbers.expand(count, -1, -1) * cumulative[..., -1:], right=True)
    return chosen.clamp(max=entries - 1).permute(2, 0, 1)


def mirror_keypoints(keypoints: Tensor, skeleton: Skeleton, space: PoseSpace) -> Tensor:
    """Return poses (..., K, D) in model units as a mirrored crop shows them; twice gives the poses back."""
    swapped = keypoints[..., torch.from_numpy(skeleton.flip_index).to(keypoints.device), :]
    return torch.cat([space.mirror_sum - swapped[..., :1], swapped[..., 1:]], dim=-1)


def take_views(images: Tensor, flip: bool) -> Tensor:
    """Return crops (B, 3, H, W), for the flip test with their mirror images behind them; see :func:`merge_views`."""
    return torch.cat([images, images.flip(-1)]) if flip else images


def merge_views(values: Tensor, count: int, skeleton: Skeleton, space: PoseSpace | None = None) -> Tensor:
    """Return poses (B, K, D) of a space, or without one scores (B, K) of joints.

    Where those of mirrored crops follow them, the mean of both.
    """
    if len(values) == count:
        return values.clone()
    values, mirrored = values[:count], values[count:]
    if space is None:
        return (values + mirrored[:, torch.from_numpy(skeleton.flip_index).to(values.device)]) / 2
    return (values + mirror_keypoints(mirrored, skeleton, space)) / 2
