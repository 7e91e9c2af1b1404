"""Find the poses of a large table that are most like a pose, by its tokens, and draw them.

  pct encode person_keypoints_train2017.json -o train.parquet
  pct encode person_keypoints_val2017.json -o val.parquet
  python examples/search.py train.parquet val.parquet -o found.png

Each row of the picture is a query and the nearest poses. The share of them that are also nearest by their joints says
what searching 34 integers loses. `pct search` does this for one pose on the command line.

50 persons of COCO val2017 among 115,916 of train2017 (2026-11-27, one busy CPU core): by codebook vectors 71 % of the
ten nearest by joints, 50 ms a query; by equal ids 25 %, 8 ms.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from pct import PoseTokenizer
from pct.drawing.gallery import draw_tokens
from pct.drawing.poses2d import write_png
from pct.tokens import TokenIndex, TokenReader


def nearest_by_joints(tokenizer: PoseTokenizer, table: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """Return the rows (Q, k) of a table (N, M) whose decoded joints are nearest to those of the queries (Q, M)."""
    box = tokenizer.space.standard_reference()
    poses, wanted = (
        torch.cat([tokenizer.decode(part, box.expand(len(part), -1)) for part in torch.from_numpy(ids).split(4096)])
        for ids in (table, queries)
    )
    far = torch.stack([(poses - one).norm(dim=-1).mean(dim=1) for one in wanted])
    return far.topk(k, largest=False).indices.numpy()


def main() -> None:
    """Search, compare and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", help="token table to search")
    parser.add_argument("queries", help="token table whose first poses are searched for")
    parser.add_argument("--count", type=int, default=100, help="queries (default: %(default)s)")
    parser.add_argument("-k", type=int, default=10, help="poses found for each (default: %(default)s)")
    parser.add_argument("--model", default="coco17", help="the model that made the tables (default: %(default)s)")
    parser.add_argument("-o", "--out", required=True, help="picture: .png")
    args = parser.parse_args()
    tokenizer = PoseTokenizer.from_pretrained(args.model)
    table = TokenReader(args.table).read()
    queries = TokenReader(args.queries).read().indices[: args.count].astype(np.int64)
    index = TokenIndex.of_table(table, tokenizer)
    true = nearest_by_joints(tokenizer, table.indices.astype(np.int64), queries, args.k)
    for by in ("vectors", "ids"):
        start = time.perf_counter()
        found = index.search(queries, args.k, by=by)
        ms = 1000 * (time.perf_counter() - start) / len(queries)
        share = np.mean([np.isin(rows, best).mean() for rows, best in zip(found.rows, true, strict=True)])
        print(f"by {by}: {share:.0%} of the {args.k} nearest by joints, {ms:.1f} ms a query of {len(index):,} poses")
    found = index.search(queries[:6], 3)
    rows = [np.vstack([query[None], index.tokens(rows)]) for query, rows in zip(queries[:6], found.rows, strict=True)]
    names = [name for _ in rows for name in ("query", "nearest", "second", "third")[: len(rows[0])]]
    write_png(draw_tokens(tokenizer, np.concatenate(rows), names), args.out, force=True)


if __name__ == "__main__":
    main()
