"""Lifter: both heads on every network, lifting from pixels, frozen tokenizer, saving, bad input."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_lifter
import torch
from safetensors.torch import load_file, save_file
from tiny_photo_models import make_body_tokenizer

from pct.checkpoint import CheckpointError
from pct.lifting.config import LifterConfig
from pct.lifting.lifter import Lifter, LifterOutput
from pct.lifting.networks import LIFTERS
from pct.pose_space import PoseSpace
from pct.skeleton import COCO17, H36M16, H36M17
from pct.tokenizer import PoseTokenizer

SPACE = PoseSpace(kind="root3d")
HEADS = ("coordinates", "anchored", "mixer")


def make_tokenizer(**changes) -> PoseTokenizer:
    return make_body_tokenizer(1, **{"layout": "residual", "space": SPACE, **changes})


def make_lifter(head: str = "coordinates", network: str = "gcn", **changes) -> Lifter:
    width = {"fcn": 24, "ampose": 16, "ampose_small": 16, "attention": 16}.get(network, 12)
    sizes = {"network": network, "width": width, "depth": None, "dropout": 0.0, **changes}
    return tiny_lifter.make_lifter("" if head == "coordinates" else head, make_tokenizer(), **sizes).eval()


def loss_of(output: LifterOutput, target: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    loss = (output.keypoints - target).square().mean()
    if output.logits is not None:
        loss = loss + torch.nn.functional.cross_entropy(output.logits.flatten(0, 1), labels.flatten())
    return loss


def poses(count: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    visible = torch.rand(count, 17, generator=generator) > 0.1
    visible[:, 0] = True
    return torch.rand(count, 17, 2, generator=generator) * 400 + 100, visible


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("network", LIFTERS)
def test_every_head_on_every_network_lifts_and_learns(head: str, network: str) -> None:
    lifter = make_lifter(head, network)
    keypoints2d, visible = poses()
    lifted = lifter.lift(keypoints2d, visible)
    assert lifted.keypoints.shape == (5, 17, 3)
    assert not lifted.keypoints[:, 0].any()
    assert (lifted.indices is None) == (head == "coordinates")

    lifter.train()
    target = torch.randn(5, 17, 3, generator=torch.Generator().manual_seed(2))
    loss = loss_of(lifter(lifter.normalizer(keypoints2d, visible), visible), target, torch.arange(30) % 16)
    loss.backward()
    trained = [name for name, p in lifter.named_parameters() if p.grad is not None]
    assert not any(name.startswith("tokenizer.") for name in trained)
    assert any(name.startswith("trunk.") for name in trained)
    assert not [name for name, p in lifter.named_parameters() if p.requires_grad and p.grad is None]
    assert lifter.tokenizer is None or not lifter.tokenizer.training


def test_heads_that_are_sure_say_tokens_and_decode_to_them() -> None:
    lifter = make_lifter("mixer")
    indices = torch.randint(16, (4, 6), generator=torch.Generator().manual_seed(3))
    decoded = lifter.tokenizer.decode(indices)
    sure = torch.nn.functional.one_hot(indices, 16).float() * 1000
    torch.testing.assert_close(lifter.decode(sure), decoded - decoded[:, :1], atol=1e-6, rtol=1e-5)
    anchored, (keypoints2d, visible) = make_lifter("anchored"), poses()
    torch.nn.init.constant_(anchored.token_head.logits.last.bias, 3.0)
    output = anchored(anchored.normalizer(keypoints2d, visible), visible)
    own = anchored.tokenizer(output.estimate, torch.ones(5, 17, dtype=torch.bool)).indices
    assert (output.logits.argmax(dim=-1) == own).float().mean() > 0.9


@pytest.mark.parametrize("head", ["coordinates", "anchored"])
@pytest.mark.parametrize("normalizer", ["box", "screen"])
def test_the_flip_test_makes_mirrored_poses_mirrored(head: str, normalizer: str) -> None:
    lifter, (keypoints2d, visible) = make_lifter(head, "stgcn", normalizer=normalizer), poses()
    size = torch.tensor([640.0, 480.0])
    index = torch.from_numpy(H36M17.flip_index.copy())
    mirrored = keypoints2d[:, index] * torch.tensor([-1.0, 1.0]) + torch.tensor([640.0, 0.0])
    here = lifter.lift(keypoints2d, visible, size, flip=True).keypoints
    there = lifter.lift(mirrored, visible[:, index], size, flip=True).keypoints
    torch.testing.assert_close(there[:, index] * torch.tensor([-1.0, 1.0, 1.0]), here, atol=0.05, rtol=1e-4)
    assert (lifter.lift(keypoints2d, visible, size).keypoints - here).abs().max() > 1


def test_lifting_ignores_what_unknown_joints_hold_and_how_many_poses_there_are(monkeypatch) -> None:
    lifter, (keypoints2d, visible) = make_lifter("anchored"), poses()
    whole = lifter.lift(keypoints2d, visible, flip=True)
    wild = torch.where(visible[..., None], keypoints2d, torch.nan)
    monkeypatch.setattr("pct.lifting.lifter._ROWS", 2)
    parts = lifter.lift(wild, visible, flip=True)
    torch.testing.assert_close(parts.keypoints, whole.keypoints, atol=0.05, rtol=1e-4)
    assert torch.equal(parts.indices, whole.indices)
    assert ((parts.probs > 1 / 16) & (parts.probs <= 1)).all()
    empty = lifter.lift(keypoints2d[:0])
    assert empty.keypoints.shape == (0, 17, 3)
    assert empty.indices.shape == (0, 6)


def test_three_channels_tell_a_joint_at_zero_from_an_unknown_one() -> None:
    x, visible = torch.zeros(1, 17, 2), torch.ones(1, 17, dtype=torch.bool)
    hidden = visible.clone()
    hidden[0, 5] = False
    three, two = make_lifter(), make_lifter(in_channels=2)
    assert (three(x, visible).keypoints - three(x, hidden).keypoints).abs().max() > 1e-4
    torch.testing.assert_close(two(x, visible).keypoints, two(x, hidden).keypoints)


@pytest.mark.parametrize("head", HEADS)
def test_saving_and_loading_gives_the_same_lifter(tmp_path: Path, head: str) -> None:
    lifter, (keypoints2d, visible) = make_lifter(head, "lcn", z_score=True, options={"hops": 2}), poses()
    lifter.normalizer.fit(*poses(50))
    lifter.save_pretrained(tmp_path / "model", card="A lifter.")
    loaded = Lifter.from_pretrained(tmp_path / "model")
    assert loaded.config == lifter.config
    assert not loaded.training
    torch.testing.assert_close(loaded.lift(keypoints2d, visible), lifter.lift(keypoints2d, visible), atol=0, rtol=0)
    assert (tmp_path / "model" / "tokenizer").exists() == (head != "coordinates")
    with pytest.raises(FileExistsError, match="already holds a model"):
        lifter.save_pretrained(tmp_path / "model")


def test_another_tokenizer_in_the_folder_is_refused(tmp_path: Path) -> None:
    make_lifter("mixer").save_pretrained(tmp_path)
    path = tmp_path / "tokenizer" / "model.safetensors"
    state = load_file(path)
    save_file({name: value + 1 if name.startswith("decoder") else value for name, value in state.items()}, path)
    with pytest.raises(CheckpointError, match="the head was trained for tokenizer"):
        Lifter.from_pretrained(tmp_path)


def test_bad_poses_and_parts_that_do_not_fit_are_refused() -> None:
    lifter, (keypoints2d, visible) = make_lifter(), poses()
    broken, other = keypoints2d.clone(), PoseSpace("root3d", millimetres=500.0)
    broken[3, 0, 1] = torch.inf

    def build(head: str, tokenizer: PoseTokenizer | None) -> Lifter:
        return Lifter(LifterConfig("gcn", head=head), tokenizer)

    for act, message in (
        (
            lambda: lifter.lift(keypoints2d[:, :16]),
            r"must be \(B, 17, 2\) for skeleton h36m17; got shape \(5, 16, 2\)",
        ),
        (lambda: lifter.lift(keypoints2d, visible & (torch.arange(5) != 2)[:, None]), "row 2 has no known joint"),
        (lambda: lifter.lift(broken, visible), "joint hip of row 3 is"),
        (lambda: lifter.check_skeleton(COCO17), "the poses have skeleton coco17, but the lifter reads h36m17"),
        (lambda: make_lifter(normalizer="screen").lift(keypoints2d, visible), "give image_size"),
        (lambda: make_lifter().train().lift(keypoints2d, visible), r"call eval\(\) before lift"),
        (lambda: lifter.decode(torch.zeros(1, 6, 16)), "only a token head's logits"),
        (lambda: build("tokens", None), "head is 'tokens', but no tokenizer is given"),
        (lambda: build("coordinates", make_tokenizer()), "head is 'coordinates', but a tokenizer is given"),
        (
            lambda: build("tokens", make_tokenizer(skeleton=H36M16)),
            "the tokenizer has skeleton h36m16, but the lifter has h36m17",
        ),
        (
            lambda: build("tokens", make_tokenizer(space=other)),
            r"the tokenizer's poses are .*millimetres=500",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            act()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"head": "token"}, "head is 'token'; allowed are coordinates, tokens"),
        ({"in_channels": 4}, "in_channels is 4"),
        ({"normalizer": "crop"}, "normalizer is 'crop'; allowed are box, screen"),
        ({"space": {"kind": "crop2d"}}, "must be root3d, got crop2d"),
        ({"space": {"kind": "root3d", "root": 17}}, "root is joint 17, but skeleton h36m17 has 17"),
        ({"tokens": {"kind": "joint"}}, "token head kind is 'joint'; allowed are anchored, mixer"),
        ({"tokens": {"width": 0}}, "token head width must be at least 1, got 0"),
        ({"heads": "tokens"}, "unknown keys: heads"),
    ],
)
def test_bad_configs_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LifterConfig.from_dict(values)
