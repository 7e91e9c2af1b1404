"""CoarseFineQuantizer: coarse tokens say how each limb stands, fine tokens where each joint is exactly."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pct.tokenizer.codebook import EMACodebook, EMARule
from pct.tokenizer.plan import TokenPlan
from pct.tokenizer.quantizer import Assignment, Quantizer, QuantizerOutput
from pct.tokenizer.search import NearestEntry, nearest_exactly

# Distance of two kinds of joints in the codebook's space: more than a pose's own spread, so each has its own entries.
_SPACING = 1.5
# A mean of fine entries shorter than this share of an entry is unsure of the place: the coarse one is trusted more.
TRUSTED = 0.7
# Where a coarse place errs by more than half a period, the fine token puts the joint a period off; this share of a
# period is penalised already.
_SAFE = 0.3


class CoarseFineQuantizer(Quantizer):
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

    Args:
        plan: Which joints the tokens are about.
        num_keypoints: Joints K.
        num_dims: Coordinates a joint.
        codebook_size: Number of entries V.
        middle: Middle of the model units' range.
        unit: Half of that range.
        period: Of the fine tokens' grid, as a share of ``unit``.
        home_weight: How much more a coarse token heeds its home joint than the others.
        fine_radius: Radius of the fine tokens' circles in the codebook's space: a larger one gives them more entries.
        coarse_width: Hidden width of the map from coarse tokens to places.
        rule: How the entries follow the features.
        seed: Of the random choices of start and revival.
    """

    see: Tensor
    offsets: Tensor
    signs: Tensor

    def __init__(
        self,
        plan: TokenPlan,
        num_keypoints: int,
        num_dims: int,
        codebook_size: int,
        middle: float,
        unit: float,
        period: float,
        home_weight: float,
        fine_radius: float,
        coarse_width: int,
        rule: EMARule,
        seed: int = 0,
    ) -> None:
        self.num_coarse, self.num_fine = len(plan.limbs), len(plan.joints)
        super().__init__(self.num_coarse + self.num_fine, codebook_size)
        self.shortest_prefix = self.num_coarse
        self.num_keypoints, self.num_dims = num_keypoints, num_dims
        self.middle, self.unit, self.period, self.fine_radius = middle, unit, period, fine_radius
        self.fine_joints = list(plan.joints)
        limb = max(map(len, plan.limbs))
        self.content = max(limb, 2) * num_dims
        self.codebook = EMACodebook(codebook_size, self.content + 2, rule, seed)
        signs = torch.ones(num_keypoints, num_dims)
        signs[list(plan.mirrored), 0] = -1.0
        self.register_buffer("signs", signs, persistent=False)
        self.register_buffer("see", self._see(plan, home_weight), persistent=False)
        side = math.ceil(math.sqrt(plan.num_kinds + 1))
        kinds = torch.tensor([*plan.kinds, *[plan.num_kinds] * self.num_fine])
        offsets = torch.zeros(self.num_tokens, self.content + 2)
        offsets[:, -2], offsets[:, -1] = kinds % side * _SPACING, kinds // side * _SPACING
        self.register_buffer("offsets", offsets, persistent=False)
        inputs, outputs = self.num_coarse * self.content, num_keypoints * num_dims
        self.to_places = nn.Linear(inputs, outputs)
        self.mix = nn.Sequential(nn.Linear(inputs, coarse_width), nn.GELU(), nn.Linear(coarse_width, outputs))
        self._start_at_homes(plan, home_weight)

    def forward(self, z: Tensor, lengths: Tensor | None = None) -> QuantizerOutput:
        """Quantize joints (B, K, D) in model units; the entries used are those from before this call's update."""
        with torch.autocast(z.device.type, enabled=False):
            z = z.float()
            seen = self.features(z.detach())
            if self.training:
                self.codebook.start_from(seen)
            indices = self.codebook.assign(seen)
            entries = self.codebook.lookup(indices)
            places = self._places(entries[:, : self.num_coarse])
            fine, said = self._refine(places.detach(), entries[:, self.num_coarse :])
            if lengths is not None:
                order = torch.full((self.num_keypoints,), self.num_fine, device=z.device)
                order[self.fine_joints] = torch.arange(self.num_fine, device=z.device)
                said = said * (order < lengths[:, None] - self.num_coarse)[..., None]
            joints = torch.where(said > 0, fine, places)
            commitment_loss = F.mse_loss((z - self.middle) / self.unit, joints.detach())
            if self.training:
                self.codebook.update(seen, indices)
                self.count(indices)
            loss = self._place_loss(places, (z.detach() - self.middle) / self.unit)
            # The gradient of the whole goes straight to z, that of the coarse places to the map that made them too.
            straight = joints * self.unit + self.middle + (z - z.detach())
            return QuantizerOutput(torch.cat([straight, said], dim=-1), indices, commitment_loss, loss)

    def searcher(self) -> Callable[[Tensor], Assignment]:
        """See :class:`Quantizer`."""
        nearest = NearestEntry(self.codebook.entries)
        return lambda z: Assignment.of(nearest.search(self.features(z.float())), nearest.tolerance)

    def assign_exactly(self, z: Tensor) -> Tensor:
        """See :class:`Quantizer`."""
        seen = self.features(z)
        return nearest_exactly(seen.flatten(0, 1), self.codebook.entries.double()).view(seen.shape[:2])

    def features(self, z: Tensor) -> Tensor:
        """Return what each token sees of joints (B, K, D): its limb, or its joint's place on the circles."""
        x = (z - self.middle) / self.unit
        limbs = torch.einsum("mcn,bn->bmc", self.see.to(x.dtype), x.flatten(1))
        angle = x[:, self.fine_joints] * self.signs[self.fine_joints].to(x.dtype) * (2 * math.pi / self.period)
        circles = self.fine_radius * torch.cat([angle.cos(), angle.sin()], dim=-1)
        limbs = F.pad(limbs, (0, 2))
        circles = F.pad(circles, (0, limbs.shape[-1] - circles.shape[-1]))
        return torch.cat([limbs, circles], dim=1) + self.offsets.to(x.dtype)

    def embeddings(self) -> Tensor:
        """See :class:`Quantizer`."""
        return self.codebook.entries.expand(self.num_tokens, -1, -1)

    def lookup(self, indices: Tensor) -> Tensor:
        """Return what tokens (B, m), m from the number of coarse tokens on, say: see :meth:`combine`."""
        return self.combine(self.codebook.lookup(indices))

    def combine(self, entries: Tensor) -> Tensor:
        """Turn entries (B, m, D) into joints in model units, and how finely each is said: (B, K, num_dims + 1)."""
        with torch.autocast(entries.device.type, enabled=False):
            joints, said = self._refine(self._places(entries[:, : self.num_coarse]), entries[:, self.num_coarse :])
            return torch.cat([joints * self.unit + self.middle, said], dim=-1)

    def _places(self, entries: Tensor) -> Tensor:
        """Turn coarse entries (B, C, D) into places of all joints (B, K, num_dims), as shares of ``unit``."""
        limbs = (entries - self.offsets[: self.num_coarse])[..., : self.content].flatten(1)
        return (self.to_places(limbs) + self.mix(limbs)).unflatten(1, (self.num_keypoints, self.num_dims))

    def _refine(self, places: Tensor, entries: Tensor) -> tuple[Tensor, Tensor]:
        """Move places (B, K, num_dims) to where the first fine entries (B, f, D) say they are in their period.

        Returns:
            Places (B, K, num_dims), and how sure the entries are (B, K, 1) in [0, 1]: 0 where none is given.
        """
        given, dims = self.fine_joints[: entries.shape[1]], self.num_dims
        moved, certain = places.clone(), torch.zeros_like(places[..., :1])
        if not given:
            return moved, certain
        cosine, sine = entries[..., :dims], entries[..., dims : 2 * dims]
        length = (cosine.square() + sine.square() + 1e-12).sqrt()
        sure = (length / (TRUSTED * self.fine_radius)).clamp(max=1.0)
        # A mean of no length has no direction, and no gradient either.
        angle = torch.atan2(sine, torch.where(length > 1e-5, cosine, torch.ones_like(cosine)))
        signs = self.signs[given]
        step = angle * signs * (self.period / (2 * math.pi)) - places[:, given]
        step = step - self.period * torch.round(step.detach() / self.period)
        moved[:, given] = places[:, given] + sure * step
        certain[:, given] = sure.mean(dim=-1, keepdim=True)
        return moved, certain

    def token_joints(self) -> Tensor:
        """Return the joints that each token is about (M, K), bool: a limb, or one joint."""
        limbs = self.see.unflatten(-1, (self.num_keypoints, self.num_dims)).ne(0).any(dim=-1).any(dim=1)
        single = torch.eye(self.num_keypoints, dtype=torch.bool, device=limbs.device)[self.fine_joints]
        return torch.cat([limbs, single])

    def _place_loss(self, places: Tensor, target: Tensor) -> Tensor:
        """Smooth-L1 of coarse places, and a penalty where they come near to the half of a period."""
        far = F.relu((places - target).abs() - _SAFE * self.period).mean()
        return F.smooth_l1_loss(places, target, beta=0.2) + 3 * far

    def _see(self, plan: TokenPlan, home_weight: float) -> Tensor:
        """Return the map (C, content, K * num_dims) from joints to what coarse tokens see."""
        see = torch.zeros(self.num_coarse, self.content, self.num_keypoints, self.num_dims)
        for token, limb in enumerate(plan.limbs):
            for place, joint in enumerate(limb):
                for dim in range(self.num_dims):
                    sign = -1.0 if dim == 0 and plan.mirrored[limb[0]] else 1.0
                    see[token, place * self.num_dims + dim, joint, dim] = sign * (home_weight if place == 0 else 1.0)
        return see.flatten(2)

    def _start_at_homes(self, plan: TokenPlan, home_weight: float) -> None:
        """Let every joint start at the mean of what the coarse tokens that have it as home say."""
        with torch.no_grad():
            for layer, share in ((self.to_places, 0.0), (self.mix[2], 0.01)):
                assert isinstance(layer, nn.Linear)
                layer.weight.mul_(share)
                layer.bias.zero_()
            for token, limb in enumerate(plan.limbs):
                for dim in range(self.num_dims):
                    column, row = token * self.content + dim, limb[0] * self.num_dims + dim
                    self.to_places.weight[row, column] = self.see[token, dim, row] / home_weight**2
            # A home of several tokens takes their mean.
            homes = torch.tensor([limb[0] for limb in plan.limbs])
            times = torch.bincount(homes, minlength=self.num_keypoints).clamp(min=1)
            self.to_places.weight /= times.repeat_interleave(self.num_dims)[:, None]
