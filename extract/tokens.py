"""Tokens of all sentences, and which of them belong to which word."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from extract.errors import ExtractError
from extract.prompts import Prompts
from extract.words import characters, prints

#: Added tokens that are marks and no words, whether a tokenizer calls them special or not.
_MARK = re.compile(r"[<\[]\S+[>\]]")
#: Tokens that stand for one byte of a character.
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


@dataclass(frozen=True)
class Tokens:
    """Token ids and character offsets of every sentence.

    Attributes
    ----------
    ids
        Per sentence.
    offsets
        ``offsets[i]`` is ``(length, 2)``; tokens that the tokenizer adds have empty spans.
    special
        Per sentence ``(length,)``, whether the tokenizer added the token.
    texts
        The readable tokens of the first sentence.
    marks
        Names of special tokens, added or standing in a text, by their ids.
    """

    ids: list[list[int]]
    offsets: list[np.ndarray]
    special: list[np.ndarray]
    texts: list[str]
    marks: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)


def tokenize(prompts: Prompts, tokenizer: Any) -> Tokens:
    """Tokenize all sentences with character offsets.

    In a chat template they get no special tokens but those of the template, which begin and end
    them: a second beginning would be another text than the model knows.

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
        list(prompts.texts),
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        add_special_tokens=not prompts.in_chat,
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
        else _readable(prompts.texts[0][a:b]) or _readable(tokenizer.decode([token])) or "␣"
        for token, (a, b), is_special in zip(ids[0], offsets[0].tolist(), special[0], strict=True)
    ]
    return Tokens(ids, offsets, special, texts, _marks(tokenizer, ids, special))


def _readable(text: str) -> str:
    return text.strip() or ("↵" if "\n" in text else "")


def _marks(tokenizer: Any, ids: list[list[int]], special: list[np.ndarray]) -> dict[int, str]:
    added = {
        number
        for number, token in tokenizer.added_tokens_decoder.items()
        if (token.special or _MARK.fullmatch(token.content)) and not _BYTE.fullmatch(token.content)
    }
    added |= {t for row, mask in zip(ids, special, strict=True) for t in np.array(row)[mask]}
    found = added.intersection(set().union(*ids))
    return {int(t): str(tokenizer.convert_ids_to_tokens(int(t))) for t in sorted(found)}


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
            last = int(covering[end - 1])
            if last < 0:
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
    """The last token of a word's last character that prints something; −1 where it has none.

    A tokenizer may drop accents, and compose a letter of several parts to one that it then finds
    in the first of them.
    """
    shown = [(start, end) for start, end in characters(word) if prints(word[start:end])]
    tokens = covering[shown[-1][0] :] if shown else covering
    found = tokens[tokens >= 0]
    return int(found[-1]) if len(found) else -1


def without_marks(prompts: Prompts, tokens: Tokens) -> Prompts:
    """The sentences without the words that are nothing but a special token in every sentence.

    A text may hold special tokens, such as the marks of a chat template; "im_start" between two
    vertical bars is no word there.
    """
    if not prompts.units or not _stand_in_texts(tokens):
        return prompts
    is_mark = ~np.array(prompts.is_slot)
    for i, (ids, offsets) in enumerate(zip(tokens.ids, tokens.offsets, strict=True)):
        covered = np.zeros(len(prompts.texts[i]) + 1, dtype=np.int64)
        for token, (start, end) in zip(ids, offsets.tolist(), strict=True):
            if token in tokens.marks:
                covered[start + 1 : end + 1] = 1
        sums = covered.cumsum()
        starts, ends = prompts.spans[i].T
        is_mark &= sums[ends] - sums[starts] == ends - starts
    kept = np.flatnonzero(~is_mark)
    if len(kept) in (0, len(prompts.units)):
        return prompts
    return replace(
        prompts,
        units=tuple(prompts.units[j] for j in kept),
        is_slot=tuple(prompts.is_slot[j] for j in kept),
        spans=prompts.spans[:, kept],
    )


def _stand_in_texts(tokens: Tokens) -> bool:
    rows = zip(tokens.ids, tokens.special, strict=True)
    return any(t in tokens.marks for ids, mask in rows for t in np.array(ids)[~mask].tolist())
