"""Lines that are broken between words and after slashes."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from raypose.report.folding import Folded, fold

PATH = "/data/lab/2026-11-01/session_12/mouse1_left_camera.mp4: the file is empty. Copy it again."


@pytest.mark.parametrize("width", [20, 30, 40, 80])
def test_a_path_is_broken_after_slashes_and_underscores(width: int) -> None:
    lines = fold(PATH, width)
    assert "".join(lines) == PATH
    assert all(len(line.rstrip()) <= width for line in lines)
    assert all(line[-1] in "/ _-." for line in lines[:-1])


@given(text=st.text(max_size=80), width=st.integers(2, 30))
def test_nothing_is_lost(text: str, width: int) -> None:
    lines = fold(text, width)
    assert "".join(lines) == text
    assert all(cell_len(line.rstrip()) <= width for line in lines)


def console(**options: object) -> Console:
    return Console(file=io.StringIO(), record=True, highlight=False, _environ={}, **options)  # type: ignore[arg-type]


def test_in_a_table() -> None:
    out = console(width=40)
    table = Table("what", "where", box=None)
    table.add_row("predictions", Folded("2026-11-01_10-00-00/video_preds/labeled_videos"))
    out.print(table)
    lines = [line.split() for line in out.export_text().splitlines()[1:]]
    assert lines[0] == ["predictions", "2026-11-01_10-00-00/"]
    assert lines[1:] == [["video_preds/"], ["labeled_videos"]]


def test_further_lines_are_indented_and_keep_their_style() -> None:
    out = console(width=30, force_terminal=True)
    out.print(Folded(Text.assemble(("failed", "red"), f" {PATH}"), hanging=True))
    lines = out.export_text().splitlines()
    assert lines[0] == "failed /data/lab/2026-11-01/"
    assert all(line.startswith("  ") and len(line) <= 30 for line in lines[1:])


def test_in_a_file_nothing_is_broken() -> None:
    out = console(width=30, soft_wrap=True)
    out.print(Folded(PATH * 3))
    assert out.export_text() == f"{PATH * 3}\n"
