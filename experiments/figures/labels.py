"""Labels of the positions: what they say, and how they fit along an axis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from matplotlib.axis import Axis, XAxis
from matplotlib.figure import Figure
from rich.cells import cell_len, chop_cells

from experiments.figures.fonts import drawable, left_to_right, use_fonts
from experiments.figures.style import INK, SOURCE, TEXT

#: Letters of a label; a Chinese one counts as two.
LONGEST = 18


@dataclass(frozen=True)
class Positions:
    """Names of a map's columns.

    Attributes
    ----------
    texts
        One label per position.
    landmarks
        Role (source, destination, distractor) → position.
    """

    texts: tuple[str, ...]
    landmarks: Mapping[str, int]

    def word(self, words: Sequence[str], role: str) -> str:
        """Word at a landmark."""
        return short(words[self.landmarks[role]])

    def legend(self, words: Sequence[str], role: str) -> str:
        """Name of a landmark for a legend."""
        return left_to_right(f"{self.word(words, role)} ({role})")


def positions(
    words: Sequence[str], tokens: Sequence[str], landmarks: Mapping[str, int]
) -> Positions:
    """Label positions by their words, with the tokens where these say more.

    A word of several tokens is written as far as it has been read ("volley|", "volley|ball"). A
    token that is not its word, as in slots, follows it the first time: "Day_Ordinal (th)".

    Raises
    ------
    ValueError
        Words, tokens and landmarks do not fit each other.
    """
    if len(words) != len(tokens) or any(not 0 <= p < len(words) for p in landmarks.values()):
        raise ValueError(
            f"{len(words)} words, {len(tokens)} tokens and landmarks {dict(landmarks)} do not fit"
        )
    texts: list[str] = []
    seen: set[tuple[str, str]] = set()
    start = 0
    while start < len(words):
        word, count = words[start], _tokens_of_word(words, tokens, start)
        if count > 1:
            parts = [t.strip() for t in tokens[start : start + count]]
            texts += ["|".join(parts[:i]) + "|" for i in range(1, count)] + ["|".join(parts)]
        else:
            token = tokens[start].strip()
            extra = token not in ("", word.strip()) and (word, token) not in seen
            seen.add((word, token))
            texts.append(f"{word} ({token})" if extra else word)
        start += count
    return Positions(tuple(short(text) for text in texts), dict(landmarks))


def set_labels(axis: Axis, names: Positions, texts: Sequence[str] | None = None) -> None:
    """Tick every position and write its label; landmarks are bold, the source red."""
    axis.set_ticks(range(len(names.texts)), labels=list(names.texts if texts is None else texts))
    marked = {position: role for role, position in names.landmarks.items()}
    for position, label in enumerate(axis.get_ticklabels()):
        role = marked.get(position)
        label.set(
            fontsize=TEXT,
            color=SOURCE if role == "source" else INK,
            fontweight="bold" if role else "normal",
            parse_math=False,
        )


def fit_labels(figure: Figure, axes: Iterable[tuple[Axis, Positions]]) -> None:
    """Turn labels upright where they do not fit, then drop the least telling of those that collide.

    Landmarks stay longest, punctuation goes first. To be called when the figure is complete.
    """
    axes = list(axes)
    for axis, names in axes:
        set_labels(axis, names)
    use_fonts(figure)
    figure.draw_without_rendering()
    crowded = [axis for axis, _ in axes if isinstance(axis, XAxis) and _collide(_extents(axis))]
    for axis in crowded:
        axis.set_tick_params(labelrotation=90)
    if crowded:
        figure.draw_without_rendering()
    for axis, names in axes:
        extents = _extents(axis)
        if not _collide(extents):
            continue
        kept: list[int] = []
        for position in _by_importance(names):
            if not any(_touch(extents[position], extents[other]) for other in kept):
                kept.append(position)
        set_labels(axis, names, [t if i in kept else "" for i, t in enumerate(names.texts)])


def short(text: str) -> str:
    """Text as a label: white space visible or unbreakable, what no font has replaced, cut."""
    text = drawable(text.replace("\n", "↵").replace("\t", "⇥").replace(" ", "\u00a0"))
    return text if cell_len(text) <= LONGEST else chop_cells(text, LONGEST - 1)[0] + "…"


def _tokens_of_word(words: Sequence[str], tokens: Sequence[str], start: int) -> int:
    """Return how many columns from ``start`` spell one word; 1 where they do not spell it."""
    spelled = ""
    for end in range(start, len(words)):
        if words[end] != words[start]:
            break
        spelled += tokens[end].strip()
        if spelled == words[start].strip():
            return end - start + 1
    return 1


def _by_importance(names: Positions) -> list[int]:
    """Return positions: landmarks, then words evenly from the left, then punctuation."""
    marked = [
        names.landmarks[r]
        for r in ("source", "destination", "distractor", *names.landmarks)
        if r in names.landmarks
    ]
    telling = [i for i, text in enumerate(names.texts) if any(c.isalnum() for c in text)]
    return list(dict.fromkeys([*marked, *telling, *range(len(names.texts))]))


def _extents(axis: Axis) -> list[tuple[float, float]]:
    """Interval each label covers along its axis, in pixels; written side by side, with a gap."""
    found = []
    for label in axis.get_ticklabels():
        box = label.get_window_extent()
        gap = 0.4 * box.height if isinstance(axis, XAxis) and label.get_rotation() == 0 else 0
        found.append((box.x0, box.x1 + gap) if isinstance(axis, XAxis) else (box.y0, box.y1))
    return found


def _collide(extents: Sequence[tuple[float, float]]) -> bool:
    ordered = sorted(extents)
    return any(_touch(a, b) for a, b in pairwise(ordered))


def _touch(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] < b[1] and b[0] < a[1]
