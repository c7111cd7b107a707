"""Benchmarks run on a tiny size, and the README's table is the one of the results.

Those that start Lightning Pose or the whole job many times over (`job`, `predict`, `memory`) take
minutes at any size, and are left to be run by hand.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


def benchmark(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{name}.py"), *options],
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("gpu", marks=pytest.mark.long),
        "labeled_video",
        pytest.param("scheduling", marks=pytest.mark.ray),
        "smoothing",
        "tables",
    ],
)
def test_tiny(name: str) -> None:
    before = {path: path.read_bytes() for path in (BENCHMARKS / "results").glob("*.json")}
    ran = benchmark(name, "--tiny")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f'"benchmark": "{name}"' in ran.stdout
    assert {p: p.read_bytes() for p in (BENCHMARKS / "results").glob("*.json")} == before


def test_the_readme_shows_what_the_results_say() -> None:
    checked = benchmark("summary", "--check")
    assert checked.returncode == 0, checked.stderr
