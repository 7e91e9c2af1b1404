"""A small model of sequences of ids: how many bits a pose takes when each id is predicted from those before it."""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_WIDTH, _STEPS, _BATCH, _PLACES, _LEARNING_RATE = 32, 300, 256, 8, 0.02
_HELD_OUT_SHARE, _HELD_OUT_MOST, _CHECK_EVERY = 0.1, 1024, 50
# What every id is counted beforehand, so that one that training poses do not have is not impossible.
_PRIOR_COUNT = 0.5
_IGNORED = -100


class SequenceModel(nn.Module):
    """Log-bilinear autoregressive model of ids: token m has ``bias_m + (sum of embeddings of earlier ids) @ table``.

    After Mnih and Hinton, "Three New Graphical Models for Statistical Language Modelling", 2007, with one embedding for
    each position and id, and one table of outputs for all positions.

    Args:
        indices: Ids of training poses (N, M); the biases start at their frequencies.
        size: Number of ids V.
        unknown: An id that is not predicted, only seen.
        generator: Of the embeddings' start.
    """

    offsets: Tensor

    def __init__(self, indices: Tensor, size: int, unknown: int | None, generator: torch.Generator) -> None:
        super().__init__()
        tokens = indices.shape[1]
        self.unknown = unknown
        self.register_buffer("offsets", torch.arange(tokens) * size)
        counts = torch.bincount((indices + self.offsets).flatten(), minlength=tokens * size).view(tokens, size)
        counts = counts.float() + _PRIOR_COUNT
        if unknown is not None:
            counts[:, unknown] = _PRIOR_COUNT
        self.bias = nn.Parameter(torch.log(counts / counts.sum(dim=1, keepdim=True)))
        self.embedding = nn.Parameter(0.1 * torch.randn(tokens * size, _WIDTH, generator=generator))
        self.table = nn.Parameter(torch.zeros(size, _WIDTH))

    def forward(self, indices: Tensor, places: Tensor | None = None) -> Tensor:
        """Return the nats that ids (B, M) take, (B, M), or those at ``places`` (P,) of them; 0 for unknown ones."""
        embedded = F.embedding(indices + self.offsets, self.embedding)
        before = embedded.cumsum(dim=1) - embedded
        bias: Tensor = self.bias
        target = indices
        if places is not None:
            before, bias, target = before[:, places], self.bias[places], indices[:, places]
        if self.unknown is not None:
            target = target.masked_fill(target == self.unknown, _IGNORED)
        logits = before @ self.table.t() + bias
        return F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none").view(target.shape)

    @torch.no_grad()
    def bits(self, indices: Tensor) -> Tensor:
        """Return the mean bits (M,), float64, that the ids of poses (N, M) take where they are not unknown."""
        nats = torch.cat([self(part) for part in indices.split(_BATCH)]).double()
        known = torch.ones_like(nats) if self.unknown is None else (indices != self.unknown).double()
        return nats.sum(dim=0) / known.sum(dim=0).clamp(min=1) / math.log(2)


def fit_sequence_model(indices: Tensor, size: int, unknown: int | None = None, seed: int = 0) -> SequenceModel:
    """Train a model on ids (N, M) of training poses; the state that is best on some held out of them is kept.

    Args:
        indices: The ids.
        size: Number of ids V.
        unknown: An id that is not predicted.
        seed: Of everything random.

    Raises:
        ValueError: If there are fewer than two poses.
    """
    if len(indices) < 2:
        raise ValueError(f"a model of sequences needs at least 2 training poses, got {len(indices)}")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(indices), generator=generator)
    number = max(1, min(_HELD_OUT_MOST, round(_HELD_OUT_SHARE * len(indices))))
    held_out, fitted = indices[order[:number]], indices[order[number:]]
    model = SequenceModel(fitted, size, unknown, generator)
    optimizer = torch.optim.AdamW(model.parameters(), lr=_LEARNING_RATE, weight_decay=0.01)
    best, state = float(model.bits(held_out).sum()), copy.deepcopy(model.state_dict())
    for step in range(_STEPS):
        optimizer.param_groups[0]["lr"] = _LEARNING_RATE * (1 - step / _STEPS)
        batch = fitted[torch.randint(len(fitted), (_BATCH,), generator=generator)]
        # A few places of each pose teach more in the time than all places of fewer poses.
        places = torch.randperm(batch.shape[1], generator=generator)[:_PLACES]
        optimizer.zero_grad()
        model(batch, places).mean().backward()
        optimizer.step()
        if (step + 1) % _CHECK_EVERY == 0:
            bits = float(model.bits(held_out).sum())
            if bits < best:
                best, state = bits, copy.deepcopy(model.state_dict())
    model.load_state_dict(state)
    return model
