"""Prefixes, words with positions and search on the command line: what they write, say, and refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_bodies import write_bodies
from tiny_cli import expect_error, person, run, write_poses
from tiny_codec import cut_table, make_ordered, make_tokenizer, read, rewrite

from pct.cli import common
from pct.cli import main as cli
from pct.files.coco_writer import write_coco_json
from pct.pose_space import PoseSpace
from pct.skeleton import COCO17, H36M17

ORDERED, COARSE, PLAIN, BODIES = "ordered", "coarse", "plain", "bodies"


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A folder with tiny models: two of ordered tokens, one whose tokens are not ordered, one of 3D poses."""
    folder = tmp_path_factory.mktemp("models")
    make_ordered(skeleton=COCO17).save_pretrained(folder / ORDERED)
    make_ordered(skeleton=COCO17, layout="coarse_fine", num_tokens=34, coarse_width=8).save_pretrained(folder / COARSE)
    make_tokenizer(skeleton=COCO17).save_pretrained(folder / PLAIN)
    space = PoseSpace(kind="root3d")
    make_ordered(skeleton=H36M17, space=space).save_pretrained(folder / BODIES)
    return folder


@pytest.fixture
def work(here, models, capsys) -> Path:
    """The current folder, with 40 poses, their token table by the ordered model, and the models."""
    for model in models.iterdir():
        (here / model.name).symlink_to(model)
    write_poses(here / "poses.json", 40)
    assert run(capsys, "encode", "poses.json", "-o", "t.parquet", "--model", ORDERED)[0] == 0
    return here


def search(capsys, *argv: object) -> dict:
    status, out, error = run(capsys, "search", *argv, "--json")
    assert (status, error) == (0, "")
    return json.loads(out)


def test_a_prefix_goes_through_every_command(work, capsys) -> None:
    m = ("--model", ORDERED)
    assert run(capsys, "encode", "poses.json", "-o", "p.parquet", "--tokens", 3, *m)[0] == 0
    np.testing.assert_array_equal(read(work / "p.parquet").indices, read(work / "t.parquet").indices[:, :3])
    assert run(capsys, "decode", "p.parquet", "-o", "p.json", *m) == (0, "", "decoded 40 poses to p.json\n")
    assert run(capsys, "text", "t.parquet", "-o", "t.txt", "--tokens", 3)[0] == 0
    assert run(capsys, "text", "t.txt", "-o", "again.parquet", "--like", "t.parquet", *m)[0] == 0
    assert (work / "again.parquet").read_bytes() == (work / "p.parquet").read_bytes()
    values = json.loads(run(capsys, "info", "p.parquet", "--json")[1])
    assert (values["tokens_per_pose"], values["num_tokens"], values["shortest_prefix"]) == (3, 6, 1)


@pytest.mark.parametrize(
    ("model", "layout", "ordered", "shortest"),
    [(ORDERED, "residual", True, 1), (COARSE, "coarse_fine", True, 17), (PLAIN, "parallel", False, 4)],
)
def test_info_says_whether_tokens_are_ordered(work, capsys, model, layout, ordered, shortest) -> None:
    values = json.loads(run(capsys, "info", model, "--json")[1])
    assert (values["layout"], values["tokens_ordered"], values["shortest_prefix"]) == (layout, ordered, shortest)
    lines = [line.split() for line in run(capsys, "info", model)[1].splitlines()]
    assert ["tokens", "ordered", "yes" if ordered else "no"] in lines


def test_words_with_positions_are_written_read_and_listed(work, capsys) -> None:
    assert run(capsys, "text", "t.parquet", "-o", "t.txt", "--positions")[0] == 0
    words = run(capsys, "vocab", "--positions", "--model", ORDERED)[1].splitlines()
    assert len(words) == 6 * 32 + 2
    line = (work / "t.txt").read_text().splitlines()[0]
    assert set(line.replace(">", "> ").split()) <= set(words)
    run(capsys, "text", "t.txt", "-o", "again.parquet", "--like", "t.parquet", "--model", ORDERED)
    assert (work / "again.parquet").read_bytes() == (work / "t.parquet").read_bytes()


def test_prefixes_that_do_not_decode_are_one_sentence(work, capsys) -> None:
    encode = ("encode", "poses.json", "-o", "p.parquet", "--tokens")
    expect_error(capsys, (*encode, 3, "--model", PLAIN), "3 tokens a pose are asked for", "they are not ordered")
    expect_error(capsys, (*encode, 5, "--model", COARSE), "5 tokens a pose are asked for", "has 17 to 34")
    expect_error(capsys, (*encode, 7, "--model", ORDERED), "7 tokens a pose are asked for", "has 1 to 6")
    assert not (work / "p.parquet").exists()


def test_a_table_of_version_0_1_says_who_reads_it(work, capsys) -> None:
    """As the shipped model of pct 0.1 wrote it: no prefix in its metadata, another fingerprint."""
    old = {"format_version": 1, "prefix": ..., "shortest_prefix": ...}
    rewrite(work / "t.parquet", work / "old.parquet", **old, model="coco17", fingerprint="ced99d580220bb96")
    assert json.loads(run(capsys, "info", "old.parquet", "--json")[1])["format_version"] == 1
    parts = ("coco17 of pct 0.1", "ced99d580220bb96", "read it with pct 0.1, or encode the poses anew")
    for argv in (("decode", "old.parquet", "-o", "o.json"), ("search", "old.parquet", "--like", 3)):
        expect_error(capsys, (*argv, "--model", ORDERED), *parts)


@pytest.mark.parametrize("by", ["ids", "vectors"])
def test_search_finds_the_copies_of_a_pose_and_not_itself(work, capsys, by) -> None:
    column = pq.read_table(work / "t.parquet")["tokens"]
    tokens = column.to_pylist()
    for row in (30, 12, 39):
        tokens[row] = tokens[5]
    rewrite(work / "t.parquet", work / "copies.parquet", {"tokens": pa.array(tokens, column.type)})
    argv = ("copies.parquet", "--like", 5, "-n", 3, "--by", by, "--model", ORDERED)
    found = search(capsys, *argv)
    assert found["query"] == {"row": 5, "image_id": 2, "annotation_id": 5}
    assert (found["by"], found["tokens_compared"]) == (by, 6)
    assert [f["row"] for f in found["found"]] == [12, 30, 39]
    assert {f["score"] for f in found["found"]} == {6 if by == "ids" else 0}
    assert found["found"][0] == {**found["found"][0], "image_id": 6, "annotation_id": 12}
    lines = run(capsys, "search", *argv)[1].splitlines()
    assert len(lines) == 4
    assert lines[0].split()[:3] == ["row", "image", "annotation"]
    assert lines[1].split() == ["12", "6", "12", "6" if by == "ids" else "0"]


def test_a_pose_of_a_file_is_found_as_it_would_be_by_its_id(work, capsys) -> None:
    m = ("--model", ORDERED, "-n", 100)
    (work / "one.json").write_text((work / "poses.json").read_text())
    write_coco_json(work / "one.json", COCO17, [], [person(7)], force=True)
    run(capsys, "encode", "one.json", "-o", "one.parquet", "--model", ORDERED)
    by_id = search(capsys, "t.parquet", "--like", 7, *m)
    assert len(by_id["found"]) == 39
    for like in ("one.json", "one.parquet"):
        assert search(capsys, "t.parquet", "--like", like, *m) == by_id
    # The same pose under another id is a pose like any other.
    write_coco_json(work / "one.json", COCO17, [], [person(7, id=1)], force=True)
    found = search(capsys, "t.parquet", "--like", "one.json", *m)
    assert found["query"]["row"] is None
    assert (found["found"][0]["row"], found["found"][0]["score"]) == (7, 0)
    assert len(found["found"]) == 40


def test_search_over_prefixes_compares_what_both_have(work, capsys) -> None:
    m = ("--model", ORDERED)
    run(capsys, "encode", "poses.json", "-o", "p.parquet", "--tokens", 2, *m)
    found = search(capsys, "p.parquet", "--like", 3, *m)
    assert found["tokens_compared"] == 2
    status, out, note = run(capsys, "search", "p.parquet", "--like", "t.parquet", "--json", *m)
    assert (status, json.loads(out)["query"]["row"]) == (0, 0)
    assert note == "pct: note: t.parquet: more than one pose; the first, annotation 0, is taken\n"
    status, out, _ = run(capsys, "search", "t.parquet", "--like", "p.parquet", "--json", *m)
    assert (status, json.loads(out)["tokens_compared"]) == (0, 2)


def test_choices_are_noted(work, capsys) -> None:
    ids = pa.array([9, 3, 4, 3, *range(100, 136)])
    rewrite(work / "t.parquet", work / "same.parquet", {"annotation_id": ids})
    m = ("--model", ORDERED)
    status, out, note = run(capsys, "search", "same.parquet", "--like", 3, "--json", *m)
    assert (status, json.loads(out)["query"]["row"]) == (0, 1)
    assert note == "pct: note: same.parquet: 2 rows have the annotation id 3; the first, 1, is taken\n"
    note = run(capsys, "search", "t.parquet", "--like", "poses.json", *m)[2]
    assert note == "pct: note: poses.json: more than one pose; the first, annotation 0, is taken\n"


def test_the_poses_found_are_drawn(work, capsys) -> None:
    cv2 = pytest.importorskip("cv2")
    pytest.importorskip("matplotlib")
    write_bodies(work / "bodies.npz", 12)
    run(capsys, "encode", "bodies.npz", "-o", "b.parquet", "--model", BODIES, "--tokens", 4)
    for model, *argv in (
        (ORDERED, "t.parquet", "--like", 3),
        (BODIES, "b.parquet", "--like", "bodies.npz", "--by", "ids"),
    ):
        argv = ("search", *argv, "-n", 2, "-o", f"{model}.png", "--model", model)
        assert run(capsys, *argv)[0] == 0
        assert cv2.imread(str(work / f"{model}.png")).std() > 1
        expect_error(capsys, argv, f"{model}.png exists; give --force")


def test_what_cannot_be_searched_is_one_sentence(work, capsys) -> None:
    run(capsys, "encode", "poses.json", "-o", "other.parquet", "--model", PLAIN)
    write_bodies(work / "bodies.npz", 3)
    np.savez(work / "few.npz", keypoints=np.ones((1, 5, 2)))
    np.savez(work / "deep.npz", keypoints=np.ones((1, 17, 3)))
    write_coco_json(work / "bad.json", COCO17, [], [person(1, bbox=[1, 2, 0, 4])])
    write_coco_json(work / "none.json", COCO17, [], [person(1, iscrowd=1)])
    pq.write_table(pa.table({"a": [1]}), work / "data.parquet")
    pq.write_table(pq.read_table(work / "t.parquet").slice(0, 0), work / "empty.parquet")
    m = ("--model", ORDERED)
    for table, like, *parts in (
        ("t.parquet", 77, "t.parquet: no row of this table has the annotation id 77"),
        ("t.parquet", -3, "annotation id -3"),
        ("t.parquet", "9" * 40, "annotation id 999"),
        ("t.parquet", "walking", "'walking' is neither an annotation id", ".json, .npz, .parquet"),
        ("t.parquet", "no.json", "no.json: no such file"),
        ("t.parquet", "poses.txt", "suffix is '.txt'"),
        ("t.parquet", "other.parquet", "other.parquet: tokens of another model", PLAIN),
        ("other.parquet", 3, "other.parquet: tokens of another model", PLAIN),
        ("t.parquet", "few.npz", "few.npz", "17"),
        ("t.parquet", "bodies.npz", "bodies.npz", "coco17"),
        ("t.parquet", "deep.npz", "deep.npz", "(N, 17, 2)"),
        ("t.parquet", "bad.json", "bad.json: no good pose to search for; the first is bad: annotation 1: bbox is"),
        ("t.parquet", "none.json", "none.json: no good pose to search for; there is none of coco17"),
        ("t.parquet", "data.parquet", "data.parquet", "keypoints"),
        ("data.parquet", 3, "this Parquet file is no token table"),
        ("empty.parquet", 3, "empty.parquet: no poses"),
        ("no.parquet", 3, "no.parquet: no such file"),
    ):
        expect_error(capsys, ("search", table, "--like", like, *m), *parts)


def test_a_picture_is_checked_before_a_model_is_loaded(work, capsys, monkeypatch) -> None:
    monkeypatch.setattr(common, "load_tokenizer", lambda args: pytest.fail("a model was loaded"))
    for out, part in (("p.jpg", "it must be one of .png"), ("no/p.png", "output folder no does not exist")):
        expect_error(capsys, ("search", "t.parquet", "--like", 3, "-o", out), part)


def test_a_table_of_too_short_prefixes_is_searched_but_not_drawn(work, capsys) -> None:
    run(capsys, "encode", "poses.json", "-o", "c.parquet", "--model", COARSE)
    cut_table(work / "c.parquet", 3)
    argv = ("c.parquet", "--like", 3, "--model", COARSE)
    assert search(capsys, *argv)["tokens_compared"] == 3
    expect_error(capsys, ("search", *argv, "-o", "c.png"), "indices have 3 tokens a pose", "17 to 34")
    expect_error(capsys, ("decode", "c.parquet", "-o", "c.json", "--model", COARSE), "first 3 of 34", "at least 17")
    assert not (work / "c.png").exists()


@pytest.mark.parametrize(
    ("options", "word"),
    [(("--like", "3", "--by", "looks"), "looks"), (("--like", "3", "-n", "0"), "0"), ((), "--like")],
)
def test_wrong_options_of_search_are_wrong_usage(capsys, options, word) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["search", "t.parquet", *options])
    assert stop.value.code == 2
    assert word in capsys.readouterr().err
