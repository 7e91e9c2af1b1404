"""The published tokenizer formula written plainly, for comparison: dense distances, one-hot products, transposes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pct import PoseTokenizer


class PlainMixer(nn.Module):
    """A mixer block that transposes for the MLP over the joints."""

    def __init__(self, tokens: int, width: int, token_hidden: int, channel_hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.token_mlp = nn.Sequential(nn.Linear(tokens, token_hidden), nn.GELU(), nn.Linear(token_hidden, tokens))
        self.norm2 = nn.LayerNorm(width)
        self.channel_mlp = nn.Sequential(nn.Linear(width, channel_hidden), nn.GELU(), nn.Linear(channel_hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, C) to (B, T, C)."""
        y = self.token_mlp(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + y + self.channel_mlp(self.norm2(x + y))


class PlainTokenizer(nn.Module):
    """Encoder, codebook and decoder of the published release, without image guidance, on poses in model units.

    Args:
        tokenizer: A mixer tokenizer with an EMA codebook, whose weights are copied.
    """

    def __init__(self, tokenizer: PoseTokenizer) -> None:
        super().__init__()
        c = tokenizer.config
        joints, dims = c.skeleton.num_keypoints, c.space.num_dims
        encoder_hidden = c.encoder_channel_hidden or c.encoder_width
        decoder_hidden = c.decoder_channel_hidden or c.decoder_width
        self.mask_token = nn.Parameter(tokenizer.embedding.mask_token.detach().clone())
        self.start_embed = nn.Linear(dims, c.encoder_width)
        self.encoder = nn.ModuleList(
            PlainMixer(joints, c.encoder_width, c.encoder_token_hidden, encoder_hidden) for _ in range(c.encoder_blocks)
        )
        self.encoder_norm = nn.LayerNorm(c.encoder_width)
        self.token_mlp = nn.Linear(joints, c.num_tokens)
        self.feature_embed = nn.Linear(c.encoder_width, c.codebook_dim)
        self.decoder_token_mlp = nn.Linear(c.num_tokens, joints)
        self.decoder_start = nn.Linear(c.codebook_dim, c.decoder_width)
        self.decoder = nn.ModuleList(
            PlainMixer(joints, c.decoder_width, c.decoder_token_hidden, decoder_hidden) for _ in range(c.decoder_blocks)
        )
        self.decoder_norm = nn.LayerNorm(c.decoder_width)
        self.recover_embed = nn.Linear(c.decoder_width, dims)
        self.register_buffer("codebook", tokenizer.quantizer.embeddings()[0].clone())
        self.register_buffer("cluster_size", torch.ones(c.codebook_size))
        self.register_buffer("ema_w", tokenizer.quantizer.embeddings()[0].clone())
        self._copy(tokenizer)

    def _copy(self, tokenizer: PoseTokenizer) -> None:
        for ours, theirs in (
            (self.start_embed, tokenizer.embedding.coordinates),
            (self.encoder, tokenizer.encoder.blocks),
            (self.encoder_norm, tokenizer.encoder.norm),
            (self.token_mlp, tokenizer.encoder.to_tokens),
            (self.feature_embed, tokenizer.encoder.to_features),
            (self.decoder_token_mlp, tokenizer.decoder.to_joints),
            (self.decoder_start, tokenizer.decoder.start),
            (self.decoder, tokenizer.decoder.blocks),
            (self.decoder_norm, tokenizer.decoder.norm),
            (self.recover_embed, tokenizer.decoder.to_coordinates),
        ):
            ours.load_state_dict(theirs.state_dict())

    def features(self, keypoints: Tensor, visible: Tensor) -> Tensor:
        """Return token features (B, M, D)."""
        known = visible[..., None].float()
        x = self.start_embed(keypoints) * known + self.mask_token * (1 - known)
        for block in self.encoder:
            x = block(x)
        x = self.token_mlp(self.encoder_norm(x).transpose(1, 2)).transpose(1, 2)
        return self.feature_embed(x)

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
        return self.recover((one_hot @ self.codebook).view(*indices.shape, -1))

    def one_hot(self, indices: Tensor) -> Tensor:
        """Return one-hot rows (N, V)."""
        rows = torch.zeros(len(indices), len(self.codebook), device=indices.device)
        return rows.scatter_(1, indices[:, None], 1.0)

    def recover(self, z_q: Tensor) -> Tensor:
        """Decode entries (B, M, D) to joints (B, K, D)."""
        x = self.decoder_start(self.decoder_token_mlp(z_q.transpose(1, 2)).transpose(1, 2))
        for block in self.decoder:
            x = block(x)
        return self.recover_embed(self.decoder_norm(x))

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
        decoded = self.recover(z + (z_q - z).detach())
        known = visible[..., None].float()
        keypoint_loss = F.smooth_l1_loss(decoded * known, keypoints * known, beta=beta)
        return keypoint_loss + commitment_weight * F.mse_loss(z_q, z)
