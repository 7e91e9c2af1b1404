"""The pictures of a 3D tokenizer's report, each with its caption."""

from __future__ import annotations

from pct import plots
from pct.evaluation.figures import (
    LEGEND,
    ReportFigure,
    completion_panel,
    reconstruction_panel,
    ridge_words,
    variation_panel,
)
from pct.evaluation.results3d import TokenizerEvaluation3D
from pct.visualize3d import pose_gallery_3d

_VIEWS = (
    "Each pose is seen from the camera and from its right, over a floor that is level with the camera and has squares "
    "of half a metre."
)


def draw_figures_3d(evaluation: TokenizerEvaluation3D) -> dict[str, ReportFigure]:
    """Draw all pictures of a report, by file name without suffix."""
    examples = evaluation.examples
    legend = f"{LEGEND.replace('annotated', 'true')} {_VIEWS}"
    pictures = {
        "typical": (
            [reconstruction_panel(e) for e in examples.typical],
            f"Typical reconstructions: the poses of different clips whose MPJPE is nearest to the median. {legend}",
        ),
        "worst": (
            [reconstruction_panel(e) for e in examples.worst],
            f"The poses with the largest MPJPE, one of a clip at most. {legend}",
        ),
        "completions": (
            [completion_panel(e) for e in examples.completions],
            f"Completions of poses chosen at random. {legend} Hollow joints were hidden from the model, which put them "
            f"where they are. {ridge_words(examples.completions)}",
        ),
        "variations": (
            [variation_panel(v) for v in examples.variations],
            "One pose, and what becomes of it when a single token is replaced by other entries of the codebook (thin "
            f"lines) while all other tokens stay. {_VIEWS}",
        ),
    }
    figures = {
        name: ReportFigure.of(pose_gallery_3d(panels, evaluation.skeleton, size=270), caption)
        for name, (panels, caption) in pictures.items()
        if panels
    }
    return figures | _draw_plots(evaluation)


def _draw_plots(evaluation: TokenizerEvaluation3D) -> dict[str, ReportFigure]:
    book, anatomy, rows = evaluation.codebook, evaluation.anatomy, evaluation.completion.rows
    joints = evaluation.reconstruction.joints
    figures = {
        "codebook_use": ReportFigure.of(
            plots.plot_codebook_use(book.counts, [use.perplexity for use in book.positions]),
            "Left: how often each entry of the codebook occurs, most frequent first; the dashed line is where all "
            "would be if they were used alike. Right: the perplexity of each token, that is, how many entries it uses.",
        ),
        "token_anatomy": ReportFigure.of(
            plots.plot_token_anatomy(
                {"replaced by a random entry": anatomy.random, "replaced by the nearest entry": anatomy.nearest},
                evaluation.skeleton.keypoint_names,
                "mm",
            ),
            "How far each joint moves, in millimetres, when one token is replaced and the others stay; mean over "
            f"{anatomy.num_poses} poses. Tokens are sorted by the joint they move most.",
        ),
        "joint_errors": ReportFigure.of(
            plots.plot_joint_errors(
                [joint.name for joint in joints],
                [joint.error.mean or 0.0 for joint in joints],
                [joint.error.median or 0.0 for joint in joints],
                "mm",
            ),
            "Reconstruction error of each joint in millimetres; the root has none by construction.",
        ),
    }
    if rows:
        means = {method: [row.errors[method].mean or 0.0 for row in rows] for method in rows[0].errors}
        figures["completion"] = ReportFigure.of(
            plots.plot_completion([row.hidden for row in rows], means, "mm"),
            "Mean error on the joints that were hidden, by number of hidden joints. All methods fill in the same "
            "joints of the same poses.",
        )
    return figures
