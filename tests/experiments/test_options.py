"""One declaration per option: what it does to the command line of every command."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiments import commands
from experiments.cli import app
from experiments.options import COMMANDS, DECLARED, GROUPS, Options, spellings

# A value of each option other than its default, and what it is made of.
GIVEN = {
    "models": (("--model", "gpt2", "--model", "qwen"), ("gpt2", "qwen")),
    "revision": (("--revision", "v2"), "v2"),
    "quantize": (("--quantize", "4bit"), "4bit"),
    "dtype": (("--dtype", "bfloat16"), "bfloat16"),
    "device": (("--device", "cpu"), "cpu"),
    "trust_remote_code": (("--trust-remote-code",), True),
    "task": (("--task", "hour"), "hour"),
    "samples": (("--samples", "7"), 7),
    "seed": (("--seed", "3"), 3),
    "prompts": (("--prompts", "mine.csv"), Path("mine.csv")),
    "template": (("--template", "{A}", "--table", "t.csv"), "{A}"),
    "table": (("--template", "{A}", "--table", "t.csv"), Path("t.csv")),
    "label": (("--prompts", "t.csv", "--label", "a,b", "--label", "c"), ("a,b", "c")),
    "text": (("--prompts", "t.csv", "--text", "a"), "a"),
    "ignore": (("--prompts", "t.csv", "--ignore", "a"), ("a",)),
    "positions": (("--positions", "raw"), "raw"),
    "chat": (("--chat",), True),
    "layers": (("--layers", "0,5"), "0,5"),
    "final_norm": (("--final-norm", "pre"), "pre"),
    "manifold": (("--manifold", "spiral"), "spiral"),
    "period": (("--period", "week"), 7.0),
    "non_finite": (("--non-finite", "omit"), "omit"),
    "source": (("--source", "Day"), "Day"),
    "destination": (("--destination", "party"), "party"),
    "distractor": (("--distractor", "Berlin"), "Berlin"),
    "protocol": (("--protocol", "clean"), "clean"),
    "hold_out": (("--protocol", "clean", "--hold-out", "Month"), "Month"),
    "only_layers": (("--only-layers", "0,2"), "0,2"),
    "analysis_seed": (("--analysis-seed", "8"), 8),
    "test_layers": (("--test-layers", "curves"), "curves"),
    "memory_budget": (("--memory-budget", "1000000"), 1000000),
    "permutations": (("--permutations", "30"), 30),
    "manifolds": (("--manifolds", "torus, spiral"), ("torus", "spiral")),
    "shuffles": (("--shuffles", "5"), 5),
    "batch_size": (("--batch-size", "2"), 2),
    "batch_tokens": (("--batch-tokens", "99"), 99),
    "save": (("--no-save",), False),
    "config": ((), None),  # a file, which the test makes
    "as_name": (("--as", "mine"), "mine"),
    "force": (("--force",), True),
    "force_states": (("--force-states",), True),
    "dry_run": (("--dry-run",), True),
    "out": (("--out", "there"), Path("there")),
    "csv_as_is": (("--csv-as-is",), True),
    "quiet": (("-q",), True),
    "debug": (("--debug",), True),
}
# Options that go with others only.
NEEDED = {
    "hold_out": ("protocol",),
    "template": ("table",),
    "table": ("template",),
    "label": ("prompts",),
    "text": ("prompts",),
    "ignore": ("prompts",),
}


@pytest.fixture
def asked(monkeypatch):
    """What the commands are asked to do, which is not done."""
    seen = []
    monkeypatch.setattr(
        commands, "execute", lambda command, questions, screen: seen.extend(questions)
    )
    return seen


def test_every_option_is_tried_here():
    assert set(GIVEN) == set(DECLARED)


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_given_is_the_defaults(command, asked):
    assert CliRunner().invoke(app, [command]).exit_code == 0
    assert asked == [Options()]


@pytest.mark.parametrize("name", GIVEN)
@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_has_its_effect_or_is_refused(command, name, asked, tmp_path):
    arguments, value = GIVEN[name]
    if name == "config":
        value = tmp_path / "empty.toml"
        value.touch()
        arguments = ("--config", str(value))
    done = CliRunner().invoke(app, [command, *arguments])
    said = " ".join(done.output.split())
    if command in DECLARED[name].commands:
        assert done.exit_code == 0, said
        assert getattr(asked[0], name) == value
        others = set(DECLARED) - {name, *NEEDED.get(name, ())}
        assert all(getattr(asked[0], other) == getattr(Options(), other) for other in others)
    else:
        assert done.exit_code == 2
        assert not asked
        refused = {"hold_out": "--protocol" if command in ("extract", "discover") else ""}
        flag = refused.get(name) or spellings(name)[0]
        assert f"error: {flag} " in said
        assert f"not for {command}" in said or f"has no effect on {command}" in said


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_shows_what_has_an_effect_in_groups(command):
    said = CliRunner().invoke(app, [command, "--help"]).output
    lines = said.splitlines()
    flags = {word.rstrip(",") for line in lines for word in line.split()[:2]}
    shown = {name for name in DECLARED if spellings(name)[0] in flags}
    assert shown == {name for name, option in DECLARED.items() if command in option.commands}
    headings = [line.rstrip(":") for line in lines if line.rstrip(":") in GROUPS]
    groups = {option.group for option in DECLARED.values() if command in option.commands}
    assert headings == [group for group in GROUPS if group in groups]


@pytest.mark.parametrize("name", [n for n, option in DECLARED.items() if option.kind is str])
def test_an_empty_text_is_no_value(name, asked):
    command = next(c for c in COMMANDS if c in DECLARED[name].commands)
    done = CliRunner().invoke(app, [command, spellings(name)[0], " "])
    assert done.exit_code == 2
    assert "is empty" in done.output or "is not one of" in done.output
    assert not asked
