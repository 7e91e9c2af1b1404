"""The page of a 3D tokenizer's report: one HTML file with its tables, pictures and style built in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from pct.evaluation.figures import ReportFigure
from pct.evaluation.page import codebook_html, completion_html, provenance_html
from pct.evaluation.page_parts import (
    cards_html,
    figure_html,
    format_number,
    format_percent,
    notes_html,
    table_html,
    whole_page,
)
from pct.evaluation.results3d import GroupError, TokenizerEvaluation3D


def render_page_3d(evaluation: TokenizerEvaluation3D, figures: Mapping[str, ReportFigure]) -> str:
    """Return the HTML of a report.

    Args:
        evaluation: What was measured.
        figures: The pictures by name; those that are absent are left out.
    """
    sections = [
        _headline(evaluation),
        _reconstruction(evaluation, figures),
        _completion(evaluation, figures),
        codebook_html(evaluation.codebook, evaluation.anatomy, evaluation.skeleton, figures, "mm"),
        _joints(evaluation, figures),
        _clips(evaluation),
        _method(evaluation),
    ]
    return whole_page(f"3D pose tokenizer {evaluation.provenance.fingerprint}", sections)


def _headline(evaluation: TokenizerEvaluation3D) -> str:
    about, result, book = evaluation.provenance, evaluation.reconstruction, evaluation.codebook
    cards = [
        (f"{format_number(result.mpjpe.mean)} mm", "MPJPE of the reconstructed poses"),
        (f"{format_number(result.p_mpjpe.mean)} mm", "P-MPJPE, after the best similarity of each pose"),
        (f"{format_number(result.mpjpe.p90)} mm", "MPJPE that 90 % of the poses stay below"),
        (format_percent(book.use.usage), f"of the {book.codebook_size:,} codebook entries used"),
        (f"{book.use.perplexity:,.0f}", f"perplexity of the codebook, of {book.codebook_size:,}"),
        (f"{book.bits_per_pose:.0f} bits", f"entropy of a pose, of {book.most_bits_per_pose:.0f} stored"),
    ]
    row = next((row for row in evaluation.completion.rows if row.hidden == "2" and "ridge" in row.errors), None)
    if row and row.errors["tokenizer"].mean is not None and row.errors["ridge"].mean:
        ratio = row.errors["tokenizer"].mean / row.errors["ridge"].mean
        cards.append((f"{ratio:.2f} ×", "error on 2 hidden joints, against ridge regression"))
    return (
        "<h1>How well a 3D pose survives as tokens</h1>"
        f'<p class="lead">{escape(about.model)}. Measured on {result.num_poses:,} poses of {result.num_clips:,} clips '
        f'of <code>{escape(about.data)}</code>, <span class="whole">{escape(about.date[:10])}</span>.</p>'
        f"{cards_html(cards)}{notes_html(about.notes)}"
    )


def _reconstruction(evaluation: TokenizerEvaluation3D, figures: Mapping[str, ReportFigure]) -> str:
    result = evaluation.reconstruction
    measures = {"MPJPE": result.mpjpe, "P-MPJPE": result.p_mpjpe, "N-MPJPE": result.n_mpjpe}
    table = table_html(
        ["mm", "mean", "median", "90 % below"],
        [[name, *(format_number(v) for v in (e.mean, e.median, e.p90))] for name, e in measures.items()],
    )
    return (
        "<h2>Reconstruction</h2><p>Each pose is turned and tilted as one random camera sees it, encoded with all of "
        "its joints, and decoded from the tokens alone. MPJPE is the mean distance of a pose's "
        f"{evaluation.skeleton.num_keypoints} joints, the root included, to the true ones after the root of each has "
        "been subtracted; P-MPJPE after the best rotation, scale and shift of each pose; N-MPJPE after the best scale. "
        f"The unweighted mean over kinds of actions of the MPJPE is {result.action_mean:.2f} mm.</p>{table}"
        f"{figure_html(figures, 'typical')}{figure_html(figures, 'worst')}"
        f"<h2>By kind of action and by subject</h2>{_groups('kind of action', result.kinds)}"
        f"{_groups('subject', result.subjects)}"
    )


def _groups(what: str, groups: Sequence[GroupError]) -> str:
    rows = [[g.name, f"{g.num_poses:,}", format_number(g.mpjpe), format_number(g.p_mpjpe)] for g in groups]
    return table_html([what, "poses", "MPJPE mm", "P-MPJPE mm"], rows)


def _completion(evaluation: TokenizerEvaluation3D, figures: Mapping[str, ReportFigure]) -> str:
    words = (
        "Some of the joints are hidden from the model, which fills them in; the error is measured on these joints "
        "only: its mean, and in brackets its median, in millimetres. The number of joints says how many random joints "
        "of each pose were hidden; the last row hides all joints from the hips down. The root is the origin, so it is "
        "never hidden."
    )
    baseline = escape(evaluation.provenance.baseline_data or "training poses given in memory")
    baseline_words = (
        f"poses of <code>{baseline}</code> as random cameras see them: the mean position of each joint, and ridge "
        "regression of the hidden joints on the known ones."
    )
    return completion_html(evaluation.completion, figures, words, baseline_words, "poses")


def _joints(evaluation: TokenizerEvaluation3D, figures: Mapping[str, ReportFigure]) -> str:
    rows = [
        [
            joint.name.replace("_", " "),
            *(format_number(v) for v in (joint.error.mean, joint.error.median, joint.error.p90)),
        ]
        for joint in evaluation.reconstruction.joints
    ]
    table = table_html(["joint", "mean mm", "median mm", "90 % below"], rows)
    return f"<h2>Joint by joint</h2>{figure_html(figures, 'joint_errors')}{table}"


def _clips(evaluation: TokenizerEvaluation3D) -> str:
    table = _groups("clip", evaluation.reconstruction.clips)
    return f"<h2>Clip by clip</h2><details><summary>All clips, the worst first</summary>{table}</details>"


def _method(evaluation: TokenizerEvaluation3D) -> str:
    counts = (evaluation.reconstruction.num_poses, evaluation.completion.num_baseline_poses)
    return (
        "<h2>How it was measured</h2><p>Poses go through the same <code>encode</code> and <code>decode</code> that "
        "users call. All numbers are in <code>metrics.json</code> beside this page.</p>"
        f"{provenance_html(evaluation.provenance, *counts, 'poses')}"
    )
