"""PoseTokenizer: encode and decode agree with forward, unknown joints do no harm, gradients, saving, bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pct import PoseSpace, PoseTokenizer, TokenizerConfig
from pct.layers.losses import keypoint_loss
from pct.models import checkpoint

TINY = TokenizerConfig(
    num_tokens=6,
    codebook_size=64,
    codebook_dim=8,
    encoder_width=16,
    encoder_blocks=1,
    encoder_token_hidden=12,
    decoder_width=12,
    decoder_token_hidden=12,
    joint_width=4,
)
KINDS = {
    "mixer": TINY,
    "mlp": replace(TINY, encoder="mlp"),
    "fsq": replace(TINY, quantizer="fsq", levels=(8, 8), codebook_dim=2),
    "default": replace(TINY, encoder="mlp", decoder="flat", quantizer="quantile", levels=(8, 8), codebook_dim=2),
    "guided": replace(TINY, guidance_channels=5),
    "3D": replace(TINY, space=PoseSpace(kind="root3d")),
}


@pytest.fixture(params=list(KINDS))
def tokenizer(request: pytest.FixtureRequest) -> PoseTokenizer:
    return make(KINDS[request.param])


def make(config: TokenizerConfig, seed: int = 0) -> PoseTokenizer:
    """A tokenizer whose codebook is where its features are."""
    torch.manual_seed(seed)
    tokenizer = PoseTokenizer(config)
    with torch.no_grad():
        keypoints, visible, features = model_poses(config, 40)
        tokenizer.train()(keypoints, visible, features)
    return tokenizer.eval()


def model_poses(config: TokenizerConfig, count: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Poses in model units, a fifth of the joints unknown."""
    generator = torch.Generator().manual_seed(3)
    keypoints = torch.rand(count, 17, config.space.num_dims, generator=generator) * 2 - 1
    visible = torch.rand(count, 17, generator=generator) < 0.8
    channels = config.guidance_channels
    return keypoints, visible, torch.randn(count, 17, channels, generator=generator) if channels else None


def reference(config: TokenizerConfig, count: int) -> Tensor:
    """Boxes, or positions of the root."""
    generator = torch.Generator().manual_seed(4)
    if config.space.kind == "root3d":
        return torch.randn(count, 3, generator=generator) * 1000
    return torch.rand(count, 4, generator=generator) * 300 + 50


def test_public_calls_equal_forward(tokenizer: PoseTokenizer) -> None:
    """encode gives forward's tokens, decode gives forward's poses, in the units of the image."""
    keypoints, visible, features = model_poses(tokenizer.config, 30)
    where = reference(tokenizer.config, 30)
    with torch.no_grad():
        output = tokenizer(keypoints, visible, features)
    image = tokenizer.space.restore(keypoints, where)
    indices = tokenizer.encode(image, visible, where, features)
    assert float((indices == output.indices).float().mean()) > 0.99  # the way through the image rounds coordinates
    torch.testing.assert_close(tokenizer.decode(output.indices), output.keypoints, atol=1e-5, rtol=0)
    expected = tokenizer.space.restore(output.keypoints, where)
    torch.testing.assert_close(tokenizer.decode(output.indices, where), expected, atol=1e-2, rtol=0)
    one_hot = torch.nn.functional.one_hot(output.indices, tokenizer.config.codebook_size).float()
    torch.testing.assert_close(tokenizer.decode_soft(one_hot), output.keypoints, atol=1e-5, rtol=0)


def test_tokens_do_not_depend_on_the_batch(tokenizer: PoseTokenizer) -> None:
    keypoints, visible, features = model_poses(tokenizer.config, 30)
    where = reference(tokenizer.config, 30)
    image = tokenizer.space.restore(keypoints, where)
    together = tokenizer.encode(image, visible, where, features)
    one = [
        tokenizer.encode(image[i], visible[i], where[i], None if features is None else features[i])
        for i in torch.arange(30).split(1)
    ]
    assert torch.equal(torch.cat(one), together)


def test_moving_and_scaling_the_image_keeps_the_tokens() -> None:
    tokenizer = make(KINDS["default"])
    keypoints, visible, _ = model_poses(TINY, 30)
    bbox = reference(TINY, 30)
    image = tokenizer.space.restore(keypoints, bbox)
    tokens = tokenizer.encode(image, visible, bbox)
    moved = tokenizer.encode(image * 2 + 64, visible, torch.cat([bbox[:, :2] * 2 + 64, bbox[:, 2:] * 2], dim=1))
    assert float((tokens == moved).float().mean()) > 0.99


def test_unknown_joints_may_hold_anything(tokenizer: PoseTokenizer) -> None:
    """Neither result nor gradient sees them, NaN and infinity included."""

    def run(fill: float) -> tuple[Tensor, dict[str, Tensor]]:
        keypoints, visible, features = model_poses(tokenizer.config, 12)
        keypoints = torch.where(visible[..., None], keypoints, fill)
        if features is not None:
            features = torch.where(visible[..., None], features, fill)
        tokenizer.zero_grad()
        output = tokenizer(keypoints, visible, features)
        loss = keypoint_loss(output.keypoints, keypoints, visible, 0.01) + output.commitment_loss
        loss.backward()
        gradients = {n: p.grad.clone() for n, p in tokenizer.named_parameters() if p.grad is not None}
        return output.keypoints.detach(), gradients

    expected, expected_gradients = run(0.0)
    for fill in (float("nan"), float("inf"), 1e9):
        keypoints, gradients = run(fill)
        assert torch.equal(keypoints, expected)
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, expected_gradients[name], msg=name)


def test_unknown_joints_are_filled_in(tokenizer: PoseTokenizer) -> None:
    keypoints, visible, features = model_poses(tokenizer.config, 12)
    where = reference(tokenizer.config, 12)
    image = torch.where(visible[..., None], tokenizer.space.restore(keypoints, where), float("nan"))
    decoded = tokenizer.decode(tokenizer.encode(image, visible, where, features), where)
    assert torch.isfinite(decoded).all()


def test_every_parameter_learns(tokenizer: PoseTokenizer) -> None:
    keypoints, visible, features = model_poses(tokenizer.config, 12)
    output = tokenizer.train()(keypoints, visible, features)
    (keypoint_loss(output.keypoints, keypoints, visible, 0.01) + output.commitment_loss).backward()
    still = [n for n, p in tokenizer.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert still == []


def test_saved_and_loaded_is_the_same(tokenizer: PoseTokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path / "model", card="# card")
    loaded = PoseTokenizer.from_pretrained(tmp_path / "model")
    assert loaded.config == tokenizer.config
    assert loaded.fingerprint() == tokenizer.fingerprint()
    assert not loaded.training
    inputs = model_poses(tokenizer.config, 12)
    with torch.no_grad():
        assert torch.equal(loaded(*inputs).keypoints, tokenizer(*inputs).keypoints)
    assert (tmp_path / "model" / "README.md").read_text() == "# card"


def test_fingerprints_name_weights_and_config() -> None:
    tokenizer = make(TINY)
    same, other_space = make(TINY), replace(TINY, space=PoseSpace(padding=1.5))
    assert same.fingerprint() == tokenizer.fingerprint()
    names = {tokenizer.fingerprint(), make(TINY, seed=1).fingerprint(), make(other_space).fingerprint()}
    with torch.no_grad():
        same.decoder.to_coordinates.bias[0] += 1e-3
    assert len(names | {same.fingerprint()}) == 4


@pytest.mark.parametrize("kind", ["mixer", "default"])
def test_eight_poses_can_be_learnt_by_heart(kind: str) -> None:
    torch.manual_seed(0)
    tokenizer = PoseTokenizer(replace(KINDS[kind], encoder_width=32, decoder_width=24)).train()
    keypoints, visible, _ = model_poses(TINY, 8)
    optimiser = torch.optim.AdamW(tokenizer.parameters(), lr=5e-3, weight_decay=0.0)
    losses = []
    for _ in range(150):
        output = tokenizer(keypoints, visible)
        loss = keypoint_loss(output.keypoints, keypoints, visible, 0.01)
        losses.append(float(loss.detach()))
        optimiser.zero_grad()
        (loss + 0.25 * output.commitment_loss).backward()
        optimiser.step()
    assert losses[-1] < 0.2 * losses[0], losses[-1] / losses[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update(keypoints=a["keypoints"][:, :16]), r"keypoints must be \(B, 17, 2\) for skeleton coco17"),
        (lambda a: a.update(keypoints=a["keypoints"][0]), r"keypoints must be"),
        (lambda a: a["keypoints"][2, 5].fill_(float("nan")), "joint left_shoulder of row 2"),
        (lambda a: a["keypoints"][2, 5].fill_(float("inf")), "joint left_shoulder of row 2"),
        (lambda a: a["visible"][3].fill_(False), "pose of row 3 has no visible joint"),
        (lambda a: a.update(visible=a["visible"][:, :5]), r"visible must be \(4, 17\)"),
        (lambda a: a["bbox"][1, 2:].fill_(0), "row 1"),
        (lambda a: a.update(bbox=a["bbox"][:3]), "3 boxes for 4 poses"),
        (lambda a: a.update(bbox=a["bbox"][:1]), "1 boxes for 4 poses"),
        (lambda a: a.update(bbox=None), "encode needs the person's bbox"),
        (lambda a: a.update(features=torch.zeros(4, 17, 3)), "takes no image features"),
    ],
)
def test_bad_poses_are_named(change, message: str) -> None:  # type: ignore[no-untyped-def]
    tokenizer = make(TINY)
    arguments: dict[str, Tensor | None] = {
        "keypoints": torch.rand(4, 17, 2) * 100,
        "visible": torch.ones(4, 17, dtype=torch.bool),
        "bbox": torch.tensor([[0.0, 0, 100, 100]]).repeat(4, 1),
    }
    change(arguments)
    with pytest.raises(ValueError, match=message):
        tokenizer.encode(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (torch.zeros(2, 5, dtype=torch.int64), r"integers \(B, 6\)"),
        (torch.zeros(2, 6), r"integers \(B, 6\)"),
        (torch.tensor([[0, 0, 0, 0, 0, 0], [0, 0, 64, 0, 0, 0]]), "token 2 of row 1 is 64"),
        (torch.tensor([[0, -1, 0, 0, 0, 0]]), "token 1 of row 0 is -1"),
    ],
)
def test_bad_tokens_are_named(indices: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(TINY).decode(indices)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_models_of_another_precision_say_so(dtype: torch.dtype) -> None:
    tokenizer = make(TINY).to(dtype)
    keypoints, visible, _ = model_poses(TINY, 2)
    bbox = torch.tensor([[0.0, 0, 100, 100]]).repeat(2, 1)
    for call in (
        lambda: tokenizer.encode(keypoints, visible, bbox),
        lambda: tokenizer.decode(torch.zeros(2, 6, dtype=torch.int64)),
        lambda: tokenizer.decode_soft(torch.full((2, 6, 64), 1 / 64)),
    ):
        with pytest.raises(ValueError, match=r"the weights are .*tokenizer\.float\(\)"):
            call()


def test_soft_decoding_is_float32_whatever_comes_in() -> None:
    tokenizer = make(TINY)
    indices = torch.randint(64, (3, 6), generator=torch.Generator().manual_seed(1))
    probs = torch.nn.functional.one_hot(indices, 64).float()
    expected = tokenizer.decode(indices)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(tokenizer.decode_soft(probs), expected, rtol=0, atol=1e-5)
    for given in (probs.double(), probs.half(), probs.numpy(), probs.tolist()):
        torch.testing.assert_close(tokenizer.decode_soft(given), expected, rtol=0, atol=1e-5)


def test_a_guided_tokenizer_asks_for_features() -> None:
    tokenizer = make(KINDS["guided"])
    with pytest.raises(ValueError, match=r"needs image features \(B, K, 5\)"):
        tokenizer.encode(torch.rand(1, 17, 2), None, torch.tensor([[0.0, 0, 1, 1]]))


def test_config_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="unknown keys: widht"):
        TokenizerConfig.from_dict({"widht": 3})
    with pytest.raises(ValueError, match="codebook of 64 x 2"):
        replace(TINY, quantizer="fsq", levels=(8, 8))
    assert TokenizerConfig.from_dict(TINY.to_dict()) == TINY


def test_fingerprint_is_that_of_weights_and_settings_that_differ_from_the_defaults() -> None:
    torch.manual_seed(0)
    tokenizer = PoseTokenizer(TokenizerConfig(encoder_width=16, encoder_blocks=1, codebook_dim=4, codebook_size=16))
    values = {"encoder_width": 16, "encoder_blocks": 1, "codebook_dim": 4, "codebook_size": 16}
    assert tokenizer.fingerprint() == checkpoint.fingerprint(values, tokenizer.state_dict())
