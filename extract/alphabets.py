"""How well a text reads: whether its words are spelt with the letters of one language.

Encodings of one byte a character can all be decoded as one another, and only the words tell them
apart: "août" or "aoűt", "Ayşe" or "Ayþe". Words without a letter beyond ASCII tell nothing.
"""

from __future__ import annotations

import re

#: Encodings, and how words of the languages written in them are spelt, in small letters; those that
#: more tables are in first. Some letters stand only before or behind some others, which tells apart
#: Portuguese and Hungarian, or Russian and Hebrew.
_LANGUAGES = tuple(
    (encoding, re.compile(f"(?:{spelling})+"))
    for encoding, spelling in (
        ("cp1252", "[a-zäöüßéµ]"),  # German
        ("cp1252", "[a-zàâæéèêëîïôœùûüÿ]|ç(?=[aouœ])"),  # French
        ("cp1252", "[a-záéíñóúüªº]"),  # Spanish
        ("cp1252", "[a-záâàéêíóôúü]|õ(?=e)|ã(?=[oe]|s?$)|ç(?=[aouáãâóõôú])"),  # Portuguese
        ("cp1252", "[a-zàèéìíîòóùú]"),  # Italian
        ("cp1252", "[a-zåäöæøéü]"),  # Danish, Norwegian, Swedish, Finnish
        ("cp1252", "[a-záàéèëêïíóöúü]|ç(?=[aou])"),  # Dutch, Catalan
        ("cp1250", "[a-ząćęłńóśźż]"),  # Polish
        ("cp1250", "[a-záčďéěíňóřšťúůýž]"),  # Czech
        ("cp1250", "[a-záéíóöőúüű]"),  # Hungarian
        ("cp1250", "[a-zăâîşţ]"),  # Romanian
        ("cp1250", "[a-záäčďéíĺľňóôŕšťúýž]"),  # Slovak
        ("cp1250", "[a-zčćđšž]"),  # Croatian, Slovene
        ("cp1251", "[а-ик-яё]|(?<![бвгджзклмнпрстфхцчшщ])й"),  # Russian, Bulgarian
        ("cp1251", "[а-ик-щьюяєіїґ’']|(?<![бвгджзклмнпрстфхцчшщ])й"),  # Ukrainian
        ("cp1251", "[а-ик-шђјљњћџѓќѕ]"),  # Serbian, Macedonian
        ("cp1254", "[a-zçğıöşüâî]"),  # Turkish
        ("cp1253", "[ά-ία-ώ]"),  # Greek
        ("cp1257", "[a-ząčęėįšųūž]"),  # Lithuanian
        ("cp1257", "[a-zāčēģīķļņšūž]"),  # Latvian
        ("cp1257", "[a-zäöõüšž]"),  # Estonian
        ("cp1255", "[א-ת]"),  # Hebrew
        ("cp1256", "[ء-غف-يپچژکگہی]"),  # Arabic, Persian
        ("cp874", "[ก-ะาำเ-ๆ]|(?<=[ก-ฮัิ-ฺ])[ัิ-ฺ็-์]"),  # Thai
        ("cp1252", "[a-záéíóúýöæðþ]"),  # Icelandic
        ("mac_roman", "[a-zäöüß]"),
        ("mac_roman", "[a-zàâæéèêëîïôœùûüÿ]|ç(?=[aouœ])"),
        ("mac_roman", "[a-záéíñóúü]"),
        ("mac_roman", "[a-zåäöæøéü]"),
    )
)
# Letters and whatever is beyond ASCII: a wrong encoding has signs within its words.
_WORD = re.compile(r"[^\x00-@\[-`{-\x7f\s]+")
_AROUND = "“”‘’„‚‹›«»‐–—…·•¿¡°²³€£¥©®™§¶†‡×÷±½¼¾، ؛؟、。"
#: Words that are looked at, at most.
_MOST = 2000


def encodings() -> list[str]:
    """Those that words can tell apart."""
    return list(dict.fromkeys(encoding for encoding, _ in _LANGUAGES))


def telling_words(text: str) -> list[str]:
    """Different words with a letter beyond ASCII, marks upon it included."""
    found: dict[str, None] = {}
    for line in text.splitlines():
        if not line.isascii():
            words = (word.strip(_AROUND) for word in _WORD.findall(line))
            found.update(dict.fromkeys(word for word in words if not word.isascii()))
        if len(found) > _MOST:
            break
    return list(found)


def reads(text: str, encoding: str) -> tuple[float, float, int]:
    """How well a text reads in an encoding, as what is better in order.

    The share of its telling words that some language of the encoding spells so; the largest share
    that one language does; and how common the first such language is.
    """
    words = telling_words(text)
    if not words:
        return 1.0, 1.0, -encodings().index(encoding)
    small = [word.lower() if _is_cased(word) else "" for word in words]
    spelt = {
        rank: [spelling.fullmatch(word) is not None for word in small]
        for rank, (of, spelling) in enumerate(_LANGUAGES)
        if of == encoding
    }
    counts = {rank: sum(found) for rank, found in spelt.items()}
    most = max(counts.values())
    by_any = sum(map(any, zip(*spelt.values(), strict=True)))
    first = next(rank for rank, count in counts.items() if count == most)
    return by_any / len(words), most / len(words), -first


def _is_cased(word: str) -> bool:
    """Whether a word is in small letters, in capitals, or begins with one."""
    return word in (word.lower(), word.upper(), word[0].upper() + word[1:].lower())
