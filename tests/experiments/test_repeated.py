"""Several questions in one file of settings; runs repeated from the settings that they wrote."""

import json
import tomllib

import pytest
from command_line import run
from tiny_models import save_tiny

from experiments.runs import extraction
from gpu_smds import Discovery, ScoreMap, SignificanceMap

#: Where figures go matters here, and not what is on them.
pytestmark = pytest.mark.usefixtures("small_pictures")

QUESTIONS = """
[question]
permutations = 5
[[analysis]]
[[analysis]]
source = "Day_Ordinal"
[[analysis]]
manifold = "semicircular"
[[analysis]]
protocol = "clean"
[[analysis]]
protocol = "clean"
hold-out = "Month"
"""
# The same on the command line, and where the results are.
ASKED = {
    "": (),
    "analyses/source-Day_Ordinal/": ("--source", "Day_Ordinal"),
    "analyses/manifold-semicircular/": ("--manifold", "semicircular"),
    "analyses/protocol-clean/": ("--protocol", "clean"),
    "analyses/protocol-clean-hold-out-Month/": ("--protocol", "clean", "--hold-out", "Month"),
}


@pytest.fixture(scope="module")
def loads():
    """How often a model was loaded."""
    counted, plain = [], extraction.load_model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            extraction, "load_model", lambda *given: counted.append(given) or plain(*given)
        )
        yield counted


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    model = save_tiny(tmp_path_factory.mktemp("models") / "tiny", "llama", "together", bos=True)
    return "--model", model, "--samples", 60


def numbers(folder):
    """Everything that was computed, to the bit; without the time that it took."""
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix == ".csv" or path.parent.name == "states"
    }
    kinds = {"significance": SignificanceMap, "discover": Discovery}
    for path in sorted(folder.rglob("results/*.safetensors")):
        if path.stem == "circle":
            continue
        loaded = kinds.get(path.stem, ScoreMap).load(path)
        values = loaded.null if path.stem == "significance" else None
        values = loaded.scores.scores if path.stem == "discover" else values
        values = loaded.scores if values is None else values
        found[str(path.relative_to(folder))] = values.tobytes()
    return found


@pytest.fixture(scope="module")
def one_call(base, tmp_path_factory, loads):
    """Five questions in one call."""
    folder = tmp_path_factory.mktemp("config")
    (folder / "study.toml").write_text(QUESTIONS)
    run("all", *base, "--config", folder / "study.toml", "--out", folder / "run")
    assert len(loads) == 1
    return folder / "run"


def test_one_call_with_five_tables_is_five_calls(one_call, base, tmp_path):
    for options in ASKED.values():
        run("all", *base, "--permutations", 5, "--out", tmp_path, *options)
    found, expected = numbers(one_call), numbers(tmp_path)
    assert found == expected
    for place in ASKED:
        assert f"{place}results/independent.csv" in found


def test_files_are_named_after_what_was_held_out(one_call):
    names = {
        place: sorted(p.stem for p in (one_call / place / "results").glob("unseen*.csv"))
        for place in ASKED
    }
    assert names == {
        "": [],
        "analyses/source-Day_Ordinal/": [],
        "analyses/manifold-semicircular/": [],
        "analyses/protocol-clean/": ["unseen_labels", "unseen_names"],
        "analyses/protocol-clean-hold-out-Month/": ["unseen_Month", "unseen_labels"],
    }
    held_out = one_call / "analyses/protocol-clean-hold-out-Month"
    assert (held_out / "figures/unseen_Month.png").exists()
    said = json.loads((held_out / "results/summary.json").read_text())
    assert "unseen_Month" in [row["experiment"] for row in said["table"]]


def test_a_run_is_repeated_from_the_settings_that_it_wrote(one_call, base, tmp_path):
    before = (one_call / "run.toml").read_bytes()
    found = tomllib.loads(before.decode())
    assert [table["as"] for table in found["analysis"]] == [
        *("main", "source-Day_Ordinal", "manifold-semicircular"),
        *("protocol-clean", "protocol-clean-hold-out-Month"),
    ]
    assert "out" not in found["output"]
    run("all", "--config", one_call / "run.toml", "--out", tmp_path)
    assert numbers(tmp_path) == numbers(one_call)
    assert (tmp_path / "run.toml").read_bytes() == before
    # In its own folder everything is there.
    said = run("all", "--config", one_call / "run.toml", "--out", one_call)
    assert "states of" in said
    assert "in one pass over the states" not in said
    assert (one_call / "run.toml").read_bytes() == before


def test_the_command_line_chooses_and_overrides(one_call, base, tmp_path):
    settings = one_call / "run.toml"
    run("reuse", "--config", settings, "--as", "source-Day_Ordinal", "--out", tmp_path)
    places = {p.parent.relative_to(tmp_path) for p in tmp_path.rglob("reuse.csv")}
    assert {str(place) for place in places} == {"analyses/source-Day_Ordinal/results"}
    said = run("reuse", "--config", settings, "--as", "other", "--out", tmp_path, expect=2)
    assert "has no [[analysis]] with as = 'other', but main, source-Day_Ordinal" in said
    run("reuse", "--config", settings, "--samples", 30, "--out", tmp_path / "fewer")
    assert json.loads((tmp_path / "fewer/manifest.json").read_text())["shape"][0] == 30


def test_the_same_question_twice_is_done_once(base, tmp_path):
    path = tmp_path / "study.toml"
    path.write_text("[[analysis]]\n[[analysis]]\n[[analysis]]\nsource = 'Name'\n")
    said = run("reuse", *base, "--config", path, "--out", tmp_path / "run")
    assert "main is asked for again: done once" in said
    assert len(list((tmp_path / "run").rglob("reuse.csv"))) == 2


def test_a_part_of_the_layers(base, tmp_path, one_call):
    said = run("all", *base, "--permutations", 5, "--out", one_call, "--only-layers", "1,3")
    place = one_call / "analyses" / "only-layers-1_3"
    assert "only-layers 1,3 – another question of the same states" in said
    some, whole = (
        ScoreMap.load(folder / "results" / "rigid.safetensors") for folder in (place, one_call)
    )
    assert some.metadata["layers"] == [1, 3]
    assert some.mean.tobytes() == whole.mean[[1, 3]].tobytes()
    rows = (place / "results" / "independent.csv").read_text().splitlines()[1:]
    assert {row.split(",")[0] for row in rows} == {"1", "3"}
    said = run("reuse", *base, "--out", one_call, "--only-layers", "1,9", expect=2)
    assert "--only-layers 1,9: " in said
    run("discover", *base, "--out", one_call, "--as", "only-layers-1_3", "--shuffles", 0)
    assert Discovery.load(place / "results/discover.safetensors").scores.mean.shape[-2] == 2
    run("remove", one_call, "only-layers-1_3", "--yes")


def test_another_seed_has_other_folds(base, tmp_path):
    for options in ((), ("--analysis-seed", 7), ("--analysis-seed", 7, "--protocol", "clean")):
        run("independent", *base, "--out", tmp_path, *options)
    scores = [
        ScoreMap.load(tmp_path / place / "results/independent.safetensors").mean[-1, -1]
        for place in ("", "analyses/analysis-seed-7", "analyses/protocol-clean-analysis-seed-7")
    ]
    assert len(set(scores)) == 3
    assert (
        ScoreMap.load(
            tmp_path / "analyses/analysis-seed-7/results/independent.safetensors"
        ).metadata["analysis_seed"]
        == 7
    )


def test_other_shapes_and_shuffles_are_other_questions(base, tmp_path):
    shapes = ("--manifolds", "circular,euclidean")
    run("discover", *base, *shapes, "--shuffles", 2, "--out", tmp_path)
    before = (tmp_path / "results/discover.csv").read_bytes()
    run("discover", *base, *shapes, "--shuffles", 3, "--out", tmp_path)
    run("discover", *base, "--manifolds", "circular,chain", "--shuffles", 2, "--out", tmp_path)
    run("discover", *base, *shapes, "--shuffles", 2, "--out", tmp_path)
    assert (tmp_path / "results/discover.csv").read_bytes() == before
    assert {p.name for p in (tmp_path / "analyses").iterdir()} == {
        "shuffles-3",
        "manifolds-circular_chain",
    }


def test_more_permutations_are_another_question_where_they_are_named(base, tmp_path):
    run("all", *base, "--permutations", 5, "--out", tmp_path)
    before = (tmp_path / "results/significance.csv").read_bytes()
    said = run("significance", *base, "--permutations", 6, "--out", tmp_path)
    assert "permutations 6 – another question" in said
    assert (tmp_path / "results/significance.csv").read_bytes() == before
    assert (tmp_path / "analyses/permutations-6/results/significance.csv").exists()
    # A test of more answers for fewer, and what was asked by the name stays.
    run("all", *base, "--permutations", 4, "--out", tmp_path)
    run("all", *base, "--as", "main", "--out", tmp_path)
    run("all", *base, "--permutations", 0, "--out", tmp_path)
    assert (tmp_path / "results/significance.csv").read_bytes() == before
    assert json.loads((tmp_path / "results/summary.json").read_text())["significance"]
    run("all", *base, "--force", "--out", tmp_path)
    assert (tmp_path / "results/significance.csv").read_bytes() == before
    assert {path.name for path in (tmp_path / "analyses").iterdir()} == {"permutations-6"}
    # Layers of the curves are among those that were tested.
    run("all", *base, "--test-layers", "curves", "--out", tmp_path)
    assert (tmp_path / "results/significance.csv").read_bytes() == before


def _loaded(path):
    """Content of a file, whatever the order of its header."""
    if path.suffix != ".safetensors":
        return path.read_bytes()
    scores = ScoreMap.load(path)
    return scores.scores.tobytes(), dict(scores.metadata)


def test_results_of_a_slot_that_had_another_name(base, tmp_path, one_call):
    """Versions before this one called them unseen_names whatever was held out."""
    import shutil

    old = tmp_path / "run"
    shutil.copytree(one_call, old)
    place = "analyses/protocol-clean-hold-out-Month"
    manifest = json.loads((old / "manifest.json").read_text())
    content = {}
    for part in (
        "results/unseen_Month.csv",
        "results/unseen_Month.safetensors",
        "figures/unseen_Month.png",
    ):
        former = part.replace("_Month", "_names")
        content[part] = _loaded(old / place / part)
        (old / place / part).rename(old / place / former)
        manifest["files"][f"{place}/{former}"] = manifest["files"].pop(f"{place}/{part}")
    (old / "manifest.json").write_text(json.dumps(manifest))
    said = run("all", *base, "--permutations", 5, "--out", old, *ASKED[f"{place}/"])
    assert "Exp 1b" not in said
    assert not list(old.rglob("*unseen_names*Month*"))
    assert not list((old / place).rglob("unseen_names*"))
    for part, before in content.items():
        assert _loaded(old / place / part) == before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[analysis]]\nmodel = 'gpt2'", "[[analysis]] 1 names a model: all analyses are"),
        ("[[analysis]]\n[[analysis]]\nsamples = 5", "[[analysis]] 2 names a samples"),
        ("[[analysis]]\nsorce = 'x'", "[[analysis]] 1 has no key 'sorce': did you mean 'source'?"),
        ("[[analysis]]\nas = 'a/b'", "--as 'a/b': a name is letters"),
        ("[[analysis]]\nas = '..'", "--as '..': a name is letters"),
        ("[[analysis]]\nas = 'x'\n[[analysis]]\nas = 'x'", "two [[analysis]] tables have the name"),
        ("[analysis]\nas = 'x'", "analysis must be one or more tables, [[analysis]]"),
        ("[[analysis]]\nshuffles = -1", "[[analysis]] 1: shuffles: input should be greater"),
        ("[[analysis]]\nprotocol = 'cleen'", "[[analysis]] 1: protocol: input should be 'study'"),
        ("[[analysis]]\nsource = 'Month'\nsource = 'Name'", "is not TOML"),
        ("[[analysis]]\nhold-out = 'Month'", "--hold-out is for --protocol clean"),
        ("[[analysis]]\nsource = 'Yesterday'", "no word 'Yesterday' for the source"),
        ("[[analysis]]\nmanifold = 'cirular'", "unknown manifold 'cirular'"),
        ("[[analysis]]\nonly-layers = 'x'", "--only-layers x: write numbers and ranges"),
        ("[[analysis]]\nforce = true", "[[analysis]] 1 names a force"),
        ("[run]\nas = 'x'\n[[analysis]]\n", "as stands in [run]: it belongs to each [[analysis]]"),
        ("[analyses]\n", "unknown table [analyses]: did you mean 'analysis'?"),
        ("[sentences]\nsamples = 61", "holds a run with"),
        ("[sentences]\nlayers = '0,1'", "holds a run with layers default, asked for"),
    ],
)  # fmt: skip
def test_bad_settings_are_one_line_and_write_nothing(one_call, base, tmp_path, text, says):
    path = tmp_path / "study.toml"
    path.write_text(text)
    before = {p: p.read_bytes() for p in one_call.rglob("*") if p.is_file()}
    given = base[:2] if "samples" in text else base
    said = run("all", *given, "--config", path, "--out", one_call, expect=2)
    error = said[said.index("error: ") :]
    assert says in error
    assert {p: p.read_bytes() for p in one_call.rglob("*") if p.is_file()} == before
