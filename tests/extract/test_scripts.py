"""Every script with every kind of tokenizer: each column holds the word that it is named after.

Where a word ends is told twice: by offsets, as the package does, and by decoding more and more
tokens of the sentence until the word is complete.
"""

import json
import unicodedata

import pytest
import regex
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from extract import align, read_prompts, tokenize
from extract.tokens import word_tokens

# Script → template, values of its slot, and the words of a sentence, the slot as "{}".
SCRIPTS = {
    "Latin": (
        "Zoé est née en {} à Orléans, l’été.",
        ["février", "août", "décembre"],
        "Zoé|est|née|en|{}|à|Orléans|,|l|’été|.",
    ),
    "Han": ("他出生于{}的北京。", ["五月", "十一月", "腊月"], "他|出生|于|{}|的|北京|。"),
    "Kana": (
        "さくらは{}頃に、東京で。",
        ["5月", "12月", "うるうどし"],
        "さくら|は|{}|頃|に|、|東京|で|。",
    ),
    "Hangul": ("민수는 {}에 태어났다.", ["5월", "12월", "오월"], "민수는|{}|에|태어났다|."),
    "Thai": (
        "ฉันเกิดใน{}ที่กรุงเทพ",
        ["พฤษภาคม", "มีนาคม", "วันนี้"],
        "ฉัน|เกิด|ใน|{}|ที่|กรุงเทพ",
    ),
    "Hindi": (
        "मीरा का जन्म {} में हुआ था।",
        ["मई", "फ़रवरी", "जुलाई की"],
        "मीरा|का|जन्म|{}|में|हुआ|था|।",
    ),
    "Arabic": (
        "وُلِدت ليلى في شهر ال{}، هنا.",
        ["محرّم", "صفر", "ربيع"],
        "وُلِدت|ليلى|في|شهر|ال|{}|،|هنا|.",
    ),
    "Hebrew": ("ג'ון נולד ב{} בחיפה.", ["מאי", "יוני", "מרץ"], "ג'ון|נולד|ב|{}|בחיפה|."),
    "Cyrillic": (
        "Андрій народився {} у п'ятницю.",
        ["5-го травня", "в їдальні", "йой"],
        "Андрій|народився|{}|у|п'ятницю|.",
    ),
    "emoji": (
        "I 👍🏽 it {} and 😀🇫🇷!",
        ["👩‍👩‍👧", "❤️", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"],
        "I|👍🏽|it|{}|and|😀|🇫🇷|!",
    ),
    "number": ("It is {}pm, 1,000.5 °C.", ["4", "-1.5", "1½"], "It|is|{}|pm|,|1,000.5|°|C|."),
}
CASES = {
    **{name: (unicodedata.normalize("NFC", t), v, w) for name, (t, v, w) in SCRIPTS.items()},
    **{
        f"{name}, decomposed": (unicodedata.normalize("NFD", t), v, w)
        for name, (t, v, w) in SCRIPTS.items()
        if unicodedata.normalize("NFD", t + v[0]) != t + v[0]
    },
}  # fmt: skip
SENTENCES = [template.format(value) for template, values, _ in CASES.values() for value in values]


def _byte_level(size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["[PAD]"],
        show_progress=False,
    )
    return tokenizer, trainer, lambda text: text


def _across_words():
    """No rule parts words before bytes are merged, so that tokens reach from one into another."""
    tokenizer, trainer, seen = _byte_level(700)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[^\s]+|\s"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return tokenizer, trainer, seen


def _word_piece(plain):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=plain, strip_accents=plain)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    trainer = trainers.WordPieceTrainer(
        vocab_size=500,
        special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"],
        show_progress=False,
    )
    dropped = r"[\p{Cf}\p{Mn}]" if plain else r"\p{Cf}"
    return tokenizer, trainer, lambda text: regex.sub(dropped, "", _decomposed(text)).lower()


def _unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=400, unk_token="<unk>", special_tokens=["[PAD]", "<unk>"], show_progress=False
    )
    return tokenizer, trainer, _decomposed


def _composing():
    """As of Qwen: texts are composed before they are parted."""
    tokenizer, trainer, _ = _byte_level(500)
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer, trainer, _decomposed


def _pieces_and_bytes():
    """As of Llama 2 and Gemma: characters that are not known are read byte by byte."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        limit_alphabet=60,
        special_tokens=["[PAD]", "<unk>", *(f"<0x{i:02X}>" for i in range(256))],
        show_progress=False,
    )
    return tokenizer, trainer, lambda text: text


def _decomposed(text):
    return unicodedata.normalize("NFKD", text)


TOKENIZERS = {
    "bytes": lambda: _byte_level(280),
    "byte-level BPE": lambda: _byte_level(700),
    "byte-level BPE across words": _across_words,
    "WordPiece": lambda: _word_piece(plain=False),
    "WordPiece without case and accents": lambda: _word_piece(plain=True),
    "Unigram": _unigram,
    "byte-level BPE, composing": _composing,
    "BPE with bytes": _pieces_and_bytes,
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def trained(request):
    tokenizer, trainer, seen = TOKENIZERS[request.param]()
    tokenizer.train_from_iterator(SENTENCES, trainer)
    parts = json.loads(tokenizer.to_str())
    # A token of a byte is no special token, although the trainer takes it only as one.
    parts["added_tokens"] = [t for t in parts["added_tokens"] if not t["content"].startswith("<0x")]
    tokenizer = Tokenizer.from_str(json.dumps(parts))
    if request.param.startswith("WordPiece"):
        special = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
        tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, special)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]")

    def visible(text):
        """What of a text is to be compared: blanks come and go."""
        return "".join(seen(text).split())

    return fast, visible


def _prompts(tmp_path, case):
    template, values, words = CASES[case]
    path = tmp_path / "p.csv"
    rows = [f'"{template.format(value)}",{i},{value}\n' for i, value in enumerate(values)]
    path.write_text("text,label,Slot\n" + "".join(rows), encoding="utf-8")
    return read_prompts(path), values, words.split("|")


@pytest.mark.parametrize("case", CASES)
def test_words_and_slots(tmp_path, case):
    prompts, values, words = _prompts(tmp_path, case)
    assert prompts.units == tuple(
        "Slot" if w == "{}" else unicodedata.normalize("NFC", w) for w in words
    )
    assert prompts.slots == {"Slot": tuple(unicodedata.normalize("NFC", v) for v in values)}
    for text, spans, value in zip(prompts.texts, prompts.spans.tolist(), values, strict=True):
        found = [text[a:b] for a, b in spans]
        expected = [value if word == "{}" else word for word in words]
        assert [unicodedata.normalize("NFC", f) for f in found] == [
            unicodedata.normalize("NFC", e) for e in expected
        ]


@pytest.mark.parametrize("case", CASES)
def test_columns_hold_their_words(tmp_path, trained, case):
    tokenizer, visible = trained
    prompts, _, _ = _prompts(tmp_path, case)
    tokens = tokenize(prompts, tokenizer)
    positions = align(prompts, tokens)
    columns = positions.columns[:, positions.first["Slot"]].tolist()
    assert columns == [
        members[prompts.units.index("Slot")][-1] for members in word_tokens(prompts, tokens)
    ]
    for i, members in enumerate(word_tokens(prompts, tokens)):
        ids, text = tokens.ids[i], prompts.texts[i]
        assert tokenizer.unk_token_id not in ids
        read = [
            visible(tokenizer.decode(ids[: t + 1], skip_special_tokens=True))
            for t in range(len(ids))
        ]
        assert read[-1] == visible(text)
        for j, (start, end) in enumerate(prompts.spans[i].tolist()):
            # The word's last token is the first with which the word is complete.
            complete = [t for t, part in enumerate(read) if part.startswith(visible(text[:end]))]
            assert members[j][-1] == complete[0], (text[start:end], members[j], complete[0])
            word = visible(tokenizer.decode([ids[t] for t in members[j]], skip_special_tokens=True))
            assert visible(text[start:end]) in word, (text[start:end], word)
