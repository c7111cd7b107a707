"""YAML from anyone: a value, or one sentence; never a crash, a hang or a gigabyte."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from raypose.config.yaml_files import load_yaml
from raypose.errors import ModelError, RayposeError, UsageError
from raypose.limits import (
    MAX_NUMBER_CHARACTERS,
    MAX_YAML_BYTES,
    MAX_YAML_DEPTH,
    MAX_YAML_VALUES,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("\ufeffa: b", {"a": "b"}),
        ("a: [1, 1.5, 1e-3, .5, yes, null, ~, '1', 0x10, 1_000]", None),
        ("a: 2026-13-45", {"a": "2026-13-45"}),
        ("a: 2026-11-01", {"a": "2026-11-01"}),
        ("a: &x {b: 1}\nc: {<<: *x, d: 2}", {"a": {"b": 1}, "c": {"b": 1, "d": 2}}),
    ],
)
def test_values_are_those_of_omegaconf(text: str, value: Any) -> None:
    from omegaconf import OmegaConf

    loaded = load_yaml(text)
    if value is not None:
        assert loaded == value
    if text and not text.startswith("\ufeff"):
        assert loaded == OmegaConf.to_container(OmegaConf.create(text))


def test_a_merged_mapping_is_no_key_that_comes_twice() -> None:
    # The inner mapping is merged before its own turn comes.
    loaded = load_yaml("b: &b {x: 1}\ndeep: {er: {mid: &m {<<: *b, x: 2}}}\nc: {<<: *m}")
    assert loaded["c"] == loaded["deep"]["er"]["mid"] == {"x": 2}


def test_numbers_without_a_limit() -> None:
    loaded = load_yaml("[.inf, -.inf, .nan]")
    assert loaded[:2] == [math.inf, -math.inf]
    assert math.isnan(loaded[2])


def laughs(levels: int = 9, width: int = 9) -> str:
    lines = ["a0: &a0 [x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, levels + 1)]
    return "\n".join(lines)


def merges(levels: int = 40) -> str:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}" for i in range(1, levels + 1)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (laughs(), "holds more than 500000 values"),
        (merges(), "holds more than 500000 values"),
        ("[" * 100_000, "nested more than 64 deep"),
        ("{a: " * 100_000, "nested more than 64 deep"),
        ("- " * 100_000, "nested more than 64 deep"),
        ("? " * 100_000, "nested more than 64 deep"),
        ("\n".join(" " * i + "a:" for i in range(1000)), "nested more than 64 deep"),
        ("a: &a [*a]", "holds itself"),
        ("a: *b", "undefined alias in line 1, column 4"),
        ("a: 1\nb: {c: 1, c: 2}", "'c' comes twice in line 2, column 11"),
        ("a: " + "9" * 100_000, "a number of more than 64 characters"),
        ("a: " + "1:" * 100_000 + "1", "a number of more than 64 characters"),
        ("!!timestamp 2026-13-45", "values of type timestamp are not read"),
        ("!!binary aGk=", "values of type binary are not read"),
        ("!!python/object/apply:os.system [ls]", "values of type python/object"),
        ("!!int x", "no value of type int: 'x'"),
        ("!!map [a]", "no value of type map|expected a mapping"),
        ("? [a]\n: b", "unhashable key"),
        ("? {a: b}\n: b", "unhashable key"),
        ("a: b: c", "line 1, column 5"),
        ("a: [unclosed", "no valid YAML"),
        ("--- a\n--- b", "expected a single document"),
        ("\x00", "control characters are not allowed"),
        ("\ud800", "no valid YAML"),
        (" " * (5 << 20), "larger than"),
    ],
)
def test_refused_with_a_sentence(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        load_yaml(text, what="the config", error=ModelError)
    assert str(caught.value).startswith("the config ")
    assert "\n" not in str(caught.value)


def test_aliases_on_every_level_are_counted_together() -> None:
    wide = "a: &a [" + "x, " * 1000 + "]\n"
    nested = "b: " + "[*a, " * 60 + "]" * 60
    assert load_yaml(wide + nested, max_nodes=70_000)["b"][0] == ["x"] * 1000
    with pytest.raises(UsageError, match="more than 50000 values"):
        load_yaml(wide + nested, max_nodes=50_000)


def test_depth_counts_through_aliases() -> None:
    deep = MAX_YAML_DEPTH - 3
    inner = "a: &a " + "[" * deep + "]" * deep + "\n"
    load_yaml(inner + "b: [*a]")
    with pytest.raises(UsageError, match="nested more than"):
        load_yaml(inner + "b: [[[[*a]]]]")


def test_files(tmp_path: Path) -> None:
    good = tmp_path / "good.yaml"
    good.write_text("a: 1")
    assert load_yaml(good) == {"a": 1}
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("a: é".encode("latin-1"))
    with pytest.raises(UsageError, match=r"latin\.yaml: the file .*byte 3 is not UTF-8"):
        load_yaml(latin)
    os.mkfifo(tmp_path / "pipe.yaml")
    for name, message in (
        ("pipe.yaml", "a named pipe, not a file"),
        (".", "a directory, not a file"),
        ("none.yaml", "No such file"),
        ("good.yaml/x", "Not a directory"),
        ("nul\0", "its name is not valid"),
    ):
        with pytest.raises(UsageError, match=message):
            load_yaml(tmp_path / name)
    with pytest.raises(UsageError, match="a device, not a file"):
        load_yaml(Path("/dev/zero"))
    with pytest.raises(UsageError, match="larger than 3 bytes"):
        load_yaml(good, max_bytes=3)


def test_pyyaml_itself_is_left_as_it_was() -> None:
    load_yaml("a: 1")
    assert str(yaml.safe_load("2026-11-01")) == "2026-11-01"
    assert not isinstance(yaml.safe_load("2026-11-01"), str)
    assert yaml.safe_load("1e-3") == "1e-3"


_YAML = st.text(
    alphabet=st.sampled_from(list("ab01 \n\n::--[]{},&*!|>'\"#%?~<.e_$\t\\")), max_size=60
)


@given(st.one_of(_YAML, st.text(max_size=40)))
def test_any_text_gives_a_value_or_a_sentence(text: str) -> None:
    try:
        load_yaml(text)
    except RayposeError as error:
        assert "\n" not in str(error)


@given(st.binary(max_size=60))
def test_any_bytes_give_a_value_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    try:
        load_yaml(path)
    except RayposeError as error:
        assert str(path) in str(error)


def aliased(n_values: int) -> str:
    """A list of this many values, itself and nearly all by aliases among them."""
    n_aliases, n_more = divmod(n_values - 1002, 1001)
    return "[&a [" + "1," * 1000 + "]," + "*a," * n_aliases + "1," * n_more + "]"


@pytest.mark.parametrize(
    ("inside", "beyond", "message"),
    [
        (
            "a: 1 #".ljust(MAX_YAML_BYTES, "."),
            "a: 1 #".ljust(MAX_YAML_BYTES + 1, "."),
            f"larger than {MAX_YAML_BYTES} bytes",
        ),
        (
            aliased(MAX_YAML_VALUES),
            aliased(MAX_YAML_VALUES + 1),
            f"more than {MAX_YAML_VALUES} values",
        ),
        (
            "[" * MAX_YAML_DEPTH + "]" * MAX_YAML_DEPTH,
            "[" * (MAX_YAML_DEPTH + 1) + "]" * (MAX_YAML_DEPTH + 1),
            f"nested more than {MAX_YAML_DEPTH} deep",
        ),
        (
            "a: " + "9" * MAX_NUMBER_CHARACTERS,
            "a: " + "9" * (MAX_NUMBER_CHARACTERS + 1),
            f"a number of more than {MAX_NUMBER_CHARACTERS} characters",
        ),
    ],
    ids=["size", "values", "depth", "number"],
)
def test_the_bounds_themselves(inside: str, beyond: str, message: str) -> None:
    assert load_yaml(inside)
    with pytest.raises(UsageError, match=message):
        load_yaml(beyond)
