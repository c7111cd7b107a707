"""Tables of keypoints: what is written reads back the same, here and in the field's tools."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypose.errors import TableError
from raypose.tables.keypoints import (
    COORDS,
    EKS_COORDS,
    KeypointTable,
    PointTable,
    read_csv,
    write_csv,
    write_metric_csv,
    write_points_csv,
)


def make_table(
    n_frames: int = 50,
    names: tuple[str, ...] = ("nose", "tail base"),
    coords: tuple[str, ...] = COORDS,
    seed: int = 0,
) -> KeypointTable:
    rng = np.random.default_rng(seed)
    values = rng.normal(200.0, 90.0, (n_frames, len(names), len(coords))).astype(np.float32)
    return KeypointTable("heatmap_tracker", names, coords, values)


def pandas_read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, header=[0, 1, 2], index_col=0)


@pytest.mark.parametrize("coords", [COORDS, EKS_COORDS])
@pytest.mark.parametrize("n_frames", [1, 50, 4096, 10_001])
def test_what_is_written_reads_back_bit_by_bit(
    tmp_path: Path, coords: tuple[str, ...], n_frames: int
) -> None:
    table = make_table(n_frames, coords=coords)
    table.values[n_frames // 2, 0] = np.nan
    table.values[0, 1, :2] = (np.float32(1e-30), np.float32(-3.4e38))
    write_csv(table, tmp_path / "t.csv")
    back = read_csv(tmp_path / "t.csv")
    assert (back.scorer, back.keypoint_names, back.coords) == (
        table.scorer,
        table.keypoint_names,
        coords,
    )
    np.testing.assert_array_equal(back.values, table.values)


NAMES = st.lists(
    st.text(st.characters(exclude_categories=["Cs", "Cc"])),
    min_size=1,
    max_size=4,
    unique=True,
)


@settings(max_examples=60, deadline=None)
@given(names=NAMES, data=st.data())
def test_any_name_and_any_float32_read_back(names: list[str], data: st.DataObject) -> None:
    floats = st.floats(width=32, allow_nan=True, allow_infinity=True)
    size = 2 * len(names) * 3
    values = np.array(data.draw(st.lists(floats, min_size=size, max_size=size)), np.float32)
    table = KeypointTable("s", tuple(names), COORDS, values.reshape(2, len(names), 3))
    with tempfile.TemporaryDirectory() as folder:
        write_csv(table, Path(folder) / "t.csv")
        back = read_csv(Path(folder) / "t.csv")
    assert back.keypoint_names == tuple(names)
    np.testing.assert_array_equal(back.values, table.values)


def test_pandas_sees_the_table_that_pandas_would_have_written(tmp_path: Path) -> None:
    table = make_table(names=("paw, left", 'so "called"', "größe_µ", "日本", " x"))
    table.values[3, 2] = np.nan
    columns = pd.MultiIndex.from_product(
        [[table.scorer], table.keypoint_names, COORDS], names=["scorer", "bodyparts", "coords"]
    )
    frame = pd.DataFrame(table.values.reshape(50, -1), columns=columns)
    frame.to_csv(tmp_path / "pandas.csv")
    write_csv(table, tmp_path / "raypose.csv")
    pd.testing.assert_frame_equal(
        pandas_read(tmp_path / "raypose.csv"), pandas_read(tmp_path / "pandas.csv")
    )
    header = 3
    ours = (tmp_path / "raypose.csv").read_text(encoding="utf-8").splitlines()
    theirs = (tmp_path / "pandas.csv").read_text(encoding="utf-8").splitlines()
    assert ours[:header] == theirs[:header]
    assert ours[header].startswith("0,")
    assert read_csv(tmp_path / "pandas.csv").keypoint_names == table.keypoint_names


def test_float64_tables_of_other_tools_are_rounded_to_float32(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(0, 1e3, (40, 9))
    columns = pd.MultiIndex.from_product(
        [["ensemble-kalman_tracker"], ["a"], EKS_COORDS], names=["scorer", "bodyparts", "coords"]
    )
    pd.DataFrame(values, columns=columns).to_csv(tmp_path / "eks.csv")
    table = read_csv(tmp_path / "eks.csv")
    assert table.coords == EKS_COORDS
    np.testing.assert_array_max_ulp(table.values.reshape(40, 9), values.astype(np.float32))


def test_columns_are_found_by_name_not_by_place(tmp_path: Path) -> None:
    table = make_table(20, names=("a", "b"))
    columns = pd.MultiIndex.from_product(
        [["s"], ["a", "b"], COORDS], names=["scorer", "bodyparts", "coords"]
    )
    frame = pd.DataFrame(table.values.reshape(20, -1), columns=columns)
    frame["s", "a", "zscore"] = 7.5
    frame["set", "", ""] = "train"
    shuffled = frame[list(reversed(frame.columns))]
    shuffled.to_csv(tmp_path / "t.csv")
    read = read_csv(tmp_path / "t.csv").select(("a", "b"))
    np.testing.assert_array_equal(read.values, table.values)


def test_a_row_of_nothing_but_an_index_name_is_skipped(tmp_path: Path) -> None:
    table = make_table(5)
    write_csv(table, tmp_path / "t.csv")
    lines = (tmp_path / "t.csv").read_text().splitlines()
    lines.insert(3, "frame" + "," * 6)
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    np.testing.assert_array_equal(read_csv(tmp_path / "t.csv").values, table.values)


def test_a_first_frame_without_any_keypoint_is_a_frame(tmp_path: Path) -> None:
    table = make_table(5)
    table.values[0] = np.nan
    write_csv(table, tmp_path / "t.csv")
    assert read_csv(tmp_path / "t.csv").n_frames == 5


def test_every_cut_of_a_file_is_noticed(tmp_path: Path) -> None:
    table = make_table(12)
    path = tmp_path / "t.csv"
    write_csv(table, path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        try:
            read = read_csv(path)
        except TableError as error:
            assert error.path == str(path)
            continue
        # A cut between rows is a shorter table; rows are counted by who reads it. One within the
        # last number can't be told from a file without a last line end: there is a note.
        lines = whole[:length].splitlines()
        assert read.n_frames == len(lines) - 3
        if not whole[:length].endswith(b"\n"):
            assert lines[-1].count(b",") == 6 and not lines[-1].endswith(b",")
            assert "lacks digits if the file was cut short" in read.notes[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "header rows"),
        ("a,b\n1,2\n3,4\n5,6\n", "no table of keypoints"),
        ("scorer,s,s\nbodyparts,a,a\ncoords,x,y\n0,1,2\n", "no column likelihood"),
        ("scorer,s,s,s\nbodyparts,a,a,a\ncoords,x,y,likelihood\n0,1,2\n", "Expected 4 columns"),
        ("scorer,s,s,s\nbodyparts,a,a,a\ncoords,x,y,likelihood\n0,1,2,zwei\n", "conversion error"),
        ("scorer,s,s,s\nbodyparts,a,a,a\ncoords,x,y,likelihood\n0,1,2,3\n2,1,2,3\n", "numbered"),
        (
            "scorer,s,s,s\nbodyparts,a,a,a\ncoords,x,y,likelihood\n0,1,2,3\n,1,2,3\n",
            "no frame number",
        ),
        ("scorer,s,s,s\nbodyparts,a,a,a\ncoords,x,y,likelihood\nnose,1,2,3\n", "no frame number"),
        ("scorer,s,s,s,s\nbodyparts,a,a,a,a\ncoords,x,x,y,likelihood\n", "more than once"),
        ("scorer,s,s,s\nbodyparts,a,a\ncoords,x,y,likelihood\n", "differ in length"),
        ("scorer,s\nindividuals,i\nbodyparts,a\ncoords,x\n", "first three rows"),
    ],
)
def test_what_is_no_table_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(TableError, match=says) as caught:
        read_csv(path)
    assert caught.value.path == str(path)


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(bytes(range(256)) * 10)
    with pytest.raises(TableError, match="no CSV file"):
        read_csv(path)


def test_a_slice_is_numbered_from_zero(tmp_path: Path) -> None:
    table = make_table(100)
    snippet = table.slice(30, 70)
    write_csv(snippet, tmp_path / "s.csv")
    assert list(pandas_read(tmp_path / "s.csv").index) == list(range(40))
    np.testing.assert_array_equal(read_csv(tmp_path / "s.csv").values, table.values[30:70])
    for start, stop in [(5, 5), (-1, 4), (0, 101)]:
        with pytest.raises(TableError):
            table.slice(start, stop)


def test_select_reorders_and_names_what_is_missing() -> None:
    table = make_table(10, names=("a", "b", "c"))
    np.testing.assert_array_equal(table.select(("c", "a")).values, table.values[:, [2, 0]])
    with pytest.raises(TableError, match="missing: d, e"):
        table.select(("a", "d", "e"))


def test_parts_that_do_not_fit_are_refused() -> None:
    table = make_table(4)
    for change in (
        {"keypoint_names": ("a",)},
        {"keypoint_names": ("a", "a")},
        {"coords": ("y", "x", "likelihood")},
    ):
        with pytest.raises(TableError):
            dataclasses.replace(table, **change)  # type: ignore[arg-type]


def test_metric_tables_read_back(tmp_path: Path) -> None:
    values = np.random.default_rng(3).exponential(4.0, (300, 2)).astype(np.float32)
    values[0] = np.nan
    write_metric_csv(tmp_path / "m.csv", ("a, b", "c"), values)
    frame = pd.read_csv(tmp_path / "m.csv", index_col=0)
    assert list(frame.columns) == ["a, b", "c"] and frame.index[0] == 0
    np.testing.assert_array_equal(frame.to_numpy(dtype=np.float32), values)
    with pytest.raises(TableError):
        write_metric_csv(tmp_path / "m.csv", ("a",), values)


def test_tables_of_upstream_read_as_pandas_reads_them(shared_data: Path) -> None:
    for name in ("seed0", "seed1", "eks"):
        path = shared_data / "expected" / name / "test_vid.csv"
        expected = pandas_read(path).to_numpy(dtype=np.float64).astype(np.float32)
        # A float64 half way between two float32 may be printed on either side of the middle.
        np.testing.assert_array_max_ulp(read_csv(path).values.reshape(expected.shape), expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_readers_of_lightning_pose_take_the_table(tmp_path: Path) -> None:
    from lightning_pose.utils.io import fix_empty_first_row, get_keypoint_names

    table = make_table(30, names=("a", "b_c"))
    write_csv(table, tmp_path / "t.csv")
    names = get_keypoint_names(csv_file=str(tmp_path / "t.csv"), header_rows=[0, 1, 2])
    assert names == ["a", "b_c"]
    frame = pandas_read(tmp_path / "t.csv")
    pd.testing.assert_frame_equal(fix_empty_first_row(frame), frame)


@pytest.mark.slow
def test_a_million_frames_are_written_and_read_in_bounded_memory(tmp_path: Path) -> None:
    script = """
import resource, sys
import numpy as np
import pyarrow.csv
from raypose.tables.keypoints import COORDS, KeypointTable, read_csv, write_csv
values = np.random.default_rng(0).random((1_000_000, 17, 3), dtype=np.float32) * 500
table = KeypointTable("s", tuple(f"k{i}" for i in range(17)), COORDS, values)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write_csv(table, sys.argv[1])
written = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
back = read_csv(sys.argv[1])
read = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert np.array_equal(back.values, values)
print(written - before, read - before)
"""
    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "big.csv")],
        capture_output=True,
        text=True,
        check=True,
    )
    written_kib, read_kib = (int(part) for part in ran.stdout.split())
    table_kib = 1_000_000 * 51 * 4 // 1024
    assert written_kib < 300_000
    assert read_kib < table_kib + 400_000


@pytest.mark.parametrize("coords", [COORDS, EKS_COORDS])
def test_a_first_row_without_any_value_is_a_row_to_pandas(
    tmp_path: Path, coords: tuple[str, ...]
) -> None:
    values = np.full((3, 2, len(coords)), np.nan, dtype=np.float32)
    values[1:] = 1.5
    path = tmp_path / "a.csv"
    write_csv(KeypointTable("s", ("a", "b"), coords, values), path)
    frame = pd.read_csv(path, header=[0, 1, 2], index_col=0)
    assert frame.index.tolist() == [0, 1, 2]
    assert frame.iloc[0].dropna().tolist() == [0.0, 0.0], "the likelihoods"
    assert np.isnan(values[0]).all(), "the table in memory is left alone"
    assert read_csv(path).n_frames == 3


def test_a_metric_without_a_first_value_keeps_its_row(tmp_path: Path) -> None:
    path = tmp_path / "norm.csv"
    write_metric_csv(path, ["a", "b"], np.array([[np.nan, np.nan], [1, 2]]))
    assert pd.read_csv(path, index_col=0).index.tolist() == [0, 1]
    assert pd.read_csv(path, header=[0], index_col=0).index.tolist() == [0, 1]


def test_points_without_a_first_row_are_not_written(tmp_path: Path) -> None:
    values = np.ones((3, 2, 6), dtype=np.float32)
    values[0] = np.nan
    with pytest.raises(TableError, match="first row of 3-D keypoints"):
        write_points_csv(PointTable(("a", "b"), values), tmp_path / "a.csv")
