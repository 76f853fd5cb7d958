"""The direction of imports, and what importing costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STDLIB = sys.stdlib_module_names

ALLOWED = {
    "gpu_smds": {
        *("torch", "numpy", "scipy", "sklearn", "safetensors", "numba", "threadpoolctl"),
        "triton",  # only where it is installed
        *("pandas", "scikit_posthocs", "matplotlib"),  # in the functions that need them only
    },
    "extract": {"torch", "transformers", "safetensors", "numpy", "bitsandbytes"},
    "experiments": {
        *("gpu_smds", "extract", "typer", "rich", "matplotlib", "numpy", "torch"),
        *("sklearn", "safetensors"),
    },
}


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_point_one_way(package):
    for path in (ROOT / package).rglob("*.py"):
        extra = _imports(path) - ALLOWED[package] - STDLIB - {package}
        assert not extra, f"{path.relative_to(ROOT)} imports {sorted(extra)}"


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
    for package in ALLOWED:
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            for word in ("pickle", "torch.save(", "torch.load(", "joblib.dump", "np.save("):
                assert word not in text or (word == "pickle" and "never a pickle" in text), path
