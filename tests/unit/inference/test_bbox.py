"""Bounding boxes from CSV files: right numbers, or one sentence."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypose.errors import VideoError
from raypose.inference.bbox import read_bboxes
from raypose.limits import MAX_BBOX_PIXELS

BBOXES = [[10.5, 20, 30, 40], [11, 21, 31.25, 41]]


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "v_bbox.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        "x,y,h,w\n10.5,20,30,40\n11,21,31.25,41\n",
        "x,y,h,w\r\n10.5,20,30,40\r\n11,21,31.25,41",
        ",w,note,h,note,y,x\n0,40,a,30,b,20,10.5\n1,41,,31.25,,21,11\n",
        '"x", y,h,w\n10.5,20,30,40\n11,21,31.25,41\n',
        "x;y;h;w\n10,5;20;30;40\n11;21;31,25;41\n",
        "\ufeffx\ty\th\tw\n10,5\t20\t30\t40\n11\t21\t31,25\t41\n",
        "x;y;h;w\n10,5;20;30;40\n11;21;31,25;41\n".encode("utf-16"),
    ],
)
def test_what_spreadsheets_write_is_read(tmp_path: Path, content: str | bytes) -> None:
    np.testing.assert_array_equal(read_bboxes(write(tmp_path, content)), BBOXES)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "it ends within its header rows"),
        ("x,y,h,w", "it ends within its header rows"),
        ("x,y,h,w\n", "there are no bounding boxes in it"),
        ("x,y,h\n1,2,3\n", "there is no column w"),
        ("x,y,width,height\n1,2,3,4\n", "there is no column h and no column w"),
        ("x,y,h,w,w\n1,2,3,4,5\n", "column w comes more than once"),
        ("x,y,h,w\n1,2,3,4\n1,2,3\n", "a row can't be read"),
        ("x,y,h,w\n1,2,3,four\n", "a row can't be read"),
        ("x,y,h,w\n1,2,3,4\n1,2,3,0\n", "frame 1 has no area in any frame (x 1, y 2, h 3, w 0)"),
        ("x,y,h,w\n1,2,-3,4\n", "frame 0 has no area"),
        ("x,y,h,w\n1,,3,4\n", "frame 0 has no area in any frame (x 1, y nan, h 3, w 4)"),
        ("x,y,h,w\n1e300,2,3,4\n", "frame 0 has no area"),
        ("x,y,h,w\ninf,2,3,4\n", "frame 0 has no area"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, content: str, says: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(VideoError) as caught:
        read_bboxes(path)
    assert says in caught.value.message
    assert caught.value.path == str(path)
    assert "frame" in caught.value.hint or "pixels" in caught.value.hint


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, says in ((tmp_path / "none", "No such file"), (tmp_path / "pipe", "a named pipe")):
        with pytest.raises(VideoError, match=f"the bounding boxes can't be read .{says}"):
            read_bboxes(path)


@settings(max_examples=2 * settings().max_examples, deadline=None)
@given(
    st.binary(max_size=80)
    | st.lists(st.sampled_from(["1", "2.5", ",", ";", "\n", "x", "-1", "", "nan", '"', "1e9"]))
    .map("".join)
    .map(lambda rows: f"x,y,h,w\n1,2,3,4\n{rows}".encode())
)
def test_any_bytes_are_bboxes_or_an_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), content)
        try:
            bboxes = read_bboxes(path)
        except VideoError as error:
            assert error.path == str(path)
        else:
            assert bboxes.shape == (len(bboxes), 4) and len(bboxes)
            assert np.isfinite(bboxes).all() and (bboxes[:, 2:] > 0).all()


def test_the_largest_numbers(tmp_path: Path) -> None:
    most = MAX_BBOX_PIXELS
    path = write(tmp_path, f"x,y,h,w\n{most},-{most},{most},{most}\n")
    assert read_bboxes(path).tolist() == [[most, -most, most, most]]
    for column in range(4):
        values = ["1"] * 4
        values[column] = f"{most + 1}"
        with pytest.raises(VideoError, match="frame 0 has no area in any frame"):
            read_bboxes(write(tmp_path, f"x,y,h,w\n{','.join(values)}\n"))
