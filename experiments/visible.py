"""Text as it is safe to print: nothing in it can move the cursor, hide, or turn what stands beside.

Words, slots, files and models are named by whoever wrote them, and a terminal obeys what it reads.
"""

from __future__ import annotations

import re
import unicodedata

#: Longest line that is printed, and the longest part of it without a space.
LINE, PART = 3000, 300

_NAMED = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}
# Format characters that are signs of a script of their own and are seen (Arabic, Syriac, Kaithi).
_SIGNS = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd")
# They join and part letters: scripts from Hebrew on need them, and so do emoji.
_JOINERS = frozenset("\u180e\u200c\u200d")
# Not seen, though their category is that of letters and marks.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
_FIRST_JOINED = "\u0590"


def visible(text: str, most: int = LINE) -> str:
    r"""Show what a terminal would obey or hide as escapes such as ``\x1b``, and cut what is long.

    Control characters, ends of lines, characters that turn the direction of writing or have no
    width, and halves of characters. Text of any script stays as it is, with the joiners between its
    letters.

    Parameters
    ----------
    text
        Any text.
    most
        Most characters of the result; what is longer is cut in the middle, and so is a part without
        a space that is longer than :data:`PART`.
    """
    # What is cut anyway need not be looked at.
    if len(text) > 4 * most:
        text = text[: 2 * most] + text[-2 * most :]
    if not (text.isascii() and text.isprintable()):
        text = "".join(_shown(text, i) for i in range(len(text)))
    text = re.sub(rf"\S{{{PART + 1},}}", lambda found: _cut(found[0], PART), text)
    return _cut(text, most)


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    head = most // 2
    return f"{text[:head]}…{text[len(text) - (most - head - 1) :]}"


def _shown(text: str, i: int) -> str:
    character = text[i]
    if character in _NAMED:
        return _NAMED[character]
    kind = unicodedata.category(character)
    hidden = kind in ("Cc", "Cf", "Cs", "Zl", "Zp") or character in _BLANK
    if character in _SIGNS or (character in _JOINERS and _joins(text, i)):
        hidden = False
    if unicodedata.name(character, "").startswith("VARIATION SELECTOR"):
        hidden = not _varies(text[i - 1] if i else " ")
    if not hidden:
        return character
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _joins(text: str, i: int) -> bool:
    """Whether a joiner follows a virama, or stands between letters or emoji that have joiners."""
    before, after = text[i - 1] if i else " ", text[i + 1] if i + 1 < len(text) else " "
    if unicodedata.combining(before) == 9:
        return True
    sides = [unicodedata.category(c)[0] for c in (before, after)]
    return all(c >= _FIRST_JOINED for c in (before, after)) and all(s in "LMS" for s in sides)


def _varies(before: str) -> bool:
    """Whether a character has variants: signs, digits and letters of scripts from Hebrew on."""
    kind = unicodedata.category(before)
    if kind[0] == "L":
        return before >= _FIRST_JOINED
    return kind[0] in "SN" or before in "#*"
