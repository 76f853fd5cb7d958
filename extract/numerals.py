"""Where a number in a text begins and ends, and what it says.

To a number belong its digits (of any script), decimal points, thousands separators, a sign, an
exponent, a fraction such as ½ and the powers of ten of Han numerals. So the number of ``-1``,
``1.5`` and ``1,000`` is never 1, while that of ``4th``, ``4pm`` and ``5月`` is 4 and 5. In dates,
times and lists (``5.9.2023``, ``03:00``, ``1,2,3``, ``3-5``) every number stands for itself.
"""

from __future__ import annotations

import unicodedata

import regex

Span = tuple[int, int]  # characters of a text, end excluded

_POINTS = ".٫．"
_SPACES = "\u00a0\u202f\u2009"  # those that do not end a line; a common space parts two numbers
_GROUPS = rf"[,.'’٬_{_SPACES}]"
# Digits with separators between them, well-formed or not.
_CHAIN = regex.compile(rf"\d+(?:[{_POINTS},'’٬_]\d+|[{_SPACES}]\d{{3}}(?!\d))*")
_WELL_FORMED = regex.compile(
    rf"(?P<whole>\d{{1,3}}(?P<sep>{_GROUPS})\d{{3}}(?:(?P=sep)\d{{3}})+"  # 1.000.000
    rf"|\d{{1,3}}(?P<one>{_GROUPS})\d{{3}}(?=(?!(?P=one))[{_POINTS},]\d|$)"  # 1,000
    rf"|\d{{1,2}}(?:,\d\d)+,\d{{3}}"  # 12,34,567, as in India
    rf"|\d+)(?P<fraction>[{_POINTS},]\d+)?"
)
_POWERS = {
    "十": 10,
    "百": 100,
    "千": 1000,
    "万": 10**4,
    "萬": 10**4,
    "亿": 10**8,
    "億": 10**8,
    "兆": 10**12,
}
_HAN = regex.compile("[〇零一二三四五六七八九" + "".join(_POWERS) + "]+")
_BEGUN = regex.compile(f"{_CHAIN.pattern}|{_HAN.pattern}")
_DIGITS = regex.compile(r"\d+")
_EXPONENT = regex.compile(r"[eE][+\-−]?\d+(?!\w)")
_SIGNS = "-+−－＋﹣–"
_MINUS = "-−－﹣–"
# What stands before a sign: anything else makes it a dash between two things.
_BEFORE_SIGN = regex.compile(r"[\s\p{Ps}\p{Pi}\p{Default_Ignorable_Code_Point}\"',:;/|*=<>~≈≤≥×]")
_CURRENCY = regex.compile(r"\p{Sc}")
_WITHOUT_SPACES = regex.compile(r"[\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{scx=Thai}\p{scx=Laoo}]")


def numbers(text: str) -> list[Span]:
    """Spans of all numbers of a text, in its order."""
    found: list[Span] = []
    position = 0
    while begun := _BEGUN.search(text, position):
        parts = _parts(begun[0], begun.start()) if begun[0][0].isdecimal() else [begun.span()]
        start, end = parts[0]
        parts[0] = (_with_sign(text, _with_point(text, start, end)), end)
        start, end = parts[-1]
        position = _with_powers(text, end)
        parts[-1] = (start, position)
        found += parts
    return found


def values(text: str) -> list[float]:
    """What the numbers with digits say, in the order of the text.

    One comma before three digits parts thousands, one point is decimal: ``1,000`` is 1000, and
    ``1.000`` is 1, while ``1.000.000`` is a million; ``1,5`` is 1.5.
    """
    return [value for start, end in numbers(text) if (value := _value(text[start:end])) is not None]


def _parts(chain: str, offset: int) -> list[Span]:
    """The numbers of a chain of digits and separators."""
    if _WELL_FORMED.fullmatch(chain):
        return [(offset, offset + len(chain))]
    if "," in chain:  # a list such as 1.5,2.5,3.5
        spans = []
        for part in chain.split(","):
            spans += _parts(part, offset)
            offset += len(part) + 1
        return spans
    return [(offset + m.start(), offset + m.end()) for m in _DIGITS.finditer(chain)]


def _with_point(text: str, start: int, end: int) -> int:
    """Where a number begins that has nothing before its decimal point, as .5 does."""
    point = start - 1
    if point < 0 or text[point] not in _POINTS or not _DIGITS.fullmatch(text, start, end):
        return start
    before = text[point - 1 : point]
    return point if not before or before in _SIGNS or _BEFORE_SIGN.match(before) else start


def _with_sign(text: str, start: int) -> int:
    """Where a number begins with its sign: -5, but not 3-5, A-5 and May-5."""
    sign = start - 1
    if sign < 0 or text[sign] not in _SIGNS:
        return start
    before, earlier = text[max(0, sign - 1) : sign], text[max(0, sign - 2) : max(0, sign - 1)]
    if not before or _BEFORE_SIGN.match(before):
        return sign
    counted = earlier.isnumeric()  # 5€-10€, 3月-5月
    written_together = _CURRENCY.match(before) or _WITHOUT_SPACES.match(before)
    return sign if written_together and not counted and not before.isnumeric() else start


def _with_powers(text: str, end: int) -> int:
    """Where a number ends with what belongs to it behind its digits."""
    if exponent := _EXPONENT.match(text, end):
        return int(exponent.end())
    if end < len(text) and "<fraction>" in unicodedata.decomposition(text[end]):
        return end + 1
    while end < len(text) and text[end] in _POWERS:
        end += 1
    return end


def _value(number: str) -> float | None:
    """The value of one number; None without digits."""
    if not _DIGITS.search(number):
        return None
    negative = number[0] in _MINUS
    number = number.lstrip(_SIGNS)
    factor, extra = 1.0, 0.0
    while number[-1] in _POWERS:
        factor *= _POWERS[number[-1]]
        number = number[:-1]
    if not number[-1].isdecimal():  # a fraction such as ½
        extra = unicodedata.numeric(number[-1])
        number = number[:-1]
    exponent = _EXPONENT.search(number)
    power = exponent[0].replace("−", "-") if exponent else ""
    plain = _without_groups(number.removesuffix(exponent[0] if exponent else ""))
    value = (float(plain + power) + extra) * factor
    return -value if negative else value


def _without_groups(number: str) -> str:
    """Digits of one number with at most one point, as float() reads them."""
    found = _WELL_FORMED.fullmatch(number)
    if found is None:  # .5
        return "0." + number[1:]
    whole, fraction = str(found["whole"]), str(found["fraction"] or "")
    single = found["one"]
    decimal_comma = single == "," and whole.startswith("0")
    if single and (single in _POINTS or decimal_comma) and not fraction:
        return whole.replace(single, ".")
    digits = "".join(filter(str.isdecimal, whole))
    return digits + ("." + fraction[1:] if fraction else "")
