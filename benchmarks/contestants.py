"""The contestants of the speed benchmark and what each has to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Literal

import torch
from plain_tokenizer import PlainTokenizer
from torch import Tensor

from pct import PoseTokenizer, TokenizerConfig
from pct.layers.losses import keypoint_loss

Contestant = PlainTokenizer | PoseTokenizer
Work = Literal["encode", "decode", "training"]
_BETA, _COMMITMENT = 4e-4, 15.0


def build(who: str, model: str) -> Contestant:
    """Build ``plain``, ``paper`` (the same weights) or ``default`` (``model``), in evaluation mode.

    Args:
        who: The contestant.
        model: Of ``default``: name of a shipped model, model folder, or YAML config of a training run (random weights).
    """
    torch.manual_seed(0)
    if who == "default":
        if not model.endswith((".yaml", ".yml")):
            return PoseTokenizer.from_pretrained(model)

        from pct.training.kinds import load_run

        run = load_run("tokenizer", model, [])
        return PoseTokenizer(TokenizerConfig(space=run.space, **asdict(run.model))).eval()
    paper = PoseTokenizer(TokenizerConfig(decoder_channel_hidden=64))
    keypoints, visible, bbox = poses(256)
    with torch.no_grad():  # the codebook starts on features
        paper.train()(paper.space.normalise(keypoints, bbox), visible)
    return PlainTokenizer(paper).eval() if who == "plain" else paper.eval()


def poses(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return random poses in image pixels, a tenth of the joints unknown, and their boxes."""
    generator = torch.Generator().manual_seed(1)
    keypoints = torch.rand(count, 17, 2, generator=generator) * 200
    visible = torch.rand(count, 17, generator=generator) < 0.9
    visible[:, 0] = True
    return keypoints, visible, torch.tensor([[20.0, 20, 160, 160]]).repeat(count, 1)


def task(what: Work, model: Contestant, batch: int) -> Callable[[], object]:
    """Return the call to measure, its input ready.

    Ours go through the public calls, which check and normalise poses and check ids; the plain formula is given
    normalised poses.
    """
    device = next(model.parameters()).device
    if what == "decode":
        indices = torch.randint(1024, (batch, 34), generator=torch.Generator().manual_seed(2)).to(device)
        return torch.no_grad()(partial(model.decode, indices))
    keypoints, visible, bbox = (x.to(device) for x in poses(batch))
    if what == "encode" and isinstance(model, PoseTokenizer):
        return partial(model.encode, keypoints, visible, bbox)
    normalised = TokenizerConfig().space.normalise(keypoints, bbox)
    if what == "encode":
        return torch.no_grad()(partial(model.encode, normalised, visible))
    return _training_step(model, normalised, visible)


def _training_step(model: Contestant, keypoints: Tensor, visible: Tensor) -> Callable[[], None]:
    """Return forward, backward, codebook and AdamW as one call."""
    # The weights hardly move, so that all steps cost alike.
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-6)

    def step() -> None:
        model.train()
        if isinstance(model, PlainTokenizer):
            loss = model.loss(keypoints, visible, _BETA, _COMMITMENT)
        else:
            output = model(keypoints, visible)
            loss = keypoint_loss(output.keypoints, keypoints, visible, _BETA) + _COMMITMENT * output.commitment_loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        model.eval()

    return step


def quantizer_tasks(plain: PlainTokenizer, batch: int) -> dict[str, Callable[[], object]]:
    """Quantize features (batch, 34, 512) with 1024 entries and move the codebook, in three implementations."""
    from vector_quantize_pytorch import VectorQuantize

    from pct.tokenizer.quantizer import EMAQuantizer

    device = next(plain.parameters()).device
    z = torch.randn(batch, 34, 512, generator=torch.Generator().manual_seed(3)).to(device)
    ours = EMAQuantizer(TokenizerConfig()).to(device).train()
    library = VectorQuantize(dim=512, codebook_size=1024, decay=0.95).to(device).train()
    return {
        "plain": torch.no_grad()(partial(plain.quantize, z)),
        "paper": torch.no_grad()(partial(ours, z)),
        "vector-quantize-pytorch": torch.no_grad()(partial(library, z)),
    }


def memory_task(what: Work, who: str, folder: str, batch: int) -> Callable[[], object]:
    """Load the weights from a model folder; the returned call makes its own input, which counts."""
    model = PoseTokenizer.from_pretrained(folder)
    contestant = PlainTokenizer(model).eval() if who == "plain" else model
    return lambda: task(what, contestant, batch)()
