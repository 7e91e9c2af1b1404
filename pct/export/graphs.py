"""What becomes an ONNX graph: a tokenizer's encoder and decoder, and a classifier's way from a crop to a pose."""

from __future__ import annotations

import copy
from typing import cast

import torch
from numpy.polynomial import chebyshev
from torch import Tensor, nn

from pct.photos.classifier import PoseClassifier
from pct.photos.crop import normalise_pixels
from pct.pose_space import PoseSpace
from pct.tokenizer import PoseTokenizer

# Degree of the polynomial that gives erf in float64 to 5e-15.
_ERF_DEGREE = 24


class EncoderGraph(nn.Module):
    """Joints in image pixels or millimetres, known flags and places to ids.

    All of it is float64: so :meth:`PoseTokenizer.encode` decides where float32 cannot tell two entries apart, and the
    ids are the same.

    Args:
        tokenizer: The model.
        length: How many first ids a pose gets.
    """

    def __init__(self, tokenizer: PoseTokenizer, length: int) -> None:
        super().__init__()
        self.space, self.length = tokenizer.space, length
        self.exact = copy.deepcopy(tokenizer).double().eval()
        for module in list(self.exact.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.GELU):
                    setattr(module, name, ExactGelu())

    def forward(self, keypoints: Tensor, visible: Tensor, reference: Tensor) -> Tensor:
        """Map (B, K, D), (B, K) and boxes (B, 4) or roots (B, 3) to ids (B, length), int64."""
        origin, unit = self.space.frame(reference)
        known = torch.where(visible[..., None], keypoints, 0.0).double()
        # Python's poses are rounded to float32 here.
        x = ((known - origin[:, None]) / unit[:, None, None]).float().double()
        indices, _ = self.exact.quantizer.searcher(exact=True)(self.exact.encode_features(x, visible))
        return indices[:, : self.length]


class DecoderGraph(nn.Module):
    """Ids (B, m) and places to joints (B, K, D) in image pixels or millimetres, float32."""

    def __init__(self, tokenizer: PoseTokenizer) -> None:
        super().__init__()
        self.space, self.quantizer, self.decoder = tokenizer.space, tokenizer.quantizer, tokenizer.decoder

    def forward(self, indices: Tensor, reference: Tensor) -> Tensor:
        """Map ids (B, m) and boxes (B, 4) or roots (B, 3) to joints."""
        return _restore(self.decoder(self.quantizer.lookup(indices)), self.space, reference)


class EstimatorGraph(nn.Module):
    """A person's crop to the logits of its ids, the expected pose, and the likeliest ids."""

    def __init__(self, model: PoseClassifier) -> None:
        super().__init__()
        self.model, self.space = model.eval().folded(), model.tokenizer.space

    def forward(self, pixels: Tensor, bbox: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map crops (B, 3, H, W), uint8 RGB, and the persons' boxes (B, 4) to logits, joints and ids.

        Joints (B, K, D) are image pixels, or millimetres from the root; a 3D model looks at no box.
        """
        output = self.model(normalise_pixels(pixels))
        reference = bbox if self.space.kind == "crop2d" else torch.zeros_like(bbox[:, :3])
        joints = _restore(output.keypoints, self.space, reference)
        if self.space.kind == "root3d":
            joints = joints - joints[:, self.space.root, None]
        return output.logits.float(), joints, output.logits.argmax(dim=-1)


class ExactGelu(nn.Module):
    """GELU in float64 by operations that every ONNX runtime has; its own GELU and erf are float32.

    erf(x) is 1 - exp(-x^2) t p(t) with t = 1 / (1 + x / 2), where the polynomial p interpolates the scaled
    complementary error function at Chebyshev points (after Press et al., "Numerical Recipes", 3rd ed., section 6.2.2).
    """

    def __init__(self) -> None:
        super().__init__()
        u = chebyshev.chebpts1(_ERF_DEGREE + 1)
        t = (torch.from_numpy(u) + 1) / 2
        values = (torch.special.erfcx(2 / t - 2) / t).numpy()
        self.coefficients = chebyshev.cheb2poly(chebyshev.chebfit(u, values, _ERF_DEGREE)).tolist()

    def forward(self, x: Tensor) -> Tensor:
        """Map (...) to (...), float64."""
        z = x.abs() * 0.5**0.5
        t = 1 / (1 + z / 2)
        u, value = 2 * t - 1, torch.full_like(t, self.coefficients[-1])
        for coefficient in self.coefficients[-2::-1]:
            value = value * u + coefficient
        tail = torch.exp(-z * z) * t * value  # 1 - erf(z)
        return x * torch.where(x < 0, tail, 2 - tail) / 2


def _restore(keypoints: Tensor, space: PoseSpace, reference: Tensor) -> Tensor:
    origin, unit = space.frame(reference)
    return cast(Tensor, (keypoints.double() * unit[:, None, None] + origin[:, None]).float())
