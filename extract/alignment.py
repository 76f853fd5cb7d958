"""Which token of each sentence goes into which column.

By word: every column is the same word, or the last token of the same slot, in every sentence.
Raw: column i is token i, as the study had it, which mixes words where tokenizers split numbers
or names into several tokens.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from extract.errors import ExtractError, UsageError
from extract.prompts import Prompts
from extract.words import prints

#: The study's landmarks: where the date is read, where it is needed, and an unrelated word.
SOURCE, DESTINATION, DISTRACTOR = "Month", "birthday", "volleyball"


@dataclass(frozen=True)
class Tokens:
    """Token ids and character offsets of every sentence.

    ``offsets[i]`` is ``(length, 2)``; special tokens have empty spans. ``texts`` are the readable
    tokens of the first sentence.
    """

    ids: list[list[int]]
    offsets: list[np.ndarray]
    special: list[np.ndarray]
    texts: list[str]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Positions:
    """Columns of the states array.

    Attributes
    ----------
    mode
        "word" or "raw".
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
    """

    mode: str
    words: tuple[str, ...]
    tokens: tuple[str, ...]
    columns: np.ndarray
    first: dict[str, int]
    landmarks: dict[str, int]
    report: tuple[str, ...]
    source_columns: dict[int, int]

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
        }

    def to_json(self) -> str:
        """What the states depend on, in one line: not which of the columns somebody asks about."""
        of_states = {"mode": self.mode, "words": self.words, "tokens": self.tokens}
        return json.dumps(of_states, ensure_ascii=False)


def tokenize(prompts: Prompts, tokenizer: Any) -> Tokens:
    """Tokenize all sentences with character offsets.

    Raises
    ------
    ExtractError
        The tokenizer gives no offsets, or a sentence has no tokens.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ExtractError(
            "this tokenizer gives no character offsets; a fast tokenizer (tokenizer.json) is needed"
        )
    encoded = tokenizer(
        list(prompts.texts), return_offsets_mapping=True, return_special_tokens_mask=True
    )
    ids = [list(map(int, row)) for row in encoded["input_ids"]]
    for i, row in enumerate(ids):
        if not row:
            raise ExtractError(f"sentence {i + 1} has no tokens: {prompts.texts[i]!r}")
    offsets = [np.array(row, dtype=np.int64).reshape(-1, 2) for row in encoded["offset_mapping"]]
    special = [np.array(row, dtype=bool) for row in encoded["special_tokens_mask"]]
    texts = [
        tokenizer.convert_ids_to_tokens(token)
        if is_special
        else (prompts.texts[0][a:b].strip() or tokenizer.decode([token]).strip() or "␣")
        for token, (a, b), is_special in zip(ids[0], offsets[0].tolist(), special[0], strict=True)
    ]
    return Tokens(ids, offsets, special, texts)


def align(
    prompts: Prompts,
    tokens: Tokens,
    mode: str = "word",
    source: str = SOURCE,
    destination: str = DESTINATION,
    distractor: str = DISTRACTOR,
) -> Positions:
    """Choose the columns and find the landmarks.

    Raises
    ------
    ExtractError
        A sentence cannot be aligned; the message names it.
    UsageError
        Unknown mode, or a landmark that no word has.
    """
    if mode == "word":
        return _align_words(prompts, tokens, source, destination, distractor)
    if mode == "raw":
        return _raw(prompts, tokens, source, destination, distractor)
    raise UsageError(f"positions must be word or raw, got {mode!r}")


def _align_words(
    prompts: Prompts, tokens: Tokens, source: str, destination: str, distractor: str
) -> Positions:
    of_words = word_tokens(prompts, tokens)
    counts = np.array([[len(word) for word in sentence] for sentence in of_words])
    words: list[str] = []
    columns: list[np.ndarray] = []
    if all(special[0] for special in tokens.special):
        words.append(tokens.texts[0])
        columns.append(np.zeros(len(tokens), dtype=np.int64))
    first: dict[str, int] = {}  # word → last column of its first occurrence
    for j, name in enumerate(prompts.units):
        last = np.array([sentence[j][-1] for sentence in of_words])
        if not prompts.is_slot[j] and (counts[:, j] == counts[0, j]).all():
            chosen = [np.array([s[j][t] for s in of_words]) for t in range(counts[0, j])]
        else:
            chosen = [last]
        for column in chosen:
            # Two words can end in one token; that is one column.
            if not columns or not np.array_equal(column, columns[-1]):
                words.append(name)
                columns.append(column)
        first.setdefault(name, len(columns) - 1)
    stacked = np.stack(columns, axis=1)
    landmarks = landmarks_of(first, slots_in_order(prompts), source, destination, distractor)
    return Positions(
        "word",
        tuple(words),
        tuple(tokens.texts[t] for t in stacked[0]),
        stacked,
        first,
        landmarks,
        tuple(_lengths(tokens) + _varying(prompts, counts)),
        {},
    )


def word_tokens(prompts: Prompts, tokens: Tokens) -> list[list[list[int]]]:
    """Tokens of every word of every sentence.

    A token belongs to the word that holds its last visible character; the token that covers a
    word's last character always belongs to it, so that a word swallowed by a longer token still
    has one.
    """
    result = []
    for i, (offsets, special) in enumerate(zip(tokens.offsets, tokens.special, strict=True)):
        text, spans = prompts.texts[i], prompts.spans[i]
        owner = np.full(len(text), -1)
        for j, (start, end) in enumerate(spans.tolist()):
            owner[start:end] = j
        members: list[list[int]] = [[] for _ in range(len(spans))]
        covering = np.full(len(text), -1)
        for t, (start, end) in enumerate(offsets.tolist()):
            if special[t] or end <= start:
                continue
            covering[start:end] = t
            inside = owner[start:end]
            inside = inside[inside >= 0]
            if len(inside):
                members[int(inside[-1])].append(t)
        for j, (start, end) in enumerate(spans.tolist()):
            last = _last_token(covering[start:end], text[start:end])
            if last < 0:
                raise ExtractError(
                    f"sentence {i + 1} cannot be aligned: no token covers the end of the word "
                    f"{text[start:end]!r} in {text!r}"
                )
            # A character of several tokens (an emoji, say) belongs to the last of them.
            if last not in members[j]:
                members[j].append(last)
        result.append(members)
    return result


def _last_token(covering: np.ndarray, word: str) -> int:
    """The token of a word's last character that has one; −1 if a letter behind it has none.

    Tokenizers may drop accents and other marks, and what prints nothing.
    """
    for token, character in zip(covering[::-1].tolist(), word[::-1], strict=True):
        if token >= 0 or not (unicodedata.combining(character) or not prints(character)):
            return int(token)
    return -1


def first_columns(words: Sequence[str]) -> dict[str, int]:
    """Last column of the first occurrence of every word, from the words of the columns.

    For folders that do not hold it: where a word stands twice in a row, that is one occurrence.
    """
    first: dict[str, int] = {}
    for column, word in enumerate(words):
        if word not in first or (first[word] == column - 1 and words[column - 1] == word):
            first[word] = column
    return first


def landmarks_of(
    first: dict[str, int], slots: list[str], source: str, destination: str, distractor: str
) -> dict[str, int]:
    """Columns of the landmarks; sentences without the study's words get substitutes.

    ``first`` maps every name, in the order of the sentence, to the column of its first occurrence.
    """
    names = [name for name in first if any(c.isalnum() for c in name)]
    wanted: dict[str, tuple[str, str, list[str]]] = {
        "source": (source, SOURCE, slots[:1]),
        "destination": (destination, DESTINATION, names[-1:]),
        "distractor": (distractor, DISTRACTOR, []),
    }
    found: dict[str, int] = {}
    for role, (name, default, substitute) in wanted.items():
        if name not in first and name != default:
            raise UsageError(f"no word {name!r} for the {role}; there are: {', '.join(names)}")
        for candidate in [name, *substitute]:
            if candidate in first:
                found.setdefault(role, first[candidate])
    if "source" not in found:
        raise UsageError(f"name the source with --source; the words are: {', '.join(names)}")
    return found


def _raw(
    prompts: Prompts, tokens: Tokens, source: str, destination: str, distractor: str
) -> Positions:
    n, width = len(tokens), max(len(row) for row in tokens.ids)
    columns = np.broadcast_to(np.arange(width), (n, width)).copy()
    padding = ["<pad>"] * (width - len(tokens.texts))
    words = [*tokens.texts, *padding]
    report = _lengths(tokens)
    source_columns: dict[int, int] = {}
    if prompts.units:
        of_words = word_tokens(prompts, tokens)
        firsts = [_first_occurrences(prompts, sentence) for sentence in of_words]
        first = firsts[0]
        for name, members in zip(prompts.units, of_words[0], strict=True):
            for token in members:
                words[token] = name
    else:
        firsts, first = [], {}
        for column, text in enumerate(tokens.texts):
            first.setdefault(text, column)
    landmarks = landmarks_of(first, slots_in_order(prompts), source, destination, distractor)
    if firsts:
        name = next(name for name, column in first.items() if column == landmarks["source"])
        counts = Counter(columns_of[name] for columns_of in firsts)
        source_columns = dict(sorted(counts.items()))
        listed = ", ".join(f"{column} ({count})" for column, count in source_columns.items())
        shifted = 1 - counts[landmarks["source"]] / n
        report.append(
            f"raw positions mix words: in {shifted:.0%} of the sentences {name} is not at column "
            f"{landmarks['source']}, where the first sentence has it; it stands at columns "
            f"{listed}, most often at {counts.most_common(1)[0][0]}"
        )
    texts = (*tokens.texts, *padding)
    return Positions(
        "raw", tuple(words), texts, columns, dict(first), landmarks, tuple(report), source_columns
    )


def slots_in_order(prompts: Prompts) -> list[str]:
    """Names of the slots in the order of the sentence."""
    return [n for n, is_slot in zip(prompts.units, prompts.is_slot, strict=True) if is_slot]


def _first_occurrences(prompts: Prompts, of_words: list[list[int]]) -> dict[str, int]:
    """Last token of the first occurrence of every word of one sentence."""
    first: dict[str, int] = {}
    for name, tokens in zip(prompts.units, of_words, strict=True):
        first.setdefault(name, tokens[-1])
    return first


def _lengths(tokens: Tokens) -> list[str]:
    lengths = Counter(len(row) for row in tokens.ids)
    usual, count = lengths.most_common(1)[0]
    if len(lengths) == 1:
        return [f"all {len(tokens)} sentences have {usual} tokens"]
    return [
        f"{len(tokens) - count} of {len(tokens)} sentences differ in length from the commonest, "
        f"{usual} tokens (lengths {min(lengths)} to {max(lengths)})"
    ]


def _varying(prompts: Prompts, counts: np.ndarray) -> list[str]:
    """Which slots have how many tokens, where that varies."""
    lines: dict[str, None] = {}
    for j, name in enumerate(prompts.units):
        found = sorted(set(counts[:, j].tolist()))
        if len(found) > 1:
            lines[f"{name} has {' or '.join(map(str, found))} tokens"] = None
    return list(lines)
