"""The poses that a 3D tokenizer's report shows: typical and worst reconstructions, completions, tokens varied."""

from __future__ import annotations

import torch
from torch import Tensor

from pct.data.body_table import BodyTable
from pct.evaluation.codebook import TokenAnatomy
from pct.evaluation.completion import Fill, hide_joints, hide_part
from pct.evaluation.examples import PoseExample, PoseExamples, token_variations
from pct.evaluation.metrics3d import mpjpe, p_mpjpe
from pct.evaluation.root_codec import RootCodec

_NUM_RECONSTRUCTIONS = 6
_NUM_COMPLETIONS = 2


def choose_examples_3d(
    codec: RootCodec,
    bodies: BodyTable,
    target: Tensor,
    restored: Tensor,
    indices: Tensor,
    ridge: Fill | None,
    anatomy: TokenAnatomy,
    seed: int,
) -> PoseExamples:
    """Choose the poses of a report's pictures.

    Args:
        codec: The tokenizer.
        bodies: The table.
        target: True joints (N, K, 3) in millimetres from the root.
        restored: Reconstructed joints (N, K, 3), alike.
        indices: Tokens (N, M).
        ridge: The ridge regression, if there is one.
        anatomy: What each token moves.
        seed: Of the random choices.
    """
    errors, aligned = mpjpe(restored, target, root=codec.root), p_mpjpe(restored, target)

    def examples(order: Tensor) -> list[PoseExample]:
        rows = _from_different_clips(order, bodies)
        return [
            PoseExample(
                f"MPJPE {errors[i]:.1f} mm, aligned {aligned[i]:.1f} mm\n{_name(bodies, i)}",
                target[i],
                bodies.visible[i],
                restored[i],
                bodies.visible[i],
            )
            for i in rows
        ]

    typical = (errors - errors.median()).abs().argsort(stable=True)
    row = int(typical[0])
    return PoseExamples(
        worst=examples(errors.argsort(descending=True, stable=True)),
        typical=examples(typical),
        completions=_completion_examples(codec, bodies, target, ridge, seed),
        variations=token_variations(codec, indices[row], anatomy, seed),
    )


def _from_different_clips(order: Tensor, bodies: BodyTable) -> list[int]:
    """Return the first poses in an order that are of clips not seen before: neighbouring frames look alike."""
    rows: list[int] = []
    clips: set[int] = set()
    for row in order.tolist():
        clip = int(bodies.clip_index[row])
        if clip not in clips:
            clips.add(clip)
            rows.append(row)
        if len(rows) == _NUM_RECONSTRUCTIONS:
            break
    return rows


def _completion_examples(
    codec: RootCodec, bodies: BodyTable, target: Tensor, ridge: Fill | None, seed: int
) -> list[PoseExample]:
    order = torch.randperm(len(bodies), generator=torch.Generator().manual_seed(seed))
    rows = torch.tensor(_from_different_clips(order, bodies))
    is_root = torch.arange(target.shape[1]) == codec.root
    labelled = bodies.visible[rows] & ~is_root
    lower_body = [joint for joint in bodies.skeleton.lower_body if joint != codec.root]
    ways = [
        ("2 joints hidden", hide_joints(labelled, 2, seed)),
        ("4 joints hidden", hide_joints(labelled, 4, seed)),
        ("lower body hidden", hide_part(labelled, lower_body)),
    ]
    found = []
    for place, row in enumerate(rows.tolist()):
        name, hidden = ways[place // _NUM_COMPLETIONS]
        hide = hidden[place]
        known = labelled[place] & ~hide
        given = torch.where(known[:, None], target[row], torch.nan)[None]
        filled = codec.complete(given, known[None])[0]
        linear = None if ridge is None else ridge(given, known[None], hide[None])[0]
        text = f"{name}\nerror {float((filled - target[row])[hide].norm(dim=-1).mean()):.0f} mm"
        if linear is not None:
            text += f", ridge {float((linear - target[row])[hide].norm(dim=-1).mean()):.0f} mm"
            # Ridge fills in the hidden joints only; nobody asked it where the root is.
            linear = torch.where(is_root[:, None], 0.0, linear)
        found.append(PoseExample(text, target[row], bodies.visible[row], filled, known | is_root, linear))
    return found


def _name(bodies: BodyTable, row: int) -> str:
    clip = int(bodies.clip_index[row])
    action = bodies.actions[clip]
    return f"{bodies.clip_ids[clip]}: {action if len(action) <= 40 else action[:39] + '…'}"
