"""What `--help` shows at 80 columns: headings, choices, defaults, examples, no noise."""

from __future__ import annotations

import re

import pytest

from raypose.cli.base import COMMANDS
from raypose.config import RunConfig, SmoothConfig
from raypose.config.options import options_of
from raypose.config.panels import PANELS
from tests.unit.cli.commands import invoke


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def help_of(*command: str) -> str:
    code, text = invoke(*command, "--help")
    assert code == 0
    return text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_fits_has_an_example_and_no_names_of_types(command: str) -> None:
    text = help_of(command)
    assert max(map(len, text.splitlines())) <= 80
    assert "…t" not in text
    for noise in ("TEXT", "INTEGER", "bool", "<str", "list[", "<Any", "[dim]", "\\["):
        assert noise not in text
    (_, examples) = text.split("\nExamples\n")
    assert re.fullmatch(rf"(  raypose {command}\b.*\n)+", examples.rstrip() + "\n")


@pytest.mark.parametrize("command", ["run", "plan", "watch", "smooth"])
def test_headings_follow_the_reader(command: str) -> None:
    headings = re.findall(r"^(?!Usage)(\w[\w ]+)$", help_of(command), re.MULTILINE)
    assert headings[-8:] == [*PANELS, "Options", "Examples"]


def test_all_choices_of_an_option_and_its_default() -> None:
    words = " ".join(help_of("run").split())
    assert "--label full|snippet " in words
    assert "--eks-mode auto|singlecam|mirrored|multicam|calibrated|pupil " in words
    assert "--var-mode confidence_weighted_var|var " in words
    assert "--precision auto|fp32|bf16|fp16 Precision of the networks; auto is fp32." in words
    assert "--metrics / --no-metrics" in words and "[default: on]" in words


@pytest.mark.parametrize(("command", "config"), [("run", RunConfig), ("smooth", SmoothConfig)])
def test_every_option_is_there(command: str, config: type[RunConfig | SmoothConfig]) -> None:
    text = help_of(command)
    for path, _, option in options_of(config):
        name = option.flags_of(path[-1])[0].partition("/")[0]
        shown = name in text if name.startswith("-") else f"{name.upper()}…" in text
        assert shown == (config.predicts or not option.networks)


def test_positional_arguments_have_the_names_of_the_scripts() -> None:
    words = " ".join(help_of("process-videos-ensemble").split())
    names = "MODEL_DIRS VIDEO_DIR COMPUTE_METRICS LABEL_FULL LABEL_SNIPPET COMPUTE_EKS EKS_DIR"
    assert f"[OPTIONS] {names} " in words
    assert "LABEL_FULL true or false: draw whole labelled videos." in words


def test_defaults_and_what_is_required_of_options_that_one_command_has() -> None:
    words = " ".join(help_of("suggest").split())
    assert "--frames, -n N Number of frames. [default: 50]" in words
    assert "--format lp|dlc" in words
    assert "are left out. [required]" in words


def test_commands_are_listed_under_headings_one_line_for_each() -> None:
    text = help_of()
    assert max(map(len, text.splitlines())) <= 80
    for name in COMMANDS:
        assert len(re.findall(rf"^  {name} ", text, re.MULTILINE)) == 1
    for heading in ("Run models", "Look at results", "Use a cluster", "Set up"):
        assert f"\n{heading}\n" in text
