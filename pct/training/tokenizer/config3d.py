"""Config of a 3D tokenizer's training run: which bodies, and how they are turned and stretched."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pct.pose_space import PoseSpace
from pct.training.tokenizer.augment3d import BodyAugmentConfig
from pct.training.tokenizer.config import DataSection, TokenizerRun, check_values
from pct.training.yaml_config import check, load_config


@dataclass
class BodySection:
    """3D poses to train on.

    Attributes:
        mocap: Mocap file (``.npz``); empty trains on generated bodies alone.
        test_subjects: Subjects of whom all clips are kept for testing.
        test_share: Share of the clips of each other subject that is kept for testing.
        val_share: Share of their clips that is validated on.
        split_seed: Of the choice of clips.
        num_generated: Generated bodies beside the mocap; with an empty ``mocap`` all of them, a fiftieth to validate.
        mocap_repeats: How often each mocap frame stands in an epoch; each time it is turned and stretched anew.
        augment: Turns, tilts, mirror images, and lengths of bones; of the run's own ``augment`` only the ``mask_*``
            settings count.
    """

    mocap: str = ""
    test_subjects: tuple[str, ...] = ("cmu06", "cmu07")
    test_share: float = 0.2
    val_share: float = 0.1
    split_seed: int = 0
    num_generated: int = 100_000
    mocap_repeats: int = 1
    augment: BodyAugmentConfig = field(default_factory=BodyAugmentConfig)


@dataclass
class BodyRun(TokenizerRun):
    """A training run of a tokenizer of 3D poses.

    Attributes:
        bodies: What to train on, in place of the run's own ``data``.
    """

    out: str = "runs/tokenizer_bodies"
    space: PoseSpace = field(default_factory=lambda: PoseSpace(kind="root3d"))
    bodies: BodySection = field(default_factory=BodySection)


def load_body_run(path: str | Path, overrides: list[str]) -> BodyRun:
    """Read the YAML file of a 3D tokenizer and apply ``key=value`` overrides.

    Raises:
        ValueError: As :func:`pct.training.tokenizer.config.load_run`, and for settings that do not go with 3D poses.
    """
    run = load_config(path, overrides, BodyRun)
    check_values(run, Path(path))
    check(path, "space.kind", run.space.kind, run.space.kind == "root3d", "root3d where there is a section bodies")
    own_data = run.data != DataSection(skeleton=run.data.skeleton)
    check(path, "data", run.data, not own_data, "left out: the poses are those of the section bodies")
    check_bodies(run.bodies, path)
    return run


def check_bodies(bodies: BodySection, path: str | Path) -> None:
    """Check the bodies that a config names.

    Raises:
        ValueError: If a number is out of its range.
    """
    number, enough = bodies.num_generated, bool(bodies.mocap) or bodies.num_generated >= 100
    check(path, "bodies.num_generated", number, number >= 0, "at least 0")
    check(path, "bodies.num_generated", number, enough, "100 or more")
    check(path, "bodies.mocap_repeats", bodies.mocap_repeats, bodies.mocap_repeats >= 1, "at least 1")
    for name in ("test_share", "val_share"):
        share = getattr(bodies, name)
        check(path, f"bodies.{name}", share, 0 < share < 0.5, "between 0 and 0.5")
