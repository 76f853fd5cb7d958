"""Settings from a TOML file: what they do, and what is said of those that cannot be used."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiments import commands
from experiments.cli import app
from experiments.options import Options
from experiments.settings import read_settings
from extract import UsageError

EVERYTHING = """
[model]
model = ["gpt2", "qwen"]
revision = "v2"
quantize = "8bit"
dtype = "bfloat16"
device = "cpu"
[sentences]
samples = 70
seed = 3
prompts = "mine.csv"
positions = "raw"
layers = "0,5-7"
final-norm = "pre"
[question]
manifold = "spiral"
source = "Day"
destination = "party"
distractor = "Berlin"
protocol = "clean"
hold-out = "Month"
permutations = 30
manifolds = ["torus", "spiral"]
shuffles = 5
[run]
batch-size = 2
batch-tokens = 99
save = false
[output]
out = "there"
csv-as-is = true
"""


@pytest.fixture
def asked(monkeypatch):
    seen = []
    monkeypatch.setattr(
        commands, "execute", lambda command, questions, screen: seen.extend(questions)
    )
    return seen


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "study.toml"
        path.write_text(text)
        return path

    return write


def _run(*arguments):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exit_code, " ".join(done.output.split())


def test_every_setting_is_an_option(write, asked):
    path = write(EVERYTHING)
    assert _run("all", "--config", path)[0] == 0
    assert asked == [
        Options(
            models=("gpt2", "qwen"),
            revision="v2",
            quantize="8bit",
            dtype="bfloat16",
            device="cpu",
            samples=70,
            seed=3,
            prompts=Path("mine.csv"),
            positions="raw",
            layers="0,5-7",
            final_norm="pre",
            manifold="spiral",
            source="Day",
            destination="party",
            distractor="Berlin",
            protocol="clean",
            hold_out="Month",
            permutations=30,
            batch_size=2,
            batch_tokens=99,
            save=False,
            config=path,
            out=Path("there"),
            csv_as_is=True,
            given=asked[0].given,
        )
    ]
    # What has no effect on a command does not reach it.
    assert _run("discover", "--config", path)[0] == 0
    assert (asked[1].manifolds, asked[1].shuffles) == (("torus", "spiral"), 5)
    assert asked[1].protocol == "study"


def test_the_command_line_overrides_the_file(write, asked):
    path = write("[sentences]\nsamples = 70\nseed = 3\n[model]\nmodel = 'gpt2'\n")
    assert _run("all", "--config", path, "--samples", 8, "--model", "qwen")[0] == 0
    assert (asked[0].samples, asked[0].seed, asked[0].models) == (8, 3, ("qwen",))
    # What is given is what counts, even where it is the default.
    assert _run("all", "--config", path, "--samples", 1000)[0] == 0
    assert asked[1].samples == 1000


def test_a_file_is_of_a_whole_study(write, asked):
    """It may hold options that have no effect on the command at hand."""
    path = write("[question]\npermutations = 30\nshuffles = 5\n")
    assert _run("reuse", "--config", path)[0] == 0
    assert _run("discover", "--config", path)[0] == 0
    assert asked[1].shuffles == 5
    path = write("[question]\nprotocol = 'clean'\nhold-out = 'Month'\n[run]\nas = 'x'\n")
    assert _run("extract", "--config", path)[0] == 0
    assert (asked[2].protocol, asked[2].hold_out, asked[2].as_name) == ("study", None, None)


def test_lists_may_be_texts(write):
    found = read_settings(
        write("[model]\nmodel = 'gpt2'\n[question]\nmanifolds = 'torus, spiral'\n")
    )
    assert found.values == {"models": ("gpt2",), "manifolds": ("torus", "spiral")}


def test_names_may_have_underscores(write):
    assert read_settings(write("[run]\nbatch_size = 4\n")).values == {"batch_size": 4}
    assert read_settings(write("")).values == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[sentence]\nsamples = 5", r"unknown table \[sentence\]: did you mean 'sentences'\?"),
        ("[zzz]\nsamples = 5", r"unknown table \[zzz\], only model, sentences, question"),
        ("samples = 5", r"samples stands in no table: it belongs to \[sentences\]"),
        ("model = 5", "model must be a table"),
        ("[sentences]\nsample = 5", r"\[sentences\] has no key 'sample': did you mean 'samples'\?"),
        ("[run]\nsamples = 5", r"samples belongs to \[sentences\], and stands in \[run\]"),
        ("[sentences]\nsamples = '5'", r"\[sentences\] samples: .*integer, got '5'"),
        ("[sentences]\nsamples = 5.0", r"\[sentences\] samples: .*integer, got 5.0"),
        ("[sentences]\nsamples = true", r"\[sentences\] samples: .*integer, got True"),
        ("[sentences]\nseed = -1", r"\[sentences\] seed: .*greater than or equal to 0, got -1"),
        ("[run]\nbatch-size = 0", r"batch-size: .*greater than or equal to 1, got 0"),
        ("[run]\nsave = 1", r"save: .*boolean, got 1"),
        ("[model]\nquantize = '4-bit'", r"quantize: .*'none', '4bit', '8bit' or 'study'"),
        ("[model]\nmodel = []", r"model is empty"),
        ("[model]\nmodel = ['a', 3]", r"model: .*got \['a', 3\]"),
        ("[model]\nrevision = ' '", r"revision is empty"),
        ("[output]\nout = ''", r"out is empty"),
        ("[model]\ntrust-remote-code = true", "is given on the command line only"),
        ("[run]\nforce = true", "is given on the command line only"),
        ("[run]\nconfig = 'x'", "is given on the command line only"),
        ("[sentences]\nseed = 1\nseed = 2\n", "is not TOML: .*line 3"),
        ("[sentences]\nseed = 1\n[sentences]\n", "is not TOML: .*line 3"),
        ("seed", "is not TOML"),
        ("[sentences]\nseed = 1" + "0" * 5000, "is not TOML"),
        ("a = " + "[" * 5000, "is not TOML"),
        ("[[question]]\nsource = 'x'", r"question must be a table, \[question\]"),
    ],
)
def test_what_cannot_be_used_is_named_in_one_line(write, asked, text, says):
    path = write(text)
    with pytest.raises(UsageError, match=says) as error:
        read_settings(path)
    assert str(path) in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    code, said = _run("all", "--config", path)
    assert code == 2
    assert said.startswith("error: ")
    assert not asked


def test_files_that_are_none(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "large").write_bytes(b"#" * (1 << 21))
    for name, says in {
        "nothing": "cannot be read",
        "no/where": "cannot be read",
        "folder": "is a folder where a file is expected",
        "pipe": "is a special file where a file is expected",
        "bytes": "is not TOML",
        "large": "is larger than it can be",
    }.items():
        with pytest.raises(UsageError, match=says) as error:
            read_settings(tmp_path / name)
        assert "\n" not in str(error.value)


def test_a_link_to_settings_is_the_users_own(write, tmp_path):
    path = write("[sentences]\nseed = 9\n")
    link = tmp_path / "link.toml"
    link.symlink_to(path)
    assert read_settings(link).values == {"seed": 9}
