"""Every benchmark runs on a tiny size, with the checks of its full one, and the README's table is
the one of the results.

What takes long at a tiny size is importing Lightning Pose: models and graphs are made once for
all, by this process, which other tests make import it anyway.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
ON_PROJECT = ("gpu", "job", "memory", "predict", "startup")


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
    marks = [mark for mark in test_tiny.pytestmark if mark.name == "parametrize"]
    alone = {getattr(value, "values", (value,))[0] for value in marks[0].args[1]}
    assert alone | set(ON_PROJECT) | {"tiny"} == scripts


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "labeled_video",
        pytest.param("scheduling", marks=pytest.mark.ray),
        "simulation",
        "smoothing",
        "tables",
    ],
)
def test_tiny(name: str) -> None:
    run_tiny(name)


@pytest.mark.slow
@pytest.mark.timeout(600)  # Lightning Pose is imported twice for one of them
@pytest.mark.parametrize("name", ON_PROJECT)
def test_tiny_on_models(name: str, project: Path) -> None:
    run_tiny(name, "--project", str(project))


def test_the_readme_shows_what_the_results_say() -> None:
    checked = benchmark("summary", "--check")
    assert checked.returncode == 0, checked.stderr
