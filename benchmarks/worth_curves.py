"""Curves of what tokens are worth, for docs/results/tokens.md: error by length, and ids that stay under noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Plot
from matplotlib.ticker import LogLocator

from pct.drawing.plots import render_figure
from pct.evaluation.report import Figure

_COLORS = ("#1a70c7", "#e66100", "#4a9c6d", "#8a5fbf", "#c2527c", "#6b6f78")

Curves = Mapping[str, Sequence[tuple[float, float]]]


def worth_figures(worth: Mapping[str, Any], unit: str) -> list[Figure]:
    """Draw the error against the number of tokens, and the share of ids that are kept against noise."""
    by_tokens: dict[str, list[tuple[float, float]]] = {}
    kept: dict[str, list[tuple[float, float]]] = {coder: [(0.0, 100.0)] for coder in worth["coders"]}
    for point in worth["rate"]:
        by_tokens.setdefault(point["coder"], []).append((point["tokens"], point["error"]))
    for row in worth["stability"]:
        kept[row["coder"]].append((row["noise"], 100 * row["kept"]))
    error = plot_curves(by_tokens, "tokens of a pose", f"mean error ({unit})", log=True)
    shares = plot_curves(kept, f"standard deviation of the noise ({unit})", "ids kept (%)")
    captions = (
        "Mean error of labelled joints by the number of tokens that are decoded; lower is better.",
        "Ids that stay the same when the joints get Gaussian noise; higher is better.",
    )
    return [Figure.of(error, captions[0], "error_by_tokens"), Figure.of(shares, captions[1], "ids_kept")]


def plot_curves(curves: Curves, xlabel: str, ylabel: str, log: bool = False) -> np.ndarray:
    """Draw curves by name, RGB uint8; the first is set off, and bins have one colour and differ in their dashes."""
    families = {name: "bins" if name.startswith("bins") else name for name in curves}
    colors = dict(zip(dict.fromkeys(families.values()), _COLORS * len(curves), strict=False))
    figure = Plot(figsize=(6.8, 3.9), dpi=110, layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    for name, points in curves.items():
        dashes = ("-", "--", ":")[[n for n in curves if families[n] == families[name]].index(name) % 3]
        width = 2.6 if name == next(iter(curves)) else 1.4
        axes.plot(
            *zip(*points, strict=True), dashes, color=colors[families[name]], lw=width, marker="o", ms=4, label=name
        )
    axes.set(xlim=(0, None), xlabel=xlabel, ylabel=ylabel, **({"yscale": "log"} if log else {"ylim": (0, None)}))
    if log:
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
    axes.grid(color="#e4e5ea", lw=0.7)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8.5)
    return render_figure(figure)
