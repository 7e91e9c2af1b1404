"""The report engine: sections of sentences, tables and figures become one page, a JSON file and pictures."""

from __future__ import annotations

import base64
import datetime
import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pct.drawing.poses2d import encode_png
from pct.files.output import OutputError, open_atomically

_NUMBERS, _PAGE, _PICTURES = "metrics.json", "index.html", "pictures"


@dataclass(frozen=True)
class Figure:
    """A picture with its caption.

    Attributes:
        png: The bytes of a PNG file.
        caption: What it shows, in full sentences.
        name: Of its file, without suffix.
    """

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
            :func:`make_provenance` gives.
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
    from jinja2 import Environment, PackageLoader, StrictUndefined

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

    The folder is made if it does not exist; for ``force`` and errors see :func:`check_report_folder`. Returns the
    page's path.
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


def make_provenance(
    model: str,
    fingerprint: str,
    device: torch.device,
    *,
    data: str,
    seconds: float,
    seed: int,
    notes: Sequence[str] = (),
    baseline_data: str = "",
) -> dict[str, Any]:
    """Describe an evaluation that was just made by this process, as plain values for a JSON file.

    Args:
        model: The model's sizes in a sentence.
        fingerprint: Of the model.
        device: Where it ran.
        data: Name of the evaluated data.
        seconds: Time of the evaluation.
        seed: Of everything random.
        notes: What a reader must know of the data.
        baseline_data: Name of the data that baselines were fitted to; empty without baselines.
    """
    place = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    return {
        "data": data,
        "baseline_data": baseline_data,
        "command": _command(),
        "fingerprint": fingerprint,
        "model": model,
        "hardware": f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads; model on {place}",
        "software": f"Python {platform.python_version()}, torch {torch.__version__}",
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "seed": seed,
        "notes": list(notes),
    }


def _command() -> str:
    """Return this process's command line, without the folder of the program."""
    program = Path(sys.argv[0])
    start = ["python", "-m", program.parent.name] if program.name == "__main__.py" else [program.name]
    return shlex.join([*start, *sys.argv[1:]])


def _processor() -> str:
    """Return the processor's name where the system tells it (Linux), else its architecture."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
