"""The encoding of a text file: told by its first bytes, UTF-8, or found out, and then said."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from charset_normalizer import from_bytes

from extract.alphabets import encodings, reads, telling_words
from extract.errors import UsageError

#: Marks at the beginning of a file; those of UTF-32 first, which begin as those of UTF-16 do.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", ""),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
#: Encodings in which programs of the last decades write tables, and their names for people.
_NAMES = {
    "cp1252": "Windows-1252",
    "cp1250": "Windows-1250",
    "cp1251": "Windows-1251",
    "cp1253": "Windows-1253",
    "cp1254": "Windows-1254",
    "cp1255": "Windows-1255",
    "cp1256": "Windows-1256",
    "cp1257": "Windows-1257",
    "cp874": "Windows-874",
    "mac_roman": "Mac Roman",
    "cp932": "Shift JIS",
    "gb18030": "GB 18030",
    "big5": "Big5",
    "cp949": "Windows-949",
}
#: Those of letters that are not Latin, which all look alike in each other's.
_OTHER_SCRIPTS = ("cp1251", "cp1253", "cp1255", "cp1256", "cp874")
#: Those of several bytes a character, which a library tells apart by how well they decode.
_EAST_ASIAN = ("cp932", "gb18030", "big5", "cp949")
#: Share of the telling words that must be spelt as some language does.
_MOST_WORDS = 0.8
#: Differences of disorder, of 0 to 1, that say nothing.
_AS_LIKELY = 0.01
_HIRAGANA = re.compile("[ぁ-ゖ]")
_SAVE = "save it as UTF-8"


def decoded(path: Path, data: bytes) -> tuple[str, str]:
    """The text of a file, and the name of its encoding for people: nothing for UTF-8.

    Raises
    ------
    UsageError
        It is no text, or nobody can tell in which encoding.
    """
    for mark, encoding, name in _MARKS:
        if data.startswith(mark):
            return _strictly(path, data, encoding, name or "UTF-8"), name
    if b"\0" in data:
        # Of letters that ASCII has, UTF-16 has every second byte zero.
        zeros = [data[start::2].count(0) for start in (0, 1)]
        encoding = "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
        return _strictly(path, data, encoding, "UTF-16"), "UTF-16"
    try:
        return data.decode("utf-8"), ""
    except UnicodeDecodeError as error:
        return _found_out(path, data, error)


def _strictly(path: Path, data: bytes, encoding: str, name: str) -> str:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: begins as {name}, but is not ({error}): {_SAVE}") from error
    if "\0" in text:
        raise UsageError(f"{path}: holds zero bytes and is no text: {_SAVE}")
    return text


def _found_out(path: Path, data: bytes, error: UnicodeDecodeError) -> tuple[str, str]:
    """The text in the encoding in which its words are some, and the name of that encoding."""
    readings = {}
    for encoding in encodings():
        with suppress(UnicodeDecodeError):
            readings[encoding] = data.decode(encoding)
    found = {encoding: reads(text, encoding) for encoding, text in readings.items()}
    best = max(found, key=lambda encoding: found[encoding], default="")
    if not best or found[best][0] < _MOST_WORDS:
        best = _of_east_asia(path, data, error)
    elif best in _OTHER_SCRIPTS:
        as_good = [name for name in _OTHER_SCRIPTS if found.get(name, ())[:2] == found[best][:2]]
        _refuse_several(path, data, as_good, error)
    text = data.decode(best)
    words = telling_words(text)
    such_as = f" (such as {words[0]!r}; if that is wrong, {_SAVE})" if words else ""
    return text, _NAMES[best] + such_as


def _of_east_asia(path: Path, data: bytes, error: UnicodeDecodeError) -> str:
    """The encoding of several bytes a character with the least disorder.

    Raises
    ------
    UsageError
        There is none, or two have as little.
    """
    found = sorted(from_bytes(data, cp_isolation=list(_EAST_ASIAN)), key=lambda m: m.chaos)
    if not found:
        raise UsageError(f"{path}: cannot be read as UTF-8 text ({error}): {_SAVE}") from error
    likely = [match.encoding for match in found if match.chaos <= found[0].chaos + _AS_LIKELY]
    if "cp932" in likely and _HIRAGANA.search(data.decode("cp932")):
        return "cp932"  # other texts that are read so have no syllables, but halves of them
    _refuse_several(path, data, likely, error)
    return likely[0]


def _refuse_several(
    path: Path, data: bytes, likely: Sequence[str], error: UnicodeDecodeError
) -> None:
    """Raise an error that shows a word in each encoding, where there are several."""
    if len(likely) > 1:
        words = ((name, next(iter(telling_words(data.decode(name))), "")) for name in likely)
        read = " or ".join(f"{_NAMES[name]} ({word!r})" for name, word in words)
        raise UsageError(f"{path}: is not UTF-8, and may be {read}: {_SAVE}") from error
