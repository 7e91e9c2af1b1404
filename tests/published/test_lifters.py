"""Published lifters with random weights compute what the published code computes, written here by itself."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from official_weights import Shapes
from torch import Tensor

from pct.cli import main as cli
from pct.lifting.lifter import Lifter
from pct.published.lifters import PoseStatistics, convert_lifter
from pct.skeleton import H36M16, H36M17

PARTS = ((11, 12, 13), (14, 15, 16), (4, 5, 6), (1, 2, 3), (0, 7, 8, 9, 10))
PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)
TO_SPINE = (1, 2, 3, 4, 2, 3, 4, 0, 1, 2, 3, 2, 3, 4, 2, 3, 4)
MIRRORED = ((1, 4), (2, 5), (3, 6), (11, 14), (12, 15), (13, 16))


def norm(w: dict[str, Tensor], x: Tensor, name: str, eps: float = 1e-5) -> Tensor:
    return F.batch_norm(x, *(w[f"{name}.{n}"] for n in ("running_mean", "running_var", "weight", "bias")), eps=eps)


def conv(w: dict[str, Tensor], x: Tensor, name: str) -> Tensor:
    return F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"])


# --- FCN -------------------------------------------------------------------------------------------------------------


def fcn_weights(width: int = 24, counter: bool = True) -> dict[str, Tensor]:
    shapes = Shapes()
    shapes.linear("w1", width, 32)
    shapes.batch_norm("batch_norm1", width)
    for i, k in itertools.product((0, 1), (1, 2)):
        shapes.linear(f"linear_stages.{i}.w{k}", width, width)
        shapes.batch_norm(f"linear_stages.{i}.batch_norm{k}", width)
    shapes.linear("w2", 48, width)
    return {name: t for name, t in shapes.random("").items() if counter or not name.endswith("num_batches_tracked")}


def fcn(w: dict[str, Tensor], pixels: Tensor, s: PoseStatistics) -> Tensor:
    """16 joints in pixels (B, 16, 2) to 17 in millimetres (B, 17, 3), as the port evaluates."""

    def unit(x: Tensor, linear: str, normed: str) -> Tensor:
        return norm(w, F.linear(x, w[f"{linear}.weight"], w[f"{linear}.bias"]), normed).relu()

    y = unit(((pixels - s.mean2d) / s.std2d).flatten(1), "w1", "batch_norm1")
    for stage in ("linear_stages.0", "linear_stages.1"):
        y = y + unit(unit(y, f"{stage}.w1", f"{stage}.batch_norm1"), f"{stage}.w2", f"{stage}.batch_norm2")
    out = F.linear(y, w["w2.weight"], w["w2.bias"]).view(-1, 16, 3) * s.std3d + s.mean3d
    return torch.cat([torch.zeros(len(out), 1, 3), out], dim=1)


def statistics() -> PoseStatistics:
    g = torch.Generator().manual_seed(5)
    return PoseStatistics(
        torch.rand(16, 2, generator=g) * 200 + 400,
        torch.rand(16, 2, generator=g) * 50 + 80,
        torch.randn(16, 3, generator=g) * 200,
        torch.rand(16, 3, generator=g) * 100 + 100,
    )


def poses() -> Tensor:
    return torch.rand(9, 17, 2, generator=torch.Generator().manual_seed(1)) * 600 + 200


@pytest.mark.parametrize("counter", [True, False], ids=["torch 0.4.1 and later", "before"])
def test_fcn_gives_the_millimetres_of_the_port(counter: bool) -> None:
    w, s, x = fcn_weights(counter=counter), statistics(), poses()
    seen = [H36M17.keypoint_names.index(name) for name in H36M16.keypoint_names]
    lifted = convert_lifter(w, s).lift(x, image_size=torch.tensor([1000.0, 1000.0])).keypoints
    expected = fcn(w, x[:, seen], s)
    assert (lifted - expected).abs().max() < 1e-5 * expected.abs().max()


# --- the local-to-global network of one frame ------------------------------------------------------------------------


def stgcn_weights(width: int = 4, groups: int = 4) -> dict[str, Tensor]:
    shapes, wide = Shapes(), 4 * width

    def add(name: str, out: int, channels: int, normed: str = "") -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (out, channels, 1, 1), (out,)
        if normed:
            shapes.batch_norm(normed, out)

    shapes.batch_norm("data_bn", 34)
    sizes = {"st_gcn_networks": (2, width, width, 2 * width), "st_gcn_pool": (2 * width, wide, wide)}
    for part, widths in sizes.items():
        for i, (channels, out) in enumerate(itertools.pairwise(widths)):
            block = f"{part}.{i}"
            add(f"{block}.gcn.conv", groups * out, channels)
            shapes.batch_norm(f"{block}.tcn.0", out)
            add(f"{block}.tcn.3", out, out, f"{block}.tcn.4")
            if channels != out and channels != 2:
                add(f"{block}.residual.0", out, channels, f"{block}.residual.1")
    for name, out, channels in (("conv4", wide, wide), ("conv2", 2 * width, 2 * wide)):
        add(f"{name}.0", out, channels, f"{name}.1")
    for name in ("g", "theta", "phi"):
        add(f"non_local.{name}", 2 * width, wide)
    add("non_local.W.0", wide, 2 * width, "non_local.W.1")
    add("fcn.1", 3, wide)
    state = shapes.random("")
    for name in [n for n in state if n.endswith("weight")]:
        # As large as those of a trained network, so that poses come out differently.
        state[name] = state[name] / 0.3 / state[name].shape[1] ** 0.5 if state[name].ndim == 4 else state[name] + 1
    return state


def published_groups(bones: list, mirrored: tuple, distance: tuple) -> Tensor:
    """Source v, target w: self, source farther from the centre, nearer, mirrored; columns of all sum to 1."""
    a = np.zeros((4, len(distance), len(distance)))
    a[0] = np.eye(len(distance))
    for i, j in [*bones, *((j, i) for i, j in bones)]:
        a[1 if distance[i] > distance[j] else 2, i, j] = 1
    for i, j in mirrored:
        a[3, i, j] = a[3, j, i] = 1
    return torch.from_numpy(a / a.sum(axis=(0, 1))).float()


def stgcn(w: dict[str, Tensor], x: Tensor) -> Tensor:
    """Joints on the screen (B, 17, 2) to metres (B, 17, 3), channels first as the published code computes."""
    joints = published_groups([(i, p) for i, p in enumerate(PARENTS) if p >= 0], MIRRORED, TO_SPINE)
    parts = published_groups([(i, 4) for i in range(4)], ((0, 1), (2, 3)), (1, 1, 1, 1, 0))

    def block(y: Tensor, name: str, graph: Tensor) -> Tensor:
        mapped = conv(w, y, f"{name}.gcn.conv")
        z = torch.einsum("nkctv,kvw->nctw", mapped.unflatten(1, (4, -1)), graph)
        z = norm(w, conv(w, norm(w, z, f"{name}.tcn.0").relu(), f"{name}.tcn.3"), f"{name}.tcn.4")
        if f"{name}.residual.0.weight" in w:
            return (z + norm(w, conv(w, y, f"{name}.residual.0"), f"{name}.residual.1")).relu()
        return (z + y if y.shape == z.shape else z).relu()

    y = norm(w, x.flatten(1), "data_bn", eps=0.1).view(len(x), 17, 2).transpose(1, 2)[:, :, None]  # (B, 2, 1, 17)
    for i in range(3):
        y = block(y, f"st_gcn_networks.{i}", joints)
    pooled = torch.cat([y[..., part].amax(dim=-1, keepdim=True) for part in PARTS], dim=-1)
    for i in range(2):
        pooled = block(pooled, f"st_gcn_pool.{i}", parts)
    whole = norm(w, conv(w, pooled.amax(dim=-1, keepdim=True), "conv4.0"), "conv4.1").relu()
    up = norm(w, conv(w, torch.cat([whole.repeat(1, 1, 1, 5), pooled], dim=1), "conv2.0"), "conv2.1").relu()
    spread = torch.zeros_like(y)
    for number, part in enumerate(PARTS):
        spread[..., part] = up[..., number : number + 1]
    y = torch.cat([y, spread], dim=1)
    theta, phi, g = (conv(w, y, f"non_local.{n}").flatten(2) for n in ("theta", "phi", "g"))
    read = (theta.transpose(1, 2) @ phi).softmax(dim=-1) @ g.transpose(1, 2)
    y = y + norm(w, conv(w, read.transpose(1, 2).unsqueeze(2), "non_local.W.0"), "non_local.W.1")
    return conv(w, y, "fcn.1")[:, :, 0].transpose(1, 2)


def test_the_local_to_global_network_gives_the_published_pose() -> None:
    w, x = stgcn_weights(), poses()
    size = torch.tensor([1000.0, 1002.0])
    expected = stgcn(w, 2 * x / 1000 - torch.tensor([1.0, 1.002]))
    expected = 1000 * (expected - expected[:, :1])
    lifted = convert_lifter(w).lift(x, image_size=size).keypoints
    assert (lifted - expected).abs().max() < 1e-5 * expected.abs().max()


# --- files -----------------------------------------------------------------------------------------------------------


def test_the_command_writes_folders_that_lift(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    s, size = statistics(), torch.tensor([1000.0, 1000.0])
    torch.save({"state_dict": {f"module.{n}": t for n, t in fcn_weights().items()}, "epoch": 3}, tmp_path / "fcn.pth")
    torch.save(stgcn_weights(), tmp_path / "stgcn.pth")
    np.savez(tmp_path / "s.npz", **{name: getattr(s, name).numpy() for name in s.__dataclass_fields__})
    options = ["--statistics", str(tmp_path / "s.npz")]
    for name, more, weights in (("fcn", options, fcn_weights()), ("stgcn", [], stgcn_weights())):
        arguments = ["convert", "lifter", str(tmp_path / f"{name}.pth"), str(tmp_path / name), *more]
        assert cli.main(arguments) == 0
        lifted = Lifter.from_pretrained(tmp_path / name).lift(poses(), image_size=size)
        assert torch.equal(lifted.keypoints, convert_lifter(weights, s).lift(poses(), image_size=size).keypoints)
        assert cli.main(arguments) == 1, "nothing is overwritten unasked"
    capsys.readouterr()
    assert cli.main(["convert", "lifter", str(tmp_path / "fcn.pth"), str(tmp_path / "other")]) == 1
    assert "give the means and deviations" in capsys.readouterr().err
    assert cli.main(["convert", "lifter", str(tmp_path / "fcn.pth"), str(tmp_path / "other"), "--stage", "2"]) == 1
    assert "--stage is not for lifter; leave it out" in capsys.readouterr().err


def test_other_checkpoints_are_refused_with_a_reason() -> None:
    headless, wide = stgcn_weights(), fcn_weights()
    del headless["conv4.0.bias"]
    wide["w2.weight"] = torch.zeros(51, 24)
    zeros = torch.zeros(16, 2)
    for act, message in (
        (
            lambda: convert_lifter({"a": torch.zeros(1)}),
            r"neither FCN .* nor the local-to-global network .* holds a",
        ),
        (lambda: convert_lifter(stgcn_weights(groups=6)), "6 groups of edges, as that of several frames"),
        (lambda: convert_lifter(headless), r"conv4\.0\.bias is missing"),
        (
            lambda: convert_lifter(wide, statistics()),
            r"w2\.weight has shape \(51, 24\), expected \(48, 24\)",
        ),
        (
            lambda: PoseStatistics(zeros, zeros, torch.zeros(16, 3), torch.ones(16, 3)),
            "std2d must be positive; its least number is 0",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            act()
