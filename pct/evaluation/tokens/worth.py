"""What tokens are worth: rate, stability, likeness and locality, beside plainer ways to write poses as integers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pct.evaluation.tokens.codec import Codec
from pct.evaluation.tokens.coders import (
    Bins,
    Coder,
    PrincipalComponents,
    ResidualKMeans,
    TokenizerCoder,
    TrainingPoses,
    build_coders,
    first_of,
)
from pct.evaluation.tokens.likeness import measure_likeness
from pct.evaluation.tokens.locality import BodyLimits, measure_locality
from pct.evaluation.tokens.rate import measure_rate
from pct.evaluation.tokens.stability import Change, box_jitter, measure_stability, noise, turn

# More training poses than these take longer and change the numbers by a few hundredths.
_FITTED, _SEQUENCES = 65_536, 16_384
_JITTER, _TURNS = (0.02, 0.05), (2.0, 5.0)


@dataclass(frozen=True)
class Scale:
    """How much is much, in report units.

    Attributes:
        bins: Widths of plain bins; the model of the sequence is trained for the middle one.
        step: Of the principal components.
        other_steps: More of them, for error and bits only.
        noise: Standard deviations.
        threshold: From which displacement on a joint counts as moved.
    """

    bins: tuple[float, float, float]
    step: float
    other_steps: tuple[float, ...]
    noise: tuple[float, ...]
    threshold: float


# A person of 1.7 m is about 200 pixels tall in a crop: a pixel is not quite a centimetre.
SCALES = {
    "px": Scale((1.0, 4.0, 8.0), 4.0, (2.0, 8.0, 16.0, 32.0), (0.5, 1.0, 2.0, 4.0), 2.0),
    "mm": Scale((10.0, 40.0, 80.0), 40.0, (20.0, 80.0, 160.0, 320.0), (2.5, 5.0, 10.0, 20.0), 20.0),
}


def measure_worth(
    codecs: Mapping[str, Codec],
    keypoints: Tensor,
    visible: Tensor,
    training: TrainingPoses | None = None,
    seed: int = 0,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Measure what the tokens of tokenizers are worth.

    Args:
        codecs: The tokenizers by name, of one skeleton and pose space.
        keypoints: Test joints (N, K, D) in report units.
        visible: True where a joint is labelled (N, K).
        training: Training poses; without them there are only tokenizers and plain bins, and no models of sequences.
        seed: Of everything random.
        say: Called with a sentence at each stage.

    Returns:
        Names of the ``coders``, ``num_fitted`` and ``num_sequences`` of training poses that the fitted coders and the
        models of sequences come from, ``num_centres`` of each stage of the residual k-means (all 0 without training
        poses), and ``rate``, ``stability``, ``likeness`` and ``locality`` as what measures them gives them.

    Raises:
        ValueError: If there is no tokenizer, or they are not of one skeleton and pose space.
    """
    codec = first_of(codecs)
    say, scale = say or (lambda sentence: None), SCALES[codec.unit]
    fitted = None if training is None else training.select(_FITTED, seed)
    sequences = None if training is None else training.select(_SEQUENCES, seed)
    if fitted is not None:
        say(f"fitting principal components and k-means to {len(fitted):,} poses")
    coders = build_coders(codecs, fitted, scale.bins, scale.step, seed)
    indices = [coder.encode(keypoints, visible) for coder in coders]
    say("counting errors and bits")
    rate = []
    for coder, ids in zip(coders, indices, strict=True):
        modelled = sequences if _is_modelled(coder, scale) else None
        learned = None if modelled is None else coder.encode(modelled.keypoints, modelled.visible)
        rate += measure_rate(coder, ids, keypoints, visible, learned, seed)
        if isinstance(coder, PrincipalComponents):
            for other in (PrincipalComponents(step, coder.training, codec.unit) for step in scale.other_steps):
                rate += measure_rate(other, other.encode(keypoints, visible), keypoints, visible)[-1:]
    say("changing poses a little")
    stability = measure_stability(coders, indices, keypoints, visible, _changes(codec, scale), seed)
    say("looking for like poses, and changing ids")
    limits = BodyLimits(*_all_poses(keypoints, visible, training), codec.tokenizer.skeleton)
    return {
        "coders": [coder.name for coder in coders],
        "num_fitted": 0 if fitted is None else len(fitted),
        "num_sequences": 0 if sequences is None else len(sequences),
        "num_centres": next((coder.sizes[0] for coder in coders if isinstance(coder, ResidualKMeans)), 0),
        "rate": rate,
        "stability": stability,
        "likeness": measure_likeness(coders, indices, keypoints, visible, seed),
        "locality": measure_locality(coders, indices, keypoints, visible, limits, scale.threshold, seed),
    }


def _all_poses(keypoints: Tensor, visible: Tensor, training: TrainingPoses | None) -> tuple[Tensor, Tensor]:
    """Return training and test poses: a test subject that is taller than all others is a person as well."""
    if training is None:
        return keypoints, visible
    return torch.cat([training.keypoints, keypoints]), torch.cat([training.visible, visible])


def _is_modelled(coder: Coder, scale: Scale) -> bool:
    """Whether a model of the coder's sequences is trained."""
    if isinstance(coder, Bins):
        return coder.step == scale.bins[1]
    return isinstance(coder, (TokenizerCoder, ResidualKMeans))


def _changes(codec: Codec, scale: Scale) -> list[Change]:
    changes = [noise(size, codec.unit, codec.root) for size in scale.noise]
    if codec.root is not None:
        return [*changes, *(turn(degrees) for degrees in _TURNS)]
    return [*changes, *(box_jitter(share, codec.space.crop_size, codec.space.padding) for share in _JITTER)]
