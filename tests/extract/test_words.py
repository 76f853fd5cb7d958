import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extract.numerals import numbers
from extract.prompts import study_prompts
from extract.slots import find_slot
from extract.words import boundaries, characters, composed, prints, split_words


def _words(text):
    return [text[start:end] for start, end in split_words(text)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Anna's favourite color", "Anna|'s|favourite|color"),
        ("Anna’s isn’t ’tis", "Anna|’s|isn|’t|’|tis"),
        ("O'Brien l'été 'tis '90s", "O|'Brien|l|'été|'tis|'90s"),
        ("foo-bar a_b a.b (x)?!", "foo|-|bar|a_b|a|.|b|(|x|)|?|!"),
        ("on the 4th at 4pm, 03:00", "on|the|4th|at|4pm|,|03|:|00"),
        ("1,000 or -1.5, 5.9.2023", "1,000|or|-1.5|,|5|.|9|.|2023"),
        ("Quoi\u202f? 12\u202fmai", "Quoi|?|12|mai"),
        ("彼は5月に生まれた。", "彼|は|5|月|に|生まれ|た|。"),
        ("我出生在北京。", "我|出生|在|北京|。"),
        ("‘五月’出生", "‘|五月|’|出生"),
        ("저는 서울에서 왔다.", "저는|서울에서|왔다|."),
        ("ฉันเกิดในเดือนพฤษภาคม", "ฉัน|เกิด|ใน|เดือน|พฤษภาคม"),
        ("ຂ້ອຍເກີດໃນເດືອນ", "ຂ້ອຍ|ເກີດ|ໃນ|ເດືອນ"),
        ("ខ្ញុំកើតនៅ", "ខ្ញុំ|កើត|នៅ"),
        ("मैं हिन्दी में।", "मैं|हिन्दी|में|।"),
        ("cafe\u0301 e\u0301te\u0301", "cafe\u0301|e\u0301te\u0301"),
        ("ولد في مايو، صباح", "ولد|في|مايو|،|صباح"),
        ("הוא ג'ון מצה״ל", "הוא|ג'ון|מצה״ל"),
        ("п'ять об’єкт Привет", "п'ять|об’єкт|Привет"),
        ("col·legi", "col·legi"),
        ("😀👍🏽👩‍👩‍👧🇩🇪🇫🇷 1️⃣", "😀|👍🏽|👩‍👩‍👧|🇩🇪|🇫🇷|1️⃣"),
        ("\ufeffa \u200b \u200f b\u00ad \u3164 \u2800 \x00", "a|b"),
        ("a\u00adb خانه\u200cها", "a\u00adb|خانه\u200cها"),
        ("", ""),
    ],
)
def test_words(text, words):
    assert _words(text) == [word for word in words.split("|") if word]


def test_places_are_characters_of_python():
    """ICU counts an emoji twice."""
    text = "😀😀 Anna’s 😀."
    assert _words(text) == ["😀", "😀", "Anna", "’s", "😀", "."]
    assert characters("😀e\u0301x") == [(0, 1), (1, 3), (3, 4)]
    assert boundaries("😀 a") == {0, 1, 2, 3}
    assert boundaries("1.5 pm") == {0, 3, 4, 6}


@pytest.mark.parametrize(
    "text", ["e\u0301'\u0301a", "हिन्दी", "ที่นี่", "각\u11a8", "x\u20dd#\ufe0f\u20e3"]
)
def test_no_character_is_parted(text):
    starts = {start for start, _ in characters(text)} | {len(text)}
    assert {place for span in split_words(text) for place in span} <= starts


_texts = st.text(
    st.sampled_from(
        "aé\u0301'’\"_.,-5½ \n\u202f\u200b\u200d\ufe0f😀👍\U0001f3fd🇫דח״אمำท่月五かカ각ᆨहि्न"
    )
)


@given(_texts)
def test_words_of_any_text(text):
    """In order, in whole characters, and everything that prints is in one."""
    words = split_words(text)
    whole = characters(text)
    assert [b for _, b in whole[:-1]] == [a for a, _ in whole[1:]]
    edges = {0} | {b for _, b in whole}
    assert {place for word in words for place in word} <= edges
    last = 0
    for start, end in words:
        assert last <= start < end
        assert not prints(text[last:start])
        assert prints(text[start:end])
        last = end
    assert not prints(text[last:])


@given(_texts, _texts)
def test_slots_of_any_text(text, value):
    found = find_slot(text, value)
    assert all(a < b for a, b in found)
    assert all(b <= c for (_, b), (c, _) in pairwise(found))
    for other in ("NFC", "NFD"):  # in either form as often
        there, wanted = unicodedata.normalize(other, text), unicodedata.normalize(other, value)
        assert len(find_slot(there, wanted)) == len(find_slot(there, value)) == len(found)
    if prints(value) and (0, 1) in characters(f"({value})"):  # no mark of the bracket
        assert find_slot(f"({value})", value) != []


@given(_texts)
def test_a_number_is_never_parted(text):
    for start, end in numbers(text):
        for a, b in split_words(text):
            assert not start < a < end
            assert not start < b < end


def test_half_of_a_surrogate_is_no_error():
    assert _words("a \ud800 b")[::2] == ["a", "b"]


def test_what_prints():
    assert not prints("")
    assert not prints(" \u200b\ufeff\u200e\ufe0f\u00ad\x1f\u2060")
    assert all(map(prints, ["a", "\u0301", "।", "👍", " x", "\ue000"]))


def test_the_words_of_the_study_are_those_of_runs_before():
    """A run of an earlier version goes on: the same 33 words at the same places."""
    prompts = study_prompts(300)
    assert prompts.hash == "982a0b584a9d6d0f8f996a33698daeda4a63d60098f64eac148ef95489082c08"
    assert len(prompts.units) == 33
    assert len(_words(prompts.texts[0])) == 33


def test_forms_of_accents_are_equal():
    assert composed("cafe\u0301") == composed("caf\u00e9") != composed("cafe")
