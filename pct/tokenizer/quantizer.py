"""Quantizers: what the encoder says to integer tokens and back. The contract, and the two that know no joints."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pct import distributed
from pct.tokenizer.codebook import CodebookUse, EMACodebook, EMARule
from pct.tokenizer.search import Nearest, NearestEntry, nearest_exactly


@dataclass(frozen=True)
class QuantizerOutput:
    """What a quantizer makes of the encoder's output ``z``.

    Attributes:
        z_q: What the tokens say, as the decoder takes it, with the straight-through gradient to ``z``.
        indices: Integer tokens (B, M), int64, in [0, codebook_size).
        commitment_loss: Scalar, mean squared distance of ``z`` from what the tokens say; zero where the method needs
            none.
        codebook_loss: Scalar that trains weights of the quantizer itself; zero where there are none.
    """

    z_q: Tensor
    indices: Tensor
    commitment_loss: Tensor
    codebook_loss: Tensor


@dataclass(frozen=True)
class Assignment:
    """Tokens found in float32.

    Attributes:
        indices: Integer tokens (B, M), int64.
        unsure: True where a second entry is so near (B,) that rounding may have decided.
    """

    indices: Tensor
    unsure: Tensor

    @classmethod
    def of(cls, found: Nearest, tolerance: float) -> Assignment:
        """Take entries found for all tokens (B, M); margins below ``tolerance`` are unsure."""
        return cls(found.indices, (found.margin < tolerance).any(dim=1))


class Quantizer(nn.Module):
    """The contract of every quantizer.

    ``z`` is what the encoder gives: token features (B, M, D), or, for quantizers that read a pose, joints (B, K, D).

    Args:
        num_tokens: Tokens M a pose.
        codebook_size: Number of ids V.

    Attributes:
        shortest_prefix: Fewest tokens that can be decoded without the others; M where all are needed.
    """

    epoch_counts: Tensor

    def __init__(self, num_tokens: int, codebook_size: int) -> None:
        super().__init__()
        self.num_tokens, self.codebook_size = num_tokens, codebook_size
        self.shortest_prefix = num_tokens
        self.register_buffer("epoch_counts", torch.zeros(codebook_size, dtype=torch.int64), persistent=False)

    def forward(self, z: Tensor, lengths: Tensor | None = None) -> QuantizerOutput:
        """Quantize; in training mode buffers may move.

        Args:
            z: The encoder's output.
            lengths: How many of its first tokens each pose keeps for the decoder (B,), from ``shortest_prefix`` on; all
                by default.
        """
        raise NotImplementedError

    def searcher(self) -> Callable[[Tensor], Assignment]:
        """Return what finds the tokens of ``z`` in float32 with the entries as they are now."""
        raise NotImplementedError

    def assign_exactly(self, z: Tensor) -> Tensor:
        """Return the tokens (B, M) of ``z``, float64; of entries that are equally near it is the first one."""
        raise NotImplementedError

    def features(self, z: Tensor) -> Tensor:
        """Return what each token sees of ``z``: places (B, M, D) in the space of the entries."""
        raise NotImplementedError

    def embeddings(self) -> Tensor:
        """Return the entries of every token, float32: (M, V, D), expanded where all tokens have the same ones."""
        raise NotImplementedError

    def combine(self, entries: Tensor) -> Tensor:
        """Return what entries, or mixtures of them, (B, m, D) say together, as the decoder takes it; differentiable.

        ``m`` is M, or fewer where a prefix can be decoded.
        """
        raise NotImplementedError

    def assign(self, z: Tensor) -> Tensor:
        """Return the integer tokens (B, M) of ``z``."""
        return self.searcher()(z).indices

    def lookup(self, indices: Tensor) -> Tensor:
        """Return what integer tokens (B, m) say, as the decoder takes it."""
        tables = self.embeddings()[: indices.shape[1]]
        places = torch.arange(len(tables), device=indices.device)
        return self.combine(tables[places, indices])

    def expected(self, probs: Tensor) -> Tensor:
        """Return what the mean entries under ``probs`` (B, M, V) say, in float32; differentiable."""
        with torch.autocast(probs.device.type, enabled=False):
            tables = self.embeddings()[: probs.shape[1]]
            return self.combine(torch.einsum("bmv,mvd->bmd", probs.float(), tables))

    def token_joints(self) -> Tensor | None:
        """Return the joints that each token is about (M, K), bool; None where each may be about all of them."""
        return None

    @property
    def num_entries(self) -> int:
        """How many numbers the entries hold."""
        return sum(m.codebook_buffer.numel() for m in self.modules() if isinstance(m, EMACodebook))

    def count(self, indices: Tensor) -> None:
        """Add tokens of a training step to the counts of the epoch."""
        self.epoch_counts += torch.bincount(indices.reshape(-1), minlength=self.codebook_size)

    def pop_epoch_use(self) -> CodebookUse:
        """Return the use of the codebook in training since the last call, over all processes, and start anew."""
        use = CodebookUse.from_counts(distributed.all_reduce_sum(self.epoch_counts))
        self.epoch_counts.zero_()
        return use

    def resume(self) -> None:
        """Let training go on after the weights of a saved model were loaded."""
        for module in self.modules():
            if isinstance(module, EMACodebook):
                module.resume()


class EMAQuantizer(Quantizer):
    """Every token is the entry of one codebook that is nearest to its feature ("Human Pose as Compositional Tokens").

    Args:
        num_tokens: Tokens M.
        codebook_size: Number of entries V.
        codebook_dim: Width D.
        rule: How the entries follow the features.
        seed: Of the random choices of start and revival.
    """

    def __init__(
        self, num_tokens: int, codebook_size: int, codebook_dim: int, rule: EMARule | None = None, seed: int = 0
    ) -> None:
        super().__init__(num_tokens, codebook_size)
        self.codebook = EMACodebook(codebook_size, codebook_dim, rule or EMARule(), seed)

    def forward(self, z: Tensor, lengths: Tensor | None = None) -> QuantizerOutput:
        """Quantize features (B, M, D); the entries used are those from before this call's update."""
        with torch.autocast(z.device.type, enabled=False):
            z = z.float()
            if self.training:
                self.codebook.start_from(z.detach())
            indices = self.codebook.assign(z.detach())
            z_q = self.codebook.lookup(indices)
            commitment_loss = F.mse_loss(z, z_q)
            if self.training:
                self.codebook.update(z.detach(), indices)
                self.count(indices)
            return QuantizerOutput(z + (z_q - z).detach(), indices, commitment_loss, z.new_zeros(()))

    def searcher(self) -> Callable[[Tensor], Assignment]:
        """See :class:`Quantizer`."""
        nearest = NearestEntry(self.codebook.entries)
        return lambda z: Assignment.of(nearest.search(z), nearest.tolerance)

    def assign_exactly(self, z: Tensor) -> Tensor:
        """See :class:`Quantizer`."""
        return nearest_exactly(z.flatten(0, 1), self.codebook.entries.double()).view(z.shape[:2])

    def features(self, z: Tensor) -> Tensor:
        """See :class:`Quantizer`."""
        return z.float()

    def embeddings(self) -> Tensor:
        """See :class:`Quantizer`."""
        return self.codebook.entries.expand(self.num_tokens, -1, -1)

    def combine(self, entries: Tensor) -> Tensor:
        """See :class:`Quantizer`."""
        return entries

    def lookup(self, indices: Tensor) -> Tensor:
        """Return the entries (B, M, D) of integer tokens (B, M)."""
        return self.codebook.lookup(indices)

    def expected(self, probs: Tensor) -> Tensor:
        """Return the mean entries (B, M, D) under ``probs`` (B, M, V), in float32; differentiable."""
        with torch.autocast(probs.device.type, enabled=False):
            return probs.float() @ self.codebook.entries


class FSQQuantizer(Quantizer):
    """Finite scalar quantization (Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple", 2023, section 3.1).

    Each of the D channels is bounded to (-1, 1) and rounded to one of ``levels[d]`` values on an even grid in
    [-1, 1]; the codebook is the product of the grids. There is nothing to learn, to start or to revive.

    Args:
        num_tokens: Tokens M.
        levels: Number of values a channel; their product is the codebook size.
    """

    level_counts: Tensor
    strides: Tensor
    grid: Tensor

    def __init__(self, num_tokens: int, levels: Sequence[int]) -> None:
        if not levels or any(level < 2 for level in levels):
            raise ValueError(f"FSQ levels must be integers of at least 2, got {list(levels)}")
        super().__init__(num_tokens, math.prod(levels))
        self.levels = tuple(levels)
        counts = torch.tensor(levels, dtype=torch.int64)
        strides = torch.cumprod(torch.tensor([1, *levels[:-1]]), dim=0)
        self.register_buffer("level_counts", counts, persistent=False)
        self.register_buffer("strides", strides, persistent=False)
        digits = torch.arange(self.codebook_size)[:, None] // strides % counts
        self.register_buffer("grid", self._to_grid(digits), persistent=False)

    def forward(self, z: Tensor, lengths: Tensor | None = None) -> QuantizerOutput:
        """Quantize features (B, M, D) with the straight-through gradient through the rounding."""
        with torch.autocast(z.device.type, enabled=False):
            position = self._position(z.float())
            digits = position.round()
            indices = (digits.detach().long() * self.strides).sum(dim=-1)
            if self.training:
                self.count(indices)
            z_q = self._to_grid(position + (digits - position).detach())
            return QuantizerOutput(z_q, indices, position.new_zeros(()), position.new_zeros(()))

    def searcher(self) -> Callable[[Tensor], Assignment]:
        """See :class:`Quantizer`."""

        def search(z: Tensor) -> Assignment:
            position = self._position(z.float())
            unsure = ((position - position.floor() - 0.5).abs() < 1e-4).flatten(1).any(dim=1)
            return Assignment((position.round().long() * self.strides).sum(dim=-1), unsure)

        return search

    def assign_exactly(self, z: Tensor) -> Tensor:
        """See :class:`Quantizer`."""
        # Half-way between two levels, up to the rounding of float64, it is the lower one.
        return ((self._position(z) - 0.5 - 1e-12).ceil().long() * self.strides).sum(dim=-1)

    def features(self, z: Tensor) -> Tensor:
        """See :class:`Quantizer`."""
        return self._to_grid(self._position(z.float()))

    def embeddings(self) -> Tensor:
        """See :class:`Quantizer`."""
        return self.grid.expand(self.num_tokens, -1, -1)

    def combine(self, entries: Tensor) -> Tensor:
        """See :class:`Quantizer`."""
        return entries

    def _position(self, z: Tensor) -> Tensor:
        """Bound features and place them on [0, level - 1]; the steep sigmoid evens out the use of the levels."""
        return torch.sigmoid(1.6 * z) * (self.level_counts - 1)

    def _to_grid(self, position: Tensor) -> Tensor:
        return position / (self.level_counts - 1) * 2 - 1
