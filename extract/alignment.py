"""Which token of each sentence goes into which column.

By word: every column is the same word, the last token of the same slot, or the same special token
in every sentence; the last token of the sentences is always a column.
By slot: the last token of each slot, wherever it stands, and the last token of the sentence; the
words around them may differ.
Raw: column i is token i, as the study had it, which mixes words where tokenizers split numbers
or names into several tokens.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from extract.alignment_report import lengths, varying, without_column
from extract.errors import UsageError
from extract.landmarks import (
    DESTINATION,
    DISTRACTOR,
    LAST,
    SOURCE,
    first_of,
    landmarks_of,
    part_between,
    parts_of,
    ranks_of,
    slot_places,
    slots_in_order,
)
from extract.prompts import Prompts
from extract.special_columns import Column, begin_only, last_column, special_columns
from extract.tokens import Tokens, without_marks, word_tokens


@dataclass(frozen=True)
class Positions:
    """Columns of the states array.

    Attributes
    ----------
    mode
        "word", "slots" or "raw".
    words
        Per column the word or slot; with raw positions that of the first sentence.
    tokens
        Per column the first sentence's token.
    columns
        ``(n, T)`` token index of every column in every sentence.
    first
        Column of the first occurrence of every word or slot.
    landmarks
        Columns of "source", "destination" and "distractor", as far as they exist.
    report
        What the alignment found, as lines for people.
    source_columns
        With raw positions in how many sentences the source is at which column; else empty.
    named
        Columns of special tokens, by their first occurrence, and of the last token ("<last>").
        None where only words have columns, as versions before had it.
    """

    mode: str
    words: tuple[str, ...]
    tokens: tuple[str, ...]
    columns: np.ndarray
    first: dict[str, int]
    landmarks: dict[str, int]
    report: tuple[str, ...]
    source_columns: dict[int, int] = field(default_factory=dict)
    named: dict[str, int] | None = None

    def __len__(self) -> int:
        return len(self.words)

    def facts(self) -> dict[str, Any]:
        """JSON-able description of the columns."""
        return {
            "mode": self.mode,
            "words": list(self.words),
            "tokens": list(self.tokens),
            "first": self.first,
            "landmarks": self.landmarks,
            "report": list(self.report),
            "source_columns": {str(k): v for k, v in self.source_columns.items()},
            **({} if self.named is None else {"named": self.named}),
        }

    def to_json(self) -> str:
        """What the states depend on, in one line: not which of the columns somebody asks about."""
        of_states = {"mode": self.mode, "words": self.words, "tokens": self.tokens}
        return json.dumps(of_states, ensure_ascii=False)


def align(
    prompts: Prompts,
    tokens: Tokens,
    mode: str = "word",
    source: str = SOURCE,
    destination: str = DESTINATION,
    distractor: str = DISTRACTOR,
    *,
    words_only: bool = False,
) -> Positions:
    """Choose the columns and find the landmarks.

    Parameters
    ----------
    prompts, tokens
        The sentences, and :func:`extract.tokenize` of them.
    mode
        "word", "slots" or "raw".
    source, destination, distractor
        Words, slots or special tokens; ``"<last>"`` is the last token.
    words_only
        Give columns to words and to a token that begins all sentences, as versions before did
        that may have begun a folder.

    Raises
    ------
    ExtractError
        A sentence cannot be aligned; the message names it.
    UsageError
        Unknown mode, or a landmark that no word has.
    """
    asked = source, destination, distractor
    if mode == "word":
        found = _align_words(prompts, tokens, asked, words_only)
        if words_only and found.words != _align_words(prompts, tokens, asked, False).words:
            line = (
                "words only have columns, as in the version that began this: --force-states gives "
                "special tokens and the last token columns too"
            )
            return replace(found, report=(*found.report, line))
        return found
    if mode == "slots":
        return _slots(prompts, tokens, asked)
    if mode == "raw":
        return _raw(prompts if words_only else without_marks(prompts, tokens), tokens, asked)
    raise UsageError(f"positions must be word, slots or raw, got {mode!r}")


def _align_words(
    prompts: Prompts, tokens: Tokens, asked: tuple[str, str, str], words_only: bool
) -> Positions:
    if not words_only:
        prompts = without_marks(prompts, tokens)
    of_words = word_tokens(prompts, tokens)
    counts = np.array([[len(word) for word in sentence] for sentence in of_words])
    between, unlike = special_columns(prompts, tokens, of_words)
    if words_only:
        between = begin_only(tokens)
    columns: list[Column] = []
    parts, ranks = parts_of(prompts), ranks_of(prompts)
    # Ranks, names and columns of words, and of special tokens.
    found: list[tuple[int, str, int]] = []
    marked: list[tuple[int, str, int]] = []
    for j, name in enumerate([*prompts.units, None]):
        for mark, column in between.get(j, ()):
            marked.append((part_between(prompts, parts, j), mark, len(columns)))
            columns.append((mark, column))
        if name is None:
            break
        if not prompts.is_slot[j] and (counts[:, j] == counts[0, j]).all():
            chosen = [np.array([s[j][t] for s in of_words]) for t in range(counts[0, j])]
        else:
            chosen = [np.array([sentence[j][-1] for sentence in of_words])]
        for column in chosen:
            # Two words can end in one token; that is one column.
            if not columns or not np.array_equal(column, columns[-1][1]):
                columns.append((name, column))
        found.append((ranks[j], name, len(columns) - 1))
    first, named = first_of(found), first_of(marked)
    report = lengths(tokens) + varying(prompts.units, counts)
    if not words_only:
        columns += last_column(tokens, columns)
        named[LAST] = len(columns) - 1
        report += unlike + without_column(tokens, of_words, columns)
    landmarks = landmarks_of(first, slots_in_order(prompts), *asked, named, prompts.in_chat)
    known = None if words_only else named
    return _positions("word", tokens, columns, first, landmarks, report, known)


def _positions(
    mode: str,
    tokens: Tokens,
    columns: Sequence[Column],
    first: dict[str, int],
    landmarks: dict[str, int],
    report: Sequence[str],
    named: dict[str, int] | None,
) -> Positions:
    stacked = np.stack([column for _, column in columns], axis=1)
    return Positions(
        mode,
        tuple(name for name, _ in columns),
        tuple(tokens.texts[t] for t in stacked[0]),
        stacked,
        first,
        landmarks,
        tuple(report),
        named=named,
    )


def _slots(prompts: Prompts, tokens: Tokens, asked: tuple[str, str, str]) -> Positions:
    places = slot_places(prompts)
    slots, at = [*places], [*places.values()]
    if not slots:
        raise UsageError(
            "--positions slots needs slots: columns of the table whose values stand in the texts"
        )
    counts, last = [], []
    for words in word_tokens(prompts, tokens):
        counts.append([len(words[j]) for j in at])
        last.append([words[j][-1] for j in at])
    # In the order of the first sentence.
    order = np.argsort(last[0], kind="stable").tolist()
    columns: list[Column] = [(slots[k], np.array([row[k] for row in last])) for k in order]
    columns += last_column(tokens, columns)
    first = {slots[k]: column for column, k in enumerate(order)}
    named = {LAST: len(columns) - 1}
    landmarks = landmarks_of(first, [slots[k] for k in order], *asked, named, needed_last=True)
    report = lengths(tokens) + varying(slots, np.array(counts))
    return _positions("slots", tokens, columns, first, landmarks, report, named)


def _raw(prompts: Prompts, tokens: Tokens, asked: tuple[str, str, str]) -> Positions:
    n, width = len(tokens), max(len(row) for row in tokens.ids)
    columns = np.broadcast_to(np.arange(width), (n, width)).copy()
    padding = ["<pad>"] * (width - len(tokens.texts))
    words = [*tokens.texts, *padding]
    report = lengths(tokens)
    source_columns: dict[int, int] = {}
    if prompts.units:
        of_words = word_tokens(prompts, tokens)
        ranks = ranks_of(prompts)
        firsts = [
            first_of([(ranks[j], prompts.units[j], word[-1]) for j, word in enumerate(sentence)])
            for sentence in of_words
        ]
        first = firsts[0]
        for name, members in zip(prompts.units, of_words[0], strict=True):
            for token in members:
                words[token] = name
    else:
        firsts, first = [], {}
        for column, text in enumerate(tokens.texts):
            first.setdefault(text, column)
    # The last token is a column where all sentences end at the same one.
    named = {LAST: width - 1} if all(len(row) == width for row in tokens.ids) else {}
    landmarks = landmarks_of(first, slots_in_order(prompts), *asked, named, prompts.in_chat)
    if firsts:
        at = landmarks["source"]
        name = next((name for name, column in first.items() if column == at), words[at])
        counts = Counter(columns_of.get(name, at) for columns_of in firsts)
        source_columns = dict(sorted(counts.items()))
        listed = ", ".join(f"{column} ({count})" for column, count in source_columns.items())
        shifted = 1 - counts[at] / n
        report.append(
            f"raw positions mix words: in {shifted:.0%} of the sentences {name} is not at column "
            f"{at}, where the first sentence has it; it stands at columns "
            f"{listed}, most often at {counts.most_common(1)[0][0]}"
        )
    texts = (*tokens.texts, *padding)
    return Positions(
        "raw",
        tuple(words),
        texts,
        columns,
        dict(first),
        landmarks,
        tuple(report),
        source_columns,
        named,
    )
