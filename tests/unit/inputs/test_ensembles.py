"""Ensembles on disk: what raypose writes comes back, and what it can't use is named."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raypose.config import EksOptions, RunConfig
from raypose.errors import ModelError, RayposeError, UsageError
from raypose.inputs.ensembles import NAME, describe_ensemble, with_members


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    return tmp_path


def read(folder: Path, **values: Any) -> EksOptions:
    config = RunConfig(videos=("v.mp4",), models=(str(folder),), **values)
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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "members is missing"),
        ("5", "members is missing"),
        ("members: []", "members is [], and must be a list of model directories"),
        ("members: 5", "members is 5, and must be a list of model directories"),
        ("members: [a, 5]", "members is 5, and must be a list of model directories, in quotes"),
        ("members: [a, c]", "the ensemble's member c does not exist"),
        ("members: [a, b]\nview_names: 5", "view_names is 5, and must be names"),
        ("members: [a, b]\nview_names: [top, top]", "top is named twice"),
        (
            "members: [a, b]\nquantile_keep_pca: 500",
            "quantile_keep_pca is 500, and must be a perc",
        ),
        (f"members: [a, {'b' * 300}]", "does not exist"),
        ("members: [" + "[" * 10_000, "nested more than"),
        ("members: [a, b", "the ensemble is no valid YAML"),
        ("members: &a [*a]", "the ensemble holds itself"),
    ],
)
def test_what_is_wrong_is_said(folder: Path, text: str, says: str) -> None:
    (folder / NAME).write_text(text)
    with pytest.raises(ModelError) as caught:
        read(folder)
    assert says in caught.value.message
    assert caught.value.path == str(folder / NAME)


def test_members_whose_names_are_not_utf8(folder: Path) -> None:
    odd = folder / os.fsdecode(b"m\xff\x1b[31m")
    odd.mkdir()
    describe_ensemble(folder, [str(odd), str(folder / "a")], (), EksOptions())
    config = with_members(RunConfig(videos=("v.mp4",), models=(str(folder),)))
    assert config.models == (str(odd), str(folder / "a"))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["a", "b", "", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=4,
)


@settings(max_examples=2 * settings().max_examples, deadline=None)
@given(
    st.binary(max_size=60)
    | st.fixed_dictionaries(
        {"members": st.just(["a", "b"]) | VALUES},
        optional={"view_names": VALUES, "smooth_param": VALUES, "quantile_keep_pca": VALUES},
    ).map(lambda values: json.dumps(values).encode())
)
def test_any_file_is_an_ensemble_or_an_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as place:
        for name in ("a", "b"):
            (Path(place) / name).mkdir()
        (Path(place) / NAME).write_bytes(content)
        try:
            read(Path(place))
        except (ModelError, UsageError) as error:
            assert "Input should" not in str(error)


_WHOLE = b"members: [a, b]\nview_names: [top, side]\nsmooth_param: {a: 2.5}\n"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=30), st.integers(0, len(_WHOLE)), st.integers(0, 30))
def test_any_bytes_give_an_ensemble_or_an_error(
    folder: Path, content: bytes, at: int, n_replaced: int
) -> None:
    for data in (content, _WHOLE[:at] + content + _WHOLE[at + n_replaced :]):
        (folder / NAME).write_bytes(data)
        with suppress(RayposeError):
            read(folder)


def test_an_ensemble_that_is_a_pipe_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ensemble.yaml")
    describe_ensemble(tmp_path, ["/m1"], (), EksOptions())
    assert (tmp_path / "ensemble.yaml").is_fifo()
