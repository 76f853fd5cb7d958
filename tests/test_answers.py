"""What a model answers to the question of a task, against probabilities computed the plain way."""

import json

import pytest
import tolerances
import torch
from tiny_models import save_tiny

from benchmarks.answers import Answering, asked
from benchmarks.tasks_page import known
from extract.sources import resolve_model
from extract.task_files import read_task


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = save_tiny(tmp_path_factory.mktemp("models") / "tiny", "llama", "split")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    return Answering(resolve_model(str(folder)), torch.device("cpu"))


def _plain(model, text, answer):
    start, whole = (model.tokenizer(part)["input_ids"] for part in (text, f"{text} {answer}."))
    states = model.model(input_ids=torch.tensor([whole])).last_hidden_state[0]
    log_p = (states @ model.model.get_input_embeddings().weight.T).log_softmax(-1)
    return sum(float(log_p[i - 1, whole[i]]) for i in range(len(start), len(whole)))


def test_answers_of_several_tokens_have_their_probabilities(model):
    text, answers = "Anna was born in", ["May", "September", "the month of June"]
    with torch.inference_mode():
        expected = [_plain(model, text, answer) for answer in answers]
        found, _ = model.continuations(text, answers)
        alone = [model.continuations(text, [answer])[0][0] for answer in answers]
    tolerances.assert_close(found, expected, tolerances.LOG_PROBABILITY)
    tolerances.assert_close(alone, expected, tolerances.LOG_PROBABILITY)


def test_the_likeliest_text_is_what_a_greedy_model_says(model, monkeypatch):
    text, said = "Anna was born in", "the month of June"
    start, whole = (model.tokenizer(part)["input_ids"] for part in (text, f"{text} {said}"))
    wanted, asked_for = whole[len(start) :], iter((0, 1))

    def favours_what_is_said(states):
        first = next(asked_for)
        log_p = torch.zeros(*states.shape[:2], model.tokenizer.vocab_size)
        for j in range(min(states.shape[1], len(wanted) - first)):
            log_p[:, j, wanted[first + j]] = 1.0
        return log_p

    monkeypatch.setattr(model, "_log_p", favours_what_is_said)
    answers = [said, "the month of May", "the month"]
    # What a greedy model begins with is said, too.
    assert model.continuations(text, answers)[1] == [True, False, True]


def test_a_model_of_noise_guesses(model):
    found = asked(model, read_task("weekday"), 21)
    assert found["answers"] == 7
    assert found["guess"] == 3 / 21
    assert found["accuracy"] < 0.6
    assert found["greedy"] == 0
    assert found["example"].startswith(read_task("weekday").prompts(21, 1).slots["Name"][0])


def test_knowing_is_more_than_the_commonest_answer():
    assert known({"guess": 0.25, "accuracy": 0.6, "sentences": 48})
    assert not known({"guess": 0.25, "accuracy": 0.35, "sentences": 48})
    assert not known({"guess": 0.5, "accuracy": 0.5, "sentences": 48})
