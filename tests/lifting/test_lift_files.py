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


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(make_lifter(), tmp_path / "model")


@pytest.fixture
def token_model(tmp_path: Path) -> Path:
    return save(make_lifter("mixer"), tmp_path / "token_model")


def save(lifter: Lifter, folder: Path) -> Path:
    lifter.eval().save_pretrained(folder)
    return folder


def poses2d(skeleton: Skeleton = H36M17, count: int = COUNT) -> tuple[torch.Tensor, torch.Tensor]:
    """Joints in pixels, some of them not known."""
    if skeleton is H36M17:
        keypoints = make_pairs(count).keypoints2d
    else:
        keypoints = torch.rand(count, skeleton.num_keypoints, 2, generator=torch.Generator().manual_seed(0)) * 300
    visible = torch.ones(keypoints.shape[:2], dtype=torch.bool)
    visible[::2, 9] = False
    return torch.where(visible[..., None], keypoints, 0.0), visible


def write_npz(path: Path, skeleton: Skeleton = H36M17, named: bool = True, **changes) -> Path:
    keypoints, visible = poses2d(skeleton)
    arrays = {"keypoints": keypoints.numpy(), "visible": visible.numpy(), "image_ids": 10 + np.arange(COUNT)}
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
    assert main(["lift", str(source), "-o", str(out), "--model", str(model), *arguments]) == 0
    with np.load(out, allow_pickle=False) as arrays:
        return dict(arrays)


def fail(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """Return the one sentence of a refusal."""
    assert main(["lift", *map(str, arguments)]) == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith("pct: error: ")
    return error[-1]


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("write", [write_npz, write_json], ids=["npz", "json"])
def test_files_give_what_lift_gives(tmp_path: Path, model: Path, write, flip: bool) -> None:
    source = write(tmp_path / ("poses.npz" if write is write_npz else "poses.json"))
    result = lift(source, model, *(["--flip"] if flip else []))
    keypoints, visible = poses2d()
    expected = Lifter.from_pretrained(model).lift(keypoints, visible, flip=flip)
    np.testing.assert_allclose(result["keypoints"], expected.keypoints.numpy(), atol=1e-2)
    assert np.abs(result["keypoints"][:, 0]).max() == 0
    assert np.array_equal(result["observed"], visible.numpy())
    assert tuple(result["keypoint_names"]) == H36M17.keypoint_names
    first = 10 if write is write_npz else 0
    assert result["image_ids"].tolist() == list(range(first, first + COUNT))


def bridged(model: Path, keypoints: torch.Tensor, visible: torch.Tensor, skeleton: Skeleton) -> np.ndarray:
    """What the lifter makes of poses of another skeleton."""
    keypoints, visible = bridge_poses2d(keypoints, visible, skeleton, H36M17)
    return Lifter.from_pretrained(model).lift(keypoints, visible).keypoints.numpy()


@pytest.mark.parametrize("skeleton", [COCO17, MPII16])
def test_joints_of_other_skeletons_are_bridged(tmp_path: Path, model: Path, skeleton: Skeleton) -> None:
    result = lift(write_json(tmp_path / "poses.json", skeleton), model)
    expected = bridged(model, *poses2d(skeleton), skeleton)
    np.testing.assert_allclose(result["keypoints"], expected, atol=1e-2)


def test_batches_do_not_matter(tmp_path: Path, token_model: Path) -> None:
    source = write_npz(tmp_path / "poses.npz")
    whole, parts = lift(source, token_model), lift(source, token_model, "--force", "--batch-size", "4")
    assert set(whole) == set(parts)
    for name in whole:
        if whole[name].dtype.kind == "f":
            np.testing.assert_allclose(parts[name], whole[name], atol=1e-2, rtol=1e-3)
        else:
            assert np.array_equal(parts[name], whole[name]), name


def test_a_token_table_is_decoded_by_its_own_model_first(tmp_path: Path, model: Path) -> None:
    tokenizer = make_tokenizer(skeleton=COCO17)
    tokenizer.save_pretrained(tmp_path / "tokenizer2d")
    table = tmp_path / "tokens.parquet"
    encode_file(tokenizer, write_json(tmp_path / "poses.json", COCO17), table)
    result = lift(table, model, "--tokenizer", str(tmp_path / "tokenizer2d"))
    with TokenReader(table) as reader:
        tokens = reader.read()
    decoded = tokenizer.decode(torch.from_numpy(tokens.indices), torch.from_numpy(tokens.bbox))
    expected = bridged(model, decoded, torch.ones(decoded.shape[:2], dtype=torch.bool), COCO17)
    np.testing.assert_allclose(result["keypoints"], expected, atol=1e-2)
    assert np.array_equal(result["annotation_ids"], tokens.annotation_ids)


def test_tokens_go_to_the_npz_and_to_a_table_that_the_lifters_tokenizer_decodes(
    tmp_path: Path, token_model: Path
) -> None:
    table = tmp_path / "tokens3d.parquet"
    result = lift(write_npz(tmp_path / "poses.npz"), token_model, "--tokens", str(table))
    keypoints, visible = poses2d()
    lifter = Lifter.from_pretrained(token_model)
    expected = lifter.lift(keypoints, visible)
    assert expected.indices is not None
    assert expected.probs is not None
    assert np.array_equal(result["indices"], expected.indices.numpy())
    np.testing.assert_allclose(result["token_probs"], expected.probs.numpy(), atol=1e-5)
    with TokenReader(table) as reader:
        tokens = reader.read()
        assert lifter.tokenizer is not None
        assert reader.metadata.fingerprint == lifter.tokenizer.fingerprint()
    assert np.array_equal(tokens.indices, result["indices"])
    assert tokens.root is not None
    assert (tokens.root == 0).all()
    out = tmp_path / "decoded.npz"
    assert main(["decode", str(table), "-o", str(out), "--model", str(token_model / "tokenizer")]) == 0


def test_a_picture_is_drawn_where_asked_for(tmp_path: Path, model: Path) -> None:
    picture = tmp_path / "poses3d.png"
    lift(write_npz(tmp_path / "poses.npz"), model, "--draw", str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_screen_lifter_takes_sizes_from_the_file_or_the_command(tmp_path: Path) -> None:
    model = save(make_lifter(normalizer="screen"), tmp_path / "screen")
    keypoints, visible = poses2d()
    expected = Lifter.from_pretrained(model).lift(keypoints, visible, torch.tensor([1000.0, 800.0])).keypoints.numpy()
    from_file = lift(write_json(tmp_path / "poses.json"), model)
    np.testing.assert_allclose(from_file["keypoints"], expected, atol=1e-2)
    given = lift(write_npz(tmp_path / "poses.npz"), model, "--image-size", "1000x800", "--force")
    np.testing.assert_allclose(given["keypoints"], expected, atol=1e-2)


def test_a_screen_lifter_without_sizes_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save(make_lifter(normalizer="screen"), tmp_path / "screen")
    out = tmp_path / "out.npz"
    for source in (write_json(tmp_path / "poses.json", sizes=False), write_npz(tmp_path / "poses.npz")):
        error = fail(capsys, source, "-o", out, "--model", model)
        assert f"{source.name}: this lifter reads places on the screen, and no image size is known" in error
        assert "(--image-size 1920x1080)" in error
    assert not out.exists()


def test_poses_of_single_images_without_a_size_are_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save(make_lifter(normalizer="screen"), tmp_path / "screen")
    source = write_json(tmp_path / "poses.json")
    values = json.loads(source.read_text())
    del values["images"][2]["width"]
    source.write_text(json.dumps(values))
    assert lift(source, model)["image_ids"].tolist() == [0, 1, 3, 4, 5]
    assert "annotation 102: this lifter reads places on the screen" in capsys.readouterr().err


def test_shares_of_the_image_are_no_pixels(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keypoints = poses2d()[0].numpy() / 1000
    source = write_npz(tmp_path / "poses.npz", keypoints=keypoints)
    error = fail(capsys, source, "-o", tmp_path / "out.npz", "--model", model)
    assert "poses.npz: none of 6 poses is good; the first: row 0: the joints are shares of the image" in error


def test_bad_poses_are_reported_skipped_and_counted(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keypoints, visible = (value.numpy() for value in poses2d())
    visible[1] = False
    keypoints[3, 0] = np.nan
    result = lift(write_npz(tmp_path / "poses.npz", keypoints=keypoints, visible=visible), model)
    assert result["image_ids"].tolist() == [10, 12, 14, 15]
    error = capsys.readouterr().err
    assert "poses.npz: row 1: no visible joint" in error
    assert "lifted 4 poses" in error
    assert "skipped 2 bad ones (" in error


@pytest.mark.filterwarnings("default::UserWarning")
def test_coco_results_are_cocos_joints_unless_one_says_otherwise(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotated, results = write_json(tmp_path / "poses.json", COCO17), tmp_path / "results.json"
    persons = [{**person, "score": 0.5} for person in json.loads(annotated.read_text())["annotations"]]
    results.write_text(json.dumps(persons))
    options = ("--force", "--image-size", "1000x800")
    expected, found = (lift(source, model, *options)["keypoints"] for source in (annotated, results))
    np.testing.assert_array_equal(found, expected)
    assert "results.json: COCO results do not name their joints; taken for coco17" in capsys.readouterr().err
    other = lift(results, model, *options, "--skeleton", "h36m17")["keypoints"]
    assert not np.array_equal(other, expected)


def test_a_pose_that_loses_all_joints_on_the_way_is_skipped(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    visible = np.ones((COUNT, 17), bool)
    visible[2] = [name == "left_eye" for name in COCO17.keypoint_names]
    result = lift(write_npz(tmp_path / "poses.npz", COCO17, visible=visible), model)
    assert 12 not in result["image_ids"]
    assert "none of its known joints tells where a joint of h36m17 is" in capsys.readouterr().err


def test_joints_that_do_not_fit_are_named(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ("-o", tmp_path / "out.npz", "--model", model)
    unnamed = write_npz(tmp_path / "unnamed.npz", named=False)
    error = fail(capsys, unnamed, *out)
    assert "does not name its joints; say whose they are (--skeleton): h36m17, coco17, mpii16" in error
    error = fail(capsys, unnamed, *out, "--skeleton", "crowdpose14")
    assert "joints of skeleton crowdpose14; this lifter has those of h36m17" in error
    error = fail(capsys, write_npz(tmp_path / "named.npz"), *out, "--skeleton", "coco17")
    assert "the file's joints are those of h36m17, not of coco17" in error
    odd = replace(H36M17, name="odd", keypoint_names=tuple(f"joint_{i}" for i in range(17)), flip_pairs=())
    error = fail(capsys, write_json(tmp_path / "odd.json", odd), *out)
    assert "joint_0, joint_1" in error
    assert "the model's skeleton h36m17 has the 17 joints hip, " in error
    assert not (tmp_path / "out.npz").exists()
    assert main(["lift", str(unnamed), *map(str, out), "--skeleton", "h36m17"]) == 0


def test_nothing_is_overwritten_unasked(tmp_path: Path, token_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_npz(tmp_path / "poses.npz")
    names = {"-o": tmp_path / "out.npz", "--tokens": tmp_path / "tokens.parquet", "--draw": tmp_path / "poses.png"}
    for option, path in names.items():
        path.write_text("mine")
        others = {o: p.with_name(f"new_{p.name}") for o, p in names.items() if o != option}
        arguments = [a for pair in {**others, option: path}.items() for a in pair]
        assert path.name in fail(capsys, source, "--model", token_model, *arguments)
        assert path.read_text() == "mine"
        assert not any(p.exists() for p in others.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["poses.npz", "-o", "out.json", "--model", "model"], "out.json"),
        (["nowhere.npz", "-o", "out.npz", "--model", "model"], "nowhere.npz: no such file"),
        (["poses.npz", "-o", "out.npz", "--model", "nowhere"], "no model 'nowhere'"),
        (["poses.npz", "-o", "out.npz", "--model", "model", "--tokens", "t.parquet"], "the lifter gives coordinates"),
        (["poses.npz", "-o", "out.npz", "--model", "model", "--skeleton", "human"], "unknown skeleton 'human'"),
    ],
)
def test_mistakes_are_one_sentence(
    tmp_path: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    assert model.is_dir()
    write_npz(tmp_path / "poses.npz")
    monkeypatch.chdir(tmp_path)
    assert message in fail(capsys, *arguments)


def test_a_table_of_another_tokenizer_is_refused(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "tokens.parquet"
    encode_file(make_tokenizer(skeleton=COCO17), write_json(tmp_path / "poses.json", COCO17), table)
    assert "tokens of another model" in fail(capsys, table, "-o", tmp_path / "out.npz", "--model", model)


@pytest.mark.parametrize("size", ["1000", "0x5", "axb", "1x2x3"])
def test_an_odd_image_size_is_wrong_usage(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["lift", "a.npz", "-o", "b.npz", "--model", "m", "--image-size", size])
    assert end.value.code == 2
    assert "is not a width and height in pixels such as 1920x1080" in capsys.readouterr().err


def test_lifted_poses_are_whole_and_can_be_encoded_as_they_are(tmp_path: Path) -> None:
    keypoints, visible = poses2d()
    visible[:, 0] = False  # the hip, which 3D poses are relative to
    source = write_npz(tmp_path / "poses.npz", keypoints=keypoints.numpy(), visible=visible.numpy())
    lifted, tokens = tmp_path / "lifted.npz", tmp_path / "tokens.parquet"
    assert main(["lift", str(source), "-o", str(lifted)]) == 0
    assert main(["encode", str(lifted), "-o", str(tokens), "--model", "h36m17", "--strict"]) == 0
    with TokenReader(tokens) as reader:
        assert len(reader) == COUNT
