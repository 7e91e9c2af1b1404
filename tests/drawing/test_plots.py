"""Tests of the plots: they show the numbers they are given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tool_loader import load_tool

from pct.drawing.plots import (
    find_curves,
    plot_codebook_use,
    plot_token_anatomy,
    plot_training_curves,
)

ROWS = [
    {"step": 10, "epoch": 0, "loss": 2.0, "lr": 0.1, "usage": 0.5, "note": "start"},
    {"step": 20, "epoch": 0, "loss": 1.0, "lr": 0.2, "val_loss": 1.5, "done": True},
    {"step": 30, "epoch": 1, "loss": float("nan"), "lr": 0.1},
]


def test_curves_are_the_finite_numbers_of_a_run_and_are_written(tmp_path: Path) -> None:
    import cv2

    assert find_curves(ROWS, "curves.png") == {
        "loss": ([10, 20], [2.0, 1.0]),
        "lr": ([10, 20, 30], [0.1, 0.2, 0.1]),
        "usage": ([10], [0.5]),
        "val_loss": ([20], [1.5]),
    }
    with pytest.raises(ValueError, match=r"run/curves\.png: no numbers to draw"):
        plot_training_curves([{"step": 3, "epoch": 1}], "run/curves.png")
    out = tmp_path / "curves.png"
    plot_training_curves(ROWS, out)
    picture = cv2.imread(str(out))
    assert picture is not None
    assert _colourful(picture)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.png"]


def test_codebook_use_shows_how_uneven_it_is() -> None:
    even, uneven = plot_codebook_use([5] * 64), plot_codebook_use([320] + [0] * 63)
    assert _colourful(even)
    assert _blue(even) > 3 * _blue(uneven)
    wide = plot_codebook_use([5] * 64, [3.0, 9.0])
    assert wide.shape[1] > even.shape[1]


def test_anatomy_is_not_blank() -> None:
    movement = np.random.default_rng(0).random((6, 3))
    names = ["left_hand", "right_hand", "head"]
    assert _colourful(plot_token_anatomy(movement, names))
    # Rows go by the joint that a token moves most, so only the tokens' numbers show in what order they came.
    one, two = (plot_token_anatomy(table, names)[:, 80:].astype(int) for table in (movement, movement[::-1]))
    assert np.abs(one - two).max() == 0


def _colourful(picture: np.ndarray) -> bool:
    """Whether some hundred pixels have a colour: axes and text alone are grey."""
    spread = picture.max(axis=-1).astype(int) - picture.min(axis=-1)
    return int((spread > 60).sum()) > 100


def _blue(picture: np.ndarray) -> int:
    red, blue = picture[..., 0].astype(int), picture[..., 2].astype(int)
    return int((blue - red > 80).sum())


def test_curves_of_one_family_have_one_colour_and_dots_are_drawn() -> None:
    curves = {"ours": [(1.0, 4.0), (2.0, 2.0)], "bins of 1": [(2.0, 1.0)], "bins of 2": [(1.0, 1.0), (2.0, 3.0)]}
    plot = load_tool("worth_curves", "benchmarks").plot_curves
    one, many = plot(curves, "tokens", "error"), plot({**curves, "k-means": [(1.0, 1.0)]}, "tokens", "error", log=True)
    blue, orange, green = (np.array(color) for color in ((26, 112, 199), (230, 97, 0), (74, 156, 109)))
    for color, shown in ((blue, (True, True)), (orange, (True, True)), (green, (False, True))):
        assert tuple(bool((picture == color).all(axis=-1).any()) for picture in (one, many)) == shown
