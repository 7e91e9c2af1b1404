"""Plots of numbers: training curves, codebook use, token anatomy, errors, AP, calibration (matplotlib)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pct.drawing.poses2d import encode_png
from pct.files.output import open_atomically

_DPI = 110
_COLORS = ("#1a70c7", "#e66100", "#4a9c6d", "#8a5fbf", "#c2527c", "#6b6f78")
_GREY = "#6b6f78"


def plot_training_curves(rows: Sequence[Mapping[str, Any]], out_path: str | Path) -> None:
    """Draw every number that a run logged against its step, over a picture that is there.

    Numbers that differ only in a leading ``val_`` or ``train_`` share a plot.

    Args:
        rows: What :func:`pct.training.run_files.read_metrics` gives.
        out_path: The PNG file.

    Raises:
        ValueError: If no row holds a finite number beside its step.
    """
    curves = find_curves(rows, out_path)
    groups: dict[str, list[str]] = {}
    for name in curves:
        groups.setdefault(name.removeprefix("val_").removeprefix("train_"), []).append(name)
    columns = min(3, len(groups))
    lines = math.ceil(len(groups) / columns)
    figure = _figure(4.2 * columns, 2.7 * lines)
    for i, (title, names) in enumerate(groups.items()):
        axes = figure.add_subplot(lines, columns, i + 1)
        for name, color in zip(names, _COLORS * len(names), strict=False):
            steps, values = curves[name]
            axes.plot(steps, values, color=color, lw=1.4, marker="o" if len(steps) < 2 else None, ms=3, label=name)
        positive = all(min(curves[name][1]) > 0 for name in names)
        if "loss" in title and positive:
            axes.set_yscale("log")
        axes.locator_params(axis="x", nbins=5)
        _dress(axes, (title if len(names) > 1 else names[0]).replace("_", " "), "step", legend=len(names) > 1)
    with open_atomically(out_path, force=True) as file:
        file.write(encode_png(render_figure(figure)))


def find_curves(rows: Sequence[Mapping[str, Any]], out_path: str | Path) -> dict[str, tuple[list[float], list[float]]]:
    """Return steps and finite values by name; ``step`` and ``epoch`` are no curves.

    Raises:
        ValueError: If there are none to draw in ``out_path``, which it names.
    """
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for row in rows:
        for name, value in row.items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if name not in ("step", "epoch") and is_number:
                steps, values = curves.setdefault(name, ([], []))
                steps.append(row["step"])
                values.append(value)
    if not curves:
        raise ValueError(f"{out_path}: no numbers to draw: the run has logged nothing beside its steps")
    return curves


def plot_codebook_use(counts: Sequence[int], perplexities: Sequence[float] = ()) -> np.ndarray:
    """Draw how often the entries occur, most frequent first, and the perplexity of each token.

    Args:
        counts: Occurrences of each entry (V,).
        perplexities: Perplexity of each token (M,); empty leaves that plot out.

    Returns:
        RGB picture, uint8.
    """
    share = np.sort(np.asarray(counts, dtype=np.float64))[::-1]
    share = share / max(share.sum(), 1.0) * 100
    figure = _figure(10.5 if len(perplexities) else 5.5, 3.3)
    axes = figure.add_subplot(1, 2 if len(perplexities) else 1, 1)
    axes.fill_between(np.arange(1, len(share) + 1), share, step="mid", color=_COLORS[0], alpha=0.85, lw=0)
    axes.axhline(100 / len(share), color=_COLORS[1], lw=1.2, ls="--", label="all alike")
    axes.set_xlim(1, max(2, len(share)))
    axes.set_ylim(0, None)
    _dress(axes, "Entries of the codebook", "rank of the entry", "share of all tokens (%)", legend=True)
    if len(perplexities):
        axes = figure.add_subplot(1, 2, 2)
        axes.bar(np.arange(len(perplexities)), perplexities, color=_COLORS[2], width=0.8)
        axes.set_xlim(-0.7, len(perplexities) - 0.3)
        _dress(axes, "Entries that each token uses", "token", "perplexity")
    return render_figure(figure)


def plot_token_anatomy(movement: Any, joint_names: Sequence[str], unit: str = "px") -> np.ndarray:
    """Draw a heat map, tokens x joints, of how far the joints move when one token becomes another.

    Args:
        movement: Mean movement of each joint for each token (M, K).
        joint_names: Names of the K joints.
        unit: Of the movements.

    Returns:
        RGB picture, uint8.
    """
    table = np.asarray(movement, dtype=np.float64)
    num_tokens, num_joints = table.shape
    # Tokens next to each other in the picture move the same joints, so that the eye finds groups.
    order = np.lexsort((-table.max(axis=1), table.argmax(axis=1)))
    figure = _figure(2.2 + 0.27 * num_joints, 1.9 + 0.17 * num_tokens)
    axes = figure.add_subplot()
    picture = axes.imshow(table[order], aspect="auto", cmap="magma_r", vmin=0, interpolation="nearest")
    axes.set_xticks(range(num_joints), [n.replace("_", " ") for n in joint_names], rotation=90, fontsize=7.5)
    axes.set_yticks(range(num_tokens), [str(t) for t in order], fontsize=6.5)
    axes.set_title("one token becomes another", fontsize=10)
    axes.set_ylabel("token")
    axes.tick_params(length=0)
    bar = figure.colorbar(picture, ax=axes, fraction=0.045, pad=0.02)
    bar.set_label(f"mean movement ({unit})", fontsize=8)
    bar.ax.tick_params(labelsize=7.5)
    return render_figure(figure)


def plot_calibration(curves: Mapping[str, Sequence[tuple[float, float, int]]]) -> np.ndarray:
    """Draw reliability curves: what is reached against what was promised, and how many joints there are.

    Args:
        curves: By name, mean confidence, mean similarity and number of joints of each bin that has any.

    Returns:
        RGB picture, uint8.
    """
    figure = _figure(4.4 * len(curves), 4.2)
    for i, (name, bins) in enumerate(curves.items()):
        axes = figure.add_subplot(1, len(curves), i + 1)
        confidence, similarity, count = (np.array(column, float) for column in zip(*bins, strict=True))
        share = count / count.sum()
        axes.bar(confidence, share, width=0.05, color="#dfe3ea", label="share of the joints")
        axes.plot([0, 1], [0, 1], color=_GREY, lw=1, ls="--")
        axes.plot(confidence, similarity, color=_COLORS[i % len(_COLORS)], lw=1.6, marker="o", ms=4, label="reached")
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        _dress(axes, name, "confidence", "keypoint similarity", legend=True)
    return render_figure(figure)


def render_figure(figure: Any) -> np.ndarray:
    """Draw a matplotlib figure and return it as an RGB picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained", facecolor="white")


def _dress(axes: Any, title: str, xlabel: str, ylabel: str = "", legend: bool = False) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(xlabel, fontsize=8.5, color=_GREY)
    axes.set_ylabel(ylabel, fontsize=8.5, color=_GREY)
    axes.tick_params(which="both", labelsize=8, colors=_GREY, length=0)
    axes.grid(color="#e4e5ea", lw=0.7)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if legend:
        axes.legend(frameon=False, fontsize=8)
