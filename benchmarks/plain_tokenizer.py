"""The published tokenizer formula written plainly, for comparison: dense distances, one-hot products, transposes."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pct import PoseTokenizer


class PlainTokenizer(nn.Module):
    """Encoder, codebook and decoder of the published release, without image guidance, on poses in model units.

    The networks are ours as they are trained, module by module and not folded, which is the published formula.

    Args:
        tokenizer: A tokenizer of layout ``parallel`` with an EMA codebook, whose weights are copied.
    """

    def __init__(self, tokenizer: PoseTokenizer) -> None:
        super().__init__()
        networks = (tokenizer.embedding, tokenizer.encoder, tokenizer.decoder)
        self.embedding, self.encoder, self.decoder = map(copy.deepcopy, networks)
        entries = tokenizer.quantizer.entries
        self.register_buffer("codebook", entries.clone())
        self.register_buffer("cluster_size", torch.ones(len(entries)))
        self.register_buffer("ema_w", entries.clone())

    def features(self, keypoints: Tensor, visible: Tensor) -> Tensor:
        """Return token features (B, M, D)."""
        return self.encoder(self.embedding(keypoints, visible), keypoints, visible)

    def nearest(self, flat: Tensor) -> Tensor:
        """Return the index of the nearest entry by the whole matrix of squared distances."""
        distances = (
            flat.square().sum(dim=1, keepdim=True) + self.codebook.square().sum(dim=1) - 2 * flat @ self.codebook.t()
        )
        return distances.argmin(dim=1)

    def encode(self, keypoints: Tensor, visible: Tensor) -> Tensor:
        """Turn poses into tokens (B, M)."""
        z = self.features(keypoints, visible)
        return self.nearest(z.flatten(0, 1)).view(z.shape[:2])

    def decode(self, indices: Tensor) -> Tensor:
        """Turn tokens (B, M) into joints (B, K, D), the entries as one-hot product with the codebook."""
        one_hot = self.one_hot(indices.flatten())
        return self.decoder((one_hot @ self.codebook).view(*indices.shape, -1))

    def one_hot(self, indices: Tensor) -> Tensor:
        """Return one-hot rows (N, V)."""
        rows = torch.zeros(len(indices), len(self.codebook), device=indices.device)
        return rows.scatter_(1, indices[:, None], 1.0)

    def quantize(self, z: Tensor) -> Tensor:
        """Return the entries (B, M, D) of features (B, M, D) and move the codebook by one EMA step."""
        flat = z.flatten(0, 1)
        with torch.no_grad():
            one_hot = self.one_hot(self.nearest(flat))
            z_q = (one_hot @ self.codebook).view_as(z)
            self.cluster_size.mul_(0.9).add_(one_hot.sum(dim=0), alpha=0.1)
            total = self.cluster_size.sum()
            self.cluster_size.add_(1e-5).div_(total + len(self.codebook) * 1e-5).mul_(total)
            self.ema_w.mul_(0.9).add_(one_hot.t() @ flat, alpha=0.1)
            self.codebook = self.ema_w / self.cluster_size[:, None]
        return z_q

    def loss(self, keypoints: Tensor, visible: Tensor, beta: float, commitment_weight: float) -> Tensor:
        """Return the training loss; the codebook moves."""
        z = self.features(keypoints, visible)
        z_q = self.quantize(z)
        decoded = self.decoder(z + (z_q - z).detach())
        known = visible[..., None].float()
        keypoint_loss = F.smooth_l1_loss(decoded * known, keypoints * known, beta=beta)
        return keypoint_loss + commitment_weight * F.mse_loss(z_q, z)
