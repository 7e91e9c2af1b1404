"""The report engine: sections of sentences, tables and figures become one page, a JSON file and pictures."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from pct.drawing.poses2d import PosePanel, encode_png, pose_gallery
from pct.drawing.poses3d import pose_gallery_3d
from pct.files.output import OutputError, open_atomically, write_atomically
from pct.skeleton import Skeleton

if TYPE_CHECKING:
    from pct.evaluation.metrics import CocoAP

_NUMBERS, _PAGE, _PICTURES = "metrics.json", "index.html", "pictures"
# What a table of COCO's AP shows, by key.
AP_NAMES = {
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "ap_medium": "AP medium",
    "ap_large": "AP large",
    "ar": "AR",
    "ar50": "AR50",
    "ar75": "AR75",
}
# What a table of 3D errors shows, by key, and what that means.
SPACE_NAMES = {
    "mpjpe": "MPJPE",
    "median": "median",
    "p90": "90 % below",
    "p_mpjpe": "P-MPJPE",
    "n_mpjpe": "N-MPJPE",
    "pck": "PCK",
    "auc": "AUC",
}
POSE_LEGEND = (
    "The true pose is the broad grey one; the model's is drawn over it, the person's left side in orange and the right "
    "side in blue. Joints that the model was not given are hollow."
)
_VIEWS = "Each pose is seen from the camera and from its right, over a floor with squares of half a metre."
SPACE_WORDS = (
    "Joints of each pose, true or found, are taken from its own root, and the axes are the camera's. MPJPE is the mean "
    "distance of all joints, the root included; P-MPJPE after the best rotation, shift and scale of each pose, N-MPJPE "
    "after the best scale. PCK counts joints nearer than 150 mm, AUC is its mean from 0 to 150 mm."
)


@dataclass(frozen=True)
class Figure:
    """A picture with its caption.

    Attributes:
        png: The bytes of a PNG file.
        caption: What it shows, in full sentences.
        name: Of its file, without suffix.
    """

    kind: ClassVar[str] = "figure"
    png: bytes
    caption: str
    name: str = ""

    @classmethod
    def of(cls, image: np.ndarray, caption: str, name: str = "") -> Figure:
        """Encode an RGB picture (H, W, 3), uint8."""
        return cls(encode_png(image), caption, name)

    @property
    def source(self) -> str:
        """The picture as an address that holds all of it."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header.

    Attributes:
        header: One cell a column.
        rows: The cells, as they are to be read.
        highlight: Column that is set off.
        caption: What the rows are, where the sentence before does not say it.
    """

    kind: ClassVar[str] = "table"
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    highlight: int | None = None
    caption: str = ""


# A sentence, or several: plain text, in which `backticks` set off names.
Block = str | Table | Figure


@dataclass(frozen=True)
class Section:
    """Blocks under a heading."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Report:
    """All that a report says.

    Attributes:
        title: Of the page.
        cards: Numbers to see first, each with what it is.
        sections: The rest of the page.
        numbers: Everything measured, as plain values for the JSON file; ``provenance`` is what
            :func:`~pct.evaluation.provenance.make_provenance` gives.
        measured: On what, in words: how many poses of what.
        settings: How, in words, where that is a choice.
        models: What each model is, in a sentence, by its name; empty where there is one, which the provenance names.
    """

    title: str
    cards: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    numbers: Mapping[str, Any] = field(repr=False)
    measured: str
    settings: str = ""
    models: Mapping[str, str] = field(default_factory=dict)

    @property
    def lead(self) -> str:
        """What was measured on what, in a sentence."""
        about = self.numbers["provenance"]
        return f"{self.measured} of `{about['data']}`, {self.settings and self.settings + ', '}{about['date'][:10]}."

    @property
    def provenance(self) -> dict[str, str]:
        """Data, models, command, machine and date by name; empty ones are left out of the page."""
        about = self.numbers["provenance"]
        return {
            "Data": f"{about['data']}: {self.measured}",
            "Baselines fitted to": about["baseline_data"],
            **(self.models or {"Model": f"fingerprint {about['fingerprint']}; {about['model']}"}),
            "Command": about["command"],
            "Hardware": about["hardware"],
            "Software": about["software"],
            "Date": f"{about['date']}; the evaluation took {about['seconds']:g} seconds",
            "Seed": str(about["seed"]),
        }

    @property
    def figures(self) -> dict[str, Figure]:
        """The pictures by name.

        Raises:
            ValueError: If two have one name, or one has none.
        """
        found: dict[str, Figure] = {}
        for section in self.sections:
            for figure in (block for block in section.blocks if isinstance(block, Figure)):
                if not figure.name or figure.name in found:
                    raise ValueError(f"figure {figure.name!r} of section {section.title!r} needs a name of its own")
                found[figure.name] = figure
        return found


def render_report(report: Report) -> str:
    """Return the page of a report: one HTML file, with its pictures and style built in, readable without JavaScript."""
    environment = Environment(
        loader=PackageLoader("pct", "evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(report=report)


def write_report(report: Report, out_dir: str | Path, force: bool = False) -> Path:
    """Write ``metrics.json``, the pictures as PNG files under ``pictures``, and ``index.html`` with them built in.

    Args:
        report: What to write.
        out_dir: Folder, made if it does not exist.
        force: Whether an earlier report there may be replaced.

    Returns:
        The page's path.

    Raises:
        FileExistsError: If the folder holds a report and ``force`` is not set.
        OutputError: If ``out_dir`` is a file.
    """
    folder = check_report_folder(out_dir, force)
    page = render_report(report).encode()
    (folder / _PICTURES).mkdir(parents=True, exist_ok=True)
    files = {f"{_PICTURES}/{name}.png": figure.png for name, figure in report.figures.items()}
    files[_NUMBERS] = (json.dumps(report.numbers, indent=2, allow_nan=False) + "\n").encode()
    # The page is written last, so it is there only if the report is whole.
    for name, content in (files | {_PAGE: page}).items():
        with open_atomically(folder / name, force=force or name.startswith(_PICTURES)) as file:
            file.write(content)
    return folder / _PAGE


def check_report_folder(out_dir: str | Path, force: bool = False) -> Path:
    """Check, before any work, that a report can be written to a folder.

    Raises:
        FileExistsError: If it holds a report and ``force`` is not set.
        OutputError: If it is a file.
    """
    folder = Path(out_dir)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"output {folder} is a file; the report is a folder")
    for name in (_NUMBERS, _PAGE):
        if (folder / name).exists() and not force:
            raise FileExistsError(f"{folder} already holds {name}; give --force (force=True) to replace the report")
    return folder


def render_markdown(blocks: Sequence[Block], folder: Path, prefix: str = "") -> str:
    """Return blocks of a report as Markdown; pictures are written into a folder, ``prefix`` before their names."""
    parts = []
    for block in blocks:
        if isinstance(block, Figure):
            name = f"{prefix}{block.name}.png"
            write_atomically(folder / name, block.png)
            parts.append(f"![{block.caption}]({name})")
        elif isinstance(block, Table):
            rows = [block.header, ["---", *["---:"] * (len(block.header) - 1)], *block.rows]
            caption = f"**{block.caption}**\n\n" if block.caption else ""
            parts.append(caption + "\n".join("| " + " | ".join(cells) + " |" for cells in rows))
        else:
            parts.append(block)
    return "\n\n".join(parts)


def ap_cells(coco: CocoAP) -> list[str]:
    """Return the cells of a table under ``AP_NAMES``."""
    return [format_percent(coco[key]) for key in AP_NAMES]  # type: ignore[literal-required]


def space_cells(scores: Mapping[str, float]) -> list[str]:
    """Return the cells of a table under ``SPACE_NAMES``, from :func:`pct.evaluation.metrics3d.summarise_3d`."""
    shares = ("pck", "auc")
    return [format_percent(scores[key]) if key in shares else f"{scores[key]:.1f} mm" for key in SPACE_NAMES]


def error_cells(error: Mapping[str, float | None], digits: int = 2) -> list[str]:
    """Return mean, median and what 90 % stay below, from :func:`pct.evaluation.metrics.summarise`."""
    return [format_number(error[key], digits) for key in ("mean", "median", "p90")]


def joint_table(joints: Sequence[Mapping[str, Any]], unit: str, caption: str = "") -> Table:
    """Return the errors of each joint, from :func:`pct.evaluation.metrics.joint_errors`."""
    rows = [
        [joint["name"].replace("_", " "), f"{joint['error']['count']:,}", *error_cells(joint["error"])]
        for joint in joints
    ]
    return Table(["joint", "labelled", f"mean {unit}", f"median {unit}", "90 % below"], rows, caption=caption)


def group_table(what: str, errors: Mapping[str, float]) -> Table:
    """Return mean errors by name, from :func:`pct.evaluation.metrics3d.per_action_mean`."""
    return Table([what, "MPJPE mm"], [[name, format_number(error, 1)] for name, error in errors.items()])


def pose_figure(
    panels: Sequence[PosePanel], skeleton: Skeleton, caption: str, name: str, crop_size: int = 256
) -> Figure:
    """Draw poses, 2D ones in their crop, 3D ones from two sides."""
    if np.asarray(panels[0].layers[0].keypoints).shape[-1] == 3:
        return Figure.of(pose_gallery_3d(panels, skeleton, size=270), f"{caption} {_VIEWS}", name)
    return Figure.of(pose_gallery(panels, skeleton, crop_size=crop_size), caption, name)


def format_percent(value: float | None) -> str:
    """Return a share in per cent, or a dash for None."""
    return "–" if value is None else f"{100 * value:.1f} %"


def format_number(value: float | None, digits: int = 2) -> str:
    """Return a number with some decimals, or a dash for None."""
    return "–" if value is None else f"{value:.{digits}f}"
