"""``--chat``: which states a folder holds, and what is said where the template is another."""

import csv
import json
from datetime import datetime

import pytest
from command_line import run
from tiny_models import CHAT_TEMPLATE, save_tiny

from extract import HiddenStates

FEW = ("--samples", 12, "--layers", "0,2", "--permutations", 0)
# As some models' templates do: it says the day.
DATED = "<|begin|>Today is {{ strftime_now('%d %B %Y') }}.<|end|>" + CHAT_TEMPLATE


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny", bos=True, chat=CHAT_TEMPLATE)


def _manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


@pytest.mark.usefixtures("small_pictures")
def test_a_run_with_a_chat_template_is_other_states(model, tmp_path):
    folder = tmp_path / "run"
    options = ("--model", model, *FEW[:4], "--out", folder)
    run("extract", *options, "--chat")
    manifest = _manifest(folder)
    assert manifest["identity"]["states"]["chat"] is True
    assert manifest["chat"]["after"] == "<|end|>\n<|begin|>assistant\n"
    words = manifest["positions"]["words"]
    assert (words[0], words[1], words[-1]) == ("<|begin|>", "user", "<last>")
    assert HiddenStates.open(folder / "states").shape[2] == len(words)
    with (folder / "prompts.csv").open() as file:
        assert not any("<|begin|>" in row["text"] for row in csv.DictReader(file))
    assert "chat = true" in (folder / "run.toml").read_text()
    # The same states are asked another question; without the template they are others.
    run("independent", *options, "--chat", "--destination", "last")
    said = run("independent", *options, expect=2)
    assert "chat true, asked for default: give --chat, or choose another --out" in said


def test_a_run_without_one_is_not_taken_for_it(model, tmp_path):
    folder = tmp_path / "run"
    options = ("--model", model, *FEW[:4], "--out", folder)
    run("extract", *options)
    assert "chat" not in _manifest(folder)["identity"]["states"]
    said = run("extract", *options, "--chat", expect=2)
    assert "chat default, asked for true: give --no-chat, or choose another --out" in said


def test_a_dry_run_shows_the_first_sentence_in_the_template(model, tmp_path):
    said = run("all", "--model", model, *FEW, "--chat", "--dry-run", "--out", tmp_path / "run")
    assert "sentence 1: <|begin|>user\\n⟦Paul⟧Name was born" in said
    assert "0:<|begin|> 1:u 2:s" in said
    assert "assistant <last>" in said


def test_a_model_without_a_template(tmp_path):
    plain = save_tiny(tmp_path / "plain")
    said = run("extract", "--model", plain, "--chat", "--out", tmp_path / "run", expect=2)
    assert "error: plain has no chat template: leave out --chat" in said
    assert not (tmp_path / "run").exists()


def test_a_template_with_a_date_goes_on_as_it_was_begun(tmp_path, monkeypatch):
    model = save_tiny(tmp_path / "dated", chat=DATED)
    folder = tmp_path / "run"
    options = ("extract", "--model", model, *FEW[:4], "--chat", "--out", folder)
    _on(monkeypatch, "01 May 2026")
    run(*options)
    before = _manifest(folder)
    assert "01 May 2026" in before["chat"]["before"]
    files = {p.name: p.read_bytes() for p in (folder / "states").glob("layer_*")}
    run("remove", folder, "--states", "--yes")
    _on(monkeypatch, "02 June 2026")
    said = run(*options)
    assert "gives another text than when the run was begun, such as another date" in said
    assert _manifest(folder)["chat"] == before["chat"]
    assert {p.name: p.read_bytes() for p in (folder / "states").glob("layer_*")} == files
    run(*options, "--force-states")
    assert "02 June 2026" in _manifest(folder)["chat"]["before"]


def _on(monkeypatch, day):
    """Let templates be filled on a day."""

    class Then(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.strptime(day, "%d %B %Y").replace(tzinfo=tz)

    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", Then)
