"""Config of a tokenizer's training run with image guidance: what gives the features, and the photos."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pct.photos.augment import PhotoAugmentConfig
from pct.training.photos.config import PhotoData, check_photo_data
from pct.training.tokenizer.config import DataSection, TokenizerRun, check_values, load_run
from pct.training.tokenizer.config3d import load_body_run
from pct.training.yaml_config import check, config_keys, load_config


@dataclass
class GuidanceSection:
    """Image features at the joints, and the photos that they are of.

    Attributes:
        model: Folder of a heatmap model (or classifier) whose backbone gives the features; it stays as it is. The
            crops have the size that it was trained with.
        data: Photos with poses, in place of the run's own ``data``.
        augment: Jitter and colours of the crops; of the run's own ``augment`` only the ``mask_*`` settings count.
        workers: Processes that read and crop photos ahead; 0 does so between the steps.
    """

    model: str = ""
    data: PhotoData = field(default_factory=PhotoData)
    augment: PhotoAugmentConfig = field(default_factory=PhotoAugmentConfig)
    workers: int = 2


@dataclass
class GuidedRun(TokenizerRun):
    """A training run of a tokenizer with image guidance. There is no report: it knows no photos.

    Attributes:
        guidance: Image features, and the photos.
    """

    out: str = "runs/tokenizer_guided"
    report: bool = False
    guidance: GuidanceSection = field(default_factory=GuidanceSection)


def load_tokenizer_run(path: str | Path, overrides: list[str]) -> TokenizerRun:
    """Read a tokenizer's YAML file and apply ``key=value`` overrides; by its sections also a GuidedRun or a BodyRun.

    Raises:
        ValueError: As :func:`pct.training.tokenizer.config.load_run`, and for settings that do not go with image
            guidance.
    """
    given = {item.split(".")[0] for item in overrides}
    sections = config_keys(path) | given
    if "bodies" in sections:
        return load_body_run(path, overrides)
    if "guidance" not in sections:
        return load_run(path, overrides)
    run = load_config(path, overrides, GuidedRun)
    check_values(run, Path(path))
    check_photo_data(path, run.guidance.data, "guidance.data")
    check(path, "guidance.workers", run.guidance.workers, run.guidance.workers >= 0, "at least 0")
    check(path, "guidance.model", repr(run.guidance.model), bool(run.guidance.model), "the folder of a heatmap model")
    own_data = run.data != DataSection(skeleton=run.data.skeleton)
    check(path, "data", run.data, not own_data, "left out with guidance: the poses come with guidance.data's photos")
    check(path, "space.kind", run.space.kind, run.space.kind == "crop2d", "crop2d with guidance")
    check(path, "report", run.report, not run.report, "false with guidance: the report knows no photos")
    layout = run.model.layout
    check(path, "model.layout", layout, layout == "parallel", "parallel with guidance: the others read joints alone")
    return run
