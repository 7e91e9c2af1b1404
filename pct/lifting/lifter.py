"""Lifter: the joints of a 2D pose to a 3D pose, by coordinates or by the tokens of a frozen 3D tokenizer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pct.checkpoint import in_float32
from pct.lifting.config import LifterConfig
from pct.lifting.heads import MixerTokenHead
from pct.lifting.networks import build_trunk
from pct.lifting.pose_normalizer import PoseNormalizer
from pct.pose_model import PoseModel
from pct.skeleton import Skeleton
from pct.tokenizer import PoseTokenizer
from pct.tokenizer.checks import check_joints
from pct.tokenizer.own import TokenizedModel

# Poses that are lifted at once; the logits of more take much memory.
_ROWS = 1024


@dataclass(frozen=True)
class LifterOutput:
    """What a lifter makes of normalised 2D poses.

    Attributes:
        keypoints: Joints (B, K, 3) in model units, relative to the root.
        logits: Over the codebook's entries for every token (B, M, V); None without a token head.
        estimate: The network's own coordinates (B, K, 3), relative to the root, which an ``anchored`` token head starts
            from; None with other heads.
    """

    keypoints: Tensor
    logits: Tensor | None = None
    estimate: Tensor | None = None


@dataclass(frozen=True)
class LiftedPoses:
    """3D poses that were lifted from 2D.

    Attributes:
        keypoints: Joints (B, K, 3) in millimetres, relative to the root: the camera looks along z, x right, y down.
        indices: The likeliest tokens (B, M); None without a token head.
        probs: Their probabilities (B, M); None without a token head.
    """

    keypoints: Tensor
    indices: Tensor | None = None
    probs: Tensor | None = None


class Lifter(TokenizedModel, PoseModel):
    """Lifts 2D joints to a 3D pose with one of the networks of the literature.

    :meth:`lift` takes image pixels and gives millimetres and is what most people need; :meth:`forward` is for training.
    The head is the network's own, which regresses coordinates, or reads tokens: then the pose is what the frozen
    codebook and decoder of a 3D tokenizer make of their expected entries. Where the network sees :attr:`frames` F > 1,
    it takes the 2D poses of F frames (B, F, K, 2) and gives that of the middle one, or takes single poses as stills.

    Args:
        config: Sizes.
        tokenizer: Trained tokenizer of 3D poses, for a token head; it is frozen.

    Raises:
        ValueError: If a token head has no tokenizer, or one of another skeleton or pose space, or if a tokenizer is
            given without one.
    """

    kind, config_type = "lifter", LifterConfig
    config: LifterConfig
    flip_index: Tensor

    def __init__(self, config: LifterConfig, tokenizer: PoseTokenizer | None = None) -> None:
        super().__init__()
        _check_tokenizer(config, tokenizer)
        self.config = config
        skeleton, sizes = config.skeleton, (config.in_channels, config.width, config.depth, config.dropout)
        self.normalizer = PoseNormalizer(skeleton.num_keypoints, config.normalizer, config.z_score)
        self.trunk = build_trunk(config.network, skeleton, *sizes, **config.options)
        self.tokenizer, self.token_head = None, None
        if tokenizer is not None:
            self.tokenizer = tokenizer.requires_grad_(False).eval()
            self.token_head = MixerTokenHead(self.trunk, tokenizer.quantizer.embeddings().detach(), config.tokens)
            if config.tokens.kind == "mixer":
                self.trunk.head = None
        self.register_buffer("flip_index", torch.from_numpy(skeleton.flip_index.copy()), persistent=False)

    @property
    def frames(self) -> int:
        """Frames F that the pose of the middle one comes of."""
        return self.trunk.frames

    def check_skeleton(self, skeleton: Skeleton) -> None:
        """Refuse poses of a skeleton with other joints than the lifter's.

        Raises:
            ValueError: If the joints' names differ.
        """
        if skeleton.keypoint_names != self.skeleton.keypoint_names:
            raise ValueError(f"the poses have skeleton {skeleton.name}, but the lifter reads {self.skeleton.name}")

    def forward(self, keypoints2d: Tensor, visible: Tensor) -> LifterOutput:
        """Map 2D joints (B, [F,] K, 2), normalised by :attr:`normalizer`, with ``visible`` (B, [F,] K) to 3D poses."""
        x = torch.where(visible[..., None], keypoints2d, 0.0)
        if self.config.in_channels == 3:
            x = torch.cat([x, visible[..., None].to(x.dtype)], dim=-1)
        features = self.trunk.embed(x)
        estimate = anchor = None
        if self.trunk.head is not None:
            estimate = self._center(_middle(self.trunk.coordinates(features, x)).float())
        if self.tokenizer is None or self.token_head is None:
            assert estimate is not None
            return LifterOutput(estimate)
        if estimate is not None:
            anchor = self.tokenizer.encode_whole(estimate)
        logits = self.token_head(_middle(features), anchor)
        return LifterOutput(self.decode(logits), logits, estimate)

    def decode(self, logits: Tensor) -> Tensor:
        """Return the expected pose (B, K, 3) of logits (B, M, V), in model units relative to the root.

        Raises:
            ValueError: If the lifter has no token head.
        """
        if self.tokenizer is None:
            raise ValueError("this lifter has a coordinate head; only a token head's logits can be decoded")
        return self._center(self.tokenizer.decode_soft(logits.softmax(dim=-1)))

    @torch.no_grad()
    @in_float32()
    def lift(
        self,
        keypoints2d: Tensor,
        visible: Tensor | None = None,
        image_size: Tensor | None = None,
        flip: bool = False,
    ) -> LiftedPoses:
        """Lift 2D poses.

        Args:
            keypoints2d: Joints (B, K, 2), or of F frames (B, F, K, 2), in image pixels.
            visible: True where a joint is known (B, [F,] K); all are when it is not given. Unknown joints may hold any
                number, NaN included.
            image_size: Width and height of the images (B, 2) or (2,) in pixels, for a lifter that reads places on the
                screen.
            flip: Average with the mirrored pose's result, mirrored back. Tokens are those of the pose as it is.

        Raises:
            ValueError: On a wrong shape, a pose without a known joint, a known joint that is not finite, no image size
                where one is needed, or a lifter in training mode.
        """
        if self.training:
            raise ValueError("the lifter is in training mode, with dropout; call eval() before lift()")
        keypoints2d = torch.as_tensor(keypoints2d, dtype=torch.float32, device=self.device)
        count, frames = self.skeleton.num_keypoints, self.frames
        allowed = [(count, 2), *([(frames, count, 2)] if frames > 1 else [])]
        keypoints2d, visible = check_joints("keypoints2d", keypoints2d, visible, self.skeleton, allowed, "lift")
        sizes = self.normalizer.read_size(image_size, keypoints2d)
        some = torch.arange(len(keypoints2d), device=self.device).split(_ROWS)
        lifted = [self._lift(keypoints2d[i], visible[i], None if sizes is None else sizes[i], flip) for i in some]
        columns = {name: [getattr(part, name) for part in lifted] for name in ("keypoints", "indices", "probs")}
        return LiftedPoses(**{n: torch.cat(parts) for n, parts in columns.items() if parts[0] is not None})

    def _lift(self, keypoints2d: Tensor, visible: Tensor, sizes: Tensor | None, flip: bool) -> LiftedPoses:
        output = self(self.normalizer(keypoints2d, visible, sizes), visible)
        pose = output.keypoints
        if flip:
            mirrored, index = self.normalizer(keypoints2d, visible, sizes, self.flip_index), self.flip_index
            other = self(mirrored, visible[..., index]).keypoints[:, index]
            pose = (pose + other * other.new_tensor([-1.0, 1.0, 1.0])) / 2
        pose = pose * self.space.millimetres
        if output.logits is None:
            return LiftedPoses(pose)
        best = (output.logits / self.config.tokens.temperature).softmax(dim=-1).max(dim=-1)
        return LiftedPoses(pose, best.indices, best.values)

    def _center(self, keypoints: Tensor) -> Tensor:
        root = self.space.root
        return keypoints - keypoints[:, root : root + 1]


def _middle(x: Tensor) -> Tensor:
    """Return the middle frame of ``x`` (B, F, P, C); what has no frames (B, P, C) as it is."""
    return x if x.ndim == 3 else x[:, x.shape[1] // 2]


def _check_tokenizer(config: LifterConfig, tokenizer: PoseTokenizer | None) -> None:
    if (tokenizer is not None) != (config.head == "tokens"):
        given = "a" if tokenizer is not None else "no"
        raise ValueError(f"the lifter's head is {config.head!r}, but {given} tokenizer is given; only tokens need one")
    if tokenizer is None:
        return
    if tokenizer.skeleton.keypoint_names != config.skeleton.keypoint_names:
        raise ValueError(
            f"the tokenizer has skeleton {tokenizer.skeleton.name}, but the lifter has {config.skeleton.name}"
        )
    if tokenizer.space != config.space:
        raise ValueError(f"the tokenizer's poses are {tokenizer.space}, but the lifter's are {config.space}")
    if tokenizer.config.guidance_channels and config.tokens.kind == "anchored":
        raise ValueError("an anchored head needs a tokenizer without image guidance, whose encoder takes joints alone")
