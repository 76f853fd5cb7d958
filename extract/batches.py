"""Which sentences a model reads together: sorted by length, under a budget of tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Tokens of one batch, padding included. On a CPU larger batches leave its caches and are slower;
#: on a GPU these are enough to keep it busy, and take 2 to 3 GB beside an 8B model.
BATCH_TOKENS_CPU, BATCH_TOKENS_CUDA = 512, 8192


def reading_order(lengths: Sequence[int]) -> np.ndarray:
    """Sentences ``(n,)`` from the longest to the shortest.

    Neighbours are of about the same length, so little is padded; if the memory does not suffice,
    the first batch shows it.
    """
    return np.argsort(-np.asarray(lengths), kind="stable")


def batch_sizes(lengths: Sequence[int], tokens: int, most: int | None = None) -> list[int]:
    """Sizes of the batches into which the reading order is cut.

    Parameters
    ----------
    lengths
        ``(n,)`` tokens of every sentence.
    tokens
        Most tokens of a batch, its padding included; a sentence that is longer is read alone.
    most
        Most sentences of a batch.
    """
    order = reading_order(lengths)
    sizes: list[int] = []
    start = 0
    while start < len(order):
        fit = max(1, tokens // int(lengths[order[start]]))
        sizes.append(min(fit, most or fit, len(order) - start))
        start += sizes[-1]
    return sizes


def cut(lengths: Sequence[int], sizes: Sequence[int]) -> list[np.ndarray]:
    """Sentences of every batch, as numbers.

    Raises
    ------
    ValueError
        The sizes do not add up to the sentences.
    """
    order = reading_order(lengths)
    if sum(sizes) != len(order) or min(sizes) < 1:
        raise ValueError(f"batches of {list(sizes)} sentences do not make up {len(order)}")
    return np.split(order, np.cumsum(sizes)[:-1])


def halved(sizes: Sequence[int], number: int) -> list[int]:
    """The plan after batch ``number`` did not fit the memory: it and the later ones in halves."""
    most = sizes[number] // 2
    plan = list(sizes[:number])
    for size in sizes[number:]:
        while size > most:
            plan.append(most)
            size -= most
        plan.append(size)
    return plan
