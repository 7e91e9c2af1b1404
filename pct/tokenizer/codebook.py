"""A codebook of learned entries, moved by exponential moving averages, and how well it is used."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pct import distributed
from pct.tokenizer.config import TokenizerSizes
from pct.tokenizer.search import NearestEntry

# What training needs and a saved model does not.
TRAINING_BUFFERS = ("ema_count", "ema_sum", "updates")


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


class EMACodebook(nn.Module):
    """Learned entries (V, D) that follow the features.

    After van den Oord et al., "Neural Discrete Representation Learning", 2017, appendix A.1:

    ``count_v <- decay * count_v + (1 - decay) * n_v``, ``sum_v <- decay * sum_v + (1 - decay) * sum of z at v``,
    entry ``sum_v / count_v``.

    With ``ema_rule: standard`` the codebook starts from the first batch's features, counts start as if every entry had
    its share of that batch, and an entry whose count falls below ``revive_below`` times the even share is put on a
    random feature of the batch. ``published`` is the published PCT release: counts start at zero, sums as normal
    noise, counts pass through Laplace smoothing and stay smoothed, and nothing is revived.

    Sums and counts are reduced over all processes, so two processes with half a batch each move the codebook as one
    with the whole batch.

    Args:
        config: Of the tokenizer, with number of entries and rule.
        dim: Width D.
        seed: Of the random choices of start and revival, which every process makes alike.
    """

    codebook_buffer: Tensor
    ema_count: Tensor
    ema_sum: Tensor
    updates: Tensor

    def __init__(self, config: TokenizerSizes, dim: int, seed: int = 0) -> None:
        super().__init__()
        self.size, self.dim, self.seed = config.codebook_size, dim, seed
        self.decay, self.revive_below = config.ema_decay, config.revive_below
        self.published = config.ema_rule == "published"
        generator = torch.Generator().manual_seed(seed)
        entries, noise = (torch.randn(self.size, dim, generator=generator) for _ in range(2))
        self.register_buffer("codebook_buffer", entries)
        self.register_buffer("ema_count", torch.zeros(self.size))
        self.register_buffer("ema_sum", noise if self.published else torch.zeros_like(noise))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @property
    def entries(self) -> Tensor:
        """All entries (V, D), float32."""
        return self.codebook_buffer

    def assign(self, z: Tensor) -> Tensor:
        """Return the index of the nearest entry (...) for features ``z`` (..., D), in float32."""
        return NearestEntry(self.codebook_buffer)(z)

    def lookup(self, indices: Tensor) -> Tensor:
        """Return the entries (..., D) of integer tokens (...)."""
        return F.embedding(indices, self.codebook_buffer)

    @torch.no_grad()
    def start_from(self, z: Tensor) -> None:
        """Put the entries on random ones of the features ``z`` (..., D) before the first update, by the rule."""
        if self.published or int(self.updates):
            return
        flat = z.reshape(-1, self.dim)
        total = _total_rows(flat)
        entries = self._pick_rows(flat, total, self.size)
        if total < self.size:
            # Entries at the same feature move apart a little: else rounding would choose between them.
            noise = torch.randn(entries.shape, generator=torch.Generator().manual_seed(self.seed))
            entries = entries + 1e-3 * entries.std() * noise.to(entries)
        share = total / self.size
        self.codebook_buffer.copy_(entries)
        self.ema_count.fill_(share)
        self.ema_sum.copy_(entries * share)

    @torch.no_grad()
    def update(self, z: Tensor, indices: Tensor) -> None:
        """Move the entries towards the features ``z`` (..., D) that were given the tokens ``indices`` (...)."""
        flat, index = z.reshape(-1, self.dim), indices.reshape(-1)
        # One reduction for counts and sums: V x (D + 1) numbers, never a one-hot matrix.
        packed = torch.zeros(self.size, self.dim + 1, device=flat.device)
        packed[:, :-1].index_add_(0, index, flat)
        packed[:, -1] = torch.bincount(index, minlength=self.size).float()
        packed = distributed.all_reduce_sum(packed)
        decay = self.decay
        self.ema_count.mul_(decay).add_(packed[:, -1], alpha=1 - decay)
        self.ema_sum.mul_(decay).add_(packed[:, :-1], alpha=1 - decay)
        self.updates += 1
        if self.published:
            total = self.ema_count.sum()
            self.ema_count.copy_((self.ema_count + 1e-5) / (total + self.size * 1e-5) * total)
        else:
            self._revive(flat)
        self.codebook_buffer.copy_(self.ema_sum / self.ema_count.clamp(min=1e-12)[:, None])

    @torch.no_grad()
    def resume(self) -> None:
        """Let training go on from saved entries, whose counts and sums were not saved."""
        self.ema_count.fill_(1.0)
        self.ema_sum.copy_(self.codebook_buffer)
        self.updates.fill_(1)

    def _revive(self, flat: Tensor) -> None:
        total = _total_rows(flat)
        share = total / self.size
        dead = self.ema_count < self.revive_below * share
        num_dead = int(dead.sum())
        if num_dead:
            rows = self._pick_rows(flat, total, num_dead)
            # Half of the even share: time to gather followers before it can count as dead again.
            self.ema_count[dead] = 0.5 * share
            self.ema_sum[dead] = rows * (0.5 * share)

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
        rows = torch.zeros(count, self.dim, device=flat.device)
        rows[mine] = flat[chosen[mine] - first]
        return distributed.all_reduce_sum(rows)


def _total_rows(flat: Tensor) -> int:
    if distributed.world_size() == 1:
        return len(flat)
    return int(distributed.all_reduce_sum(torch.tensor(len(flat), device=flat.device)))
