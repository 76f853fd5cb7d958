"""Sentences in a model's chat template: the same tokens as transformers makes, nothing twice."""

import json

import numpy as np
import pytest
from tiny_models import CHAT_TEMPLATE, save_tiny

from extract import UsageError, align, read_prompts, study_prompts, tokenize
from extract.alignment import Positions
from extract.chat import ChatFrame
from extract.landmarks import LAST
from extract.models import load_tokenizer
from extract.sources import resolve_model

PROMPTS = study_prompts(20, seed=4)


@pytest.fixture(scope="module", params=[("together", False), ("split", True), ("pieces", False)])
def tokenizer(request, tmp_path_factory):
    digits, bos = request.param
    folder = tmp_path_factory.mktemp("chat")
    save_tiny(folder, "gpt2", digits, bos, CHAT_TEMPLATE)
    return load_tokenizer(resolve_model(str(folder)))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A tokenizer without a template, to try others with."""
    folder = save_tiny(tmp_path_factory.mktemp("plain"))
    return load_tokenizer(resolve_model(str(folder)))


def _read(tokenizer, prompts=PROMPTS):
    frame = ChatFrame.of(tokenizer, "tiny")
    frame.check(prompts, tokenizer, "tiny")
    read = frame.around(prompts)
    return read, tokenize(read, tokenizer)


def test_the_tokens_are_those_of_transformers(tokenizer):
    """With a tokenizer that begins every text there is still one beginning only."""
    _, tokens = _read(tokenizer)
    for text, ids in zip(PROMPTS.texts, tokens.ids, strict=True):
        theirs = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=False
        )
        assert ids == list(theirs)
        assert ids[:2].count(tokenizer.convert_tokens_to_ids("<|begin|>")) == 1


def test_words_stand_where_they_are_in_the_message(tokenizer):
    read, _ = _read(tokenizer)
    own = [j for j, name in enumerate(read.units) if name not in ("user", "assistant")]
    own = own[own.index(read.units.index("Name")) :][: len(PROMPTS.units)]
    for before, text, spans, after in zip(
        PROMPTS.texts, read.texts, PROMPTS.spans, read.spans, strict=True
    ):
        shown = [text[a:b] for a, b in after[own]]
        assert shown == [before[a:b] for a, b in spans]
    assert read.slots == PROMPTS.slots


def test_every_token_of_the_template_has_a_column(tokenizer):
    read, tokens = _read(tokenizer)
    positions = align(read, tokens, destination=LAST)
    once = list(dict.fromkeys(PROMPTS.units))
    expected = ["<|begin|>", "user", "↵", *once, "<|end|>", "assistant", LAST]
    assert list(dict.fromkeys(positions.words)) == expected
    assert positions.words.count("<|begin|>") == 2
    assert positions.words.count("↵") >= 2  # "pieces" has a blank of its own after a mark
    assert positions.tokens[-1] == "↵"
    assert positions.landmarks["destination"] == len(positions) - 1
    last = positions.columns[:, -1]
    assert (last == [len(ids) - 1 for ids in tokens.ids]).all()
    assert (np.diff(positions.columns, axis=1) > 0).all()
    # The end of the message is asked for by its name, and not the beginning before it.
    begin = align(read, tokens, destination="<|begin|>").landmarks["destination"]
    assert positions.words[begin : begin + 2] == ("<|begin|>", "assistant")
    decoded = {
        tokenizer.decode([ids[c]])
        for ids, c in zip(tokens.ids, positions.columns[:, begin], strict=True)
    }
    assert decoded == {"<|begin|>"}


def test_words_of_the_sentence_come_before_those_of_the_template(tokenizer):
    texts = tuple(f"The user {name} was born in May." for name in ("Anna", "Paul"))
    spans = np.array([[(4, 8), (9, 13)]] * 2)
    prompts = type(PROMPTS)(texts, np.arange(2.0), ("user", "Name"), (False, True), spans, {})
    read, tokens = _read(tokenizer, prompts)
    positions = align(read, tokens)
    assert positions.words.index("user") < positions.first["user"]
    # Where nothing is named, the label is needed where the answer begins.
    assert positions.landmarks == {
        "source": positions.first["Name"],
        "destination": len(positions) - 1,
    }
    raw = align(read, tokens, "raw")
    assert isinstance(raw, Positions)
    assert raw.words[raw.first["user"]] == "user"
    assert raw.first["user"] > raw.words.index("user")


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (None, "tiny has no chat template: leave out --chat, or choose an instruct model"),
        ("{{ messages[0]['content'] }}{{ messages[0]['content'] }}", "holds the message 2 times"),
        ("nothing", "holds the message 0 times"),
        ("{{ raise_exception('needs a system prompt') }}", r"\(needs a system prompt\): leave out"),
        ("{{ messages[1]['content'] }}", "takes no lone message of a user"),
    ],
)
def test_templates_that_cannot_be_used(plain, template, said):
    plain.chat_template = template
    with pytest.raises(UsageError, match=said) as caught:
        ChatFrame.of(plain, "tiny")
    assert "\n" not in str(caught.value)


def test_a_template_that_changes_a_sentence(plain):
    plain.chat_template = "<|begin|>{{ messages[0]['content'] | trim }}<|end|>"
    frame = ChatFrame.of(plain, "tiny")
    frame.check(PROMPTS, plain, "tiny")
    texts = (PROMPTS.texts[0], PROMPTS.texts[1] + " ", *PROMPTS.texts[2:])
    spaced = type(PROMPTS)(texts, PROMPTS.labels, (), (), PROMPTS.spans[:, :0], {})
    with pytest.raises(UsageError, match=r"changes sentence 2 \('.* white space at its ends"):
        frame.check(spaced, plain, "tiny")


def test_what_the_template_begins_without_is_told(plain, tmp_path):
    begun = load_tokenizer(resolve_model(str(save_tiny(tmp_path / "begun", bos=True))))
    for tokenizer, template, lacking in (
        (begun, "{{ messages[0]['content'] }}:", "<|begin|>"),
        (begun, CHAT_TEMPLATE, None),
        (plain, "{{ messages[0]['content'] }}:", None),
    ):
        tokenizer.chat_template = template
        frame = ChatFrame.of(tokenizer, "tiny")
        assert frame.lacks(tokenizer) == lacking
        _, tokens = _read(tokenizer)
        assert tokens.ids[0].count(tokenizer.bos_token_id) == (
            2 if template == CHAT_TEMPLATE else 0
        )


def test_a_frame_is_read_again_as_it_was_noted(tokenizer):
    frame = ChatFrame.of(tokenizer, "tiny")
    assert ChatFrame.noted(json.loads(json.dumps(frame.facts()))) == frame


@pytest.mark.smollm2
def test_smollm2_has_a_template():
    tokenizer = load_tokenizer(resolve_model("smollm2"))
    read, tokens = _read(tokenizer)
    positions = align(read, tokens)
    assert positions.words[:3] == ("<|im_start|>", "system", "↵")
    assert positions.words[-6:] == (
        "<|im_end|>",
        "↵",
        "<|im_start|>",
        "assistant",
        "assistant",
        LAST,
    )
    month = [
        ids[c]
        for ids, c in zip(
            tokens.ids, positions.columns[:, positions.landmarks["source"]], strict=True
        )
    ]
    assert [tokenizer.decode([t]).strip() for t in month] == list(PROMPTS.slots["Month"])


@pytest.mark.parametrize("mode", ["word", "slots", "raw"])
def test_a_slot_named_as_a_word_of_the_template(tokenizer, tmp_path, mode):
    path = tmp_path / "p.csv"
    path.write_text("text,label,user\nOn May we met,5,May\nOn June we met,6,June\n")
    read, tokens = _read(tokenizer, read_prompts(path))
    positions = align(read, tokens, mode, source="user")
    chosen = positions.columns[:, positions.landmarks["source"]].tolist()
    spans = read.spans[:, read.units.index("user", read.units.index("On"))].tolist()
    read_at = [*zip(tokens.offsets, chosen, spans, strict=True)]
    # A raw column is where the first sentence has the slot.
    for offsets, token, (start, end) in read_at[: 1 if mode == "raw" else None]:
        assert start <= offsets[token][1] - 1 < end <= offsets[token][1]


def test_special_tokens_are_no_words_of_raw_columns(tokenizer):
    read, tokens = _read(tokenizer)
    positions = align(read, tokens, "raw")
    assert positions.words[0] == "<|begin|>"
    assert not {"begin", "|", "<", ">"} & {*positions.words, *positions.first}
