"""pct lift and lift_file: poses of every kind of file come out as lift gives them; bad input is named and counted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_codec import make_tokenizer
from tiny_lifter import make_lifter, make_pairs

from pct.cli.main import main
from pct.lifting.lifter import Lifter
from pct.lifting.pose2d_bridge import bridge_poses2d
from pct.skeleton import COCO17, H36M17, MPII16, Skeleton
from pct.tokens.codec import encode_file
from pct.tokens.table import TokenReader

COUNT = 6
Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A saved lifter with coordinates; of another kind where a test asks for it."""
    kind = getattr(request, "param", "")
    lifter = make_lifter(normalizer="screen") if kind == "screen" else make_lifter(kind)
    lifter.eval().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


with_tokens = pytest.mark.parametrize("model", ["mixer"], indirect=True)
on_screen = pytest.mark.parametrize("model", ["screen"], indirect=True)


def poses2d(skeleton: Skeleton = H36M17) -> tuple[torch.Tensor, torch.Tensor]:
    """Joints in pixels, some of them not known."""
    keypoints = torch.rand(COUNT, skeleton.num_keypoints, 2, generator=torch.Generator().manual_seed(0)) * 300
    keypoints = make_pairs(COUNT).keypoints2d if skeleton is H36M17 else keypoints
    visible = torch.ones(keypoints.shape[:2], dtype=torch.bool)
    visible[::2, 9] = False
    return torch.where(visible[..., None], keypoints, 0.0), visible


def write_npz(path: Path, skeleton: Skeleton = H36M17, named: bool = True, **changes) -> Path:
    keypoints, visible = poses2d(skeleton)
    arrays = {"keypoints": keypoints.numpy(), "visible": visible.numpy(), "image_ids": np.arange(COUNT)}
    arrays |= {"keypoint_names": np.array(skeleton.keypoint_names)} if named else {}
    np.savez(path, **{**arrays, **changes})
    return path


def write_json(path: Path, skeleton: Skeleton = H36M17, sizes: bool = True) -> Path:
    keypoints, visible = poses2d(skeleton)
    triplets = torch.cat([keypoints.double(), 2.0 * visible[..., None]], dim=-1).flatten(1).tolist()
    annotations = [
        {"id": 100 + i, "image_id": i, "category_id": 1, "bbox": [0, 0, 1000, 1000], "keypoints": triplet}
        for i, triplet in enumerate(triplets)
    ]
    size = {"width": 1000, "height": 800} if sizes else {}
    category = {"id": 1, "name": "person", "keypoints": list(skeleton.keypoint_names)}
    images = [{"id": i, **size} for i in range(COUNT)]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": [category]}))
    return path


def lift(source: Path, model: Path, *arguments: str) -> dict[str, np.ndarray]:
    out = source.with_name("poses3d.npz")
    assert main(["lift", str(source), "-o", str(out), "--model", str(model), "--force", *arguments]) == 0
    with np.load(out, allow_pickle=False) as arrays:
        return dict(arrays)


def fail(capsys: Capsys, *arguments: str | Path) -> str:
    """Return the one sentence of a refusal."""
    assert main(["lift", *map(str, arguments)]) == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith("pct: error: ")
    return error[-1]


def expect(model: Path, keypoints: torch.Tensor, visible: torch.Tensor, skeleton: Skeleton = H36M17, **how):
    """What the lifter makes of poses."""
    return Lifter.from_pretrained(model).lift(*bridge_poses2d(keypoints, visible, skeleton, H36M17), **how)


@pytest.mark.parametrize("skeleton", [H36M17, COCO17, MPII16], ids=lambda s: s.name)
@pytest.mark.parametrize("write", [write_npz, write_json])
def test_files_give_what_lift_gives_also_of_bridged_joints(tmp_path: Path, model: Path, skeleton, write) -> None:
    source = write(tmp_path / f"poses.{write.__name__[6:]}", skeleton)
    for options, flip in (((), False), (("--flip", "--batch-size", "4"), True)):
        result = lift(source, model, *options)
        expected = expect(model, *poses2d(skeleton), skeleton, flip=flip).keypoints.numpy()
        np.testing.assert_allclose(result["keypoints"], expected, atol=1e-2)
        assert np.abs(result["keypoints"][:, 0]).max() == 0
        assert np.array_equal(result["observed"], bridge_poses2d(*poses2d(skeleton), skeleton, H36M17)[1].numpy())
        assert tuple(result["keypoint_names"]) == H36M17.keypoint_names
        assert result["image_ids"].tolist() == list(range(COUNT))


def test_a_token_table_is_decoded_by_its_own_model_first(tmp_path: Path, model: Path, capsys: Capsys) -> None:
    tokenizer = make_tokenizer(skeleton=COCO17)
    tokenizer.save_pretrained(tmp_path / "tokenizer2d")
    table = tmp_path / "tokens.parquet"
    encode_file(tokenizer, write_json(tmp_path / "poses.json", COCO17), table)
    assert "tokens of another model" in fail(capsys, table, "-o", tmp_path / "out.npz", "--model", model)
    result = lift(table, model, "--tokenizer", str(tmp_path / "tokenizer2d"))
    with TokenReader(table) as reader:
        tokens = reader.read()
    decoded = tokenizer.decode(torch.from_numpy(tokens.indices), torch.from_numpy(tokens.bbox))
    expected = expect(model, decoded, torch.ones(decoded.shape[:2], dtype=torch.bool), COCO17).keypoints
    np.testing.assert_allclose(result["keypoints"], expected, atol=1e-2)
    assert np.array_equal(result["annotation_ids"], tokens.annotation_ids)


@with_tokens
def test_tokens_go_to_the_npz_and_to_a_table_that_the_lifters_tokenizer_decodes(tmp_path: Path, model: Path) -> None:
    table, picture = tmp_path / "tokens3d.parquet", tmp_path / "poses3d.png"
    source = write_npz(tmp_path / "poses.npz")
    result = lift(source, model, "--tokens", str(table), "--draw", str(picture), "--batch-size", "4")
    expected = expect(model, *poses2d())
    assert np.array_equal(result["indices"], expected.indices.numpy())
    np.testing.assert_allclose(result["token_probs"], expected.probs.numpy(), atol=1e-5)
    with TokenReader(table) as reader:
        tokens = reader.read()
        assert reader.metadata.fingerprint == Lifter.from_pretrained(model).tokenizer.fingerprint()
    assert np.array_equal(tokens.indices, result["indices"])
    assert (tokens.reference == 0).all()
    out = tmp_path / "decoded.npz"
    assert main(["decode", str(table), "-o", str(out), "--model", str(model / "tokenizer")]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


@on_screen
def test_a_screen_lifter_takes_sizes_from_the_file_or_the_command(tmp_path: Path, model: Path, capsys: Capsys) -> None:
    expected = expect(model, *poses2d(), image_size=torch.tensor([1000.0, 800.0])).keypoints.numpy()
    source, plain = write_json(tmp_path / "poses.json"), write_npz(tmp_path / "poses.npz")
    for result in (lift(source, model), lift(plain, model, "--image-size", "1000x800")):
        np.testing.assert_allclose(result["keypoints"], expected, atol=1e-2)
    for unknown in (plain, write_json(tmp_path / "unsized.json", sizes=False)):
        error = fail(capsys, unknown, "-o", tmp_path / "out.npz", "--model", model)
        assert f"{unknown.name}: this lifter reads places on the screen, and no image size is known" in error
        assert "(--image-size 1920x1080)" in error
    assert not (tmp_path / "out.npz").exists()
    values = json.loads(source.read_text())
    del values["images"][2]["width"]
    source.write_text(json.dumps(values))
    assert lift(source, model)["image_ids"].tolist() == [0, 1, 3, 4, 5]
    assert "annotation 102: this lifter reads places on the screen" in capsys.readouterr().err


def test_shares_of_the_image_are_no_pixels(tmp_path: Path, model: Path, capsys: Capsys) -> None:
    source = write_npz(tmp_path / "poses.npz", keypoints=poses2d()[0].numpy() / 1000)
    error = fail(capsys, source, "-o", tmp_path / "out.npz", "--model", model)
    assert "poses.npz: none of 6 poses is good; the first: row 0: the joints are shares of the image" in error


def test_bad_poses_are_reported_skipped_and_counted(tmp_path: Path, model: Path, capsys: Capsys) -> None:
    keypoints, visible = (value.numpy() for value in poses2d(COCO17))
    visible[1], keypoints[3, 0] = False, np.nan
    visible[4] = [name == "left_eye" for name in COCO17.keypoint_names]  # no joint of which is left on the way
    result = lift(write_npz(tmp_path / "poses.npz", COCO17, keypoints=keypoints, visible=visible), model)
    assert result["image_ids"].tolist() == [0, 2, 5]
    error = capsys.readouterr().err
    for sentence in (
        "poses.npz: row 1: no visible joint",
        "none of its known joints tells where a joint of h36m17 is",
        "lifted 3 poses",
        "skipped 3 bad ones (",
    ):
        assert sentence in error


@pytest.mark.filterwarnings("default::UserWarning")
def test_coco_results_are_cocos_joints_unless_one_says_otherwise(tmp_path: Path, model: Path, capsys: Capsys) -> None:
    annotated, results = write_json(tmp_path / "poses.json", COCO17), tmp_path / "results.json"
    persons = [{**person, "score": 0.5} for person in json.loads(annotated.read_text())["annotations"]]
    results.write_text(json.dumps(persons))
    expected, found = (lift(source, model)["keypoints"] for source in (annotated, results))
    np.testing.assert_array_equal(found, expected)
    assert "results.json: COCO results do not name their joints; taken for coco17" in capsys.readouterr().err
    assert not np.array_equal(lift(results, model, "--skeleton", "h36m17")["keypoints"], expected)


def test_joints_that_do_not_fit_are_named(tmp_path: Path, model: Path, capsys: Capsys) -> None:
    out = ("-o", tmp_path / "out.npz", "--model", model)
    unnamed, named = write_npz(tmp_path / "unnamed.npz", named=False), write_npz(tmp_path / "named.npz")
    odd = replace(H36M17, name="odd", keypoint_names=tuple(f"joint_{i}" for i in range(17)), flip_pairs=())
    for source, skeleton, message in (
        (unnamed, "", "does not name its joints; say whose they are (--skeleton): h36m17, coco17, mpii16"),
        (unnamed, "crowdpose14", "joints of skeleton crowdpose14; this lifter has those of h36m17"),
        (unnamed, "human", "unknown skeleton 'human'"),
        (named, "coco17", "the file's joints are those of h36m17, not of coco17"),
        (write_json(tmp_path / "odd.json", odd), "", "the model's skeleton h36m17 has the 17 joints hip, "),
    ):
        assert message in fail(capsys, source, *out, *(["--skeleton", skeleton] if skeleton else []))
    assert not (tmp_path / "out.npz").exists()
    assert main(["lift", str(unnamed), *map(str, out), "--skeleton", "h36m17"]) == 0


@with_tokens
def test_nothing_is_overwritten_unasked(tmp_path: Path, model: Path, capsys: Capsys) -> None:
    source = write_npz(tmp_path / "poses.npz")
    names = {"-o": tmp_path / "out.npz", "--tokens": tmp_path / "tokens.parquet", "--draw": tmp_path / "poses.png"}
    for option, path in names.items():
        path.write_text("mine")
        others = {o: p.with_name(f"new_{p.name}") for o, p in names.items() if o != option}
        arguments = [a for pair in {**others, option: path}.items() for a in pair]
        assert path.name in fail(capsys, source, "--model", model, *arguments)
        assert path.read_text() == "mine"
        assert not any(p.exists() for p in others.values())


def test_mistakes_are_one_sentence(tmp_path: Path, model: Path, capsys: Capsys, monkeypatch) -> None:
    write_npz(tmp_path / "poses.npz")
    monkeypatch.chdir(tmp_path)
    for source, out, name, more, message in (
        ("poses.npz", "out.json", "model", [], "out.json"),
        ("nowhere.npz", "out.npz", "model", [], "nowhere.npz: no such file"),
        ("poses.npz", "out.npz", "nowhere", [], "no model 'nowhere'"),
        ("poses.npz", "out.npz", "model", ["--tokens", "t.parquet"], "the lifter gives coordinates"),
    ):
        assert message in fail(capsys, source, "-o", out, "--model", name, *more)
    for size in ("1000", "0x5", "axb", "1x2x3"):
        with pytest.raises(SystemExit) as end:
            main(["lift", "a.npz", "-o", "b.npz", "--model", "m", "--image-size", size])
        assert end.value.code == 2
        assert "is not a width and height in pixels such as 1920x1080" in capsys.readouterr().err


def test_lifted_poses_are_whole_and_can_be_encoded_as_they_are(tmp_path: Path) -> None:
    visible = poses2d()[1].numpy()
    visible[:, 0] = False  # the hip, which 3D poses are relative to
    source, tokens = write_npz(tmp_path / "poses.npz", visible=visible), tmp_path / "tokens.parquet"
    lift(source, Path("lifter"))
    lifted = source.with_name("poses3d.npz")
    assert main(["encode", str(lifted), "-o", str(tokens), "--model", "h36m17", "--strict"]) == 0
    with TokenReader(tokens) as reader:
        assert len(reader) == COUNT
