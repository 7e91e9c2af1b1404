"""The pictures of a tokenizer's report, each with its caption."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pct import plots
from pct.evaluation.examples import PoseExample, TokenVariation
from pct.evaluation.results import TokenizerEvaluation
from pct.skeleton import Skeleton
from pct.visualize import BASELINE, COLOURED, FAINT, TARGET, PoseLayer, PosePanel, encode_png, pose_gallery

LEGEND = (
    "The annotated pose is the broad grey one; the model's is drawn over it, the person's left side in orange and the "
    "right side in blue."
)


@dataclass(frozen=True)
class ReportFigure:
    """A picture of the report.

    Attributes:
        png: The bytes of a PNG file.
        caption: What it shows, in full sentences.
        width: In pixels.
        height: In pixels.
    """

    png: bytes
    caption: str
    width: int
    height: int

    @classmethod
    def of(cls, image: np.ndarray, caption: str) -> ReportFigure:
        """Encode an RGB picture."""
        return cls(encode_png(image), caption, image.shape[1], image.shape[0])


def draw_figures(evaluation: TokenizerEvaluation) -> dict[str, ReportFigure]:
    """Draw all pictures of a report, by file name without suffix."""
    examples, skeleton, crop = evaluation.examples, evaluation.skeleton, evaluation.crop_size
    pictures = {
        "typical": (
            [reconstruction_panel(e) for e in examples.typical],
            f"Typical reconstructions: well labelled persons whose mean error is nearest to the median. {LEGEND} "
            "Hollow joints are not annotated and were filled in by the model.",
        ),
        "worst": (
            [reconstruction_panel(e) for e in examples.worst],
            f"The persons with the lowest OKS of the whole data set. {LEGEND} Hollow joints are not annotated and do "
            "not count.",
        ),
        "completions": (
            [completion_panel(e) for e in examples.completions],
            f"Completions of persons chosen at random among the best labelled. {LEGEND} Hollow joints were hidden "
            "from the model, which put them where they are. " + ridge_words(examples.completions),
        ),
        "variations": (
            [variation_panel(v) for v in examples.variations],
            "One pose, and what becomes of it when a single token is replaced by other entries of the codebook (thin "
            "lines) while all other tokens stay.",
        ),
    }
    figures = {
        name: ReportFigure.of(pose_gallery(panels, skeleton, crop_size=crop), caption)
        for name, (panels, caption) in pictures.items()
        if panels
    }
    return figures | _draw_plots(evaluation, skeleton)


def _draw_plots(evaluation: TokenizerEvaluation, skeleton: Skeleton) -> dict[str, ReportFigure]:
    book, anatomy, rows = evaluation.codebook, evaluation.anatomy, evaluation.completion.rows
    joints = [joint for joint in evaluation.reconstruction.joints if joint.error.count]
    figures = {
        "codebook_use": ReportFigure.of(
            plots.plot_codebook_use(book.counts, [use.perplexity for use in book.positions]),
            "Left: how often each entry of the codebook occurs, most frequent first; the dashed line is where all "
            "would be if they were used alike. Right: the perplexity of each token, that is, how many entries it uses.",
        ),
        "token_anatomy": ReportFigure.of(
            plots.plot_token_anatomy(
                {"replaced by a random entry": anatomy.random, "replaced by the nearest entry": anatomy.nearest},
                skeleton.keypoint_names,
            ),
            f"How far each joint moves, in pixels of the crop, when one token is replaced and the others stay; mean "
            f"over {anatomy.num_poses} poses. Tokens are sorted by the joint they move most.",
        ),
        "joint_errors": ReportFigure.of(
            plots.plot_joint_errors(
                [joint.name for joint in joints],
                [joint.error.mean or 0.0 for joint in joints],
                [joint.error.median or 0.0 for joint in joints],
            ),
            "Reconstruction error of each joint in pixels of the crop.",
        ),
    }
    if rows:
        means = {method: [row.errors[method].mean or 0.0 for row in rows] for method in rows[0].errors}
        figures["completion"] = ReportFigure.of(
            plots.plot_completion([row.hidden for row in rows], means),
            "Mean error on the joints that were hidden, by number of hidden joints. All methods fill in the same "
            "joints of the same persons.",
        )
    return figures


def reconstruction_panel(example: PoseExample) -> PosePanel:
    """Lay a reconstruction over the true pose."""
    target = PoseLayer(example.target_keypoints, example.target_visible, TARGET, draw_unknown=False)
    return PosePanel((target, PoseLayer(example.keypoints, example.given, COLOURED)), example.title)


def completion_panel(example: PoseExample) -> PosePanel:
    """Lay a completion over the baseline's, if there is one, and the true pose."""
    layers = [PoseLayer(example.target_keypoints, example.target_visible, TARGET, draw_unknown=False)]
    if example.baseline_keypoints is not None:
        layers.append(PoseLayer(example.baseline_keypoints, None, BASELINE))
    layers.append(PoseLayer(example.keypoints, example.given, COLOURED))
    return PosePanel(tuple(layers), example.title)


def variation_panel(variation: TokenVariation) -> PosePanel:
    """Lay a pose over what becomes of it with other tokens."""
    layers = [PoseLayer(keypoints, None, FAINT) for keypoints in variation.variations]
    return PosePanel((*layers, PoseLayer(variation.keypoints, None, COLOURED)), f"token {variation.token}")


def ridge_words(examples: list[PoseExample]) -> str:
    """Say which pose is the baseline's, if there is one."""
    if any(example.baseline_keypoints is not None for example in examples):
        return "The violet pose is the completion by ridge regression."
    return ""
