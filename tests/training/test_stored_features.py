"""Sets of photos and stored features: filters, scenes, shares; heads train on features as they do on photos."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tiny_runs
import torch
from tiny_batches import make_batch
from tiny_photo_models import make_classifier

from pct.people.scene import GeneratedPersons
from pct.people.write import write_people
from pct.photos.classifier import PoseClassifier
from pct.skeleton import COCO17
from pct.training.batches import EpochOrder
from pct.training.photos.config import PhotoSet, TokenLoss
from pct.training.photos.data import Persons, open_sets
from pct.training.photos.steps import TokenStep
from pct.training.run_files import read_metrics


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets of photos; in the first every other photo is of the test part, and one scene spans both parts."""
    folder = tmp_path_factory.mktemp("data")
    for number, name in enumerate(("first", "second")):
        write_people(folder / name, GeneratedPersons(12, number + 1, image_size=64))
    path = folder / "first" / "annotations.json"
    content = json.loads(path.read_text())
    for number, image in enumerate(content["images"]):
        image["part"] = "test" if number % 2 else "train"
        image["group"] = "shared" if number in (0, 1) else f"scene {number}"
    path.write_text(json.dumps(content))
    return folder


def photo_set(folder: Path, name: str, **changes: object) -> PhotoSet:
    return replace(PhotoSet(str(folder / name / "annotations.json"), str(folder / name / "images")), **changes)


def photos_of(persons: Persons) -> set[int]:
    return {persons.source[index].image_id for index in range(len(persons.source))}


def test_only_photos_that_fit_are_taken_and_no_scene_spans_both_parts(data: Path) -> None:
    train, held = open_sets([photo_set(data, "first", where="part=train")], COCO17, 1, 0.0)
    images = json.loads((data / "first" / "annotations.json").read_text())["images"]
    allowed = {image["id"] for image in images if image["part"] == "train" and image["group"] != "shared"}
    assert held is None
    assert photos_of(train) <= allowed
    assert len(photos_of(train)) >= 4


def test_held_out_scenes_are_not_trained_on(data: Path) -> None:
    both = [photo_set(data, "first"), photo_set(data, "second")]
    (train, held), (whole, _), (again, _) = (open_sets(both, COCO17, 1, share) for share in (0.4, 0.0, 0.4))
    assert held is not None
    assert len(train.source) + len(held.source) == len(whole.source)
    assert len(again.source) == len(train.source)


def test_shares_are_those_of_the_sets_and_not_of_their_sizes(data: Path) -> None:
    sets = [photo_set(data, "first", where="part=train", weight=3.0), photo_set(data, "second")]
    train, _ = open_sets(sets, COCO17, 1, 0.0)
    alone = len(open_sets(sets[:1], COCO17, 1, 0.0)[0].source)
    assert train.weights is not None
    assert train.weights[:alone].sum() == pytest.approx(0.75)
    order = EpochOrder(len(train.source), 50, 0, train.weights)
    drawn = np.concatenate([order[step] for step in range(100)])
    assert (drawn < alone).mean() == pytest.approx(0.75, abs=0.06)


def test_a_set_may_take_one_category_only(data: Path) -> None:
    one, both = (open_sets([photo_set(data, "second", category=c)], COCO17, 1, 0.0)[0] for c in ("person", ""))
    assert len(one.source) == len(both.source)


def test_sets_that_do_not_fit_are_named(data: Path) -> None:
    second = photo_set(data, "second")
    for sets, message in (
        ([second, second], "is in another set too"),
        ([replace(second, category="cat")], "cat"),
        ([photo_set(data, "first", where="part=val")], "no photo has part=val; part is test, train"),
    ):
        with pytest.raises(ValueError, match=message):
            open_sets(sets, COCO17, 1, 0.0)


def test_known_features_give_what_the_photos_give() -> None:
    model, batch = make_classifier(), make_batch()
    step = TokenStep(model.tokenizer, TokenLoss())
    known = replace(batch, features=model.backbone(batch.images), pixels=torch.zeros_like(batch.pixels))
    torch.testing.assert_close(step(model, known)["loss"], step(model, batch)["loss"])


def test_a_head_trains_on_stored_features_which_are_kept_and_checked(
    write_config: Callable[..., Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = "".join(
        f"    - {{annotations: {data / name}/annotations.json, images: {data / name}/images, weight: {weight}}}\n"
        for name, weight in (("first", 2.0), ("second", 1.0))
    )
    stored = tmp_path / "features"
    features = f"freeze_backbone: true\nfeatures: {stored}\nfeature_copies: 2\n"
    config = write_config("classifier", f"{features}data:\n  val_share: 0.3\n  sets:\n{sets}")
    run = partial(tiny_runs.train, "classifier")
    (stored / f".results.{'0' * 16}").mkdir(parents=True)  # of a run that was killed
    assert run(config) == 0
    assert sorted(path.name for path in stored.iterdir()) == ["features.json", "features.npy", "labels.npz"]
    with np.load(stored / "labels.npz") as labels:
        copies = labels["copies"]
    # The first set has two thirds of the batches, and fewer persons.
    assert copies[0] > copies[-1] >= 1
    assert len(np.load(stored / "features.npy", mmap_mode="r")) == copies.sum()
    before = (stored / "features.npy").stat().st_mtime_ns
    assert np.load(stored / "features.npy", mmap_mode="r").dtype == np.float16
    assert run(config, "optim.lr=0.002", out="again") == 0
    assert (stored / "features.npy").stat().st_mtime_ns == before
    assert np.isfinite(read_metrics(config.parent / "run" / "metrics.jsonl")[-1]["val_oks"])
    assert PoseClassifier.from_pretrained(config.parent / "run" / "model").head is not None
    capsys.readouterr()
    about = json.loads((stored / "features.json").read_text())
    about["data"] |= {"mocap": "", "backgrounds": ""}  # settings of former versions
    (stored / "features.json").write_text(json.dumps(about))
    assert run(config, "optim.lr=0.002", out="former") == 0
    assert run(config, "augment.rotation=7", out="other") == 1
    assert "its features were made with augment" in capsys.readouterr().err
    assert run(config, f"features={config}", out="file") == 1
    assert f"{config} is no folder of stored features" in capsys.readouterr().err
    assert run(config, "freeze_backbone=false", out="moving") == 1
    assert "freeze_backbone is False; it must be true where features are stored" in capsys.readouterr().err
    assert run(config, "data.category=person", out="category") == 1
    assert "data.category is 'person'; it must be empty where data.sets are given; write it" in capsys.readouterr().err
    with np.load(stored / "labels.npz") as labels:
        arrays = dict(labels)
    np.savez(stored / "labels.npz", **{name: values for name, values in arrays.items() if name != "copies"})
    assert run(config, out="old") == 1
    assert f"{stored / 'labels.npz'} lacks copies: a former version stored it" in capsys.readouterr().err
