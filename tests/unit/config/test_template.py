"""The commented settings file, and its JSON schema."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from raypose.config import EksOptions, RunConfig
from raypose.config.template import commented_settings, json_schema
from raypose.errors import UsageError

TEXT = commented_settings()
SETTINGS = re.findall(r"^#([\w-]+: .*)$", TEXT, re.MULTILINE)
GIVEN = {"videos": "v.mp4", "models": "m"}
DEFAULTS = RunConfig(**GIVEN)


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    found = json_schema()
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


def test_every_setting_has_a_line() -> None:
    n_fields = len(RunConfig.model_fields) - 1 + len(EksOptions.model_fields)
    assert len(SETTINGS) == n_fields
    assert max(map(len, TEXT.splitlines())) <= 80
    assert "# Number of GPUs to use. Default: all.\n#gpus: null\n" in TEXT
    assert "# ---- Smoothing with EKS ----\n" in TEXT


@pytest.mark.parametrize("line", SETTINGS)
def test_each_line_alone_is_the_default(
    line: str, tmp_path: Path, schema: jsonschema.Draft202012Validator
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(TEXT.replace(f"#{line}", line))
    schema.validate(yaml.safe_load(path.read_text()))
    assert RunConfig.from_file(path, GIVEN) == DEFAULTS


def test_all_lines_together(tmp_path: Path, schema: jsonschema.Draft202012Validator) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(re.sub(r"^#([\w-]+: )", r"\1", TEXT, flags=re.MULTILINE))
    schema.validate(yaml.safe_load(path.read_text()))
    assert RunConfig.from_file(path, GIVEN) == DEFAULTS


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
