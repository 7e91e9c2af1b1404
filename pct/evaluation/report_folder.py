"""The folder of a report: numbers as JSON, pictures as PNG files, and a page that is there only if all of it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pct.evaluation.figures import ReportFigure
from pct.files import OutputError, open_atomically

_PAGE, _PICTURES = "index.html", "pictures"


@dataclass(frozen=True)
class ReportFolder:
    """What the reports of one kind are called.

    Attributes:
        numbers_file: Name of the JSON file.
    """

    numbers_file: str

    def check(self, out_dir: str | Path, force: bool = False) -> Path:
        """Check, before any work, that a report can be written to a folder.

        Raises:
            FileExistsError: If it holds a report and ``force`` is not set.
            OutputError: If it is a file.
        """
        folder = Path(out_dir)
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"output {folder} is a file; the report is a folder")
        for name in (self.numbers_file, _PAGE):
            if (folder / name).exists() and not force:
                raise FileExistsError(f"{folder} already holds {name}; give --force (force=True) to replace the report")
        return folder

    def write(
        self, folder: Path, numbers: Mapping[str, Any], figures: Mapping[str, ReportFigure], page: str, force: bool
    ) -> Path:
        """Write a report into a checked folder, made if it does not exist, and return the page's path.

        The page is written last, so it is there only if the report is whole.
        """
        (folder / _PICTURES).mkdir(parents=True, exist_ok=True)
        text = json.dumps(numbers, indent=2, allow_nan=False) + "\n"
        files = {f"{_PICTURES}/{name}.png": figure.png for name, figure in figures.items()}
        files |= {self.numbers_file: text.encode(), _PAGE: page.encode()}
        for name, content in files.items():
            with open_atomically(folder / name, force=force or name.startswith(_PICTURES)) as file:
                file.write(content)
        return folder / _PAGE
