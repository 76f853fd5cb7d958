"""The encoding of a text file: told by its first bytes, UTF-8, or found out, and then said."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from charset_normalizer import from_bytes

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
    "cp932": "Shift JIS",
    "gb18030": "GB 18030",
    "big5": "Big5",
    "cp949": "Windows-949",
    "mac_roman": "Mac Roman",
}
#: The one that is taken where others are as likely.
_COMMON = "cp1252"
#: Differences of disorder, of 0 to 1, that say nothing.
_AS_LIKELY = 0.01


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
    """The text in the encoding that gives the least disorder."""
    found = list(from_bytes(data, cp_isolation=list(_NAMES)))
    if not found:
        raise UsageError(f"{path}: cannot be read as UTF-8 text ({error}): {_SAVE}") from error
    least = min(match.chaos for match in found)
    likely = [match for match in found if match.chaos <= least + _AS_LIKELY]
    best = next((m for m in likely if _COMMON in m.could_be_from_charset), likely[0])
    encoding = _COMMON if _COMMON in best.could_be_from_charset else best.encoding
    text = data.decode(encoding)
    word = next(iter(re.findall(r"\w*[^\W\x00-\x7f]\w*", text)), None)
    such_as = f" (such as {word!r}; if that is wrong, save the file as UTF-8)" if word else ""
    return text, _NAMES[encoding] + such_as


_SAVE = "save it as UTF-8"
