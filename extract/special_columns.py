"""Columns of special tokens, of what a chat template holds beside words, and of the last token."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from extract.landmarks import LAST
from extract.prompts import Prompts
from extract.tokens import Tokens

#: Name of a column, and the token of every sentence that it holds.
Column = tuple[str, np.ndarray]


def begin_only(tokens: Tokens) -> dict[int, list[Column]]:
    """The column of a token that the tokenizer puts in front of all sentences."""
    if not all(special[0] for special in tokens.special):
        return {}
    return {0: [(tokens.texts[0], np.zeros(len(tokens), dtype=np.int64))]}


def special_columns(
    prompts: Prompts, tokens: Tokens, of_words: list[list[list[int]]]
) -> tuple[dict[int, list[Column]], list[str]]:
    """Columns of special tokens by the number of words before them, and what is said of others.

    They have columns where all sentences have the same ones between the same words. So has white
    space of a chat template, but for the last token.
    """
    n = len(tokens)
    # Words before → their tokens in every sentence.
    gaps: defaultdict[int, list[list[int]]] = defaultdict(lambda: [[] for _ in range(n)])
    for i, (ids, words) in enumerate(zip(tokens.ids, of_words, strict=True)):
        taken = {t for word in words for t in word}
        ends = np.array([word[-1] for word in words])
        begin, end = prompts.frame[0], len(prompts.texts[i]) - prompts.frame[1]
        for t, (token, (a, b)) in enumerate(zip(ids, tokens.offsets[i].tolist(), strict=True)):
            is_around = (b <= begin or a >= end) and t < len(ids) - 1 and prompts.in_chat
            if (token in tokens.marks or is_around) and t not in taken:
                gaps[int((ends < t).sum())][i].append(t)
    columns, said = {}, []
    for before, found in sorted(gaps.items()):
        kinds = [tuple(ids[t] for t in row) for ids, row in zip(tokens.ids, found, strict=True)]
        if len(set(kinds)) == 1:
            columns[before] = [
                (tokens.texts[t], np.array([row[k] for row in found]))
                for k, t in enumerate(found[0])
            ]
            continue
        if before == 0:
            columns |= begin_only(tokens)
        unlike = dict.fromkeys(tokens.marks[t] for k in kinds for t in k if t in tokens.marks)
        if not unlike:
            continue  # white space that some sentences join to their last word
        said.append(
            f"special tokens differ between the sentences ({', '.join(unlike)} after "
            f"{before} words): they have no column"
        )
    return columns, said


def last_column(tokens: Tokens, columns: Sequence[Column]) -> list[Column]:
    """A column of the last token of every sentence, unless it is the last one already."""
    last = np.array([len(ids) - 1 for ids in tokens.ids])
    if columns and np.array_equal(columns[-1][1], last):
        return []
    kinds = {ids[-1] for ids in tokens.ids}
    return [(tokens.marks.get(kinds.pop(), LAST) if len(kinds) == 1 else LAST, last)]
