"""Who writes files, and what importing costs. Who imports what is checked by import-linter."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("gpu_smds", "extract", "experiments")

# What opens, writes, replaces, moves or deletes files, by the last part of a call's name.
_WRITES = {
    *("unlink", "rmtree", "rmdir", "remove", "removedirs", "rename", "renames", "truncate"),
    *("write_text", "write_bytes", "writelines", "touch", "symlink_to", "hardlink_to", "symlink"),
    *("link", "mkdir", "makedirs", "mkstemp", "mkdtemp", "NamedTemporaryFile", "copyfile"),
    *("copy2", "copytree", "move", "chmod", "save_file", "tofile", "memmap", "open_memmap"),
    *("savez", "savetxt", "to_csv", "to_parquet", "savefig", "fdopen", "posix_fallocate"),
}
# Calls of these names that touch no file of a user: why is said beside each.
_HARMLESS = {
    ("experiments/runs/files.py", "remove"): "Folder.remove",
    ("experiments/runs/shared_manifest.py", "remove"): "Folder.remove",
    ("experiments/runs/upkeep.py", "remove"): "Folder.remove and RunFiles.remove",
    ("experiments/cli.py", "remove"): "catalog.remove, which asks RunFiles",
    ("experiments/runs/experiments.py", "remove"): "Checkpoint.remove and RunFiles.remove",
    ("experiments/runs/discovery.py", "remove"): "Checkpoint.remove",
    ("experiments/runs/significance.py", "remove"): "Checkpoint.remove",
    ("experiments/runs/transfer.py", "remove"): "Checkpoint.remove",
    ("experiments/runs/lock.py", "truncate"): "the lock, opened by Folder.open",
    ("experiments/runs/extraction.py", "to_csv"): "Prompts.to_csv, which asks File",
    ("experiments/figures/winners.py", "remove"): "a text of matplotlib",
    ("extract/cells.py", "truncate"): "a text of rich",
    ("extract/writer.py", "remove"): "Folder.remove",
    ("extract/writer.py", "rename"): "Folder.rename",
    ("extract/writer.py", "posix_fallocate"): "a file made by Folder.create",
    ("extract/reader.py", "remove"): "a hook of torch",
    ("gpu_smds/sites/checkpoint.py", "remove"): "Checkpoint.remove",
    ("experiments/figures/style.py", "remove"): "a legend of matplotlib",
    ("experiments/figures/style.py", "savefig"): "into memory",
    ("gpu_smds/inference/comparison.py", "savefig"): "into memory",
    ("gpu_smds/smds_pipeline.py", "to_csv"): "into a string",
    ("benchmarks/output.py", "savefig"): "into memory",
    ("benchmarks/large_store.py", "truncate"): "a file made by Folder.create",
    ("benchmarks/memory.py", "write_text"): "a switch of Linux below /proc",
}


def _calls(path: Path):
    """Name, node of every call, and of what it is a method."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Attribute):
                yield function.attr, node, ast.unparse(function.value)
            elif isinstance(function, ast.Name):
                yield function.id, node, ""


def _writes(name: str, node: ast.Call, of: str) -> bool:
    if name in _WRITES:
        return True
    if name == "replace":  # of pathlib: str.replace takes two texts, dataclasses' has names
        return len(node.args) == 1 and not node.keywords
    if name == "open":
        modes = [*node.args, *(k.value for k in node.keywords if k.arg in ("mode", "write"))]
        texts = [m.value for m in modes if isinstance(m, ast.Constant)]
        writing = any(isinstance(t, str) and set(t) & set("wax+") and len(t) < 4 for t in texts)
        return writing or of == "os"
    return False


def test_files_are_written_in_one_place_only():
    """Nothing but gpu_smds/_files opens for writing, replaces, moves or deletes files."""
    used = set()
    for package in (*PACKAGES, "benchmarks"):
        for path in sorted((ROOT / package).rglob("*.py")):
            place = str(path.relative_to(ROOT))
            if place.startswith("gpu_smds/_files/"):
                continue
            for name, node, of in _calls(path):
                if _writes(name, node, of):
                    assert (place, name) in _HARMLESS, f"{place}:{node.lineno} calls {of}.{name}"
                    used.add((place, name))
    assert used == set(_HARMLESS), "these exceptions are not needed any more"


@pytest.mark.parametrize(
    "code",
    [
        "path.unlink()",
        "shutil.rmtree(path)",
        "open(path, 'w')",
        "path.open('ab')",
        "path.open(mode='r+')",
        "os.open(path, os.O_WRONLY)",
        "partial.replace(path)",
        "path.write_text('x')",
        "table.to_csv(path)",
    ],
)
def test_the_check_sees_what_it_looks_for(code, tmp_path):
    (tmp_path / "x.py").write_text(code)
    assert [name for name, node, of in _calls(tmp_path / "x.py") if _writes(name, node, of)]


def _run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout


def test_the_library_is_light():
    """No language models, no figures, no scikit-learn until they are needed."""
    code = (
        "import torch, sys; before = set(sys.modules); import gpu_smds;"
        "heavy = {'transformers', 'typer', 'rich', 'matplotlib', 'sklearn', 'extract',"
        " 'pandas', 'scikit_posthocs', 'numba'};"
        "print(sorted(heavy & (set(sys.modules) - before)))"
    )
    assert _run(code).strip() == "[]"


def test_the_library_touches_no_global_state():
    code = (
        "import torch, numpy, logging, warnings\n"
        "def state():\n"
        "    return (torch.get_default_dtype(), torch.backends.cuda.matmul.allow_tf32,\n"
        "            torch.get_float32_matmul_precision(), torch.initial_seed(),\n"
        "            torch.get_num_threads(), logging.root.handlers[:], numpy.geterr(),\n"
        "            numpy.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist())\n"
        "before = state()\n"
        "import gpu_smds\n"
        "gpu_smds.score_map(torch.ones(9, 2).cumsum(0).sin(), numpy.arange(9.0))\n"
        "print(before == state())"
    )
    assert _run(code).strip() == "True"


def test_help_does_not_wait_for_torch():
    code = "import sys, experiments.cli; print('torch' in sys.modules)"
    assert _run(code).strip() == "False"


def test_no_pickle():
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            for word in ("pickle", "torch.save(", "torch.load(", "joblib.dump", "np.save("):
                assert word not in text or (word == "pickle" and "never a pickle" in text), path
