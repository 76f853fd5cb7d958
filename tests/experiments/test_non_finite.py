"""``--non-finite omit``: sentences that are not finite are left out where they are, and counted."""

import csv
import json

import numpy as np
import pytest
import tolerances
from command_line import run
from safetensors.torch import load_file, save_file
from tiny_models import save_tiny
from transformers import AutoTokenizer

from experiments.designs.finite_sentences import finite_everywhere
from experiments.designs.setting import Part, Setting, folds
from experiments.reports.omitted import said_of_omitted
from extract import HiddenStates
from gpu_smds import CircularShape, ScoreMap, fit_map, score_map, transfer_map

#: Where figures go matters here, and not what is on them.
pytestmark = pytest.mark.usefixtures("small_pictures")

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
NAMES = ("Hope", "Carl", "Rosa", "Liam", "Emma", "Noah")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A model in which one name has no embedding, and sentences in which it stands or does not."""
    folder = save_tiny(tmp_path_factory.mktemp("models") / "tiny", "llama", "together", bos=True)
    tokens = AutoTokenizer.from_pretrained(folder)
    of_all = [set(tokens(f"{name} rests")["input_ids"]) for name in NAMES]
    own = of_all[2] - set.union(*(ids for i, ids in enumerate(of_all) if i != 2))
    path = folder / "model.safetensors"
    weights = load_file(path)
    (embedding,) = (name for name in weights if "embed_tokens" in name)
    weights[embedding][min(own)] = float("nan")
    save_file(weights, path, metadata={"format": "pt"})
    table = tmp_path_factory.mktemp("prompts") / "days.csv"
    rows = [
        f"{name} rests on {day} again.,{number},{day},{name}"
        for number, day in enumerate(DAYS)
        for name in NAMES
    ]
    table.write_text("\n".join(["text,label,Day,Name", *rows]) + "\n")
    out = tmp_path_factory.mktemp("run") / "run"
    return "--model", folder, "--prompts", table, "--source", "Day", "--period", 7, "--out", out


@pytest.fixture(scope="module")
def default(base):
    said = run("all", *base, "--permutations", 19)
    assert "Day is nowhere significant, since it has no score in any tested layer" in said
    (*_, out) = base
    return {path.name: path.read_bytes() for path in (out / "results").glob("*.csv")}


def _rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_by_default_the_sites_are_undefined(base, default):
    for content in default.values():
        assert b"omitted" not in content.splitlines()[0]
    assert b"non_finite" in default["independent.csv"]


def test_the_scores_are_those_of_the_other_sentences(base, default):
    (*_, out) = base
    said = run("all", *base, "--permutations", 19, "--non-finite", "omit", "--as", "omit")
    assert "7 sentences left out at" in said
    assert "7 sentences are left out of the test at all sites" in said
    assert "H2 cannot be tested: Day and again lack a cosine or a score at layer" in said
    folder = out / "analyses" / "omit" / "results"
    found = ScoreMap.load(folder / "independent.safetensors")
    states = HiddenStates.open(out / "states")[:]
    states = np.asarray(states.float() if hasattr(states, "float") else states, dtype=float)
    y = np.repeat(np.arange(7.0), len(NAMES))
    affected = np.argwhere(found.omitted > 0)
    assert len(affected) > 4
    for layer, position in affected[:3]:
        site = states[:, layer, position]
        rows = np.flatnonzero(np.isfinite(site).all(1))
        number = {row: i for i, row in enumerate(rows)}
        pairs = [
            tuple([number[row] for row in part if row in number] for part in pair)
            for pair in folds().split(states)
        ]
        expected = score_map(site[rows], y[rows], CircularShape(period=7), cv=pairs)
        tolerances.assert_same(found.scores[:, layer, position], expected.scores)
        assert found.omitted[layer, position] == 7
    for name in ("independent", "rigid", "similarity"):
        table = _rows(folder / f"{name}.csv")
        assert list(table[0])[-2:] == ["status", "omitted"]
        assert {row["omitted"] for row in table} <= {"0", "7"}
        assert "7" in {row["omitted"] for row in table}
        # A pair of the similarity is constant where its other position is.
        assert "non_finite" not in {row["status"] for row in table}
    assert "omitted" not in _rows(folder / "reuse.csv")[0]
    tested = _rows(folder / "significance.csv")
    assert {row["status"] for row in tested} == {"ok", "constant"}
    assert json.loads((folder / "summary.json").read_text())["omitted"]
    for path, content in default.items():
        assert (out / "results" / path).read_bytes() == content


def test_pairs_are_compared_by_the_sentences_that_are_finite_everywhere(base):
    (*_, out) = base
    said = run("transfer", *base, "--non-finite", "omit", "--as", "omit-3")
    assert "7 sentences are left out of the comparison at all sites" in said
    folder = out / "analyses" / "omit-3" / "results"
    for name in ("transfer", "transfer_layers", "subspaces"):
        assert "non_finite" not in {row["status"] for row in _rows(folder / f"{name}.csv")}
    found = ScoreMap.load(folder / "transfer.safetensors")
    states = HiddenStates.open(out / "states")[:, 2:3].double()
    rows = np.flatnonzero(states.isfinite().all(-1).all(-1).all(-1))
    y, X = np.repeat(np.arange(7.0), len(NAMES))[rows], states[rows]
    fitted = fit_map(X, y, manifold=CircularShape(period=7), standardize="all")
    expected = transfer_map(fitted, X, y).mean[0]
    assert np.isfinite(expected).any()
    tolerances.assert_close(found.mean[2], expected, tolerances.SCORE)


def test_discovery_counts_them_too(base):
    (*_, out) = base
    asked = ("--manifolds", "circular,euclidean", "--shuffles", 0)
    said = run("discover", *base, *asked, "--non-finite", "omit", "--as", "omit-2")
    assert "7 sentences left out at" in said
    table = _rows(out / "analyses" / "omit-2" / "results" / "discover.csv")
    assert {row["omitted"] for row in table} == {"0", "7"}
    by_site = {}
    for row in table:
        by_site.setdefault((row["layer"], row["position"]), set()).add(row["omitted"])
    assert all(len(counts) == 1 for counts in by_site.values())


def _setting(rows, asked="omit"):
    """States of 20 sentences, of which some are not finite at a site, and all at another."""
    states = np.random.default_rng(0).normal(size=(20, 2, 3, 4))
    states[:, 1, 2] = np.nan
    states[rows, 1, 0, 1] = np.inf
    labels, names = np.arange(20) % 5 / 5, np.arange(20) // 5
    return Setting(
        *(states, labels, (0, 4), 5, 1),
        sentences=np.arange(20),
        held_out={"slot": names},
        asked={"non_finite": asked},
        beside={"Name": names},
    )


def test_the_test_is_of_sentences_that_are_finite_at_all_of_its_sites():
    setting = _setting([3, 8])
    found = finite_everywhere(setting, (0, 4))
    rows = np.setdiff1d(np.arange(20), [3, 8])
    for of, values in (
        (found.labels, setting.labels),
        (found.sentences, setting.sentences),
        (found.held_out["slot"], setting.held_out["slot"]),
        (found.beside["Name"], setting.beside["Name"]),
        (found.states[:, 1, 0:2], setting.states[:, 1, 0:2]),
    ):
        np.testing.assert_array_equal(of, values[rows])
    part = Part(found.states, [1], slice(0, 2), np.array([4, 0]))
    np.testing.assert_array_equal(part[:, 0, 0:2], setting.states[rows[[4, 0]], 1, 0:2])


@pytest.mark.parametrize(
    ("rows", "asked", "layers"),
    [
        ([3], "undefined", (0, 4)),
        ([3], "omit", (0,)),
        ([], "omit", (0, 4)),
        (range(16), "omit", (4,)),
    ],
    ids=["not asked", "other layers", "all are finite", "hardly any is"],
)
def test_else_it_is_of_all(rows, asked, layers):
    setting = _setting(list(rows), asked)
    assert finite_everywhere(setting, layers) is setting


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ([0, 0], "no sentences left out: all states are finite"),
        ([0, 1], "1 sentence left out at 1 site, whose states are not finite"),
        ([3, 3], "3 sentences left out at 2 sites, whose states are not finite"),
        ([1, 3], "1 to 3 sentences left out at 2 sites, whose states are not finite"),
    ],
)
def test_what_is_said(counts, says):
    scores = ScoreMap(
        np.zeros((1, 2)),
        np.zeros((1, 2), dtype=np.int8),
        ("fold", "site0"),
        omitted=np.array(counts),
    )
    assert said_of_omitted(scores) == [says]


def test_other_values_are_refused(base):
    assert "is not one of 'undefined', 'omit'" in run(
        "all", *base, "--non-finite", "drop", expect=2
    )
