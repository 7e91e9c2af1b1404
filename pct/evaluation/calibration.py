"""Fit a classifier's confidence to what it reaches on persons that it was not trained on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pct.data.photos import PersonSource
from pct.evaluation.photo_metrics import joint_similarity, joint_similarity_3d
from pct.evaluation.photo_predictions import NotedPersons, PredictionOptions, predict_persons
from pct.evaluation.photo_results import PersonTable
from pct.models.classifier import PoseClassifier
from pct.models.photo_config import Calibration
from pct.photo_predict import confidence_from_spread

# Both constants are searched between these, on a grid that is refined around its best point: the error has one valley.
_FACTORS, _FLOORS = (1e-3, 1e2), (1e-3, 1e1)
_GRID, _ROUNDS = 15, 5
# The weights of unclear heatmaps that are tried, each with its best other two.
_UNCLEAR = (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0)


def fit_calibration(
    spread: Tensor, similarity: Tensor, unclear: Tensor | None = None, num_dims: int = 2
) -> Calibration:
    """Find the calibration whose confidences have the least mean squared distance to the similarities.

    The mean squared distance is least for a confidence that is the mean of the similarities at each spread, which is
    what calibrated means.

    Args:
        spread: Of joints (J,): the mean squared distance of samples from the expected pose over the squared scale of
            the joint; see :func:`pct.photo_predict.joint_spread`.
        similarity: Keypoint similarity that the same joints reach (J,), in [0, 1].
        unclear: ``PhotoPrediction.unclear`` of the same joints (J,), for heads with heatmaps.
        num_dims: Coordinates a joint: 2 on photos, 3 in space.

    Raises:
        ValueError: If there are no joints, or the shapes differ.
    """
    if spread.ndim != 1 or spread.shape != similarity.shape or len(spread) == 0:
        raise ValueError(
            "a calibration is fitted to the spread and similarity of at least one joint; got shapes "
            f"{tuple(spread.shape)} and {tuple(similarity.shape)}"
        )
    spread, similarity = spread.double(), similarity.double()
    if unclear is None or not unclear.any():
        return _fit(spread, similarity, torch.zeros_like(spread), 0.0, num_dims)[0]
    fits = [_fit(spread, similarity, unclear.double(), weight, num_dims) for weight in _UNCLEAR]
    return min(fits, key=lambda fit: fit[1])[0]


def _fit(
    spread: Tensor, similarity: Tensor, unclear: Tensor, weight: float, num_dims: int
) -> tuple[Calibration, float]:
    """Return the best calibration with a given weight of unclear heatmaps, and its error."""
    low, high = (torch.tensor(ends, dtype=torch.float64).log() for ends in zip(_FACTORS, _FLOORS, strict=True))
    best, least = Calibration(), float("inf")
    for _ in range(_ROUNDS):
        axes = [torch.linspace(float(a), float(b), _GRID, dtype=torch.float64) for a, b in zip(low, high, strict=True)]
        points = torch.cartesian_prod(*axes)
        tried = [Calibration(factor, floor, weight) for factor, floor in points.exp().tolist()]
        stated = [confidence_from_spread(spread, c, unclear, num_dims) for c in tried]
        errors = [(confidence - similarity).square().mean().item() for confidence in stated]
        number = min(range(len(errors)), key=errors.__getitem__)
        best, least = tried[number], errors[number]
        step = (high - low) / (_GRID - 1)
        low, high = points[number] - 2 * step, points[number] + 2 * step
    return best, least


def calibrate_classifier(
    model: PoseClassifier,
    source: PersonSource,
    options: PredictionOptions | None = None,
    limit: int | None = None,
    progress: Callable[[int], None] | None = None,
    report: Callable[[str], None] | None = None,
) -> Calibration:
    """Fit the calibration of a classifier.

    Args:
        model: In evaluation mode; it is not changed. ``ClassifierConfig.calibration`` is where the result belongs.
        source: Persons that were neither trained on nor are to be tested on.
        options: Flip test and samples as they will be used.
        limit: At most so many persons, the first ones.
        progress: Called with the number of persons that were done.
        report: Called once for each photo that cannot be read; by default a warning.

    Raises:
        ValueError: If the persons' joints are not the model's, or none of them has a label.
    """
    persons = NotedPersons(source, limit)
    found = predict_persons(model, persons, options or PredictionOptions(), progress, report)
    assert found.spread is not None
    similarity, known = reached_similarity(found.keypoints, persons.table(), model)
    assert found.unclear is not None
    space = model.tokenizer.space
    return fit_calibration(found.spread[known], similarity[known], found.unclear[known], space.num_dims)


def reached_similarity(keypoints: Tensor, table: PersonTable, model: PoseClassifier) -> tuple[Tensor, Tensor]:
    """Return the similarity of each joint of found poses (N, K), and where it is known (N, K).

    Args:
        keypoints: The poses (N, K, D) in image pixels, or in millimetres from the root.
        table: The true persons.
        model: Whose poses they are.

    Raises:
        ValueError: If the poses are 3D, and the persons' are not known.
    """
    skeleton, space, labels = model.tokenizer.skeleton, model.tokenizer.space, table.labels
    if space.kind == "crop2d":
        sigmas = torch.from_numpy(skeleton.oks_sigmas)
        return joint_similarity(keypoints, labels.keypoints, labels.area, sigmas), labels.visible
    similarity = joint_similarity_3d(keypoints, table.bodies(skeleton, space.root))
    return similarity, torch.ones_like(labels.visible)
