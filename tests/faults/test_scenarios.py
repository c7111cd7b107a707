"""Some scenarios of the suite of faults; `python -m tests.faults` tries all, for longer."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.job import Job
from tests.faults.results import LOST, PAGES, RESULTS, SKIPPED, with_figures
from tests.faults.scenarios import SCENARIOS
from tests.faults.trial import try_scenario

CHOSEN = (
    "SIGTERM to all processes, on Ray",
    "SIGKILL to one GPU worker",
    "killed in the middle of a change, inline",
    "no space from some change on, inline",
    "a video is replaced, inline",
    "reads fail for a moment, inline",
    "records of another version",
    "damaged outputs",
)


@pytest.fixture(scope="module")
def small_job() -> Iterator[Job]:
    folder = Path(tempfile.mkdtemp(prefix="rpf-job-"))  # a short path, for Ray's sockets
    yield Job(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", CHOSEN)
def test_nothing_is_lost(small_job: Job, name: str) -> None:
    (scenario,) = (scenario for scenario in SCENARIOS if scenario.name == name)
    outcome = try_scenario(scenario, small_job, seed=1)
    if outcome.verdict == SKIPPED:
        pytest.skip(outcome.why)
    assert outcome.verdict != LOST, outcome.why


def test_names_of_scenarios_are_different() -> None:
    names = [scenario.name for scenario in SCENARIOS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_have_the_figures_of_the_results(page: Path) -> None:
    assert page.read_text() == with_figures(page, json.loads(RESULTS.read_text()))
