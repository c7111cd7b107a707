"""Checks in processes of their own: what they find, and what becomes of those that fail."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raypose import cli
from raypose.doctor import findings, runner
from raypose.doctor.checks import CHECKS
from raypose.doctor.findings import Asked, Check, Finding
from raypose.doctor.runner import examine

BY_NAME = {check.name: check for check in CHECKS}


def only(check: Check, asked: Asked | None = None) -> Finding:
    found, network = examine(asked or Asked(), [check])
    assert network.name == "network"
    return found


def test_a_check_and_what_it_finds() -> None:
    found = only(BY_NAME["open files"])
    assert found.name == "open files"
    assert found.facts["soft"] > 0
    assert 0 < found.seconds < BY_NAME["open files"].limit_s


def test_a_check_that_raises_is_a_problem(tmp_path: Path) -> None:
    missing = tmp_path / "none"
    found = only(BY_NAME["your model"], Asked(model=str(missing)))
    words = f"{missing}: there is no such model directory"
    assert (found.status, found.found) == ("problem", words)
    assert found.advice == "Check the path after -m."


def test_a_check_that_hangs_is_stopped() -> None:
    found = only(replace(BY_NAME["torch"], limit_s=0.05))
    assert found.status == "problem"
    assert found.found.startswith("no answer in")


def test_a_check_that_ends_its_process() -> None:
    # No check of this name exists, so the process ends before it has found anything.
    found = only(Check("no such check", BY_NAME["torch"].find))
    assert (found.status, found.found) == ("problem", "the check ended with code 1")
    assert "StopIteration" in found.facts["log"][-1]


@pytest.mark.parametrize(
    ("code", "words"), [(-11, "was ended by SIGSEGV"), (-99, "was ended by signal 99")]
)
def test_how_a_process_ended(code: int, words: str) -> None:
    assert runner._ended(code) == words


def test_checks_without_what_they_need_are_left_out() -> None:
    needing = [check for check in CHECKS if check.needs]
    found = list(examine(Asked(), needing))
    assert [finding.name for finding in found] == ["network"]
    assert not BY_NAME["trial"].concerns(Asked(model="m"))
    assert BY_NAME["trial"].concerns(Asked(model="m", video="v"))


def test_no_trial_of_what_can_not_be_used(tmp_path: Path) -> None:
    asked = Asked(model=str(tmp_path / "model"), video=str(tmp_path / "v.mp4"))
    found = list(examine(asked, [check for check in CHECKS if check.needs]))
    assert [finding.name for finding in found] == ["your model", "your video", "network"]
    assert [finding.status for finding in found] == ["problem", "problem", "ok"]


def test_what_the_network_was_wanted_for() -> None:
    quiet = runner._network(Asked(), [])
    assert (quiet.status, quiet.found) == ("ok", "nothing needed the network")
    given = runner._network(Asked(model="s3://lab/model"), [])
    assert given.found == "only the URLs that you gave needed the network"
    asked = runner._network(Asked(), ["hub.example"])
    assert (asked.status, "hub.example" in asked.found) == ("warning", True)


class TestCommand:
    @pytest.fixture
    def few(self, monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
        found: list[Finding] = [
            Finding("ok", "2 cores", name="machine"),
            Finding("warning", "slow [disk]", "Buy another.", name="scratch disk"),
        ]
        monkeypatch.setattr("raypose.doctor.examine", lambda asked: iter(found))
        return found

    def test_warnings_are_no_failure(self, few: list[Finding]) -> None:
        result = CliRunner().invoke(cli.app, ["doctor"])
        assert result.exit_code == 0
        lines = [line.split() for line in result.output.splitlines()]
        assert lines[0][:3] == ["ok", "machine", "2"]
        assert "slow [disk]" in result.output
        assert "→ Buy another." in result.output

    def test_a_problem_is_exit_code_1(self, few: list[Finding]) -> None:
        few.append(Finding("problem", "Ray does not start", name="Ray"))
        result = CliRunner().invoke(cli.app, ["doctor"])
        assert result.exit_code == 1
        assert "1 of 3 checks found a problem" in result.output

    def test_json(self, few: list[Finding]) -> None:
        result = CliRunner().invoke(cli.app, ["doctor", "--json"])
        content = json.loads(result.output)
        assert [check["status"] for check in content["checks"]] == ["ok", "warning"]
        assert set(content) == {"raypose", "python", "system", "checks"}
        assert set(content["checks"][0]) == {
            field for field in findings.Finding.__dataclass_fields__
        }
