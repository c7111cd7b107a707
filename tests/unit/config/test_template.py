"""The commented settings file, and its JSON schema."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from raypose.config import EksOptions, RunConfig, SmoothConfig
from raypose.config.settings import Settings
from raypose.config.template import commented_settings, json_schema
from raypose.errors import UsageError

GIVEN: dict[str, str] = {"videos": "v.mp4", "models": "m"}
NEEDED: list[tuple[type[Settings], dict[str, str]]] = [
    (RunConfig, GIVEN),
    (SmoothConfig, {"tables": "t.csv", "eks_dir": "/o"}),
]


def settings_in(text: str) -> list[str]:
    return re.findall(r"^#([\w-]+: .*)$", text, re.MULTILINE)


def validator(config: type[Settings]) -> jsonschema.Draft202012Validator:
    found = json_schema(config)
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    return validator(RunConfig)


def test_every_setting_of_run_has_a_line() -> None:
    text = commented_settings(RunConfig)
    n_fields = len(RunConfig.model_fields) - 1 + len(EksOptions.model_fields)
    assert len(settings_in(text)) == n_fields
    assert max(map(len, text.splitlines())) <= 80
    assert "# Number of GPUs to use. Default: all.\n#gpus: null\n" in text
    assert "# ---- Smoothing with EKS ----\n" in text


def test_settings_that_smooth_does_not_use_have_no_line() -> None:
    text = commented_settings(SmoothConfig)
    assert "# Settings of raypose smooth, each with its default." in text
    names = {line.partition(":")[0] for line in settings_in(text)}
    assert {"tables", "output-dir", "cpus"} <= names
    assert names.isdisjoint({"gpus", "device", "videos"})


@pytest.mark.parametrize(
    ("config", "line"),
    [(config, line) for config, _ in NEEDED for line in settings_in(commented_settings(config))],
)
def test_each_line_alone_is_the_default(config: type[Settings], line: str, tmp_path: Path) -> None:
    given = dict(NEEDED)[config]
    path = tmp_path / "settings.yaml"
    path.write_text(commented_settings(config).replace(f"#{line}", line))
    validator(config).validate(yaml.safe_load(path.read_text()))
    assert config.from_file(path, given) == config(**given)


@pytest.mark.parametrize(("config", "given"), NEEDED)
def test_all_lines_together(config: type[Settings], given: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(re.sub(r"^#([\w-]+: )", r"\1", commented_settings(config), flags=re.MULTILINE))
    validator(config).validate(yaml.safe_load(path.read_text()))
    assert config.from_file(path, given) == config(**given)


@pytest.mark.parametrize(
    ("content", "is_right"),
    [
        ({"gpus": 2}, True),
        ({"gpus": "two"}, False),
        ({"gpus": 0}, False),
        ({"gpus": True}, False),
        ({"metrics": False}, True),
        ({"metrics": "maybe"}, False),
        ({"label": "full"}, True),
        ({"label": ["full", "snippet"]}, True),
        ({"label": "half"}, False),
        ({"eks-mode": "pupil"}, True),
        ({"eks-mode": "best"}, False),
        ({"output-dir": "/o", "output_dir": None}, None),
        ({"output-dir": 5}, False),
        ({"output_dir": "/o", "models": ["m"], "stall_timeout_s": 5}, True),
        ({"format": "nwb,slp"}, True),
        ({"format": ["nwb"]}, True),
        ({"format": "csv,nwb"}, True),
        ({"format": "xls"}, False),
        ({"views": "top,side"}, True),
        ({"views": 5}, False),
        ({"shard": "0/4"}, True),
        ({"shard": 0.25}, False),
        ({"smooth-param": {"nose": 2}}, True),
        ({"smooth-param": 0}, False),
        ({"s-frames": "0:500,1000:"}, True),
        ({"s-frames": 5}, False),
        ({"block": ["nose,paw", ["ear", "tail"]]}, True),
        ({"block": 5}, False),
        ({"eks-options": {"n-latent": 3}}, True),
        ({"eks_options": {"n_latent": 2}}, False),
        ({"eks_options": {"latent": 3}}, False),
        ({"modle": "m"}, False),
    ],
)
def test_the_schema_says_what_the_loader_says(
    content: dict[str, Any],
    is_right: bool | None,
    tmp_path: Path,
    schema: jsonschema.Draft202012Validator,
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(content))
    if is_right is None:  # a schema can't know that both names are the same
        assert schema.is_valid(content)
        is_right = False
    else:
        assert schema.is_valid(content) == is_right
    others = {name: value for name, value in GIVEN.items() if name not in content}
    if is_right:
        RunConfig.from_file(path, others)
    else:
        with pytest.raises(UsageError):
            RunConfig.from_file(path, others)
