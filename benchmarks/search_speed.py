"""Speed of search over a token table: ``python benchmarks/search_speed.py [--rows 1000000] [--models coco17]``.

For random tokens of each model: the time to read and index the file, and of one search by ids and by vectors, beside
the same in plain numpy (tokens row by row: a comparison and a sum, or a lookup of distances and a sum; with a sort).
Searches take turns, so that whatever else the machine does hits all alike; medians of the processor's time on one core
are given. Memory is the peak of a fresh process above what it held before: the index, then one search.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from measure import describe_machine, peak_memory, time_side_by_side

from pct import PoseTokenizer
from pct.tokens import PoseTokens, TokenIndex, TokenReader, TokenWriter
from pct.tokens.codec import describe_model

_PIECE = 100_000


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="poses of the table (default: %(default)s)")
    parser.add_argument("--models", nargs="+", default=["coco17", "coco17-ordered"], help="names or folders")
    parser.add_argument("-k", type=int, default=10, help="poses to find (default: %(default)s)")
    parser.add_argument("--budget", type=float, default=20.0, help="seconds for each model (default: %(default)s)")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    machine = describe_machine(torch.device("cpu"))
    rows = []
    with TemporaryDirectory() as folder:
        for name in args.models:
            print(f"timing {name}", file=sys.stderr)
            rows.append({"name": name, **measure(name, Path(folder) / "tokens.parquet", args)})
    print(to_markdown(machine, args.rows, args.k, rows))
    return 0


def measure(name: str, path: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Return seconds and megabytes of one model."""
    tokenizer = PoseTokenizer.from_pretrained(name)
    write_random_table(path, tokenizer, args.rows)
    start = time.process_time()
    index = TokenIndex.of_table(path, tokenizer)
    values: dict[str, Any] = {"read": time.process_time() - start}
    values |= time_side_by_side(
        search_tasks(index, tokenizer, path, args.k), args.budget, 15, lambda: None, time.process_time
    )
    values["index_mb"] = peak_memory(prepare_index, name, str(path))
    values["search_mb"] = max(peak_memory(prepare_search, name, str(path), by) or 0 for by in ("ids", "vectors"))
    return values


def search_tasks(index: TokenIndex, tokenizer: PoseTokenizer, path: Path, k: int) -> dict[str, Callable[[], object]]:
    """Return our searches for the pose of row 7, and the plain ones."""
    with TokenReader(path) as reader:
        indices = reader.read().indices.astype(np.uint16)
    query, vectors = indices[7:8], tokenizer.embeddings().numpy()
    places = np.arange(len(vectors))

    def by_ids() -> np.ndarray:
        return np.argsort(-(indices == query).sum(axis=1), kind="stable")[:k]

    def by_vectors() -> np.ndarray:
        steps = vectors.astype(np.float64) - vectors[places, query[0]][:, None]
        return np.argsort((steps**2).sum(axis=2)[places, indices].sum(axis=1), kind="stable")[:k]

    return {
        "ids": lambda: index.search(query, k, "ids"),
        "vectors": lambda: index.search(query, k, "vectors"),
        "plain ids": by_ids,
        "plain vectors": by_vectors,
    }


def write_random_table(path: Path, tokenizer: PoseTokenizer, count: int) -> None:
    """Write a table of random tokens."""
    rng = np.random.default_rng(0)
    with TokenWriter(path, describe_model(tokenizer, "random"), force=True) as writer:
        for start in range(0, count, _PIECE):
            ids = np.arange(start, min(start + _PIECE, count))
            indices = rng.integers(0, tokenizer.config.codebook_size, (len(ids), tokenizer.config.num_tokens))
            places = np.ones((len(ids), 3 if tokenizer.space.kind == "root3d" else 4), np.float32)
            writer.write(PoseTokens(indices, places, ids, ids))


def prepare_index(name: str, path: str) -> Callable[[], object]:
    """Return the indexing of a file, for a fresh process."""
    tokenizer = PoseTokenizer.from_pretrained(name)
    return lambda: TokenIndex.of_table(path, tokenizer)


def prepare_search(name: str, path: str, by: Any) -> Callable[[], object]:
    """Return a search, for a fresh process that holds the index."""
    index = TokenIndex.of_table(path, PoseTokenizer.from_pretrained(name))
    query = index.tokens([7])
    return lambda: index.search(query, 10, by)


def to_markdown(machine: dict[str, Any], count: int, k: int, rows: list[dict[str, Any]]) -> str:
    """Return the table."""
    lines = [
        f"{machine['processor']}, one thread, load {machine['load_average'][0]} before the run, "
        f"numpy {np.__version__}, {machine['date']}, processor time; the {k} nearest of {count:,} poses.",
        "",
        "| model | read and index, s | by ids, ms | plain | by vectors, ms | plain | index, MB | search, MB |",
        "| :--- |" + " ---: |" * 7,
    ]
    for row in rows:
        cells = [f"{row['read']:.1f}"]
        for by in ("ids", "vectors"):
            ours, plain = row[by], row[f"plain {by}"]
            cells += [f"{1e3 * ours:,.0f}", f"{1e3 * plain:,.0f} ({plain / ours:.0f} x)"]
        cells += [f"{row['index_mb'] or 0:,.0f}", f"{row['search_mb']:,.0f}"]
        lines.append(f"| {row['name']} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
