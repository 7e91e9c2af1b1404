"""Fit a classifier's confidence to what it reaches on persons that it was not trained on."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pct.conventions import CropConventions
from pct.evaluation.photos.predictions import NotedPersons, PersonTable, PredictionOptions, predict_persons
from pct.photos.classifier import PoseClassifier
from pct.photos.config import Calibration
from pct.photos.person_views import annotated_persons
from pct.photos.persons import PersonSource
from pct.photos.predict import confidence_from_spread, merge_views, restore_poses, take_views
from pct.training.photos.batches import evaluation_batches

# Factor, floor and the weight of the heatmaps' heights are searched between these.
_FACTORS, _FLOORS, _HEIGHTS = (1e-3, 1e2), (1e-3, 1e1), (1e-3, 5.0)
_STEPS = 200
# What logits are multiplied by, to choose from.
_SHARPNESSES = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def fit_calibration(
    spread: Tensor, similarity: Tensor, num_dims: int = 2, weights: Tensor | None = None, heights: Tensor | None = None
) -> Calibration:
    """Find the calibration whose confidences have the least mean squared distance to the similarities.

    It is least for a confidence that is the mean of the similarities at each spread, which is what calibrated means.

    Args:
        spread: Of joints (J,): the mean squared distance of samples from the expected pose over the squared scale of
            the joint; see :func:`pct.photos.predict.joint_spread`.
        similarity: Keypoint similarity that the same joints reach (J,), in [0, 1].
        num_dims: Coordinates a joint: 2 on photos, 3 in space.
        weights: Of the joints in the mean (J,); None counts all alike.
        heights: How high the backbone's own heatmaps are at these joints (J,), in [0, 1]; None if it has none.

    Raises:
        ValueError: If there are no joints, or the shapes differ.
    """
    if spread.ndim != 1 or spread.shape != similarity.shape or len(spread) == 0:
        raise ValueError(
            "a calibration is fitted to the spread and similarity of at least one joint; got shapes "
            f"{tuple(spread.shape)} and {tuple(similarity.shape)}"
        )
    spread, similarity = spread.double(), similarity.double()
    weights = torch.ones_like(similarity) if weights is None else weights
    ranges = torch.tensor([_FACTORS, _FLOORS] + ([] if heights is None else [_HEIGHTS]), dtype=torch.float64).log()
    raw = torch.zeros(len(ranges), dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([raw], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def constants() -> Tensor:
        """Return what is searched: whatever ``raw`` is, it lies within the ranges."""
        return torch.lerp(ranges[:, 0], ranges[:, 1], raw.sigmoid()).exp()

    def error() -> Tensor:
        search.zero_grad()
        factor, floor, *height = constants()
        tried = Calibration(factor, floor, height=height[0] if height else 0.0)
        stated = confidence_from_spread(spread, tried, num_dims, heights)
        loss = _mean((stated - similarity).square(), weights)
        loss.backward()
        return loss

    search.step(error)
    factor, floor, *height = constants().tolist()
    return Calibration(factor, floor, height=height[0] if height else 0.0)


def calibrate_classifier(
    model: PoseClassifier,
    source: PersonSource,
    options: PredictionOptions | None = None,
    limit: int | None = None,
    weights: np.ndarray | None = None,
) -> Calibration:
    """Fit the calibration of a classifier.

    Args:
        model: In evaluation mode; it is not changed. ``ClassifierConfig.calibration`` is where the result belongs.
        source: Persons that were neither trained on nor are to be tested on.
        options: Flip test and samples as they will be used.
        limit: At most so many persons, the first ones.
        weights: How much each person of ``source`` counts (N,); None counts all alike.

    Raises:
        ValueError: If the persons' joints are not the model's, or none of them has a label.
    """
    options = options or PredictionOptions()
    weights = np.ones(len(source)) if weights is None else weights
    source = annotated_persons(source, model.space)
    persons = NotedPersons(source, limit)
    # What publishers give as the pose is the mixture as it is.
    own = model.space.conventions == CropConventions()
    sharpness = fit_sharpness(model, persons, options, weights) if own else 1.0
    # Spread and similarity are those of the poses that the sharpness gives.
    sharp = copy.copy(model)
    sharp.config = replace(model.config, calibration=replace(model.config.calibration, sharpness=sharpness))
    persons = NotedPersons(source, limit)
    found = predict_persons(sharp, persons, options)
    assert found.spread is not None
    table = persons.table(model.space)
    similarity, known = table.similarity(found.keypoints, model.space)
    counts = _joint_weights(weights, table, known)
    heights = None if found.heights is None else found.heights[known]
    fitted = fit_calibration(found.spread[known], similarity[known], model.space.num_dims, counts, heights)
    return replace(fitted, sharpness=sharpness)


def fit_sharpness(
    model: PoseClassifier, persons: NotedPersons, options: PredictionOptions, weights: np.ndarray
) -> float:
    """Return the sharpness of the expected pose, of a few tried, that has the best mean keypoint similarity.

    Arguments are those of :func:`calibrate_classifier`, with a weight for each person of the source; the persons are
    read here for the first time.
    """
    space, device = model.space, next(model.parameters()).device
    tried: dict[float, list[Tensor]] = {sharpness: [] for sharpness in _SHARPNESSES}
    for batch in evaluation_batches(persons, space.crop_space, model.image_size, options.batch_size):
        images, bbox = batch.images.to(device), batch.bbox.to(device)
        with torch.inference_mode():
            output = model(take_views(images, options.flip))
            decoded = [model.decode(output.logits, sharpness) for sharpness in tried]
            merged = torch.stack([merge_views(poses, len(images), model.skeleton, space) for poses in decoded])
            for poses, restored in zip(tried.values(), restore_poses(merged, bbox, space).cpu(), strict=True):
                poses.append(restored)
    table = persons.table(space)
    reached = {}
    for sharpness, poses in tried.items():
        similarity, known = table.similarity(torch.cat(poses), space)
        reached[sharpness] = float(_mean(similarity[known], _joint_weights(weights, table, known)))
    return max(reached, key=reached.__getitem__)


def _joint_weights(weights: np.ndarray, table: PersonTable, known: Tensor) -> Tensor:
    """Return the weights of the known joints (J,) of persons, by those of all persons of their source."""
    return torch.from_numpy(weights)[table.rows][:, None].expand(known.shape)[known]


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum()
