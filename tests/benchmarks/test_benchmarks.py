"""Every benchmark runs at a tiny size, with the checks of its full size, and the tables in README
and docs are those of the results.

Importing Lightning Pose takes most of the time: one process makes the models and networks for all.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
ALONE = (
    "labeled_video",
    "report",
    "scale",
    pytest.param("scheduling", marks=pytest.mark.ray),
    "simulation",
    # Compiles upstream's smoothers, with which the tests of `eks` compare as well.
    pytest.param("smoothing", marks=pytest.mark.long),
    "tables",
)
ON_PROJECT = (
    "gpu",
    # Two runs like that of `memory`, and one of litpose, with which other tests compare as well.
    pytest.param("job", marks=pytest.mark.long),
    "memory",
    "predict",
    "startup",
)


def benchmark(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{name}.py"), *options],
        capture_output=True,
        text=True,
        timeout=580,
    )


def run_tiny(name: str, *options: str) -> None:
    before = {path: path.read_bytes() for path in (BENCHMARKS / "results").glob("*.json")}
    ran = benchmark(name, "--tiny", *options)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f'"benchmark": "{name}"' in ran.stdout
    assert {p: p.read_bytes() for p in (BENCHMARKS / "results").glob("*.json")} == before


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import tiny

        tiny.make(root)
    return root


def test_all_are_run() -> None:
    scripts = {path.stem for path in BENCHMARKS.glob("*.py") if "--tiny" in path.read_text()}
    names = (*ALONE, *ON_PROJECT)
    run = {getattr(name, "values", (name,))[0] for name in names}
    assert run | {"tiny"} == scripts


@pytest.mark.slow
@pytest.mark.parametrize("name", ALONE)
def test_tiny(name: str) -> None:
    run_tiny(name)


@pytest.mark.slow
@pytest.mark.timeout(600)  # Lightning Pose is imported twice for one of them
@pytest.mark.parametrize("name", ON_PROJECT)
def test_tiny_on_models(name: str, project: Path) -> None:
    run_tiny(name, "--project", str(project))


def test_the_tables_are_those_of_the_results() -> None:
    checked = benchmark("summary", "--check")
    assert checked.returncode == 0, checked.stderr
