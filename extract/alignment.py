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

from extract.errors import UsageError
from extract.landmarks import (
    DESTINATION,
    DISTRACTOR,
    LAST,
    SOURCE,
    landmarks_of,
    slots_in_order,
)
from extract.prompts import Prompts
from extract.tokens import Tokens, without_marks, word_tokens

#: Name of a column, and the token of every sentence that it holds.
Column = tuple[str, np.ndarray]
#: Where a word is looked for first: in the sentence itself, or in a chat template.
OWN, AFTER, BEFORE = range(3)


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
        return _raw(prompts, tokens, asked)
    raise UsageError(f"positions must be word, slots or raw, got {mode!r}")


def _align_words(
    prompts: Prompts, tokens: Tokens, asked: tuple[str, str, str], words_only: bool
) -> Positions:
    if not words_only:
        prompts = without_marks(prompts, tokens)
    of_words = word_tokens(prompts, tokens)
    counts = np.array([[len(word) for word in sentence] for sentence in of_words])
    between, unlike = _special_columns(prompts, tokens, of_words)
    if words_only:
        between = _begin_only(tokens)
    columns: list[Column] = []
    parts = _parts(prompts)
    # Parts, names and columns of words, and of special tokens.
    found: list[tuple[int, str, int]] = []
    marked: list[tuple[int, str, int]] = []
    for j, name in enumerate([*prompts.units, None]):
        for mark, column in between.get(j, ()):
            marked.append((_part_between(prompts, parts, j), mark, len(columns)))
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
        found.append((parts[j], name, len(columns) - 1))
    first, named = _first_of(found), _first_of(marked)
    report = _lengths(tokens) + _varying(prompts.units, counts)
    if not words_only:
        columns += _last_column(tokens, columns)
        named[LAST] = len(columns) - 1
        report += unlike + _without_column(tokens, of_words, columns)
    landmarks = landmarks_of(first, slots_in_order(prompts), *asked, named, _in_chat(prompts))
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


def _in_chat(prompts: Prompts) -> bool:
    return prompts.frame != (0, 0)


def _parts(prompts: Prompts) -> list[int]:
    """Where every word stands: in the sentence, or in a chat template after or before it."""
    end = len(prompts.texts[0]) - prompts.frame[1]
    spans = prompts.spans[0].tolist()
    return [AFTER if a >= end else BEFORE if b <= prompts.frame[0] else OWN for a, b in spans]


def _part_between(prompts: Prompts, parts: Sequence[int], j: int) -> int:
    """Where a token stands that is between word j − 1 and word j."""
    if not _in_chat(prompts):
        return OWN
    before = parts[j - 1] if j else BEFORE
    after = parts[j] if j < len(parts) else AFTER
    return OWN if before == after == OWN else BEFORE if before == BEFORE else AFTER


def _first_of(found: Sequence[tuple[int, str, int]]) -> dict[str, int]:
    """Column of the first occurrence of every name, by the order of the parts."""
    first: dict[str, int] = {}
    for _, name, column in sorted(found, key=lambda entry: entry[0]):
        first.setdefault(name, column)
    return first


def _begin_only(tokens: Tokens) -> dict[int, list[Column]]:
    """The column of a token that the tokenizer puts in front of all sentences."""
    if not all(special[0] for special in tokens.special):
        return {}
    return {0: [(tokens.texts[0], np.zeros(len(tokens), dtype=np.int64))]}


def _special_columns(
    prompts: Prompts, tokens: Tokens, of_words: list[list[list[int]]]
) -> tuple[dict[int, list[Column]], list[str]]:
    """Columns of special tokens by the number of words before them, and what is said of others.

    They have columns where all sentences have the same ones between the same words. So has white
    space of a chat template, but for the last token.
    """
    gaps: dict[int, list[list[int]]] = {}  # words before → their tokens in every sentence
    n = len(tokens)
    for i, (ids, words) in enumerate(zip(tokens.ids, of_words, strict=True)):
        taken = {t for word in words for t in word}
        ends = np.array([word[-1] for word in words])
        begin, end = prompts.frame[0], len(prompts.texts[i]) - prompts.frame[1]
        for t, (token, (a, b)) in enumerate(zip(ids, tokens.offsets[i].tolist(), strict=True)):
            is_around = (b <= begin or a >= end) and t < len(ids) - 1 and _in_chat(prompts)
            if (token in tokens.marks or is_around) and t not in taken:
                before = int((ends < t).sum())
                gaps.setdefault(before, [[] for _ in range(n)])[i].append(t)
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
            columns |= _begin_only(tokens)
        unlike = dict.fromkeys(tokens.marks[t] for k in kinds for t in k if t in tokens.marks)
        said.append(
            f"special tokens differ between the sentences ({', '.join(unlike)} after "
            f"{before} words): they have no column"
        )
    return columns, said


def _last_column(tokens: Tokens, columns: Sequence[Column]) -> list[Column]:
    """A column of the last token of every sentence, unless it is the last one already."""
    last = np.array([len(ids) - 1 for ids in tokens.ids])
    if columns and np.array_equal(columns[-1][1], last):
        return []
    kinds = {ids[-1] for ids in tokens.ids}
    return [(tokens.marks.get(kinds.pop(), LAST) if len(kinds) == 1 else LAST, last)]


def _slots(prompts: Prompts, tokens: Tokens, asked: tuple[str, str, str]) -> Positions:
    slots = list(dict.fromkeys(slots_in_order(prompts)))
    if not slots:
        raise UsageError(
            "--positions slots needs slots: columns of the table whose values stand in the texts"
        )
    at = [prompts.units.index(slot) for slot in slots]  # the first time that each of them stands
    counts, last = [], []
    for words in word_tokens(prompts, tokens):
        counts.append([len(words[j]) for j in at])
        last.append([words[j][-1] for j in at])
    # In the order of the first sentence.
    order = np.argsort(last[0], kind="stable").tolist()
    columns: list[Column] = [(slots[k], np.array([row[k] for row in last])) for k in order]
    columns += _last_column(tokens, columns)
    first = {slots[k]: column for column, k in enumerate(order)}
    named = {LAST: len(columns) - 1}
    landmarks = landmarks_of(first, [slots[k] for k in order], *asked, named, needed_last=True)
    report = _lengths(tokens) + _varying(slots, np.array(counts))
    return _positions("slots", tokens, columns, first, landmarks, report, named)


def _raw(prompts: Prompts, tokens: Tokens, asked: tuple[str, str, str]) -> Positions:
    n, width = len(tokens), max(len(row) for row in tokens.ids)
    columns = np.broadcast_to(np.arange(width), (n, width)).copy()
    padding = ["<pad>"] * (width - len(tokens.texts))
    words = [*tokens.texts, *padding]
    report = _lengths(tokens)
    source_columns: dict[int, int] = {}
    if prompts.units:
        of_words = word_tokens(prompts, tokens)
        parts = _parts(prompts)
        firsts = [
            _first_of([(parts[j], prompts.units[j], word[-1]) for j, word in enumerate(sentence)])
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
    landmarks = landmarks_of(first, slots_in_order(prompts), *asked, named, _in_chat(prompts))
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


def _lengths(tokens: Tokens) -> list[str]:
    lengths = Counter(len(row) for row in tokens.ids)
    usual, count = lengths.most_common(1)[0]
    if len(lengths) == 1:
        return [f"all {len(tokens)} sentences have {usual} tokens"]
    return [
        f"{len(tokens) - count} of {len(tokens)} sentences differ in length from the commonest, "
        f"{usual} tokens (lengths {min(lengths)} to {max(lengths)})"
    ]


def _varying(units: Sequence[str], counts: np.ndarray) -> list[str]:
    """Which slots have how many tokens, where that varies."""
    lines: dict[str, None] = {}
    for j, name in enumerate(units):
        found = sorted(set(counts[:, j].tolist()))
        if len(found) > 1:
            lines[f"{name} has {' or '.join(map(str, found))} tokens"] = None
    return list(lines)


def _without_column(
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
