"""TokenIndex: the poses of a token table that are most like a pose, by equal tokens or by vectors of the codebook."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from pct.tokenizer import PoseTokenizer
from pct.tokens.codec import check_table
from pct.tokens.table import PoseTokens, TokenReader
from pct.tokens.text import check_ids

By = Literal["ids", "vectors"]


@dataclass(frozen=True)
class SearchResult:
    """The poses found for Q queries, nearest first; of poses that are equally near the first rows.

    Attributes:
        rows: Rows of the table (Q, k), int64.
        scores: How near they are (Q, k). By ids the number of equal tokens, int64: more is nearer. By vectors the
            squared distance, float64: less is nearer.
    """

    rows: np.ndarray
    scores: np.ndarray


class TokenIndex:
    """N poses as tokens, held so that a search reads them in the order of memory. :meth:`of_table` makes one.

    By ``ids`` those poses are near that have many equal tokens at equal places. By ``vectors`` those are near whose
    codebook vectors are: the squared distance between the vectors of two tokens, summed over the tokens. The distances
    of a query's tokens to all ids, (m, V), are taken once and then looked up, as in Jégou et al., "Product Quantization
    for Nearest Neighbor Search", 2011, section III.A.

    Args:
        columns: Tokens (m, N), integers: one token of all poses lies together. Taken as they are, not copied.
        image_ids: Image of each pose (N,).
        annotation_ids: Annotation of each pose (N,).
        embeddings: Vector of every token and id (M, V, D); M at least m.

    Raises:
        ValueError: If there is no pose, or the arrays do not fit together.
    """

    def __init__(
        self, columns: np.ndarray, image_ids: np.ndarray, annotation_ids: np.ndarray, embeddings: np.ndarray
    ) -> None:
        if not len(annotation_ids) or columns.shape[1:] != image_ids.shape or image_ids.shape != annotation_ids.shape:
            raise ValueError(
                f"an index needs tokens (m, N) with N ids, N at least 1; got tokens {columns.shape}, image ids "
                f"{image_ids.shape} and annotation ids {annotation_ids.shape}"
            )
        _check_tokens(columns.T, len(embeddings), embeddings.shape[1])
        self.image_ids, self.annotation_ids = image_ids, annotation_ids
        self._columns, self._embeddings = columns, embeddings

    @classmethod
    def of_table(cls, table: str | Path | PoseTokens, tokenizer: PoseTokenizer) -> TokenIndex:
        """Index a token table, whole or of prefixes. It takes 2 bytes a token.

        Args:
            table: File, or tokens as :class:`TokenReader` reads them.
            tokenizer: The model that made them.

        Raises:
            TokenFileError: If the file is no token table, has no rows, or is of another model.
            ValueError: If tokens that are no file do not fit the model.
        """
        embeddings = tokenizer.embeddings().cpu().numpy()
        if isinstance(table, PoseTokens):
            _check_tokens(table.indices, *embeddings.shape[:2])
            return _index([table], len(table), table.indices.shape[1], embeddings)
        with TokenReader(table) as reader:
            check_table(tokenizer, reader)
            return _index(reader.batches(), len(reader), reader.metadata.tokens_per_pose, embeddings)

    def __len__(self) -> int:
        return len(self.annotation_ids)

    @property
    def num_tokens(self) -> int:
        """Tokens m a pose."""
        return len(self._columns)

    def tokens(self, rows: ArrayLike) -> np.ndarray:
        """Return the tokens (n, m), int64, of some rows (n,)."""
        return self._columns[:, np.asarray(rows)].T.astype(np.int64)

    def search(
        self, indices: ArrayLike, k: int = 10, by: By = "vectors", leave_out: ArrayLike | None = None
    ) -> SearchResult:
        """Find the nearest poses of the table. Memory is 16 bytes a row, for any number of queries.

        Args:
            indices: Tokens (Q, q) of Q poses; of prefixes, q from 1 to m, only the first q tokens are compared.
            k: How many poses; all there are if the table has fewer.
            by: ``ids`` or ``vectors``.
            leave_out: A row for each query (Q,) that is not to be found, the query's own say; -1 for none.

        Raises:
            ValueError: On tokens of a wrong shape, an id outside the codebook, or a wrong ``k``, ``by`` or row.
        """
        queries = np.asarray(indices)
        _check_tokens(queries, self.num_tokens, self._embeddings.shape[1])
        if by not in ("ids", "vectors"):
            raise ValueError(f"search is by {by!r}; it must be ids or vectors")
        if k < 1:
            raise ValueError(f"search for {k} poses; it must be at least 1")
        own = np.full(len(queries), -1) if leave_out is None else np.asarray(leave_out)
        if own.shape != (len(queries),) or ((own < -1) | (own >= len(self))).any():
            raise ValueError(f"leave_out must be a row from -1 to {len(self) - 1} for each query; got {own.tolist()}")
        k = min(k, len(self) - int((own >= 0).any()))
        rows = np.zeros((len(queries), k), np.int64)
        scores = np.zeros((len(queries), k), np.int64 if by == "ids" else np.float64)
        for number, query in enumerate(queries.astype(self._columns.dtype)):
            far = self._distances(query, by)
            rows[number] = _smallest(far, k, int(own[number]))
            scores[number] = far[rows[number]]
        return SearchResult(rows, queries.shape[1] - scores if by == "ids" else scores)

    def _distances(self, query: np.ndarray, by: By) -> np.ndarray:
        """Return how far each row (N,) is from a pose (q,): unequal tokens, or the squared distance, float64."""
        far = np.zeros(len(self), np.min_scalar_type(len(query)) if by == "ids" else np.float64)
        for column, vectors, index in zip(self._columns, self._embeddings, query, strict=False):
            if by == "ids":
                far += column != index
                continue
            steps = vectors.astype(np.float64) - vectors[index]
            # Ids were checked before; "clip" spares numpy doing it again.
            far += np.take(np.einsum("vd,vd->v", steps, steps), column, mode="clip")
        return far


def _index(pieces: Iterable[PoseTokens], count: int, num_tokens: int, embeddings: np.ndarray) -> TokenIndex:
    columns = np.empty((num_tokens, count), np.uint16 if embeddings.shape[1] <= 2**16 else np.uint32)
    image_ids, annotation_ids = np.empty(count, np.int64), np.empty(count, np.int64)
    done = 0
    for piece in pieces:
        rows = slice(done, done := done + len(piece))
        columns[:, rows] = piece.indices.T
        image_ids[rows], annotation_ids[rows] = piece.image_ids, piece.annotation_ids
    return TokenIndex(columns, image_ids, annotation_ids, embeddings)


def _check_tokens(indices: np.ndarray, most: int, codebook_size: int) -> None:
    if indices.ndim != 2 or indices.dtype.kind not in "iu" or not 1 <= indices.shape[1] <= most:
        raise ValueError(
            f"tokens must be integers (N, m) with m from 1 to {most}; got {indices.dtype} of shape {indices.shape}"
        )
    check_ids(indices, codebook_size)


def _smallest(far: np.ndarray, k: int, without: int) -> np.ndarray:
    """Return the rows (k,) of the smallest of ``far`` (N,), in order, the first of equal ones; ``without`` left out."""
    wanted = k + (without >= 0)
    if wanted == 0:
        return np.zeros(0, np.int64)
    limit = np.partition(far, wanted - 1)[wanted - 1]
    below = np.flatnonzero(far < limit)
    rows = np.concatenate([below, np.flatnonzero(far == limit)[: wanted - len(below)]])
    rows = rows[np.argsort(far[rows], kind="stable")]
    return rows[rows != without][:k]
