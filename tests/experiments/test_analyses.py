"""Several questions of the same states: each has its place, and none touches another."""

import json
import re
import signal

import numpy as np
import pytest
from command_line import run
from tiny_models import save_tiny
from warm import Server

from experiments.options import Options
from experiments.runs import extraction as runs
from experiments.runs.analysis import MAIN, check_name, find_analysis, known_analyses
from extract import UsageError
from gpu_smds import ScoreMap

#: Where figures go matters here, and not what is on them.
pytestmark = pytest.mark.usefixtures("small_pictures")

SIZE = ("--samples", 60, "--permutations", 5)
# What is asked, one after the other, and where its results go.
ASKED = {
    "results": (),
    "analyses/source-Day_Ordinal/results": ("--source", "Day_Ordinal"),
    "analyses/manifold-semicircular/results": ("--manifold", "semicircular"),
    "analyses/protocol-clean/results": ("--protocol", "clean"),
    "analyses/protocol-clean-hold-out-Month/results": (
        "--protocol",
        "clean",
        "--hold-out",
        "Month",
    ),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny", "llama", "together", bos=True)


@pytest.fixture(scope="module")
def loads():
    """How often a model was loaded."""
    counted, plain = [], runs.load_model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "load_model", lambda *given: counted.append(given) or plain(*given))
        yield counted


#: Files that are of all analyses.
_SHARED = ("manifest.json", "run.toml", ".lock", ".manifest.lock")


def _bytes(folder, part=""):
    """Files below a folder, but for the list of them."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted((folder / part).rglob("*"))
        if path.is_file() and path.name not in _SHARED
    }


def _results(folder):
    """Those of all analyses, but for the numbers of a figure, which is drawn again."""
    return {
        key: content
        for key, content in _bytes(folder).items()
        if "results/" in key and not key.endswith("circle.safetensors")
    }


def _values(folder):
    """Numbers of an analysis, without the time that they took."""
    found = {p.name: p.read_bytes() for p in sorted(folder.glob("*.csv"))}
    for path in sorted(folder.glob("*.safetensors")):
        if path.name not in ("circle.safetensors", "significance.safetensors"):
            found[path.name] = ScoreMap.load(path).scores.tobytes()
    return found


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory, loads):
    """A run that was asked five questions; nothing that was there before has changed."""
    folder = tmp_path_factory.mktemp("run") / "run"
    before = {}
    for place, options in ASKED.items():
        said = run("all", "--model", model, *SIZE, "--out", folder, *options)
        if place != "results":
            assert "states of" in said
            assert f"its results go to {place}/" in said
        now = _bytes(folder)
        assert {key: now[key] for key in before} == before
        assert any(key.startswith(f"{place}/independent") for key in now.keys() - before.keys())
        before = now
    return folder


def test_the_model_is_read_once(folder, loads):
    assert len(loads) == 1


def test_each_is_what_a_run_of_its_own_gives(folder, model, tmp_path):
    for number, (place, options) in enumerate(ASKED.items()):
        alone = tmp_path / str(number)
        run("all", "--model", model, *SIZE, "--out", alone, *options)
        assert _values(folder / place) == _values(alone / "results")
        of_source = ScoreMap.load(folder / place / "reuse.safetensors").metadata["landmarks"]
        assert of_source == ScoreMap.load(alone / "results/reuse.safetensors").metadata["landmarks"]


def test_a_finished_analysis_is_shown_and_not_computed(folder, model):
    before = _bytes(folder)
    for place, options in ASKED.items():
        said = run("all", "--model", model, *SIZE, "--out", folder, *options)
        assert str(folder / place) in said.replace(" ", "") or place in said
        assert "another question" not in said
    assert _results(folder) == {k: v for k, v in before.items() if k in _results(folder)}


def test_force_computes_one_analysis_again(folder, model, loads):
    before, count = _bytes(folder), len(loads)
    place = "analyses/manifold-semicircular/results"
    stamp = (folder / place / "reuse.safetensors").stat().st_mtime_ns
    options = ASKED[place]
    run("reuse", "--model", model, "--samples", 60, "--out", folder, *options, "--force")
    assert len(loads) == count
    assert (folder / place / "reuse.safetensors").stat().st_mtime_ns > stamp
    after = _bytes(folder)
    assert after.keys() == before.keys()
    assert {k for k in after if after[k] != before[k]} == {f"{place}/reuse.safetensors"}
    np.testing.assert_array_equal(
        ScoreMap.load(folder / place / "reuse.safetensors").status,
        ScoreMap.load(folder / place.replace("/results", "") / "results/reuse.safetensors").status,
    )


def test_names_bring_their_settings(folder, model):
    base = ("--model", model, "--samples", 60, "--out", folder)
    said = run("reuse", *base, "--as", "by-name", "--source", "Name")
    results = folder / "analyses" / "by-name" / "results"
    stamp = (results / "reuse.safetensors").stat().st_mtime_ns
    assert "Name" in said
    # Its source need not be said again, and another one is refused.
    run("reuse", *base, "--as", "by-name")
    run("figures", *base, "--as", "by-name")
    assert (results / "reuse.safetensors").stat().st_mtime_ns == stamp
    said = run("reuse", *base, "--as", "by-name", "--source", "Month", expect=2)
    assert "the analysis by-name has source Name: choose another --as" in said
    # The same question without the name finds it.
    assert "by-name" in run("reuse", *base, "--source", "Name")


def test_listed_and_removed(folder, model):
    run(
        "reuse",
        "--model",
        model,
        "--samples",
        60,
        "--out",
        folder,
        "--as",
        "short",
        "--source",
        "born",
    )
    said = run("list", folder)
    assert "60 sentences × 4 layers" in said
    assert (
        "source-Day_Ordinal asks source Day_Ordinal has independent, similarity, reuse, rigid"
        in said
    )
    assert re.search(r"short asks source born has reuse state finished takes \d+\.\d MB", said)
    foreign = folder / "analyses" / "short" / "mine.txt"
    foreign.write_text("mine")
    before = _bytes(folder)
    assert "nothing was removed" in run("remove", folder, "short", answer="n\n")
    assert _bytes(folder) == before
    assert "the analysis short was removed" in run("remove", folder, "short", answer="y\n")
    after = _bytes(folder)
    assert {k for k in before if k not in after} == {
        k for k in before if k.startswith("analyses/short/") and not k.endswith("mine.txt")
    }
    assert foreign.read_text() == "mine"
    assert "short" not in json.loads((folder / "manifest.json").read_text())["analyses"]
    assert "has no analysis 'short', but" in run("remove", folder, "short", "--yes", expect=2)
    assert "holds no run" in run("list", folder.parent / "nothing", expect=2)


@pytest.mark.parametrize("name", ["..", "a/b", "/etc", "", "-x", ".hidden", "a b", "é", "x" * 81])
def test_a_name_is_no_path(folder, model, name):
    before = _bytes(folder)
    base = ("reuse", "--model", model, "--samples", 60, "--out", folder)
    said = run(*base, f"--as={name}", expect=2)
    assert "--as" in said
    assert _bytes(folder) == before
    if name:
        with pytest.raises(UsageError, match="a name is letters"):
            check_name(name)


def test_the_first_analysis_and_the_states_can_be_removed_too(model, tmp_path, loads):
    base = ("--model", model, "--samples", 12, "--out", tmp_path)
    run("reuse", *base)
    run("reuse", *base, "--source", "Name")
    other = tmp_path / "analyses" / "source-Name" / "results" / "reuse.safetensors"
    before, count = other.read_bytes(), len(loads)
    assert "state finished" in run("list", tmp_path)
    assert "the analysis main was removed" in run("remove", tmp_path, "main", "--yes")
    assert not (tmp_path / "results").exists()
    assert not (tmp_path / "figures").exists()
    said = run("remove", tmp_path, "--states", "--yes")
    assert "the states were removed" in said
    assert not list((tmp_path / "states").glob("layer*"))
    assert other.read_bytes() == before
    assert len(loads) == count
    # What is there is shown again, and what is new is read again.
    run("reuse", *base, "--source", "Name")
    assert other.read_bytes() == before
    run("reuse", *base, "--source", "born")
    assert (tmp_path / "results" / "reuse.csv").exists()
    for wrong in ((), ("main", "--states")):
        assert "name an analysis, or give --states" in run("remove", tmp_path, *wrong, expect=2)


def test_a_word_that_is_not_there_is_said_before_any_work(folder, model):
    before = _bytes(folder)
    base = ("all", "--model", model, *SIZE, "--out", folder)
    said = run(*base, "--source", "Yesterday", expect=2)
    assert "no word 'Yesterday' for the source; there are: Name, was" in said
    assert _bytes(folder) == before


def test_a_manifest_with_a_forged_name(folder, model, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    for name in ("../../x", "a/b", ".."):
        manifest["analyses"] = {name: {"settings": {}}}
        (copy / "manifest.json").write_text(json.dumps(manifest))
        assert "manifest.json is damaged" in run("list", copy, expect=1)


def test_a_folder_of_before_is_understood(folder, model, tmp_path):
    """Which kept the clean protocol in results/clean, and no list of analyses."""
    import shutil

    old = tmp_path / "old"
    shutil.copytree(folder, old)
    manifest = json.loads((old / "manifest.json").read_text())
    del manifest["main"], manifest["analyses"]
    moved = {}
    for key, entry in manifest["files"].items():
        clean = key.replace("analyses/protocol-clean/results/", "results/clean/")
        clean = clean.replace("analyses/protocol-clean/figures/", "figures/clean/")
        if not clean.startswith("analyses/"):
            (old / clean).parent.mkdir(parents=True, exist_ok=True)
            if (old / key).exists():
                (old / key).rename(old / clean)
            moved[clean] = entry
    shutil.rmtree(old / "analyses")
    manifest["files"] = moved
    (old / "manifest.json").write_text(json.dumps(manifest))
    before = _results(old)
    for options in ((), ("--protocol", "clean")):
        assert "another question" not in run("all", "--model", model, *SIZE, "--out", old, *options)
    assert {key: _results(old)[key] for key in before} == before
    said = run("reuse", "--model", model, "--samples", 60, "--out", old, "--source", "Name")
    assert "analyses/source-Name/results/" in said
    assert {key: _results(old)[key] for key in before} == before


def test_killed_at_any_moment_all_are_as_if_nothing_had_been(model, tmp_path):
    server = Server()
    base = ("all", "--model", model, "--samples", 200, "--permutations", 20, "--quiet")
    asked = [(), ("--source", "Day_Ordinal"), ("--protocol", "clean")]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for options in asked:
        code, _ = server.run([*base, "--out", whole, *options])
        assert code == 0
    killed = 0
    for number, options in enumerate(asked):
        for moment in np.linspace(0.05, 1.2, 4):
            code, _ = server.run([*base, "--out", cut, *options], seconds=float(moment))
            killed += code == -signal.SIGKILL
        code, _ = server.run([*base, "--out", cut, *options])
        assert code == 0, (number, server.output)
    server.close()
    assert killed >= 5
    for part in (
        "results",
        "analyses/source-Day_Ordinal/results",
        "analyses/protocol-clean/results",
    ):
        assert _values(cut / part) == _values(whole / part)
    assert _bytes(cut, "states").keys() == _bytes(whole, "states").keys()


def test_where_a_question_goes():
    settings = {"source": "A", "destination": "B", "distractor": "C"}
    settings |= {"manifold": "circular", "protocol": "study", "hold_out": None}
    settings |= {"only_layers": None, "analysis_seed": None}
    known = {MAIN: settings}
    assert find_analysis(settings, None, {}).name == MAIN
    assert find_analysis(settings, "x", {}).results == "analyses/x/results/"
    assert not find_analysis(settings, None, known).is_new
    odd = find_analysis(settings | {"source": "時/ :é"}, None, known)
    assert odd.name == "source"
    known["source"] = settings | {"source": "another"}
    assert find_analysis(settings | {"source": "時"}, None, known).name == "source-2"
    clean = settings | {"protocol": "clean", "hold_out": "Name"}
    assert find_analysis(clean, None, known, "Name").name == "protocol-clean"
    # What a command does not depend on is of no matter to it, nor is what was never computed.
    less = {name: settings[name] for name in settings if name not in ("protocol", "hold_out")}
    known[MAIN] = settings | {"protocol": "clean", "hold_out": "Name"}
    assert find_analysis(less, None, known).name == MAIN
    assert find_analysis(less | {"shuffles": 9, "manifolds": None}, None, known).name == MAIN
    known[MAIN] |= {"shuffles": 9, "manifolds": None}
    some = find_analysis(less | {"shuffles": 9, "manifolds": ["chain", "torus"]}, None, known)
    assert some.name == "manifolds-chain_torus"
    assert "protocol" not in some.settings  # until a command asks that depends on it
    assert find_analysis(less | {"permutations": 7}, None, known).name == MAIN
    known[MAIN] |= {"permutations": 200}
    assert find_analysis(less | {"permutations": 201}, None, known).name == "permutations-201"
    # A test of more permutations answers for fewer.
    assert find_analysis(less | {"permutations": 7}, None, known).name == MAIN
    assert Options().as_name is None


def test_a_test_that_was_left_out_may_follow():
    main = {"source": "A", "destination": "B", "distractor": "C", "manifold": "circular"}
    noted = main | {"protocol": "study", "hold_out": None, "permutations": 0}
    known = known_analyses({"main": noted, "files": {}}, None)
    assert find_analysis(main | {"permutations": 7}, None, known).name == MAIN


def _prompts(path):
    """Slots whose columns are not in the order of the sentence."""
    lines = ["text,label,City,Person"]
    for i in range(24):
        city, person = ("Rome", "Oslo", "Bern")[i % 3], ("Ann", "Bob")[i % 2]
        lines.append(f"{person} lives in {city} at {i} today,{i / 24},{city},{person}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_source_is_the_same_slot_in_every_analysis(model, tmp_path):
    prompts = _prompts(tmp_path / "own.csv")
    base = ("reuse", "--model", model, "--prompts", prompts, "--out", tmp_path / "run")
    run(*base)
    run(*base, "--distractor", "lives")
    for part in ("results", "analyses/distractor-lives/results"):
        facts = ScoreMap.load(tmp_path / "run" / part / "reuse.safetensors").metadata
        assert facts["words"][facts["landmarks"]["source"]] == "word_6"  # the label


def test_states_that_are_not_saved_keep_their_analyses(model, tmp_path):
    base = ("reuse", "--model", model, "--samples", 12, "--out", tmp_path / "run", "--no-save")
    run(*base)
    first = _results(tmp_path / "run")
    # As a version that did not note which analysis was the first.
    path = tmp_path / "run" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["main"], manifest["analyses"]
    path.write_text(json.dumps(manifest))
    run(*base, "--source", "Name")
    assert {key: _results(tmp_path / "run")[key] for key in first} == first
    assert (tmp_path / "run/analyses/source-Name/results/reuse.safetensors").exists()


def test_an_interrupted_reading_goes_on_for_another_question(model, tmp_path, monkeypatch):
    """What was read does not depend on who asks first."""
    from extract import capture

    base = ("--model", model, "--samples", 40, "--out", tmp_path / "run", "--batch-size", 4)
    plain, read = capture.StateReader.read, []

    def interrupted(self, *given, **named):
        read.append(1)
        if len(read) == 6:
            raise KeyboardInterrupt
        return plain(self, *given, **named)

    monkeypatch.setattr(capture.StateReader, "read", interrupted)
    run("all", *base, expect=130)
    before = len(read)
    run("reuse", *base, "--source", "Name")
    assert len(read) - before == 10 - 5


def test_main_is_a_name_and_clean_is_none(folder, model):
    base = ("--model", model, "--samples", 60, "--out", folder)
    before = _results(folder)
    run("reuse", *base, "--as", "main")
    assert _results(folder) == before
    assert "main has source Month" in run(
        "reuse", *base, "--as", "main", "--source", "Name", expect=2
    )
    assert "of earlier versions" in run("reuse", *base, "--as", "clean", expect=2)
    said = run("figures", *base, "--source", "born", expect=2)
    assert "holds no analysis with these settings, but main, " in said


def test_a_name_brings_its_protocol(model, tmp_path):
    base = ("--model", model, "--samples", 60, "--out", tmp_path)
    run("reuse", *base)
    run("reuse", *base, "--as", "strict", "--protocol", "clean")
    # Again, and by a command that does not choose a protocol.
    run("reuse", *base, "--as", "strict")
    run("discover", *base, "--as", "strict", "--shuffles", 0, "--manifolds", "circular,euclidean")
    assert (tmp_path / "analyses/strict/results/discover.csv").exists()
    run("reuse", *base, "--as", "strict", "--force-states")
    facts = ScoreMap.load(tmp_path / "analyses/strict/results/reuse.safetensors").metadata
    assert facts["protocol"] == "clean"
    assert not (tmp_path / "results" / "reuse.safetensors").exists()


def test_what_is_not_ours_is_found_before_the_work(model, tmp_path):
    base = ("reuse", "--model", model, "--samples", 12, "--out", tmp_path)
    run(*base)
    foreign = tmp_path / "analyses" / "x" / "results" / "rigid.csv"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("mine")
    before = _bytes(tmp_path)
    said = run(*base, "--as", "x", "--source", "Name", expect=1)
    assert "rigid.csv is not a file of this run" in said
    assert _bytes(tmp_path) == before
