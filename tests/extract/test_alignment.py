import json

import numpy as np
import pytest
from tiny_models import save_tiny
from tokenizers import processors

from extract import ExtractError, Prompts, UsageError, align, read_prompts, study_prompts, tokenize
from extract.landmarks import LAST
from extract.models import load_tokenizer
from extract.sources import resolve_model
from extract.tokens import Tokens

PROMPTS = study_prompts(60, seed=2)


@pytest.fixture(scope="module", params=[("together", False), ("split", False), ("split", True)])
def tokenized(request, tmp_path_factory):
    digits, bos = request.param
    folder = save_tiny(tmp_path_factory.mktemp("tiny"), "gpt2", digits, bos)
    tokenizer = load_tokenizer(resolve_model(str(folder)))
    return tokenizer, tokenize(PROMPTS, tokenizer), bos


def _decoded(tokenizer, tokens, positions, column):
    """What the tokens of a column say, sentence by sentence."""
    chosen = [ids[c] for ids, c in zip(tokens.ids, positions.columns[:, column], strict=True)]
    return [tokenizer.decode([token]).strip() for token in chosen]


def test_every_column_is_the_same_word(tokenized):
    tokenizer, tokens, bos = tokenized
    positions = align(PROMPTS, tokens)
    expected = ["<|begin|>"] * bos + list(PROMPTS.units)
    # Words of several tokens have one column each.
    assert list(dict.fromkeys(positions.words)) == list(dict.fromkeys(expected))
    for column, word in enumerate(positions.words):
        texts = _decoded(tokenizer, tokens, positions, column)
        if word in PROMPTS.slots:
            # The last token of the slot's value.
            ends = zip(texts, PROMPTS.slots[word], strict=True)
            assert all(text and value.endswith(text) for text, value in ends)
        else:
            assert len(set(texts)) == 1
            assert texts[0] in word


def test_columns_run_through_the_sentence(tokenized):
    _, tokens, _ = tokenized
    columns = align(PROMPTS, tokens).columns
    assert (np.diff(columns, axis=1) > 0).all()
    assert (columns[:, -1] == [len(ids) - 1 for ids in tokens.ids]).all()


def test_landmarks(tokenized):
    tokenizer, tokens, _ = tokenized
    positions = align(PROMPTS, tokens)
    assert positions.words[positions.landmarks["source"]] == "Month"
    for role, word in (("destination", "birthday"), ("distractor", "volleyball")):
        column = positions.landmarks[role]
        assert positions.words[column] == word
        assert word.endswith(_decoded(tokenizer, tokens, positions, column)[0])


def test_report_counts_lengths(tokenized):
    _, tokens, _ = tokenized
    lengths = [len(ids) for ids in tokens.ids]
    usual = max(set(lengths), key=lengths.count)
    differing = sum(length != usual for length in lengths)
    assert differing > 0
    assert align(PROMPTS, tokens).report[0].startswith(f"{differing} of 60 sentences differ")


def test_slots_that_vary_are_named(tokenized):
    _, tokens, _ = tokenized
    assert any(line.startswith("Day_Ordinal has ") for line in align(PROMPTS, tokens).report)


def test_raw_is_the_plain_index(tokenized):
    tokenizer, tokens, _ = tokenized
    positions = align(PROMPTS, tokens, "raw")
    width = max(len(ids) for ids in tokens.ids)
    assert positions.columns.shape == (60, width)
    assert (positions.columns == np.arange(width)).all()
    month = PROMPTS.slots["Month"][0]
    first = tokens.ids[0][positions.landmarks["source"]]
    assert month.endswith(tokenizer.decode([first]).strip())
    # The report's columns are those where decoding finds the month.
    aligned = align(PROMPTS, tokens)
    real = aligned.columns[:, aligned.landmarks["source"]]
    columns, counts = np.unique(real, return_counts=True)
    assert positions.source_columns == dict(zip(columns.tolist(), counts.tolist(), strict=True))
    shifted = np.mean(real != positions.landmarks["source"])
    assert f"in {shifted:.0%} of the sentences" in positions.report[-1]
    assert f"most often at {columns[counts.argmax()]}" in positions.report[-1]


def test_own_landmarks(tokenized):
    _, tokens, _ = tokenized
    positions = align(PROMPTS, tokens, source="Day_Ordinal", destination="party")
    assert positions.words[positions.landmarks["source"]] == "Day_Ordinal"
    assert positions.words[positions.landmarks["destination"]] == "party"
    with pytest.raises(UsageError, match="no word 'cake' for the destination; there are: Name"):
        align(PROMPTS, tokens, destination="cake")


def test_own_sentences_get_substitutes(tokenized, tmp_path):
    tokenizer, _, _ = tokenized
    path = tmp_path / "p.csv"
    path.write_text("text,label\nI like red.,0\nI like blue.,1\n")
    prompts = read_prompts(path)
    positions = align(prompts, tokenize(prompts, tokenizer))
    words = {role: positions.words[c] for role, c in positions.landmarks.items()}
    # The source is the last word; where it is needed, if anywhere, is behind it.
    assert words == {"source": "word_3", "destination": "."}


def test_unknown_mode(tokenized):
    with pytest.raises(UsageError, match="word, slots or raw"):
        align(PROMPTS, tokenized[1], "columns")


def test_a_sentence_that_cannot_be_aligned_is_named(tokenized):
    _, tokens, _ = tokenized
    offsets = [o.copy() for o in tokens.offsets]
    offsets[7][-2:] = 0  # the last word and its full stop have no token
    broken = Tokens(tokens.ids, offsets, tokens.special, tokens.texts)
    with pytest.raises(ExtractError, match=r"sentence 8 cannot be aligned.*'birthday'"):
        align(PROMPTS, broken)


def test_tokenizer_without_offsets():
    class Slow:
        is_fast = False

    with pytest.raises(ExtractError, match="fast tokenizer"):
        tokenize(PROMPTS, Slow())


@pytest.mark.smollm2
def test_smollm2_splits_digits():
    tokens = tokenize(PROMPTS, load_tokenizer(resolve_model("smollm2")))
    positions = align(PROMPTS, tokens)
    assert positions.words == PROMPTS.units  # every fixed word is one token
    assert "Day_Ordinal has 2 or 3 tokens" in positions.report


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    """A tokenizer with the marks of a chat template among its special tokens."""
    folder = save_tiny(tmp_path_factory.mktemp("chat"), "gpt2")
    tokenizer = load_tokenizer(resolve_model(str(folder)))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    return tokenizer


@pytest.fixture(scope="module")
def enclosing(tmp_path_factory):
    """A tokenizer that puts a special token before and after every text, as BERT's does."""
    folder = save_tiny(tmp_path_factory.mktemp("bert"), "gpt2")
    tokenizer = load_tokenizer(resolve_model(str(folder)))
    ends = [(mark, tokenizer.convert_tokens_to_ids(mark)) for mark in ("<|begin|>", "<|end|>")]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A <|end|>", special_tokens=ends
    )
    return tokenizer


def _own(tmp_path, *texts, colours):
    path = tmp_path / "own.jsonl"
    rows = zip(texts, colours, strict=True)
    lines = [
        json.dumps({"text": text, "label": i, "Colour": colour})
        for i, (text, colour) in enumerate(rows)
    ]
    path.write_text("\n".join(lines))
    return read_prompts(path)


def _i_like(*texts):
    """Sentences whose words are "I" and "like", whatever follows."""
    spans = np.array([[(0, 1), (2, 6)]] * len(texts))
    return Prompts(texts, np.arange(len(texts)) + 0.0, ("I", "like"), (False, True), spans, {})


def _token_at(tokenizer, tokens, positions, column):
    return [
        tokenizer.decode([ids[c]])
        for ids, c in zip(tokens.ids, positions.columns[:, column], strict=True)
    ]


def test_the_last_token_is_a_column_though_it_is_white_space(tokenized, tmp_path):
    tokenizer, _, bos = tokenized
    prompts = _own(
        tmp_path, "I like\n\n red. \n", "I like\n\n dark blue. \n", colours=["red", "dark blue"]
    )
    tokens = tokenize(prompts, tokenizer)
    positions = align(prompts, tokens, destination=LAST)
    assert list(dict.fromkeys(positions.words))[bos:] == ["I", "like", "Colour", ".", LAST]
    assert (positions.columns[:, -1] == [len(ids) - 1 for ids in tokens.ids]).all()
    assert {text.strip() for text in _token_at(tokenizer, tokens, positions, -1)} == {""}
    assert positions.landmarks["destination"] == len(positions) - 1
    # What is between "like" and the colour, and before the last token, has none, and it is said.
    assert any(
        "belong to no word, such as white space: no column" in line for line in positions.report
    )
    # Where nobody asks for it, the destination is the last word that is not the source.
    assert align(prompts, tokens).landmarks["destination"] == len(positions) - 1
    other = align(prompts, tokens, source="like")
    assert positions.words[other.landmarks["destination"]] == "Colour"


def test_nothing_is_added_where_the_last_token_is_a_word_of_all_sentences(tokenized):
    _, tokens, _ = tokenized
    now, before = align(PROMPTS, tokens), align(PROMPTS, tokens, words_only=True)
    assert now.to_json() == before.to_json()
    assert (now.columns == before.columns).all()
    assert now.first == before.first
    assert align(PROMPTS, tokens, destination=LAST).landmarks["destination"] == len(now) - 1


def test_special_tokens_in_the_texts_have_columns_with_their_names(chat, tmp_path):
    texts = [
        f"<|im_start|>user\nI like {colour}.<|im_end|>\n<|im_start|>assistant\n"
        for colour in ("red", "dark blue")
    ]
    prompts = _own(tmp_path, *texts, colours=["red", "dark blue"])
    tokens = tokenize(prompts, chat)
    positions = align(prompts, tokens, source="<|im_end|>", destination="assistant")
    words = "<|im_start|> user I like Colour . <|im_end|> <|im_start|> assistant"
    expected = [*words.split(), LAST]
    assert list(dict.fromkeys(positions.words)) == list(dict.fromkeys(expected))
    assert positions.words.count("<|im_start|>") == 2
    for mark in ("<|im_start|>", "<|im_end|>"):
        for column, word in enumerate(positions.words):
            if word == mark:
                assert set(_token_at(chat, tokens, positions, column)) == {mark}
    assert positions.words[positions.landmarks["source"]] == "<|im_end|>"
    assert (np.diff(positions.columns, axis=1) > 0).all()
    # "im_start" and its bars are no words.
    assert "im_start" not in positions.first
    with pytest.raises(UsageError, match=r"there are: user, .*assistant, <\|im_start\|>, .*<last>"):
        align(prompts, tokens, destination="cake")


def test_special_tokens_that_differ_have_no_column(chat):
    prompts = _i_like("I like<|im_end|> red.", "I like<|im_end|><|im_end|> red.")
    tokens = tokenize(prompts, chat)
    positions = align(prompts, tokens)
    assert "<|im_end|>" not in positions.words
    assert any(
        "special tokens differ between the sentences (<|im_end|> after 2 words)" in line
        for line in positions.report
    )


def test_enclosed_sentences(enclosing):
    tokens = tokenize(PROMPTS, enclosing)
    positions = align(PROMPTS, tokens)
    assert (positions.words[0], positions.words[-1]) == ("<|begin|>", "<|end|>")
    assert list(dict.fromkeys(positions.words[1:-1])) == list(dict.fromkeys(PROMPTS.units))
    # A folder that a version before began has no such column, and goes on without it.
    before = align(PROMPTS, tokens, words_only=True)
    assert before.words == positions.words[:-1]
    assert "named" not in before.facts()
    assert "--force-states" in before.report[-1]


def test_sentences_that_end_in_different_ways(chat):
    prompts = _i_like("I like red", "I like blue<|im_end|>", "I like green\n")
    tokens = tokenize(prompts, chat)
    positions = align(prompts, tokens)
    assert positions.words[-1] == LAST
    assert positions.columns[:, -1].tolist() == [len(ids) - 1 for ids in tokens.ids]
    assert _token_at(chat, tokens, positions, -1)[1:] == ["<|im_end|>", "\n"]


def test_slots_of_sentences_that_differ(tokenized, tmp_path):
    tokenizer, _, _ = tokenized
    texts = {
        "Anna likes the dark blue most of all": ("Anna", "dark blue"),
        "It is red that Paul would like.\n": ("Paul", "red"),
        "Lisa? Green, says Lisa": ("Lisa", "Green"),
    }
    path = tmp_path / "own.jsonl"
    lines = [
        json.dumps({"text": text, "label": i, "Colour": colour, "Name": name})
        for i, (text, (name, colour)) in enumerate(texts.items())
    ]
    path.write_text("\n".join(lines))
    with pytest.raises(UsageError, match="--positions slots where the wording differs too"):
        read_prompts(path)
    prompts = read_prompts(path, slots_only=True)
    assert prompts.units == ("Name", "Colour")  # as the first sentence has them
    tokens = tokenize(prompts, tokenizer)
    positions = align(prompts, tokens, "slots")
    assert positions.words == ("Name", "Colour", LAST)
    assert positions.landmarks == {"source": 0, "destination": 2}
    for column, slot in enumerate(("Name", "Colour")):
        ends = zip(
            _token_at(tokenizer, tokens, positions, column), prompts.slots[slot], strict=True
        )
        assert all(token.strip() and value.endswith(token.strip()) for token, value in ends)
    # The first "Lisa" is meant, not the last; and the second sentence has them the other way round.
    assert positions.columns[2, 0] < positions.columns[2, 1]
    assert positions.columns[1, 0] > positions.columns[1, 1]
    assert positions.columns[:, 2].tolist() == [len(ids) - 1 for ids in tokens.ids]
    asked = align(prompts, tokens, "slots", source="Colour", destination="Name", distractor=LAST)
    assert asked.landmarks == {"source": 1, "destination": 0, "distractor": 2}
    with pytest.raises(
        UsageError, match="no word 'likes' for the source; there are: Name, Colour, <last>"
    ):
        align(prompts, tokens, "slots", source="likes")


def test_slots_of_the_study(tokenized):
    _, tokens, _ = tokenized
    words, slots = align(PROMPTS, tokens), align(PROMPTS, tokens, "slots")
    assert slots.words == ("Name", "Day_Ordinal", "Month", LAST)
    same = [words.first[name] for name in slots.words[:3]]
    assert (slots.columns[:, :3] == words.columns[:, same]).all()
    assert slots.landmarks == {"source": 2, "destination": 3}


def test_a_slot_that_ends_all_sentences_is_the_last_column(tokenized, tmp_path):
    tokenizer, _, _ = tokenized
    prompts = _own(tmp_path, "I like red", "I like blue", colours=["red", "blue"])
    positions = align(prompts, tokenize(prompts, tokenizer), "slots")
    assert positions.words == ("Colour",)
    assert positions.landmarks == {"source": 0}


def test_slots_are_needed(tokenized, tmp_path):
    tokenizer, _, _ = tokenized
    path = tmp_path / "none.csv"
    path.write_text("text,label\nI like red.,0\nWe all like blue.,1\n")
    prompts = read_prompts(path, slots_only=True)
    with pytest.raises(UsageError, match="--positions slots needs slots: columns of the table"):
        align(prompts, tokenize(prompts, tokenizer), "slots")


@pytest.mark.parametrize("mode", ["word", "slots", "raw"])
def test_a_word_with_the_name_of_a_slot_is_not_taken_for_it(tokenized, tmp_path, mode):
    tokenizer, _, _ = tokenized
    path = tmp_path / "p.csv"
    path.write_text(
        "text,label,month\nThe month May was a month of snow,5,May\n"
        "The month July was a month of snow,7,July\n"
    )
    prompts = read_prompts(path)
    tokens = tokenize(prompts, tokenizer)
    positions = align(prompts, tokens, mode, source="month")
    ends = zip(
        _decoded(tokenizer, tokens, positions, positions.first["month"]),
        prompts.slots["month"],
        strict=True,
    )
    assert all(text and value.endswith(text) for text, value in ends)
    assert positions.landmarks["source"] == positions.first["month"]
