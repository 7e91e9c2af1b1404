#!/usr/bin/env python
"""Damage files of every kind by chance and read them: each must be read right or be one sentence, in bounds.

    python benchmarks/fuzz.py --inputs 20000 --out fuzz.json

An input is a pure function of (seed, number). Each is read in a child process with a limit on its time; its memory is
the peak of resident memory above that before it. Counted are exceptions that are no ValueError or OSError, messages
that do not name the file, poses that are read and cannot be any, and what was over a limit.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import re
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz_readers import READERS, make_samples

_CHUNK = 50
_NUMBERS = (
    b"1e308",
    b"-1e308",
    b"NaN",
    b"1e400",
    b"null",
    b'"x"',
    b"[]",
    b"{}",
    b"true",
    b"-1",
    b"0",
    b"1" + b"0" * 70,
)
_TEXTS = (b"\x1b[31m", b"\x00", b"\xff\xfe", "\u202e".encode(), b"[" * 3000, b'"' * 3, b"\\", b"../" * 9, b"&a [*a]")


def damage(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Return a damaged copy of a file; ``other`` is one to take pieces from."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        start = rng.randrange(len(data) + 1)
        end = min(len(data), start + rng.choice((1, 2, 4, 8, 64, 1024)))
        kind = rng.randrange(9)
        if kind == 0:
            del data[start:]
        elif kind == 1:
            data[start:end] = rng.randbytes(end - start)
        elif kind == 2:
            data[start:end] = bytes([rng.choice((0, 255))]) * (end - start)
        elif kind == 3:
            del data[start:end]
        elif kind == 4:
            data[start:start] = data[start:end] * rng.choice((1, 2, 50))
        elif kind == 5:
            data[start:end] = other[start:end]
        elif kind == 6:
            data[start:start] = rng.choice(_TEXTS)
        elif kind == 7 and start < len(data):
            data[start] ^= 1 << rng.randrange(8)
        else:
            numbers = list(re.finditer(rb"-?\d[\d.e+-]*", data))
            if numbers:
                chosen = rng.choice(numbers)
                data[chosen.start() : chosen.end()] = rng.choice(_NUMBERS)
    return bytes(data)


def judge(read: Callable[[Path], list[str]], path: Path) -> tuple[str, str]:
    """Read a file; return what became of it, and details."""
    from pct.cli.main import one_line

    try:
        wrong = read(path)
    except (ValueError, OSError) as error:
        text = str(error)
        if path.name not in text and str(path.parent) not in text:
            return "no name", text[:300]
        return "refused", "" if len(one_line(text)) < 500 else text[:300]
    except TimeoutError:
        raise
    except Exception:
        return "unexpected", traceback.format_exc(limit=-3)[-600:]
    return ("wrong", "; ".join(wrong)[:300]) if wrong else ("read", "")


def run_chunk(numbers: list[int], seed: int, folder: str, seconds: float, results: Any) -> None:
    """Read some inputs in this process, and put what became of each."""
    warnings.simplefilter("ignore")
    samples = make_samples(Path(folder) / "samples")

    def stop(*_: object) -> None:
        raise _TooLong

    signal.signal(signal.SIGALRM, stop)
    for number in numbers:
        rng = random.Random(f"{seed} {number}")
        name = rng.choice(sorted(READERS))
        path, other = rng.choice(samples[name]), rng.choice(samples[name])
        target = Path(folder) / f"{number}_{path.name}"
        target.write_bytes(damage(path.read_bytes(), other.read_bytes(), rng))
        results.put((number, name, "started", "", 0.0, 0.0))
        Path("/proc/self/clear_refs").write_text("5")
        before, start = _memory("VmRSS"), time.perf_counter()
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            verdict, detail = judge(READERS[name], target)
        except _TooLong:
            verdict, detail = "over time", ""
        signal.setitimer(signal.ITIMER_REAL, 0)
        took, memory = time.perf_counter() - start, _memory("VmHWM") - before
        results.put((number, name, verdict, detail, took, memory))
        target.unlink()


class _TooLong(BaseException):
    pass


def _memory(key: str) -> float:
    """Return a line of this process's status in MB."""
    text = Path("/proc/self/status").read_text()
    return int(re.search(rf"{key}:\s+(\d+)", text)[1]) / 1024  # type: ignore[index]


def run(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Read all inputs; return the counts and the first of each kind that went wrong."""
    make_samples(folder / "samples")
    counts: Counter[str] = Counter()
    readers: dict[str, Counter[str]] = {name: Counter() for name in sorted(READERS)}
    bad: list[dict[str, Any]] = []
    slowest = largest = 0.0
    context = multiprocessing.get_context("fork")
    todo = list(range(args.first, args.first + args.inputs))
    while todo:
        results = context.SimpleQueue()
        chunk, todo = todo[:_CHUNK], todo[_CHUNK:]
        child = context.Process(target=run_chunk, args=(chunk, args.seed, str(folder), args.seconds, results))
        child.start()
        done, last = 0, (chunk[0], "")
        deadline = time.monotonic() + args.seconds * len(chunk)
        while done < len(chunk) and (child.is_alive() or not results.empty()) and time.monotonic() < deadline:
            if results.empty():
                time.sleep(0.002)
                continue
            number, name, verdict, detail, took, memory = results.get()
            if verdict == "started":
                last = (number, name)
                continue
            done += 1
            slowest, largest = max(slowest, took), max(largest, memory)
            verdict = "over memory" if memory > args.megabytes else verdict
            counts[verdict] += 1
            readers[name][verdict] += 1
            if verdict not in ("read", "refused"):
                bad.append(
                    {"number": number, "reader": name, "verdict": verdict, "detail": detail, "MB": round(memory)}
                )
        if done < len(chunk):
            number, name = last
            counts["killed"] += 1
            bad.append({"number": number, "reader": name, "verdict": "killed", "detail": f"exit {child.exitcode}"})
            todo = [n for n in chunk if n > number] + todo
        child.kill()
        child.join()
        if not args.quiet:
            print(f"\r{args.first + args.inputs - len(todo) - 1} {dict(counts)}", end="", file=sys.stderr)
    return {
        "inputs": args.inputs,
        "seed": args.seed,
        "counts": dict(counts),
        "slowest_s": round(slowest, 2),
        "largest_mb": round(largest),
        "readers": {name: dict(count) for name, count in readers.items()},
        "bad": bad,
    }


def main() -> int:
    """Run the benchmark; 1 where something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=20.0, help="limit of each input")
    parser.add_argument("--megabytes", type=float, default=1000.0, help="limit of each input")
    parser.add_argument("--out", type=Path, help="JSON file of the results")
    parser.add_argument("--quiet", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(args, Path(folder))
    for entry in found["bad"][:20]:
        print(f"\n{entry}")
    print(json.dumps({k: v for k, v in found.items() if k != "bad"}, indent=1))
    if args.out is not None:
        args.out.write_text(json.dumps(found, indent=1))
    return int(bool(found["bad"]))


if __name__ == "__main__":
    sys.exit(main())
