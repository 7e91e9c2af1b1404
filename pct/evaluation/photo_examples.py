"""The persons that a report on models of photos shows: best, typical, worst, most occluded, most disputed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pct.data.photo_crop import plain_crop
from pct.data.photos import PersonSource
from pct.evaluation.metrics import oks
from pct.evaluation.photo_evaluate import EvaluatedPoses
from pct.pose_space import PoseSpace

_PERSONS = 4
# More samples than these hide the photo.
_SAMPLES = 8


@dataclass(frozen=True)
class PhotoExample:
    """One person of a picture; joints (K, 2) in pixels of the crop.

    Attributes:
        image: The crop (S, S, 3), uint8 RGB.
        image_id: Of the photo.
        annotation_id: Of the person.
        target_keypoints: True joints (K, 2).
        visibility: COCO's labels (K,).
        keypoints: Of each model by name (K, 2).
        samples: Sampled poses (S, K, 2) of each model that has any.
        oks: Similarity of each model's pose.
    """

    image: np.ndarray
    image_id: int
    annotation_id: int
    target_keypoints: Tensor
    visibility: Tensor
    keypoints: dict[str, Tensor]
    samples: dict[str, Tensor]
    oks: dict[str, float]


def choose_rows(poses: EvaluatedPoses, sigmas: Tensor) -> dict[str, list[int]]:
    """Choose persons by what they show, from the similarities of the first model.

    Persons of whom less than two thirds of the most labelled one's joints are labelled are not chosen.

    Args:
        poses: The poses of all models.
        sigmas: OKS constants (K,).

    Returns:
        Rows of the table by kind: ``best``, ``typical``, ``worst``, ``occluded``, and with two models ``better`` and
        ``worse``, where the first one wins or loses most.
    """
    table = poses.table
    labelled = table.labels.visible.sum(dim=1)
    candidates = (labelled >= max(1, round(2 / 3 * int(labelled.max())))).nonzero().flatten()
    similarity = {name: value[candidates] for name, value in similarities(poses, sigmas).items()}
    first, *others = similarity.values()
    order = first.argsort(stable=True)
    middle = max(0, len(order) // 2 - _PERSONS // 2)
    chosen = {
        "typical": order[middle : middle + _PERSONS],
        "occluded": table.occluded[candidates].sum(dim=1).argsort(descending=True, stable=True)[:_PERSONS],
        "worst": order[:_PERSONS],
        "best": order.flip(0)[:_PERSONS],
    }
    if others:
        lead = (first - others[0]).argsort(stable=True)
        chosen |= {"better": lead.flip(0)[:_PERSONS], "worse": lead[:_PERSONS]}
    return {kind: candidates[rows].tolist() for kind, rows in chosen.items()}


def similarities(poses: EvaluatedPoses, sigmas: Tensor) -> dict[str, Tensor]:
    """Return the OKS (N,) of each model's poses."""
    labels = poses.table.labels
    return {
        name: oks(model.keypoints, labels.keypoints, labels.visible, labels.area, sigmas)
        for name, model in poses.models.items()
    }


def make_examples(
    poses: EvaluatedPoses, source: PersonSource, space: PoseSpace, sigmas: Tensor
) -> dict[str, list[PhotoExample]]:
    """Cut the chosen persons out of their photos.

    Args:
        poses: The poses of all models.
        source: The persons that were evaluated.
        space: Whose units are pixels of the crop.
        sigmas: OKS constants (K,).

    Returns:
        Examples by kind; see :func:`choose_rows`.
    """
    similarity = similarities(poses, sigmas)

    def example(row: int) -> PhotoExample:
        table, person = poses.table, source[int(poses.table.rows[row])]
        bbox = table.labels.bbox[row : row + 1]

        def to_crop(keypoints: Tensor) -> Tensor:
            return space.normalise(keypoints, bbox.expand(len(keypoints), -1))

        size = (space.crop_size, space.crop_size)
        return PhotoExample(
            image=plain_crop(person.bbox, space, size).warp(person.image),
            image_id=person.image_id,
            annotation_id=person.annotation_id,
            target_keypoints=to_crop(table.labels.keypoints[row : row + 1])[0],
            visibility=table.visibility[row],
            keypoints={name: to_crop(model.keypoints[row : row + 1])[0] for name, model in poses.models.items()},
            samples={
                name: to_crop(model.samples[:_SAMPLES, row])
                for name, model in poses.models.items()
                if model.samples is not None
            },
            oks={name: float(values[row]) for name, values in similarity.items()},
        )

    return {kind: [example(row) for row in rows] for kind, rows in choose_rows(poses, sigmas).items() if rows}


def report_space(space: PoseSpace) -> PoseSpace:
    """Return the space whose units are pixels of the crop."""
    return PoseSpace(padding=space.padding, crop_size=space.crop_size, units="pixels")


def hide_unlabelled(keypoints: Tensor, visibility: Tensor) -> Tensor:
    """Return joints (K, 2) with NaN where there is no label, so that nothing is drawn there."""
    return torch.where(visibility[:, None] > 0, keypoints, torch.nan)
