"""CoarseFineQuantizer: coarse tokens say how each limb stands, fine tokens where each joint is exactly."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pct.skeleton import Skeleton
from pct.tokenizer.config import TokenizerConfig
from pct.tokenizer.quantizer import EMAQuantizer, QuantizerOutput

# Distance of two kinds of joints in the codebook's space: more than a pose's own spread, so each has its own entries.
_SPACING = 1.5
# A mean of fine entries shorter than this share of an entry is unsure of the place: the coarse one is trusted more.
TRUSTED = 0.7
# Where a coarse place errs by more than half a period, the fine token puts the joint a period off; this share of a
# period is penalised already.
_SAFE = 0.3


class CoarseFineQuantizer(EMAQuantizer):
    """Reads a pose in two scales, with one codebook.

    A *coarse* token is the entry nearest to where its home joint and the joints next to it lie: a limb, roughly. All
    coarse tokens together give every joint a place that is right within a part of the ``period``. A *fine* token is the
    entry nearest to its joint's place on a grid that repeats every ``period``, like the scale of a vernier: coordinates
    modulo the period, as points of circles. Which of the repeated places is meant, the coarse tokens say. So

    - a coarse token changes only when a limb moves far, and near poses share most of them;
    - a joint that crosses a border changes one token, not several;
    - the places that a mixture of fine entries means are a mean direction: where it is short, nothing fine is known,
      and the coarse place stands.

    This is not in the paper; docs/experiments.md has what it gains. Left and right joints share their entries: the
    right side is seen in the mirror.

    Attributes:
        fine_joints: Joints with a fine token, in the order of these tokens: all but the root of 3D poses.
        limbs: Joints that each coarse token sees, its home first.
        see: What coarse tokens see of joints, as a linear map (C, content, K * num_dims).
        offsets: Where each token's features lie in the codebook's space (M, content + 2): every kind of joint has a
            place of its own there, and left and right ones are of one kind.
        signs: -1 for the x of joints that are seen in the mirror (K, num_dims).
    """

    see: Tensor
    offsets: Tensor
    signs: Tensor

    def __init__(self, config: TokenizerConfig) -> None:
        skeleton, space = config.skeleton, config.space
        root = space.root if space.kind == "root3d" else None
        self.fine_joints = [joint for joint in range(skeleton.num_keypoints) if joint != root]
        self.limbs = _limbs(skeleton, self.fine_joints, config.num_tokens, config.limb_joints)
        self.num_coarse, self.num_fine = len(self.limbs), len(self.fine_joints)
        self.content = max(*map(len, self.limbs), 2) * space.num_dims
        super().__init__(config, self.content + 2)
        self.shortest_prefix = self.num_coarse
        self.period, self.fine_radius = config.period, config.fine_radius
        first = [min(pair) for pair in enumerate(skeleton.flip_index.tolist())]
        signs = torch.ones(self.num_keypoints, self.num_dims)
        signs[[home != joint for joint, home in enumerate(first)], 0] = -1.0
        self.register_buffer("signs", signs, persistent=False)
        self.register_buffer("see", self._see(config.home_weight), persistent=False)
        homes = [first[limb[0]] for limb in self.limbs]
        kinds = sorted(set(homes))
        side = math.ceil(math.sqrt(len(kinds) + 1))
        places = torch.tensor([*map(kinds.index, homes), *[len(kinds)] * self.num_fine])
        offsets = torch.zeros(self.num_tokens, self.content + 2)
        offsets[:, -2], offsets[:, -1] = places % side * _SPACING, places // side * _SPACING
        self.register_buffer("offsets", offsets, persistent=False)
        inputs, outputs, width = self.num_coarse * self.content, signs.numel(), config.coarse_width
        self.to_places = nn.Linear(inputs, outputs)
        self.mix = nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, outputs))
        self._start_at_homes(config.home_weight)

    def output(self, z: Tensor, indices: Tensor, lengths: Tensor | None) -> QuantizerOutput:
        """See :class:`EMAQuantizer`."""
        entries = self.codebook.lookup(indices)
        places = self._places(entries[:, : self.num_coarse])
        fine, said = self.refine(places.detach(), *self.fine_places(entries[:, self.num_coarse :]))
        if lengths is not None:
            order = torch.full((self.num_keypoints,), self.num_fine, device=z.device)
            order[self.fine_joints] = torch.arange(self.num_fine, device=z.device)
            said = said * (order < lengths[:, None] - self.num_coarse)[..., None]
        joints = torch.where(said > 0, fine, places)
        commitment_loss = F.mse_loss((z - self.middle) / self.unit, joints.detach())
        # Coarse places must not come near to the half of a period.
        target = (z.detach() - self.middle) / self.unit
        far = F.relu((places - target).abs() - _SAFE * self.period).mean()
        loss = F.smooth_l1_loss(places, target, beta=0.2) + 3 * far
        # The gradient of the whole goes straight to z, that of the coarse places to the map that made them too.
        straight = joints * self.unit + self.middle + (z - z.detach())
        return QuantizerOutput(torch.cat([straight, said], dim=-1), indices, commitment_loss, loss)

    def features(self, z: Tensor) -> Tensor:
        """Return what each token sees of joints (B, K, D): its limb, or its joint's place on the circles."""
        x = (z - self.middle) / self.unit
        limbs = F.linear(x.flatten(1), self.see.flatten(0, 1).to(x.dtype)).unflatten(1, (self.num_coarse, -1))
        angle = x[:, self.fine_joints] * self.signs[self.fine_joints].to(x.dtype) * (2 * math.pi / self.period)
        circles = self.fine_radius * torch.cat([angle.cos(), angle.sin()], dim=-1)
        circles = F.pad(circles, (0, self.content + 2 - circles.shape[-1]))
        return torch.cat([F.pad(limbs, (0, 2)), circles], dim=1) + self.offsets.to(x.dtype)

    def combine(self, entries: Tensor) -> Tensor:
        """Turn entries (B, m, D) into joints in model units, and how finely each is said: (B, K, num_dims + 1)."""
        with torch.autocast(entries.device.type, enabled=False):
            fine = self.fine_places(entries[:, self.num_coarse :])
            joints, said = self.refine(self._places(entries[:, : self.num_coarse]), *fine)
            return torch.cat([joints * self.unit + self.middle, said], dim=-1)

    def _places(self, entries: Tensor) -> Tensor:
        """Turn coarse entries (B, C, D) into places of all joints (B, K, num_dims), as shares of ``unit``."""
        limbs = (entries - self.offsets[: self.num_coarse])[..., : self.content].flatten(1)
        return (self.to_places(limbs) + self.mix(limbs)).unflatten(1, (self.num_keypoints, self.num_dims))

    def fine_places(self, entries: Tensor) -> tuple[Tensor, Tensor]:
        """Read fine entries or mixtures of them (..., D).

        Returns:
            Places within a period (..., num_dims) as shares of ``unit``, of joints seen as left ones, and how sure the
            entries are of them (..., num_dims) in [0, 1].
        """
        cosine, sine = entries[..., : self.num_dims], entries[..., self.num_dims : 2 * self.num_dims]
        length = (cosine.square() + sine.square() + 1e-12).sqrt()
        sure = (length / (TRUSTED * self.fine_radius)).clamp(max=1.0)
        # A mean of no length has no direction, and no gradient either.
        angle = torch.atan2(sine, torch.where(length > 1e-5, cosine, torch.ones_like(cosine)))
        return angle * (self.period / (2 * math.pi)), sure

    def refine(self, places: Tensor, within: Tensor, sure: Tensor) -> tuple[Tensor, Tensor]:
        """Move places (B, K, num_dims) to where the first fine tokens (B, f, num_dims) say they are in their period.

        Returns:
            Places (B, K, num_dims), and how sure the tokens are (B, K, 1) in [0, 1]: 0 where none is given.
        """
        given = self.fine_joints[: within.shape[1]]
        moved, certain = places.clone(), torch.zeros_like(places[..., :1])
        if not given:
            return moved, certain
        step = within * self.signs[given] - places[:, given]
        step = step - self.period * torch.round(step.detach() / self.period)
        moved[:, given] = places[:, given] + sure * step
        certain[:, given] = sure.mean(dim=-1, keepdim=True)
        return moved, certain

    def token_joints(self) -> Tensor:
        """Return the joints that each token is about (M, K), bool: a limb, or one joint."""
        about = torch.zeros(self.num_tokens, self.num_keypoints, dtype=torch.bool, device=self.see.device)
        for token, joints in enumerate([*self.limbs, *([joint] for joint in self.fine_joints)]):
            about[token, list(joints)] = True
        return about

    def _see(self, home_weight: float) -> Tensor:
        see = torch.zeros(self.num_coarse, self.content, self.num_keypoints, self.num_dims)
        for token, limb in enumerate(self.limbs):
            for place, joint in enumerate(limb):
                weight = home_weight if place == 0 else 1.0
                rows = slice(place * self.num_dims, (place + 1) * self.num_dims)
                see[token, rows, joint] = torch.diag(self.signs[limb[0]] * weight)
        return see.flatten(2)

    def _start_at_homes(self, home_weight: float) -> None:
        """Let every joint start at the mean of what the coarse tokens that have it as home say."""
        homes = torch.tensor([limb[0] for limb in self.limbs])
        with torch.no_grad():
            for layer, share in ((self.to_places, 0.0), (self.mix[2], 0.01)):
                assert isinstance(layer, nn.Linear)
                layer.weight.mul_(share)
                layer.bias.zero_()
            weight = self.to_places.weight.view(self.num_keypoints, self.num_dims, self.num_coarse, self.content)
            for token, home in enumerate(homes.tolist()):
                weight[home, :, token, : self.num_dims] = torch.diag(self.signs[home] / home_weight)
            # A home of several tokens takes their mean.
            times = torch.bincount(homes, minlength=self.num_keypoints).clamp(min=1)
            self.to_places.weight /= times.repeat_interleave(self.num_dims)[:, None]


def _limbs(skeleton: Skeleton, joints: list[int], num_tokens: int, limb_joints: int) -> list[tuple[int, ...]]:
    """Share the tokens that are not fine ones among the joints, as homes of coarse ones.

    Returns:
        The joints that each coarse token sees: its home and those nearest to it along the bones; the next nearest
        where a joint is home once more.
    """
    num_coarse = num_tokens - len(joints)
    if num_coarse < 1:
        raise ValueError(
            f"{num_tokens} tokens are too few for {len(joints)} joints: coarse_fine gives each joint a fine token "
            f"and needs coarse ones beside them; {2 * len(joints)} are usual"
        )
    homes = [joints[i * len(joints) // num_coarse] for i in range(min(num_coarse, len(joints)))]
    while len(homes) < num_coarse:
        homes += joints[: num_coarse - len(homes)]
    partner = skeleton.flip_index.tolist()
    limbs: list[tuple[int, ...]] = []
    for number, home in enumerate(homes):
        # A right joint has the mirrored limb of its left partner, so that mirrored poses have mirrored tokens.
        left = min(home, partner[home])
        others = sorted((j for j in joints if j != left), key=lambda j: (skeleton.hops[left, j], abs(left - j)))
        start = homes[:number].count(home) * (limb_joints - 1)
        near = others[start : start + limb_joints - 1]
        limbs.append((home, *(near if home == left else (partner[j] for j in near))))
    return limbs
