"""Dialects of CSV: what spreadsheets and other tools make of a table reads as the same table."""

from __future__ import annotations

import csv
import io
import math
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypose.errors import RayposeError, TableError
from raypose.limits import MAX_IMAGE_DIGITS
from raypose.tables import csv_rows, look_at_table, read_table
from raypose.tables.keypoints import COORDS, KeypointTable, read_csv
from tests.tables import dlc_frame, write_dlc_h5, write_sleap_csv, write_sleap_h5

NAMES = ("nose", "größe µ")


def make_table(n_frames: int = 30) -> KeypointTable:
    rng = np.random.default_rng(0)
    values = rng.uniform(0.001, 300, (n_frames, len(NAMES), 3)).astype(np.float32)
    values[..., 2] /= 300
    values[4, 1] = np.nan
    return KeypointTable("DLC_resnet50", NAMES, COORDS, values)


def text_of(index: list[object] | None = None, **options: object) -> str:
    frame = dlc_frame(make_table(), "DLC_resnet50")
    if index is not None:
        frame.index = pd.Index(index)
    return str(frame.to_csv(**options))  # type: ignore[call-overload]


def read(path: Path, content: str | bytes, encoding: str = "utf-8") -> KeypointTable:
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return read_table(path)


def assert_same(table: KeypointTable) -> None:
    assert table.keypoint_names == NAMES
    np.testing.assert_allclose(table.values, make_table().values, rtol=1e-6)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("separator", "decimal"), [(",", "."), (";", ","), (";", "."), ("\t", ","), (",", ",")]
)
def test_dialects_of_spreadsheets(
    tmp_path: Path, separator: str, decimal: str, line_end: str, encoding: str
) -> None:
    text = text_of(sep=separator, decimal=decimal, lineterminator=line_end)
    table = read(tmp_path / "t.csv", text, encoding)
    assert_same(table)
    assert table.notes == ()
    look = look_at_table(tmp_path / "t.csv")
    assert look is not None and look.scorer == "DLC_resnet50"


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", [",", ";"])
def test_a_last_row_without_its_line_end_is_read_and_noted(
    tmp_path: Path, separator: str, line_end: str
) -> None:
    text = text_of(sep=separator, lineterminator=line_end).removesuffix(line_end)
    table = read(tmp_path / "t.csv", text)
    assert_same(table)
    (note,) = table.notes
    assert note.startswith("its last row has no line end")
    with pytest.raises(TableError, match="its last row is cut short") as caught:
        read(tmp_path / "t.csv", text.rpartition(separator)[0])
    assert "Delete" not in str(caught.value)


def test_floats_count_frames(tmp_path: Path) -> None:
    index: list[object] = [float(i) for i in range(30)]
    assert_same(read(tmp_path / "t.csv", text_of(index)))
    assert_same(read(tmp_path / "u.csv", text_of(index, sep=";", decimal=",")))
    index[7] = 7.5
    with pytest.raises(TableError, match="not numbered one by one"):
        read(tmp_path / "t.csv", text_of(index))


@pytest.mark.parametrize(
    ("pattern", "start"),
    [
        ("img{:05d}.png", 0),
        ("labeled-data/cam.2024/img{:04d}.png", 12),
        ("v/frame_{}.mp4.jpg", 95),
        ("1/2/{}.png", 1),
    ],
)
def test_image_names_count_frames(tmp_path: Path, pattern: str, start: int) -> None:
    table = read(tmp_path / "t.csv", text_of([pattern.format(start + i) for i in range(30)]))
    assert_same(table)
    (note,) = table.notes
    assert pattern.format(start) in note and "taken as frame 0" in note


@pytest.mark.parametrize(
    ("index", "says"),
    [
        ([f"img{3 * i}.png" for i in range(30)], "not numbered one by one"),
        ([f"v{i // 15}/img{i}.png" for i in range(30)], "images of several videos"),
        ([f"row {i}" for i in range(30)], "'row 0', which is no frame number"),
        ([f"img{'9' * 40}{i}.png" for i in range(30)], "is no frame number"),
        ([*range(29), 5], "not numbered one by one"),
        ([*range(29), ""], "no frame number"),
        ([*range(29), "29.5"], "a row can't be read"),
    ],
)
def test_rows_that_are_not_each_frame_are_refused(
    tmp_path: Path, index: list[object], says: str
) -> None:
    with pytest.raises(TableError, match=says) as caught:
        read(tmp_path / "t.csv", text_of(index))
    assert caught.value.path == str(tmp_path / "t.csv")


def test_rows_that_begin_later_are_noted(tmp_path: Path) -> None:
    table = read(tmp_path / "t.csv", text_of(list(range(500, 530))))
    assert table.notes == ("its frames are numbered from 500; its first row is taken as frame 0",)


@pytest.mark.parametrize("number", ["1.234,5", "1,234.5", "12 px", "1.2.3"])
def test_numbers_that_read_in_no_dialect_are_refused(tmp_path: Path, number: str) -> None:
    lines = text_of(sep=";", decimal=",").splitlines()
    lines[5] = f"2;{number};1;1;1;1;1"
    with pytest.raises(TableError, match="a row can't be read"):
        read(tmp_path / "t.csv", "\n".join(lines) + "\n")


def test_windows_names_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="CSV UTF-8"):
        read(tmp_path / "t.csv", text_of(sep=";"), "cp1252")


def test_pipes_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "t.csv")
    for function in (read_table, look_at_table, read_csv):
        with pytest.raises(OSError, match="a named pipe, not a file"):
            function(tmp_path / "t.csv")


def test_names_need_not_be_utf8(tmp_path: Path) -> None:
    assert_same(read(tmp_path / os.fsdecode(b"t\xff\x1b[31m\n.csv"), text_of()))
    table = make_table()
    table.values[4, 1, 2] = 0  # as SLEAP tells a keypoint that it has not found
    for write in (write_sleap_csv, write_sleap_h5, write_dlc_h5):
        path = write(table, tmp_path / "plain")
        back = read_table(path.rename(tmp_path / os.fsdecode(b"t\xff.h5")))
        np.testing.assert_allclose(back.values, table.values, rtol=1e-6)


def _seeds() -> list[bytes]:
    """Files of every kind, small."""
    table = make_table(6)
    seeds = [
        dlc_frame(table, "DLC").to_csv().encode(),
        dlc_frame(table, "DLC").to_csv(sep=";", decimal=",").encode("utf-16"),
        dlc_frame(table, "DLC").set_axis([f"img{i}.png" for i in range(6)]).to_csv().encode(),
    ]
    writers = (write_sleap_csv, write_sleap_h5, write_dlc_h5)
    with tempfile.TemporaryDirectory() as folder:
        return [*seeds, *(write(table, Path(folder) / "t").read_bytes() for write in writers)]


SEEDS = _seeds()
PIECES = [
    b"\n",
    b",",
    b";",
    b'"',
    b"\r",
    b"\xff",
    b"\x00",
    b"-1",
    b"1e999",
    b"nan",
    b"",
    b"9" * 30,
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A file with a few bytes replaced, inserted or cut off."""
    content = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(content)))
        length = draw(st.integers(0, 3))
        piece = draw(st.sampled_from(PIECES) | st.binary(max_size=4))
        content = content[:at] + piece + content[at + length :]
    return content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content


@settings(max_examples=3 * settings().max_examples, deadline=None)
@given(content=mutated() | st.binary(max_size=200))
def test_any_bytes_are_a_table_or_an_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_bytes(content)
        try:
            look_at_table(path)
            table = read_table(path)
        except RayposeError as error:
            assert error.path == str(path)
            return
    assert table.values.dtype == np.float32
    if content.startswith(b"scorer,"):
        _assert_as_python_reads_it(table, content)


def _assert_as_python_reads_it(table: KeypointTable, content: bytes) -> None:
    """Each number is the one that stands in its row and column."""
    rows = list(csv.reader(io.StringIO(content.decode(errors="replace"), newline="")))
    _, parts, coords, *numbers = rows
    numbers = [row for row in numbers if row and (row[0] or any(row[1:]))]
    if not any(numbers[0][1:]) and len(numbers) > table.n_frames:
        del numbers[0]
    assert len(numbers) == table.n_frames
    for frame, row in enumerate(numbers):
        for k, name in enumerate(table.keypoint_names):
            for c, coord in enumerate(COORDS):
                (column,) = (
                    i
                    for i, pair in enumerate(zip(parts, coords, strict=True))
                    if pair == (name, coord)
                )
                field = row[column].replace(",", ".")
                got = float(table.values[frame, k, c])
                try:
                    with np.errstate(over="ignore"):
                        expected = float(np.float32(float(field)))
                except ValueError:
                    expected = math.nan
                assert got == expected or (math.isnan(got) and math.isnan(expected))


def test_the_largest_table_that_is_recoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = text_of().encode("utf-16")
    monkeypatch.setattr(csv_rows, "MAX_RECODED_BYTES", len(content))
    assert_same(read(tmp_path / "v.csv", content))
    monkeypatch.setattr(csv_rows, "MAX_RECODED_BYTES", len(content) - 1)
    with pytest.raises(TableError, match="is too large for its encoding") as caught:
        read(tmp_path / "v.csv", content)
    assert "UTF-8" in caught.value.hint


def test_the_longest_number_of_an_image(tmp_path: Path) -> None:
    names: list[object] = [f"img{i:0{MAX_IMAGE_DIGITS}d}.png" for i in range(30)]
    assert_same(read(tmp_path / "v.csv", text_of(names)))
    names = [f"img{i:0{MAX_IMAGE_DIGITS + 1}d}.png" for i in range(30)]
    with pytest.raises(TableError, match="which is no frame number"):
        read(tmp_path / "v.csv", text_of(names))
