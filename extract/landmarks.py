"""The landmarks: where the label is read, where it is needed, and a word unrelated to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from extract.errors import UsageError
from extract.prompts import Prompts
from extract.words import composed

#: The study's landmarks: where the date is read, where it is needed, and an unrelated word.
SOURCE, DESTINATION, DISTRACTOR = "Month", "birthday", "volleyball"
#: The last token of every sentence, as it is named; "last" is understood too.
LAST = "<last>"
#: Where a name is looked for first: in the sentence itself, in a chat template after or before it;
#: a word that has the name of a slot is not meant by it.
OWN, AFTER, BEFORE, NAMESAKE = range(4)


def landmarks_of(
    first: Mapping[str, int],
    slots: Sequence[str],
    source: str,
    destination: str,
    distractor: str,
    named: Mapping[str, int] | None = None,
    needed_last: bool = False,
) -> dict[str, int]:
    """Columns of the landmarks; sentences without the study's words get substitutes.

    Parameters
    ----------
    first
        The column of the first occurrence of every word, in the order of the sentence.
    slots
        Names of the slots, in that order.
    source, destination, distractor
        The words asked for.
    named
        Columns of special tokens and of the last token, by their names.
    needed_last
        Whether the label is needed at the last token, where no destination is named; otherwise
        that is the last word, unless the source is.

    Raises
    ------
    UsageError
        A landmark that nothing has.
    """
    every = {**(named or {}), **first}
    words = [name for name in first if any(c.isalnum() for c in name)]
    listed = ", ".join([*words, *(name for name in named or {} if name not in first)])
    wanted: dict[str, tuple[str, str, Sequence[str]]] = {
        "source": (source, SOURCE, slots[:1]),
        "destination": (destination, DESTINATION, [*([] if needed_last else words[-1:]), LAST]),
        "distractor": (distractor, DISTRACTOR, []),
    }
    alike = {composed(name): name for name in every}
    found: dict[str, int] = {}
    for role, (asked, default, substitute) in wanted.items():
        name = alike.get(composed(asked), asked)
        if name not in every and name != default:
            raise UsageError(f"no word {name!r} for the {role}; there are: {listed}")
        # Nothing is told by the source and itself.
        others = [word for word in substitute if every.get(word) not in found.values()]
        for candidate in [name, *others]:
            if candidate in every:
                found.setdefault(role, every[candidate])
    if "source" not in found:
        raise UsageError(f"name the source with --source; the words are: {listed}")
    return found


def first_columns(words: Sequence[str]) -> dict[str, int]:
    """Last column of the first occurrence of every word, from the words of the columns.

    For folders that do not hold it: where a word stands twice in a row, that is one occurrence.
    """
    first: dict[str, int] = {}
    for column, word in enumerate(words):
        if word not in first or (first[word] == column - 1 and words[column - 1] == word):
            first[word] = column
    return first


def slots_in_order(prompts: Prompts) -> list[str]:
    """Names of the slots in the order of the sentence."""
    return [n for n, is_slot in zip(prompts.units, prompts.is_slot, strict=True) if is_slot]


def slot_places(prompts: Prompts) -> dict[str, int]:
    """The word at which every slot stands first; other words may have its name."""
    found: dict[str, int] = {}
    for j, (name, is_slot) in enumerate(zip(prompts.units, prompts.is_slot, strict=True)):
        if is_slot:
            found.setdefault(name, j)
    return found


def parts_of(prompts: Prompts) -> list[int]:
    """Where every word stands: in the sentence, or in a chat template after or before it."""
    end = len(prompts.texts[0]) - prompts.frame[1]
    spans = prompts.spans[0].tolist()
    return [AFTER if a >= end else BEFORE if b <= prompts.frame[0] else OWN for a, b in spans]


def ranks_of(prompts: Prompts) -> list[int]:
    """Where the name of every word is looked for: in "the month {month}" it is that of the slot."""
    slots = slot_places(prompts)
    words = zip(parts_of(prompts), prompts.units, prompts.is_slot, strict=True)
    return [NAMESAKE if name in slots and not is_slot else part for part, name, is_slot in words]


def part_between(prompts: Prompts, parts: Sequence[int], j: int) -> int:
    """Where a token stands that is between word j − 1 and word j."""
    if not prompts.in_chat:
        return OWN
    before = parts[j - 1] if j else BEFORE
    after = parts[j] if j < len(parts) else AFTER
    return OWN if before == after == OWN else BEFORE if before == BEFORE else AFTER


def first_of(found: Sequence[tuple[int, str, int]]) -> dict[str, int]:
    """Column of the first occurrence of every name, by the order of the ranks."""
    first: dict[str, int] = {}
    for _, name, column in sorted(found, key=lambda entry: entry[0]):
        first.setdefault(name, column)
    return first
