"""Tables as inputs: raypose's own must be whole; what was assumed of others is noted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from raypose.errors import TableError
from raypose.steps.load import load_table
from raypose.storage import commits
from raypose.tables.keypoints import COORDS, KeypointTable, write_csv


def make_table() -> KeypointTable:
    values = np.random.default_rng(0).uniform(1, 9, (5, 2, 3)).astype(np.float32)
    return KeypointTable("s", ("a", "b"), COORDS, values)


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """A table with raypose's record beside it."""
    path = tmp_path / "ours.csv"
    with commits.committing(path, {"kind": "predictions"}) as temporary:
        write_csv(make_table(), temporary)
    return path


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    write_csv(make_table(), tmp_path / "theirs.csv")
    return tmp_path / "theirs.csv"


def cut(path: Path, n_bytes: int) -> None:
    path.write_bytes(path.read_bytes()[:-n_bytes])


def test_a_number_cut_short_is_an_error_in_our_own_table_alone(ours: Path, theirs: Path) -> None:
    for path in (ours, theirs):
        cut(path, 3)
    with pytest.raises(TableError, match="its last row is cut short") as caught:
        load_table(str(ours))
    assert caught.value.hint.startswith("Delete it")
    assert "lacks digits" in load_table(str(theirs)).notes[0]


def test_a_lost_line_end_alone_is_no_loss(ours: Path) -> None:
    cut(ours, 1)
    np.testing.assert_array_equal(load_table(str(ours)).values, make_table().values)


def test_deleting_is_advised_for_our_own_tables_alone(ours: Path, theirs: Path) -> None:
    for path in (ours, theirs):
        path.write_bytes(path.read_bytes().replace(b"\n2,", b"\nzwei,"))
    with pytest.raises(TableError, match="a row can't be read") as caught:
        load_table(str(ours))
    assert "Delete it" in caught.value.hint
    with pytest.raises(TableError, match="a row can't be read") as caught:
        load_table(str(theirs))
    assert "Delete" not in caught.value.hint


def test_a_table_edited_by_hand_is_read(ours: Path) -> None:
    lines = ours.read_text().splitlines()
    ours.write_text("\n".join([*lines[:-1], "4,1,2,3,4,5,6"]) + "\n")
    assert load_table(str(ours)).values[4].tolist() == [[1, 2, 3], [4, 5, 6]]


def test_infinite_values_are_missing(theirs: Path) -> None:
    lines = theirs.read_text().splitlines()
    theirs.write_text("\n".join([*lines[:-1], "4,inf,2,3,4,-inf,6"]) + "\n")
    table = load_table(str(theirs))
    assert np.isnan(table.values).sum() == 2
    assert table.notes == ("2 values are infinite, and count as missing",)
