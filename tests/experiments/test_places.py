"""Where questions belong, and what becomes of analyses when the states are read again."""

import json
import shutil

import pytest
from command_line import run
from tiny_models import save_tiny

from extract import capture
from gpu_smds import ScoreMap

#: Where figures go matters here, and not what is on them.
pytestmark = pytest.mark.usefixtures("small_pictures")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    first = save_tiny(folder / "first", "llama", "together", bos=True)
    return first, save_tiny(folder / "other", "gpt2")


def _results(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("results/*.csv"))
    }


def test_states_that_are_read_again_leave_the_analyses(models, tmp_path):
    """Also where another version tells the tokenizer otherwise, and where that is interrupted."""
    base = ("--samples", 24, "--batch-size", 4, "--out", tmp_path)
    run("reuse", "--model", models[0], *base)
    run("reuse", "--model", models[0], *base, "--as", "keep", "--source", "of")
    before, manifest = _results(tmp_path), tmp_path / "manifest.json"
    run("remove", tmp_path, "--states", "--yes")
    assert "not kept" in run("list", tmp_path)
    noted = json.loads(manifest.read_text())
    noted["tokenizer"]["class"] = "AsItWasCalledOnce"
    noted["model"]["name"] = "alias"
    manifest.write_text(json.dumps(noted))
    said = run("reuse", "--model", models[0], *base, "--source", "Name")
    assert "analyses/source-Name" in said
    assert "not those of before" not in said  # to the last bit
    assert before.items() <= _results(tmp_path).items()
    assert json.loads(manifest.read_text())["extracted"]
    run("remove", tmp_path, "--states", "--yes")
    plain, read = capture.StateReader.read, []

    def interrupted(self, *given, **named):
        read.append(1)
        if len(read) == 3:
            raise KeyboardInterrupt
        return plain(self, *given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capture.StateReader, "read", interrupted)
        run("extract", "--model", models[0], *base, expect=130)
    assert "interrupted while they were read" in run("list", tmp_path)
    run("reuse", "--model", models[0], *base)
    assert before.items() <= _results(tmp_path).items()


def test_other_states_in_their_place_are_said(models, tmp_path):
    base = ("reuse", "--model", models[0], "--samples", 24, "--out", tmp_path)
    run(*base)
    run("remove", tmp_path, "--states", "--yes")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    digests = manifest["states_before"]
    manifest["states_before"] = dict.fromkeys(digests, "0" * 64)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    said = run(*base, "--source", "Name")
    assert "the states are not those of before to the last bit" in said
    assert "to the last bit" not in run(*base, "--source", "of")


def test_what_is_asked_is_not_lost_while_the_model_is_read_again(models, tmp_path, monkeypatch):
    base = ("--model", models[0], "--samples", 24, "--batch-size", 4, "--out", tmp_path)
    run("reuse", *base)
    run("reuse", *base, "--as", "strict", "--protocol", "clean", "--source", "of")

    def interrupted(self, *given, **named):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(capture.StateReader, "read", interrupted)
        said = run("reuse", *base, "--as", "strict", "--force-states", expect=130)
    assert "the states and all analyses are replaced (main, strict)" in said
    run("reuse", *base, "--as", "strict")
    facts = ScoreMap.load(tmp_path / "analyses/strict/results/reuse.safetensors").metadata
    assert facts["protocol"] == "clean"
    assert facts["words"][facts["landmarks"]["source"]] == "of"
    assert not (tmp_path / "results" / "reuse.csv").exists()


def test_a_discovery_goes_where_its_question_belongs(models, tmp_path):
    base = ("--model", models[0], "--samples", 24, "--out", tmp_path)
    shapes = ("--manifolds", "circular,euclidean")
    run("reuse", *base)
    run("reuse", *base, "--protocol", "clean")
    run("discover", *base, *shapes, "--shuffles", 0)
    said = run("discover", *base, *shapes, "--shuffles", 2)
    assert "shuffles 2 – another question" in said
    run("discover", *base, "--manifolds", "euclidean,circular", "--shuffles", 0)
    places = {str(p.parent.parent.relative_to(tmp_path)) for p in tmp_path.rglob("discover.csv")}
    assert places == {".", "analyses/shuffles-2"}
    # It does not decide on the protocol of what follows.
    fresh = tmp_path / "fresh"
    base = ("--model", models[0], "--samples", 24, "--out", fresh)
    run("discover", *base, *shapes, "--shuffles", 0)
    picture = fresh / "figures" / "discover.png"
    picture.unlink()
    run("figures", *base)
    assert picture.exists()
    run("reuse", *base, "--protocol", "clean")
    assert (fresh / "results" / "reuse.csv").exists()


def test_commands_that_hold_nothing_out_belong_to_either(models, tmp_path):
    base = ("--model", models[0], "--samples", 36, "--out", tmp_path, "--permutations", 0)
    run("all", *base, "--protocol", "clean", "--hold-out", "Month")
    run("independent", *base[:-2], "--protocol", "clean")
    assert not (tmp_path / "analyses").exists()


def test_tables_of_a_file_keep_their_places_for_every_command(models, tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(
        "[question]\nhold-out = 'Month'\n[[analysis]]\n"
        "[[analysis]]\nprotocol = 'clean'\nas = 'strict'\n"
    )
    base = ("--model", models[0], "--samples", 36, "--config", path, "--out", tmp_path / "run")
    run("discover", *base, "--manifolds", "circular,euclidean", "--shuffles", 0)
    run("independent", *base)
    run("all", *base, "--permutations", 3)
    strict = tmp_path / "run" / "analyses" / "strict" / "results"
    assert ScoreMap.load(strict / "independent.safetensors").metadata["protocol"] == "clean"
    assert (strict / "unseen_Month.csv").exists()
    assert (strict / "discover.csv").exists()
    assert [p.name for p in (tmp_path / "run" / "analyses").iterdir()] == ["strict"]


def test_several_models_and_several_questions(models, tmp_path):
    path = tmp_path / "study.toml"
    path.write_text("[[analysis]]\n[[analysis]]\nas = 'b'\nsource = 'of'\n")
    out = tmp_path / "runs"
    several = ("--model", models[0], "--model", models[1], "--samples", 24, "--out", out)
    run("all", "--model", models[0], "--samples", 24, "--out", out / "first", "--permutations", 3)
    run("all", *several, "--config", path, "--permutations", 3)
    assert (out / "comparison.png").exists()
    assert (out / "comparison-b.png").exists()
    # What one of them has more than the other is no difference.
    run("significance", "--model", models[0], "--samples", 24, "--out", out / "first", "--as", "b")
    run("all", *several, "--as", "b")
    run("remove", out / "other", "b", "--yes")
    said = run("all", *several, "--as", "b", expect=2)
    assert "--as b is another question in" in said
    assert run("figures", *several[:-1], tmp_path / "none", expect=2)


def test_results_clean_of_before_hold_out_what_they_say(models, tmp_path):
    base = ("--model", models[0], "--samples", 36, "--out", tmp_path)
    clean = ("--permutations", 3, "--protocol", "clean", "--hold-out", "Month")
    run("all", *base, "--permutations", 3)
    run("all", *base, *clean)
    place, manifest = "analyses/protocol-clean-hold-out-Month", tmp_path / "manifest.json"
    facts = json.loads(manifest.read_text())
    for key in [key for key in facts["files"] if key.startswith(place)]:
        part, name = key.removeprefix(f"{place}/").split("/")
        former = f"{part}/clean/{name.replace('unseen_Month', 'unseen_names')}"
        if (tmp_path / key).exists():
            (tmp_path / former).parent.mkdir(exist_ok=True)
            (tmp_path / key).rename(tmp_path / former)
        facts["files"][former] = facts["files"].pop(key)
    del facts["analyses"]
    shutil.rmtree(tmp_path / "analyses")
    manifest.write_text(json.dumps(facts))
    before = _results(tmp_path)
    said = run("all", *base, *clean)
    assert "another question" not in said
    assert "in one pass" not in said
    assert before.items() <= _results(tmp_path).items()
    assert (tmp_path / "results/clean/unseen_Month.csv").exists()
