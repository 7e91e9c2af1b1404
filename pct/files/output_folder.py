"""Several outputs in one folder that appear together: all of the new ones or all of the old."""

from __future__ import annotations

import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pct.files.output import OutputError, check_names, locked, naming_full_disk, remove_left_behind, undisturbed

# Several outputs that are whole and being given their names; who finds them there finishes it. How those half made are
# called, and what stands behind the name of an output that is to go, since the new ones do not have it.
_READY, _HALF, _GONE = ".results.ready", ".results.", ".gone"


@contextmanager
def outputs_together(folder: Path, names: Sequence[str], force: bool = False) -> Iterator[Path]:
    """Give an empty folder for outputs; they replace those of ``folder`` when the block ends well.

    What is made is whole in a folder of its own before the first of it gets its name. A process that is killed while
    it gives the names leaves the rest to the next one that writes there (or to :func:`finish_outputs`).

    Args:
        folder: Where the outputs are to be; made if it does not exist.
        names: Of all outputs, files and folders, that there may be; old ones that are not made anew are removed.
        force: Whether old outputs are replaced; decided when the new ones are whole, so that of two processes one wins.

    Raises:
        FileExistsError: If there are outputs and ``force`` is not set.
        OutputError: If one of them is a link or a device, or the disk is full.
    """
    made_here = not folder.exists()
    half, writing = folder / f"{_HALF}{secrets.token_hex(8)}", ExitStack()
    try:
        with naming_full_disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder), undisturbed():
                _finish(folder, names)
                remove_left_behind(folder, _HALF, "", stat.S_ISDIR)
                half.mkdir()
                writing.enter_context(locked(half, alone=False))
            yield half
            with locked(folder), undisturbed():
                _finish(folder, names)
                check_names(folder, names, force)
                for name in names:
                    if not (half / name).exists():
                        (half / f"{name}{_GONE}").touch()
                half.rename(folder / _READY)
                _finish(folder, names)
    except OutputError as error:  # is said of the output, not of what it is made in
        raise OutputError(str(error).replace(str(half), str(folder))) from error
    finally:
        with undisturbed(), writing:
            shutil.rmtree(half, ignore_errors=True)
            if made_here:
                with suppress(OSError):
                    folder.rmdir()  # if nothing came of it


def finish_outputs(folder: Path, names: Sequence[str]) -> None:
    """Give outputs their names that a process had made when it was killed."""
    if (folder / _READY).exists():
        with locked(folder), undisturbed():
            _finish(folder, names)


def _finish(folder: Path, names: Sequence[str]) -> None:
    ready = folder / _READY
    if not ready.exists():
        return
    for name in names:
        new, final, old = ready / name, folder / name, ready / f"{name}.old"
        if not (new.exists() or (ready / f"{name}{_GONE}").exists()):
            continue  # has its name already
        if final.is_dir() or not new.exists():
            with suppress(FileNotFoundError):
                final.rename(old)
        elif final.exists():
            new.chmod(stat.S_IMODE(final.stat().st_mode))
        if new.exists():
            new.replace(final)
    shutil.rmtree(ready)
