"""Folded parts of a CoarseFineQuantizer: what its tokens see and say, in few operations for fixed weights."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pct.tokenizer.coarse_fine import TRUSTED, CoarseFineQuantizer


class FoldedFeatures:
    """What each token sees of joints (B, K, D), as :meth:`CoarseFineQuantizer.features`, in few operations."""

    def __init__(self, quantizer: CoarseFineQuantizer) -> None:
        q = quantizer
        self.num_fine, self.width, self.shape = q.num_fine, q.num_fine * q.num_dims, (q.num_tokens, q.content + 2)
        limbs = F.pad(q.see, (0, 0, 0, 2)).flatten(0, 1) / q.unit  # (C * width of an entry, K * num_dims)
        angles = torch.zeros(q.num_fine, q.num_dims, q.num_keypoints, q.num_dims, device=limbs.device)
        for place, joint in enumerate(q.fine_joints):
            for dim in range(q.num_dims):
                angles[place, dim, joint, dim] = q.signs[joint, dim] * (2 * math.pi / q.period) / q.unit
        weight = torch.cat([angles.flatten(0, 1).flatten(1), limbs])
        self.weight, self.bias = weight, -q.middle * weight.sum(dim=1)
        self.bias[self.width :] += q.offsets[: q.num_coarse].flatten()
        self.radius, self.fine_offsets = q.fine_radius, q.offsets[q.num_coarse :]

    def __call__(self, z: Tensor) -> Tensor:
        angles, limbs = F.linear(z.flatten(1).float(), self.weight, self.bias).split_with_sizes(
            [self.width, len(self.weight) - self.width], dim=1
        )
        out = torch.empty(len(z), *self.shape, device=z.device)
        fine = out[:, -self.num_fine :]
        out[:, : -self.num_fine] = limbs.view(len(z), -1, self.shape[1])
        fine.copy_(self.fine_offsets)
        angles = angles.view(len(z), self.num_fine, -1)
        dims = angles.shape[2]
        fine[..., :dims] += self.radius * angles.cos()
        fine[..., dims : 2 * dims] += self.radius * angles.sin()
        return out


class FoldedReader:
    """What tokens say, as :meth:`CoarseFineQuantizer.lookup`, with what each fine entry says worked out before."""

    def __init__(self, quantizer: CoarseFineQuantizer) -> None:
        q = self.quantizer = quantizer
        entries, dims = q.codebook.entries, q.num_dims
        cosine, sine = entries[:, :dims], entries[:, dims : 2 * dims]
        sure = ((cosine.square() + sine.square() + 1e-12).sqrt() / (TRUSTED * q.fine_radius)).clamp(max=1.0)
        # Of each entry: its place within a period, and how much it is trusted.
        self.table = torch.cat([torch.atan2(sine, cosine) * (q.period / (2 * math.pi)), sure], dim=1)
        first, last = q.mix[0], q.mix[2]
        assert isinstance(first, nn.Linear)
        assert isinstance(last, nn.Linear)
        self.limbs = (entries[:, : q.content]).contiguous()
        offsets = q.offsets[: q.num_coarse, : q.content].flatten()
        weight = torch.cat([q.to_places.weight, first.weight])
        self.first = weight, torch.cat([q.to_places.bias, first.bias]) - weight @ offsets
        self.last = last.weight, last.bias
        self.signs = q.signs[q.fine_joints]
        self.all_fine = q.fine_joints == list(range(q.num_keypoints))

    def __call__(self, indices: Tensor) -> Tensor:
        q = self.quantizer
        if indices.shape[1] < q.num_tokens or not self.all_fine:
            return q.lookup(indices)
        limbs = F.embedding(indices[:, : q.num_coarse], self.limbs).flatten(1)
        x = F.linear(limbs, *self.first)
        split = q.num_keypoints * q.num_dims
        places = x[:, :split] + F.linear(F.gelu(x[:, split:]), *self.last)
        places = places.view(-1, q.num_keypoints, q.num_dims)
        said, sure = F.embedding(indices[:, q.num_coarse :], self.table).split(q.num_dims, dim=-1)
        step = said * self.signs - places
        step = step - q.period * torch.round(step / q.period)
        joints = (places + sure * step) * q.unit + q.middle
        return torch.cat([joints, sure.mean(dim=-1, keepdim=True)], dim=-1)
