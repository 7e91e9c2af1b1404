"""Quantizers: what the encoder says to integer tokens and back. The contract, and the two that know no joints."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pct import distributed
from pct.tokenizer.codebook import CodebookUse, EMACodebook
from pct.tokenizer.config import TokenizerConfig
from pct.tokenizer.search import entry_search

# Maps ``z`` to tokens (B, M), int64, and says for which poses (B,) rounding may have decided.
Search = Callable[[Tensor], tuple[Tensor, Tensor]]


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
class TokenizerOutput(QuantizerOutput):
    """What a tokenizer makes of normalised poses, with what its quantizer made of them.

    Attributes:
        keypoints: Decoded joints (B, K, D) in model units.
        estimate: The pose (B, K, D) as the encoder believes it to be, in model units; None where it gives no pose.
    """

    keypoints: Tensor
    estimate: Tensor | None = None


class Quantizer(nn.Module):
    """The contract of every quantizer; its sizes are those of the tokenizer's config.

    ``z`` is what the encoder gives: token features (B, M, D), or, for quantizers that read a pose, joints (B, K, D).

    Attributes:
        shortest_prefix: Fewest tokens that can be decoded without the others; M where all are needed.
        middle, unit: Middle of the range of the model units, and half of that range.
    """

    epoch_counts: Tensor

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.num_tokens, self.codebook_size = config.num_tokens, config.codebook_size
        self.num_keypoints, self.num_dims = config.skeleton.num_keypoints, config.space.num_dims
        low, high = config.space.bounds
        self.middle, self.unit = (low + high) / 2, (high - low) / 2
        self.shortest_prefix = config.num_tokens
        self.register_buffer("epoch_counts", torch.zeros(config.codebook_size, dtype=torch.int64), persistent=False)

    def forward(self, z: Tensor, lengths: Tensor | None = None) -> QuantizerOutput:
        """Quantize; in training mode buffers may move, and the entries used are those from before.

        Args:
            z: The encoder's output.
            lengths: How many of its first tokens each pose keeps for the decoder (B,), from ``shortest_prefix`` on; all
                by default.
        """
        with torch.autocast(z.device.type, enabled=False):
            output = self.quantize(z.float(), lengths)
            if self.training:
                self.epoch_counts += torch.bincount(output.indices.flatten(), minlength=self.codebook_size)
            return output

    def quantize(self, z: Tensor, lengths: Tensor | None) -> QuantizerOutput:
        """Do the work of :meth:`forward`, in float32."""
        raise NotImplementedError

    def searcher(self, exact: bool = False) -> Search:
        """Return what finds the tokens of ``z`` in float32 with the entries as they are now.

        Args:
            exact: Find them in float64, as is ``z`` then; of entries that are equally near it is the first one.
        """
        raise NotImplementedError

    def features(self, z: Tensor) -> Tensor:
        """Return what each token sees of ``z``: places (B, M, D) in the space of the entries."""
        raise NotImplementedError

    @property
    def entries(self) -> Tensor:
        """The entries (V, D), float32, where all tokens have the same ones."""
        raise NotImplementedError

    def embeddings(self) -> Tensor:
        """Return the entries of every token, float32: (M, V, D), expanded where all tokens have the same ones."""
        return self.entries.expand(self.num_tokens, -1, -1)

    def combine(self, entries: Tensor) -> Tensor:
        """Return what entries, or mixtures of them, (B, m, D) say together, as the decoder takes it; differentiable.

        ``m`` is M, or fewer where a prefix can be decoded.
        """
        return entries

    def assign(self, z: Tensor) -> Tensor:
        """Return the integer tokens (B, M) of ``z``."""
        return self.searcher()(z.float())[0]

    def lookup(self, indices: Tensor) -> Tensor:
        """Return what integer tokens (B, m), m at least 1, say, as the decoder takes it."""
        return self.combine(F.embedding(indices, self.entries))

    def expected(self, probs: Tensor) -> Tensor:
        """Return what the mean entries under ``probs`` (B, M, V) say, in float32; differentiable."""
        with torch.autocast(probs.device.type, enabled=False):
            return self.combine(probs.float() @ self.entries)

    def token_joints(self) -> Tensor | None:
        """Return the joints that each token is about (M, K), bool; None where each may be about all of them."""
        return None

    @property
    def codebooks(self) -> list[EMACodebook]:
        """The learned codebooks; none where there is nothing to learn."""
        return [module for module in self.modules() if isinstance(module, EMACodebook)]

    @property
    def num_entries(self) -> int:
        """How many numbers the learned entries hold."""
        return sum(codebook.entries.numel() for codebook in self.codebooks)

    def pop_epoch_use(self) -> CodebookUse:
        """Return the use of the codebook in training since the last call, over all processes, and start anew."""
        use = CodebookUse.from_counts(distributed.all_reduce_sum(self.epoch_counts))
        self.epoch_counts.zero_()
        return use


class EMAQuantizer(Quantizer):
    """Every token is the entry of one codebook that is nearest to its feature ("Human Pose as Compositional Tokens").

    Args:
        config: Of the tokenizer.
        dim: Width of the entries, by default the config's.
    """

    def __init__(self, config: TokenizerConfig, dim: int | None = None) -> None:
        super().__init__(config)
        self.codebook = EMACodebook(config, config.codebook_dim if dim is None else dim)

    def quantize(self, z: Tensor, lengths: Tensor | None) -> QuantizerOutput:
        """See :class:`Quantizer`."""
        seen = self.features(z.detach())
        if self.training:
            self.codebook.start_from(seen)
        indices = self.codebook.assign(seen)
        output = self.output(z, indices, lengths)
        if self.training:
            self.codebook.update(seen, indices)
        return output

    def output(self, z: Tensor, indices: Tensor, lengths: Tensor | None) -> QuantizerOutput:
        """Return what :meth:`quantize` gives for the tokens (B, M) of ``z``."""
        z_q = self.codebook.lookup(indices)
        commitment_loss = F.mse_loss(z, z_q)
        return QuantizerOutput(z + (z_q - z).detach(), indices, commitment_loss, z.new_zeros(()))

    def searcher(self, exact: bool = False) -> Search:
        """See :class:`Quantizer`."""
        nearest = entry_search(self.entries, exact)

        def search(z: Tensor) -> tuple[Tensor, Tensor]:
            indices, unsure = nearest(self.features(z))
            return indices, unsure.any(dim=1)

        return search

    def features(self, z: Tensor) -> Tensor:
        """See :class:`Quantizer`."""
        return z

    @property
    def entries(self) -> Tensor:
        """See :class:`Quantizer`."""
        return self.codebook.entries


class FSQQuantizer(Quantizer):
    """Finite scalar quantization (Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple", 2023, section 3.1).

    Each of the D channels is bounded to (-1, 1) and rounded to one of ``levels[d]`` values on an even grid in
    [-1, 1]; the codebook is the product of the grids. There is nothing to learn, to start or to revive.
    """

    level_counts: Tensor
    strides: Tensor
    grid: Tensor

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__(config)
        counts = torch.tensor(config.levels, dtype=torch.int64)
        strides = torch.tensor([math.prod(config.levels[:channel]) for channel in range(len(counts))])
        self.register_buffer("level_counts", counts, persistent=False)
        self.register_buffer("strides", strides, persistent=False)
        digits = torch.arange(self.codebook_size)[:, None] // strides % counts
        self.register_buffer("grid", self._to_grid(digits), persistent=False)

    def quantize(self, z: Tensor, lengths: Tensor | None) -> QuantizerOutput:
        """Quantize features (B, M, D) with the straight-through gradient through the rounding."""
        indices, bounded = self.assign(z), self.features(z)
        z_q = bounded + (self.lookup(indices) - bounded).detach()
        return QuantizerOutput(z_q, indices, z.new_zeros(()), z.new_zeros(()))

    def searcher(self, exact: bool = False) -> Search:
        """See :class:`Quantizer`."""

        def search(z: Tensor) -> tuple[Tensor, Tensor]:
            position = self._position(z)
            unsure = ((position - position.floor() - 0.5).abs() < 1e-4).flatten(1).any(dim=1)
            # Half-way between two levels, up to the rounding of float64, it is the lower one.
            digits = (position - 0.5 - 1e-12).ceil() if exact else position.round()
            return (digits.long() * self.strides).sum(dim=-1), unsure

        return search

    def features(self, z: Tensor) -> Tensor:
        """See :class:`Quantizer`."""
        return self._to_grid(self._position(z.float()))

    @property
    def entries(self) -> Tensor:
        """See :class:`Quantizer`."""
        return self.grid

    def _position(self, z: Tensor) -> Tensor:
        """Bound features and place them on [0, level - 1]; the steep sigmoid evens out the use of the levels."""
        return torch.sigmoid(1.6 * z) * (self.level_counts - 1)

    def _to_grid(self, position: Tensor) -> Tensor:
        return position / (self.level_counts - 1) * 2 - 1
