"""What is said of an alignment: how sentences differ in tokens, and which tokens have no column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from extract.special_columns import Column
from extract.tokens import Tokens


def lengths(tokens: Tokens) -> list[str]:
    """How many tokens the sentences have."""
    found = Counter(len(row) for row in tokens.ids)
    usual, count = found.most_common(1)[0]
    if len(found) == 1:
        return [f"all {len(tokens)} sentences have {usual} tokens"]
    return [
        f"{len(tokens) - count} of {len(tokens)} sentences differ in length from the commonest, "
        f"{usual} tokens (lengths {min(found)} to {max(found)})"
    ]


def varying(units: Sequence[str], counts: np.ndarray) -> list[str]:
    """Which slots have how many tokens, where that varies."""
    lines: dict[str, None] = {}
    for j, name in enumerate(units):
        found = sorted(set(counts[:, j].tolist()))
        if len(found) > 1:
            lines[f"{name} has {' or '.join(map(str, found))} tokens"] = None
    return list(lines)


def without_column(
    tokens: Tokens, of_words: list[list[list[int]]], columns: Sequence[Column]
) -> list[str]:
    """How many tokens belong to no word and have no column, where there are such."""
    stacked = np.stack([column for _, column in columns], axis=1)
    lacking = [
        len(set(range(len(ids))) - {*row, *(t for word in words for t in word)})
        for ids, words, row in zip(tokens.ids, of_words, stacked.tolist(), strict=True)
    ]
    if not any(lacking):
        return []
    least, most = min(lacking), max(lacking)
    count = f"{most}" if least == most else f"{least} to {most}"
    if count == "1":
        return [
            "1 token of every sentence belongs to no word, such as white space: it has no column"
        ]
    return [f"{count} tokens of a sentence belong to no word, such as white space: no column"]
