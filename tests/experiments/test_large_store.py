"""States in files far larger than what the scoring may allocate."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_planted_sites_are_found_with_little_memory(tmp_path):
    """The benchmark of 60 GB at 3 GB."""
    size = ("--gigabytes", "3", "--samples", "400", "--features", "1024", "--layers", "5")
    folders = ("--folder", tmp_path, "--out", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.large_store", "--planted", "12", *size, *folders],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "large-store.json").read_text())
    assert facts["store_bytes"] > 2.9e9
    assert facts["bytes_on_disk"] < 0.2e9
    assert (facts["planted_found"], facts["others_found"]) == (12, 0)
    assert facts["lowest_planted_score"] > 0.9
    assert facts["anonymous_bytes_peak"] - facts["anonymous_bytes_before"] < 0.4e9
    assert [p.name for p in tmp_path.iterdir()] == ["large-store.json"]
