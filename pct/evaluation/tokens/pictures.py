"""The pictures of a tokenizer's report: chosen poses, their completions, tokens that are varied, and plots."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pct.drawing import plots
from pct.drawing.poses2d import BASELINE, COLOURED, FAINT, TARGET, PoseLayer, PosePanel, pose_gallery
from pct.drawing.poses3d import pose_gallery_3d
from pct.evaluation.report import Figure
from pct.evaluation.tokens.completion import hide_joints, hide_part
from pct.evaluation.tokens.evaluate import TokenizerEvaluation

# How many poses are shown: typical ones, as many of the worst, and completions for each way of hiding joints, of which
# the first two hide some joints and the third hides the lower body. A pose in space takes two views.
_RECONSTRUCTIONS = {"px": 8, "mm": 6}
_COMPLETIONS = {"px": 4, "mm": 2}
_HIDDEN = {"px": (4, 8), "mm": (2, 4)}
_NUM_TOKENS, _NUM_VARIATIONS = 4, 24
# Share of the joints that the best labelled poses have, from which on a pose counts as well labelled.
_WELL_LABELLED = 0.7
_LEGEND = (
    "The true pose is the broad grey one; the model's is drawn over it, the person's left side in orange and the right "
    "side in blue."
)
_VIEWS = (
    "Each pose is seen from the camera and from its right, over a floor that is level with the camera and has squares "
    "of half a metre."
)


def draw_figures(found: TokenizerEvaluation) -> dict[str, Figure]:
    """Draw all pictures of a report but those on what tokens are worth, by name."""
    return _draw_poses(found) | _draw_plots(found)


def _draw_poses(found: TokenizerEvaluation) -> dict[str, Figure]:
    flat = found.codec.root is None
    views = "" if flat else _VIEWS
    unlabelled = "Hollow joints are not annotated and were filled in by the model." if flat else ""
    closest = "well labelled persons whose mean error" if flat else "the poses of different clips whose MPJPE"
    lowest = "The persons with the lowest OKS" if flat else "The poses with the largest MPJPE, one of a clip at most"
    typical, worst = _choose(found)
    pictures = {
        "typical": (
            [_reconstruction_panel(found, row) for row in typical],
            f"Typical reconstructions: {closest} is nearest to the median. {_LEGEND} {views} {unlabelled}",
        ),
        "worst": ([_reconstruction_panel(found, row) for row in worst], f"{lowest}. {_LEGEND} {views}"),
        "completions": (
            completion_panels(found),
            f"Completions of poses chosen at random among the best labelled. {_LEGEND} {views} Hollow joints were "
            "hidden from the model, which put them where they are. "
            + ("" if found.ridge is None else "The violet pose is the completion by ridge regression."),
        ),
        "variations": (
            _variation_panels(found, found.indices[typical[0]]),
            "One pose, and what becomes of it when a single token is replaced by other entries of the codebook (thin "
            f"lines) while all other tokens stay. {views}",
        ),
    }
    return {name: _gallery(found, name, *picture) for name, picture in pictures.items() if picture[0]}


def _gallery(found: TokenizerEvaluation, name: str, panels: Sequence[PosePanel], caption: str) -> Figure:
    skeleton = found.codec.tokenizer.skeleton
    if found.codec.root is None:
        image = pose_gallery(panels, skeleton, crop_size=found.codec.space.crop_size)
    else:
        image = pose_gallery_3d(panels, skeleton, size=270)
    return Figure.of(image, " ".join(caption.split()), name)


def _draw_plots(found: TokenizerEvaluation) -> dict[str, Figure]:
    numbers, skeleton = found.numbers, found.codec.tokenizer.skeleton
    book, anatomy, rows, unit = (
        numbers["codebook"],
        numbers["anatomy"],
        numbers["completion"]["rows"],
        numbers["unit"],
    )
    joints = [joint for joint in numbers["reconstruction"]["joints"] if joint["error"]["count"]]
    movements = {"replaced by a random entry": anatomy["random"], "replaced by the nearest entry": anatomy["nearest"]}
    mean, median = ([joint["error"][name] for joint in joints] for name in ("mean", "median"))
    plotted = {
        "codebook_use": (
            plots.plot_codebook_use(book["counts"], [use["perplexity"] for use in book["positions"]]),
            "Left: how often each id occurs, most frequent first; the dashed line is where all would be if they were "
            "used alike. Right: the perplexity of each token, that is, how many ids it uses.",
        ),
        "token_anatomy": (
            plots.plot_token_anatomy(movements, skeleton.keypoint_names, unit),
            f"How far each joint moves, in {unit}, when one token is replaced and the others stay; mean over "
            f"{anatomy['num_poses']} poses. Tokens are sorted by the joint they move most.",
        ),
        "joint_errors": (
            plots.plot_joint_errors([joint["name"] for joint in joints], mean, median, unit),
            f"Reconstruction error of each joint in {unit}" + ("." if unit == "px" else "; the root has none."),
        ),
    }
    if rows := numbers["completion"]["rows"]:
        errors = {method: [row["errors"][method]["mean"] or 0.0 for row in rows] for method in rows[0]["errors"]}
        plotted["completion"] = (
            plots.plot_completion([row["hidden"] for row in rows], errors, unit),
            "Mean error on the joints that were hidden, by number of hidden joints. All methods fill in the same "
            "joints of the same poses.",
        )
    return {name: Figure.of(image, caption, name) for name, (image, caption) in plotted.items()}


def _choose(found: TokenizerEvaluation) -> tuple[list[int], list[int]]:
    """Return rows of typical and of the worst poses."""
    done, labelled, number = found.reconstructed, found.visible.sum(dim=1), _RECONSTRUCTIONS[found.codec.unit]
    well = labelled >= min(int(labelled.max()), round(_WELL_LABELLED * found.visible.shape[1]))
    nearest = (done.error - done.error[well].median()).abs().argsort(stable=True)
    worst = done.badness.argsort(descending=True, stable=True)
    return _of_different_scenes(nearest[well[nearest]], done.scenes, number), _of_different_scenes(
        worst, done.scenes, number
    )


def _of_different_scenes(order: Tensor, scenes: Tensor, number: int) -> list[int]:
    """Return the first poses in an order that are of scenes not seen before."""
    rows: dict[int, int] = {}
    for row, scene in zip(order.tolist(), scenes[order].tolist(), strict=True):
        if len(rows) < number:
            rows.setdefault(scene, row)
    return list(rows.values())


def _truth(found: TokenizerEvaluation, row: int) -> PoseLayer:
    return PoseLayer(found.target[row], found.visible[row], TARGET, draw_unknown=False)


def _reconstruction_panel(found: TokenizerEvaluation, row: int) -> PosePanel:
    """Lay a reconstruction over the true pose; what was not labelled is hollow."""
    decoded = PoseLayer(found.reconstructed.keypoints[row], found.visible[row], COLOURED)
    return PosePanel((_truth(found, row), decoded), found.reconstructed.titles[row])


def completion_panels(found: TokenizerEvaluation) -> list[PosePanel]:
    """Hide joints of random poses, of those with the most labels, in three ways; fill them in and lay that over all."""
    codec, visible, seed = found.codec, found.visible, found.numbers["provenance"]["seed"]
    labelled, number = visible.sum(dim=1), _COMPLETIONS[codec.unit]
    best = (labelled == labelled.max()).nonzero().flatten()
    order = best[torch.randperm(len(best), generator=torch.Generator().manual_seed(seed))]
    rows = _of_different_scenes(order, found.reconstructed.scenes, 3 * number)
    hideable = codec.hideable(visible[rows])
    lower = [joint for joint in codec.tokenizer.skeleton.lower_body if joint != codec.root]
    ways = {f"{count} joints hidden": hide_joints(hideable, count, seed) for count in _HIDDEN[codec.unit]}
    ways["lower body hidden"] = hide_part(hideable, lower)
    chosen = [list(ways.items())[min(place // number, 2)] for place in range(len(rows))]
    return [
        _completion_panel(found, row, name, hidden[place])
        for place, (row, (name, hidden)) in enumerate(zip(rows, chosen, strict=True))
        if hidden[place].any()
    ]


def _completion_panel(found: TokenizerEvaluation, row: int, name: str, hidden: Tensor) -> PosePanel:
    """Lay the completion of hidden joints (K,) over the baseline's, if there is one, and the true pose."""
    codec, target, known = found.codec, found.target[row], found.visible[row] & ~hidden
    given = torch.where(known[:, None], target, torch.nan)[None]

    def error(keypoints: Tensor) -> str:
        return f"{float((keypoints - target)[hidden].norm(dim=-1).mean()):.1f} {codec.unit}"

    filled = codec.complete(given, known[None])[0]
    layers, errors = [_truth(found, row)], [error(filled)]
    if found.ridge is not None:
        linear = found.ridge(given, known[None], hidden[None])[0]
        layers.append(PoseLayer(linear, None, BASELINE))
        errors.append(f"ridge {error(linear)}")
    layers.append(PoseLayer(filled, known, COLOURED))
    return PosePanel(tuple(layers), f"{name}\nerror {', '.join(errors)}")


def _variation_panels(found: TokenizerEvaluation, indices: Tensor) -> list[PosePanel]:
    """Vary some tokens of one pose (M,): of the tokens that move most, those that move other joints than each other."""
    codec, movement = found.codec, torch.tensor(found.numbers["anatomy"]["random"])  # (M, K)
    main = movement.argmax(dim=1).tolist()
    chosen: list[int] = []
    for token in movement.sum(dim=1).argsort(descending=True).tolist():
        if len(chosen) < _NUM_TOKENS and main[token] not in [main[other] for other in chosen]:
            chosen.append(token)
    generator = torch.Generator().manual_seed(found.numbers["provenance"]["seed"])
    base = PoseLayer(codec.decode(indices[None])[0], None, COLOURED)
    panels = []
    for token in sorted(chosen):
        changed = indices.expand(_NUM_VARIATIONS, -1).clone()
        others = torch.randint(codec.tokenizer.config.codebook_size, (_NUM_VARIATIONS,), generator=generator)
        changed[:, token] = others
        layers = [PoseLayer(keypoints, None, FAINT) for keypoints in codec.decode(changed)]
        panels.append(PosePanel((*layers, base), f"token {token}"))
    return panels
