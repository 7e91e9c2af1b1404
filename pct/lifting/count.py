"""How large a model is, and what one pose costs it: parameters and multiply-adds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pct.lifting.joint_layers import EdgeLinear, GraphConv
from pct.lifting.lifter import Lifter


@dataclass(frozen=True)
class MultiplyAdds:
    """Multiply-adds of one pose.

    Attributes:
        weights: Those with a weight of a linear map, which is what papers on lifting count.
        products: Those of all matrix products, so also of attention, of graphs, and of the codebook's mixtures.
    """

    weights: int
    products: int


def count_parameters(module: nn.Module) -> int:
    """Return the number of parameters that training moves; those of a frozen tokenizer are not among them."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def count_multiply_adds(lifter: Lifter) -> MultiplyAdds:
    """Count the multiply-adds of lifting one pose from normalised joints, the decoder of a token head included."""
    counted: list[int] = []

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Linear):
            counted.append(output.numel() // module.out_features * module.weight.numel())
        elif isinstance(module, (GraphConv, EdgeLinear)):
            counted.append(module.num_products)

    was_training = lifter.training
    hooks = [module.register_forward_hook(count) for module in lifter.modules()]
    flops = FlopCounterMode(display=False)
    try:
        lifter.eval()
        joints, device = lifter.skeleton.num_keypoints, lifter.device
        with flops, torch.enable_grad():
            # The counter follows gradients from module to module, so they must be on.
            lifter(torch.zeros(1, joints, 2, device=device), torch.ones(1, joints, dtype=torch.bool, device=device))
    finally:
        lifter.train(was_training)
        for hook in hooks:
            hook.remove()
    return MultiplyAdds(sum(counted), flops.get_total_flops() // 2)
