import numpy as np
import pytest
from tiny_models import save_tiny

from extract import ExtractError, UsageError, align, read_prompts, study_prompts, tokenize
from extract.alignment import Tokens
from extract.models import load_tokenizer
from extract.sources import resolve_model

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
    assert words == {"source": "word_3", "destination": "word_3"}


def test_unknown_mode(tokenized):
    with pytest.raises(UsageError, match="word or raw"):
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
