"""Folders that somebody sends or edits: nothing outside is touched, nothing false is believed."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hostile.examples import examples
from hostile.folders import EDITED, REFUSED, REMOVED
from hostile.home import snapshot
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import save_tiny
from typer.testing import CliRunner

from experiments.cli import app
from experiments.runs.lock import LOCK
from extract import ExtractError, HiddenStates
from gpu_smds import ScoreMap

TABLES = ("prompts.csv", "results/independent.csv", "results/similarity.csv", "results/rigid.csv")


pytestmark = pytest.mark.usefixtures("small_pictures")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A finished run of 12 sentences, and the command that it is of."""
    folder = tmp_path_factory.mktemp("sound")
    model = save_tiny(folder / "model")
    command = ["all", "--model", str(model), "--samples", "12", "--permutations", "3"]
    result = CliRunner().invoke(app, [*command, "--out", str(folder / "run")])
    assert result.exit_code == 0, result.output
    return folder / "run", command


@pytest.fixture
def copied(sound, tmp_path):
    """A copy of it beside somebody's file."""
    folder, command = tmp_path / "run", sound[1]
    shutil.copytree(sound[0], folder)
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "mine.txt").write_bytes(b"mine")
    return folder, [*command, "--out", str(folder)], tmp_path / "victim"


def _last_line(output):
    return output.rstrip("\n").rsplit("\n", 1)[-1]


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_refused(copied, name, force):
    folder, command, victim = copied
    spoil, says = REFUSED[name]
    spoil(folder, victim)
    before = snapshot(folder.parent)
    of_states = name.startswith(("an index", "a layer", "negative", "offsets", "a header", "metad"))
    if force and of_states and "elsewhere" not in name:
        return  # the model is read again, whatever the files hold
    result = CliRunner().invoke(app, [*command, *(["--force-states"] if force else [])])
    assert result.exit_code in (1, 2), result.output
    assert re.search(says, _last_line(result.output)), result.output
    assert "Traceback" not in result.output
    after = snapshot(folder.parent)
    after.pop("run/" + LOCK, None)
    before.pop("run/" + LOCK, None)
    assert after == before
    assert (victim / "mine.txt").read_bytes() == b"mine"


@pytest.mark.parametrize("how", ["edited", "removed"])
def test_changed_files_are_noticed_kept_and_made_again(sound, copied, how):
    folder, command, _ = copied
    names = EDITED if how == "edited" else REMOVED
    for name in names:
        if how == "edited":
            (folder / name).write_bytes(b"edited")
        else:
            (folder / name).unlink()
    says = {"edited": "was changed since it was written: kept as", "removed": "is missing"}[how]
    result = CliRunner().invoke(app, command, env={"COLUMNS": "300"})
    assert result.exit_code == 0, result.output
    for name in names:
        assert f"{name} {says}" in result.output, result.output
        assert (folder / name).read_bytes() != b"edited"
        if how == "edited":
            assert (folder / f"{name}.changed").read_bytes() == b"edited"
    for table in TABLES:
        assert (folder / table).read_bytes() == (sound[0] / table).read_bytes()
    again = CliRunner().invoke(app, command, env={"COLUMNS": "300"})
    assert not any(said in again.output for said in ("was changed since", "is missing"))


def test_a_second_change_does_not_replace_the_first(copied):
    folder, command, _ = copied
    path = folder / "results" / "independent.csv"
    for content in (b"one", b"two"):
        path.write_bytes(content)
        assert CliRunner().invoke(app, command).exit_code == 0
    assert path.with_name("independent.csv.changed").read_bytes() == b"one"
    assert path.with_name("independent.csv.changed.2").read_bytes() == b"two"


def test_force_keeps_what_was_edited_and_what_is_not_ours(copied):
    folder, command, _ = copied
    (folder / "results" / "mine.csv").write_text("mine")
    (folder / "figures" / "photo.png").write_text("mine")
    (folder / "states" / "mine.partial").write_text("mine")
    (folder / "results" / "rigid.csv").write_text("edited")
    result = CliRunner().invoke(app, [*command, "--force-states", "--seed", "5"])
    assert result.exit_code == 0, result.output
    for name in ("results/mine.csv", "figures/photo.png", "states/mine.partial"):
        assert (folder / name).read_text() == "mine"
    assert (folder / "results" / "rigid.csv.changed").read_text() == "edited"


def test_a_foreign_file_where_a_result_goes(copied):
    """It is named before anything is computed, and stays."""
    folder, command, _ = copied
    (folder / "results" / "discover.csv").write_text("mine")
    result = CliRunner().invoke(app, ["discover", *command[1:-4], *command[-2:]])
    assert result.exit_code == 1, result.output
    assert "discover.csv is not a file of this run" in _last_line(result.output)
    assert (folder / "results" / "discover.csv").read_text() == "mine"


def test_force_keeps_states_that_were_edited(copied):
    folder, command, _ = copied
    (folder / "states" / "layer_01.safetensors").write_bytes(b"edited")
    result = CliRunner().invoke(app, [*command, "--force-states"], env={"COLUMNS": "300"})
    assert result.exit_code == 0, result.output
    assert (folder / "states" / "layer_01.safetensors.changed").read_bytes() == b"edited"
    assert "kept as layer_01.safetensors.changed" in result.output


def test_every_command_twice(copied):
    """What one command wrote the next one reads, and believes."""
    folder, command, _ = copied
    rest = [*command[1:-4], *command[-2:]]
    some = ["--shuffles", "0", "--manifolds", "circular,euclidean"]
    for first in (["transfer"], ["discover", *some], ["significance", "--permutations", "3"]):
        for _ in range(2):
            result = CliRunner().invoke(app, [*first, *rest])
            assert result.exit_code == 0, result.output
    before = (folder / "results" / "transfer.csv").read_bytes()
    result = CliRunner().invoke(app, ["figures", *rest])
    assert result.exit_code == 0, result.output
    assert (folder / "results" / "transfer.csv").read_bytes() == before


def test_the_lock_is_empty_when_nobody_holds_it(sound):
    assert (sound[0] / LOCK).read_bytes() == b""


def test_all_files_have_one_mode(sound):
    modes = {oct(path.stat().st_mode) for path in sound[0].rglob("*") if path.is_file()}
    assert len(modes) == 1


def test_only_facts_of_the_run_stay(sound):
    import socket

    for path in sound[0].rglob("*"):
        content = b"" if path.is_dir() else path.read_bytes()
        words = [f"process {os.getpid()}", str(Path.home())]
        if path.name != "run.toml":  # which names the model as the user did
            words.append(str(sound[0].parent))
        if path.suffix != ".png":  # compressed, so that short words come by chance
            words += [socket.gethostname() + "\n", f"on {socket.gethostname()}"]
        for word in words:
            assert word.encode() not in content, path


@pytest.mark.parametrize("what", ["deleted", "moved"])
def test_a_folder_that_vanishes_is_no_success(copied, monkeypatch, what):
    from experiments import commands

    folder, command, _ = copied
    drawn = commands.draw_analysis

    def vanish(*arguments):
        files = drawn(*arguments)
        if what == "moved":
            folder.rename(folder.parent / "elsewhere")
        else:
            shutil.rmtree(folder)
        return files

    monkeypatch.setattr(commands, "draw_analysis", vanish)
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    assert "was moved or deleted while it was in use" in _last_line(result.output)
    assert not folder.exists()


def test_states_that_are_cut_while_they_are_read(sound, tmp_path):
    """An error like any other: no signal that ends the process."""
    folder = tmp_path / "states"
    shutil.copytree(sound[0] / "states", folder)
    states = HiddenStates.open(folder)
    os.truncate(folder / "layer_02.safetensors", 5000)
    whole = HiddenStates.open(sound[0] / "states")
    np.testing.assert_array_equal(states[:, 1, 0:2], whole[:, 1, 0:2])
    with pytest.raises(ExtractError, match=r"layer_02.* was cut short while it was read"):
        states[:, 2, 0:2]


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=5,
)


@examples(60)
@given(draw=st.data())
def test_manifests_with_any_values(sound, draw):
    """Any part of a manifest replaced by anything: it works, or there is one line."""
    from experiments.runs.folder import RunFolder

    folder, _ = sound
    path = folder / "manifest.json"
    content = path.read_text()
    manifest = json.loads(content)
    place, keys = manifest, []
    while isinstance(place, dict | list) and place and (not keys or draw.draw(st.booleans())):
        key = draw.draw(
            st.sampled_from(list(place) if isinstance(place, dict) else range(len(place)))
        )
        keys.append(key)
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner:
            break
        place = inner
    holder = manifest
    for key in keys[:-1]:
        holder = holder[key]
    if draw.draw(st.booleans()):
        holder[keys[-1]] = draw.draw(_JSON)
    else:
        del holder[keys[-1]]
    lines = ["it is read"]
    try:
        path.write_text(json.dumps(manifest))
        found = RunFolder(folder)
        try:
            found.look()
        except ExtractError as error:
            lines = str(error).splitlines()
    finally:
        path.write_text(content)
    assert len(lines) == 1


@examples(60)
@given(draw=st.data())
def test_artefacts_with_any_header(sound, draw):
    """Any part of the header of a result replaced by anything, or bytes of it changed."""
    content = (sound[0] / "results" / "independent.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    if draw.draw(st.booleans()):
        key = draw.draw(st.sampled_from(list(header)))
        header[key] = draw.draw(_JSON)
    else:
        facts = json.loads(header["__metadata__"]["gpu_smds.ScoreMap"])
        facts[draw.draw(st.sampled_from(list(facts)))] = draw.draw(_JSON)
        header["__metadata__"]["gpu_smds.ScoreMap"] = json.dumps(facts)
    if isinstance(header.get("__metadata__"), dict) and draw.draw(st.booleans()):
        header["__metadata__"].pop("gpu_smds.sha256", None)  # whoever forges leaves it out
    text = json.dumps(header).encode()
    path = sound[0].parent / "forged.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    lines = ["it is read"]
    try:
        ScoreMap.load(path)
    except ValueError as error:
        lines = str(error).splitlines()
    assert len(lines) == 1
