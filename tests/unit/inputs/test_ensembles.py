"""Ensembles on disk: what raypose writes comes back, and what it can't use is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from raypose.config import EksOptions, RunConfig
from raypose.errors import ModelError
from raypose.inputs.ensembles import NAME, describe_ensemble, with_members


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    return tmp_path


def read(folder: Path, **values: Any) -> EksOptions:
    config = RunConfig.build(videos=("v.mp4",), models=(str(folder),), **values)
    return with_members(config).eks_options


def write(folder: Path, smooth_param: str) -> None:
    (folder / NAME).write_text(f"members: [a, b]\nsmooth_param: {smooth_param}\n")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"smooth_param": 2.5},
        {"smooth_param": 1e-05},
        {"smooth_param": {"nose": 2.5, "paw": 1e-6, "tail": 300.0}},
        # Names that YAML could take for something else, or for none of its words.
        {"smooth_param": {"1": 1.0, "null": 2.0, "on": 3.0, "a: b": 4.0, "ü, [x]": 5.0}},
        {"smooth_param": {"diameter": 0.5, "center_of_mass": 0.25}, "quantile_keep_pca": 50.0},
    ],
)
def test_what_is_written_comes_back(folder: Path, options: dict[str, Any]) -> None:
    written = EksOptions(**options)
    describe_ensemble(folder, ["a", "b"], (), written)
    assert read(folder) == written


def test_what_is_given_wins(folder: Path) -> None:
    write(folder, "{nose: 2, paw: 3}")
    assert read(folder).smooth_param == {"nose": 2.0, "paw": 3.0}
    assert read(folder, eks_options={"smooth_param": 7.0}).smooth_param == 7.0


@pytest.mark.parametrize(
    ("text", "value"),
    [("4", 4.0), ("1e-3", 0.001), ("null", None), ("auto", None), ("{1: 1e-3}", {"1": 0.001})],
)
def test_numbers_and_words(folder: Path, text: str, value: Any) -> None:
    write(folder, text)
    assert read(folder).smooth_param == value


@pytest.mark.parametrize(
    "text", ["0", "-1", "true", "[1, 2]", ".inf", "{}", "{nose: 0}", "{nose: auto}", "{nose: }"]
)
def test_what_is_no_parameter_is_named(folder: Path, text: str) -> None:
    write(folder, text)
    with pytest.raises(ModelError, match="smooth_param is") as caught:
        read(folder)
    assert caught.value.path == str(folder / NAME)
    assert yaml.safe_load(text) is not None and caught.value.hint
