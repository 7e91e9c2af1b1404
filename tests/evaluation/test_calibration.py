"""Fitting the confidence of joints: known constants are found again, on people as on made-up errors."""

from __future__ import annotations

import itertools
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from tiny_photo_models import make_varied_classifier

from pct.evaluation.metrics import expected_calibration_error
from pct.evaluation.photos.calibration import calibrate_classifier, fit_calibration, fit_sharpness
from pct.evaluation.photos.predictions import NotedPersons, PredictionOptions, predict_persons
from pct.people.scene import GeneratedPersons
from pct.photos.config import Calibration
from pct.photos.predict import confidence_from_spread


def make_joints(calibration: Calibration, n: int = 40_000, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Spreads, and similarities of joints whose errors are normal with the mean square that the calibration tells."""
    g = torch.Generator().manual_seed(seed)
    spread = torch.rand(n, generator=g).double().square() * 20
    deviation = ((calibration.factor * spread + calibration.floor**2) / 2).sqrt()
    error = deviation[:, None] * torch.randn(n, 2, generator=g).double()
    return spread, torch.exp(-error.square().sum(dim=1) / 2)


@pytest.mark.parametrize("truth", [Calibration(1.0, 0.5), Calibration(0.1, 1.5), Calibration(4.0, 0.05)])
def test_the_constants_behind_made_up_errors_are_found(truth: Calibration) -> None:
    spread, similarity = make_joints(truth)
    found = fit_calibration(spread, similarity)
    assert found.factor == pytest.approx(truth.factor, rel=0.1)
    assert found.floor == pytest.approx(truth.floor, abs=0.1)
    fresh, reached = make_joints(truth, seed=1)
    ece = expected_calibration_error(confidence_from_spread(fresh, found), reached)["ece"]
    assert ece is not None
    assert ece < 0.01


def test_no_other_constants_are_better() -> None:
    spread, similarity = make_joints(Calibration(0.7, 0.9), n=3000)
    found = fit_calibration(spread, similarity)
    errors = []
    for factor, floor in itertools.product((1.0, 0.97, 1.03), repeat=2):
        stated = confidence_from_spread(spread, Calibration(found.factor * factor, found.floor * floor))
        errors.append(float((stated - similarity).square().mean()))
    assert min(errors) == errors[0]


def test_joints_without_weight_do_not_count_and_without_joints_nothing_is_fitted() -> None:
    one, other = make_joints(Calibration(1.0, 0.5)), make_joints(Calibration(0.1, 1.5))
    both = [torch.cat(parts) for parts in zip(one, other, strict=True)]
    weights = torch.cat([torch.full_like(one[0], 0.3), torch.zeros_like(other[0])])
    assert asdict(fit_calibration(*both, weights=weights)) == pytest.approx(asdict(fit_calibration(*one)))
    for spread, similarity in ((torch.zeros(0), torch.zeros(0)), (torch.zeros(3), torch.zeros(2))):
        with pytest.raises(ValueError, match="at least one joint"):
            fit_calibration(spread, similarity)


def test_heights_of_heatmaps_count_as_much_as_they_tell() -> None:
    truth = Calibration(1.0, 0.5, height=0.8)
    g = torch.Generator().manual_seed(0)
    spread, heights = torch.rand(2, 40_000, generator=g).double()
    stated = confidence_from_spread(spread, truth, heights=heights)
    similarity = (torch.rand(len(stated), generator=g) < stated).double()
    found = fit_calibration(spread, similarity, heights=heights)
    assert found.height == pytest.approx(0.8, abs=0.05)
    ece = expected_calibration_error(confidence_from_spread(spread, found, heights=heights), similarity)["ece"]
    assert ece < 0.01
    # Heights that tell nothing of the error get no say.
    other = confidence_from_spread(spread, Calibration(1.0, 0.5))
    assert fit_calibration(spread, other, heights=heights).height < 0.05
    # Without weight, or at the ends of their range, they do no harm.
    spread, heights = torch.tensor([0.0, 1.0, 1.0]), torch.tensor([1.0, 0.0, 0.5])
    plain = confidence_from_spread(spread, Calibration())
    torch.testing.assert_close(confidence_from_spread(spread, Calibration(), heights=heights), plain)
    seen = confidence_from_spread(spread, Calibration(height=1.0), heights=heights)
    assert seen[0] > 0.99
    assert seen[1] < 0.01
    torch.testing.assert_close(seen[2], plain[2])


def test_a_classifier_is_fitted_to_its_own_errors_on_people() -> None:
    model, people = make_varied_classifier(), GeneratedPersons(12, seed=3, image_size=64)
    options = PredictionOptions(flip=False, num_samples=8)
    before = model.config
    found = calibrate_classifier(model, people, options, limit=10)
    assert model.config is before
    persons = NotedPersons(people, 10)
    spread = predict_persons(model, persons, options).spread
    assert spread is not None
    spread = spread[persons.table(model.space).labels.visible]
    assert found != Calibration()
    promised, raw = (confidence_from_spread(spread, fit).mean() for fit in (found, Calibration()))
    assert abs(promised - raw) > 0.01  # an untrained model is far too sure
    assert promised < 0.2


def test_the_sharpness_is_the_best_of_those_tried() -> None:
    model, people = make_varied_classifier(), GeneratedPersons(12, seed=3, image_size=64)
    options = PredictionOptions(flip=True)
    chosen = fit_sharpness(model, NotedPersons(people), options, np.ones(12))

    def reached(sharpness: float) -> float:
        model.config = replace(model.config, calibration=Calibration(sharpness=sharpness))
        persons = NotedPersons(people)
        found = predict_persons(model, persons, options)
        similarity, known = persons.table(model.space).similarity(found.keypoints, model.space)
        return float(similarity[known].mean())

    values = {sharpness: reached(sharpness) for sharpness in (1.0, 2.0, 6.0)}
    assert len(set(values.values())) == 3
    assert reached(chosen) >= max(values.values())
