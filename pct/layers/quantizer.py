"""Quantizers: features to codebook entries and back. EMA codebook (VQ-VAE) and finite scalar quantization (FSQ)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pct import distributed
from pct.layers.search import NearestEntry


@dataclass(frozen=True)
class QuantizerOutput:
    """What a quantizer makes of features ``z`` (B, M, D).

    Attributes:
        z_q: Entries of the codebook (B, M, D), with the straight-through gradient to ``z``.
        indices: Integer tokens (B, M), int64, in [0, codebook_size).
        commitment_loss: Scalar; zero where the method needs none.
    """

    z_q: Tensor
    indices: Tensor
    commitment_loss: Tensor


@dataclass(frozen=True)
class CodebookUse:
    """How well the codebook is used, from counts over a whole epoch or data set.

    Attributes:
        usage: Share of the entries that occur, in [0, 1].
        perplexity: exp of the entropy of the entries' frequencies, in [1, codebook_size].
        entropy_bits: The same entropy in bits a token.
    """

    usage: float
    perplexity: float
    entropy_bits: float

    @classmethod
    def from_counts(cls, counts: Tensor) -> CodebookUse:
        """Measure the use from counts (V,) of the entries."""
        total = float(counts.sum())
        if total == 0:
            return cls(0.0, 0.0, 0.0)
        share = counts.double() / total
        entropy = float(-torch.special.xlogy(share, share).sum())
        return cls(float((counts > 0).double().mean()), math.exp(entropy), entropy / math.log(2))


class Quantizer(nn.Module):
    """The contract of every quantizer.

    Attributes:
        codebook_size: Number of entries V.
        codebook_dim: Width D of an entry.
    """

    codebook_size: int
    codebook_dim: int
    epoch_counts: Tensor

    def __init__(self, codebook_size: int, codebook_dim: int) -> None:
        super().__init__()
        self.codebook_size = codebook_size
        self.codebook_dim = codebook_dim
        self.register_buffer("epoch_counts", torch.zeros(codebook_size, dtype=torch.int64), persistent=False)

    @property
    def codebook(self) -> Tensor:
        """All entries (V, D), float32."""
        raise NotImplementedError

    def assign(self, z: Tensor) -> Tensor:
        """Return the integer tokens (...) of features ``z`` (..., D)."""
        raise NotImplementedError

    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize features (B, M, D); in training mode buffers may move."""
        raise NotImplementedError

    def lookup(self, indices: Tensor) -> Tensor:
        """Return the entries (..., D) of integer tokens (...)."""
        return F.embedding(indices, self.codebook)

    def expected(self, probs: Tensor) -> Tensor:
        """Return the mixture (..., D) of the entries under ``probs`` (..., V), in float32; differentiable."""
        with torch.autocast(probs.device.type, enabled=False):
            return probs.float() @ self.codebook

    def pop_epoch_use(self) -> CodebookUse:
        """Return the use of the codebook in training since the last call, over all processes, and start anew."""
        use = CodebookUse.from_counts(distributed.all_reduce_sum(self.epoch_counts))
        self.epoch_counts.zero_()
        return use


class EMAQuantizer(Quantizer):
    """A codebook moved by exponential moving averages.

    After van den Oord et al., "Neural Discrete Representation Learning", 2017, appendix A.1:

    ``count_v <- decay * count_v + (1 - decay) * n_v``, ``sum_v <- decay * sum_v + (1 - decay) * sum of z at v``,
    entry ``sum_v / count_v``. Sums and counts are reduced over all processes, so two processes with half a batch each
    move the codebook as one with the whole batch.

    With ``rule="standard"`` the codebook starts from the first batch's features, counts start as if every entry had
    its share of that batch, and an entry whose count falls below ``revive_below`` times the even share is put on a
    random feature of the batch. ``rule="published"`` is the published PCT release: counts start at zero, sums as
    normal noise, counts pass through Laplace smoothing and stay smoothed, and nothing is revived.

    Args:
        codebook_size: Number of entries V.
        codebook_dim: Width D.
        decay: Of the moving averages.
        rule: ``standard`` or ``published``.
        revive_below: Share of the even count under which an entry is revived; 0 turns revival off.
        seed: Of the random choices of start and revival, which every process makes alike.
    """

    codebook_buffer: Tensor
    ema_count: Tensor
    ema_sum: Tensor
    updates: Tensor

    def __init__(
        self,
        codebook_size: int,
        codebook_dim: int,
        decay: float = 0.95,
        rule: Literal["standard", "published"] = "standard",
        revive_below: float = 0.05,
        seed: int = 0,
    ) -> None:
        super().__init__(codebook_size, codebook_dim)
        if rule not in ("standard", "published"):
            raise ValueError(f"quantizer rule is {rule!r}; allowed are standard, published")
        if not 0 <= decay < 1:
            raise ValueError(f"EMA decay must be in [0, 1), got {decay}")
        self.decay, self.rule, self.revive_below, self.seed = decay, rule, revive_below, seed
        generator = torch.Generator().manual_seed(seed)
        entries = torch.randn(codebook_size, codebook_dim, generator=generator)
        noise = torch.randn(codebook_size, codebook_dim, generator=generator)
        self.register_buffer("codebook_buffer", entries)
        self.register_buffer("ema_count", torch.zeros(codebook_size))
        self.register_buffer("ema_sum", noise if rule == "published" else torch.zeros_like(noise))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @property
    def codebook(self) -> Tensor:
        """All entries (V, D), float32."""
        return self.codebook_buffer

    def assign(self, z: Tensor) -> Tensor:
        """Return the index of the nearest entry (...) for features ``z`` (..., D), in float32."""
        return NearestEntry(self.codebook_buffer)(z)

    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize features (B, M, D); the entries used are those from before this call's update."""
        with torch.autocast(z.device.type, enabled=False):
            z = z.float()
            if self.training and self.rule == "standard" and int(self.updates) == 0:
                self._start_from(z.detach())
            indices = self.assign(z.detach())
            z_q = self.lookup(indices)
            commitment_loss = F.mse_loss(z, z_q)
            if self.training:
                self._update(z.detach(), indices)
            return QuantizerOutput(z + (z_q - z).detach(), indices, commitment_loss)

    @torch.no_grad()
    def _start_from(self, z: Tensor) -> None:
        flat = z.reshape(-1, self.codebook_dim)
        total = self._total_rows(flat)
        entries = self._pick_rows(flat, total, self.codebook_size)
        share = total / self.codebook_size
        self.codebook_buffer.copy_(entries)
        self.ema_count.fill_(share)
        self.ema_sum.copy_(entries * share)

    @torch.no_grad()
    def _update(self, z: Tensor, indices: Tensor) -> None:
        flat, index = z.reshape(-1, self.codebook_dim), indices.reshape(-1)
        counts = torch.bincount(index, minlength=self.codebook_size)
        self.epoch_counts += counts
        # One reduction for counts and sums: V x (D + 1) numbers, never a one-hot matrix.
        packed = torch.zeros(self.codebook_size, self.codebook_dim + 1, device=flat.device)
        packed[:, :-1].index_add_(0, index, flat)
        packed[:, -1] = counts.float()
        packed = distributed.all_reduce_sum(packed)
        self.ema_count.mul_(self.decay).add_(packed[:, -1], alpha=1 - self.decay)
        self.ema_sum.mul_(self.decay).add_(packed[:, :-1], alpha=1 - self.decay)
        self.updates += 1
        if self.rule == "published":
            total = self.ema_count.sum()
            self.ema_count.copy_((self.ema_count + 1e-5) / (total + self.codebook_size * 1e-5) * total)
        else:
            self._revive(flat)
        self.codebook_buffer.copy_(self.ema_sum / self.ema_count.clamp(min=1e-12)[:, None])

    def _revive(self, flat: Tensor) -> None:
        total = self._total_rows(flat)
        share = total / self.codebook_size
        dead = self.ema_count < self.revive_below * share
        num_dead = int(dead.sum())
        if num_dead:
            rows = self._pick_rows(flat, total, num_dead)
            # Half of the even share: time to gather followers before it can count as dead again.
            self.ema_count[dead] = 0.5 * share
            self.ema_sum[dead] = rows * (0.5 * share)

    def _total_rows(self, flat: Tensor) -> int:
        if distributed.world_size() == 1:
            return len(flat)
        return int(distributed.all_reduce_sum(torch.tensor(len(flat), device=flat.device)))

    def _pick_rows(self, flat: Tensor, total: int, count: int) -> Tensor:
        """Choose ``count`` rows of all processes' features; the same rows whatever the number of processes."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + int(self.updates))
        if count <= total:
            chosen = torch.randperm(total, generator=generator)[:count]
        else:
            chosen = torch.randint(total, (count,), generator=generator)
        chosen = chosen.to(flat.device)
        first = distributed.rank() * len(flat)
        mine = (chosen >= first) & (chosen < first + len(flat))
        rows = torch.zeros(count, self.codebook_dim, device=flat.device)
        rows[mine] = flat[chosen[mine] - first]
        return distributed.all_reduce_sum(rows)


class FSQQuantizer(Quantizer):
    """Finite scalar quantization (Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple", 2023, section 3.1).

    Each of the D channels is bounded to (-1, 1) and rounded to one of ``levels[d]`` values on an even grid in
    [-1, 1]; the codebook is the product of the grids. There is nothing to learn, to start or to revive.

    Args:
        levels: Number of values a channel; their product is the codebook size.
    """

    level_counts: Tensor
    strides: Tensor

    def __init__(self, levels: Sequence[int]) -> None:
        if not levels or any(level < 2 for level in levels):
            raise ValueError(f"FSQ levels must be integers of at least 2, got {list(levels)}")
        super().__init__(math.prod(levels), len(levels))
        self.levels = tuple(levels)
        counts = torch.tensor(levels, dtype=torch.int64)
        strides = torch.cumprod(torch.tensor([1, *levels[:-1]]), dim=0)
        self.register_buffer("level_counts", counts, persistent=False)
        self.register_buffer("strides", strides, persistent=False)
        digits = torch.arange(self.codebook_size)[:, None] // strides % counts
        self.register_buffer("grid", self._to_grid(digits), persistent=False)

    @property
    def codebook(self) -> Tensor:
        """All entries (V, D), float32 in [-1, 1]."""
        return self.grid  # type: ignore[return-value]

    def assign(self, z: Tensor) -> Tensor:
        """Return the integer tokens (...) of features ``z`` (..., D)."""
        return (self._position(z).round().long() * self.strides).sum(dim=-1)

    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize features (B, M, D) with the straight-through gradient through the rounding."""
        with torch.autocast(z.device.type, enabled=False):
            position = self._position(z)
            digits = position.round()
            indices = (digits.detach().long() * self.strides).sum(dim=-1)
            if self.training:
                self.epoch_counts += torch.bincount(indices.reshape(-1), minlength=self.codebook_size)
            z_q = self._to_grid(position + (digits - position).detach())
            return QuantizerOutput(z_q, indices, position.new_zeros(()))

    def _position(self, z: Tensor) -> Tensor:
        """Bound features and place them on [0, level - 1]; the steep sigmoid evens out the use of the levels."""
        return torch.sigmoid(1.6 * z.float()) * (self.level_counts - 1)

    def _to_grid(self, position: Tensor) -> Tensor:
        return position / (self.level_counts - 1) * 2 - 1
