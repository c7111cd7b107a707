"""Names of any bytes: shown in one harmless line, and kept as they are in JSON."""

from __future__ import annotations

import io
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from raypose.errors import RayposeError, VideoError
from raypose.text import json_text, markup, shown

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=[]))


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        (b"rec_1 (top).mp4", "rec_1 (top).mp4"),
        ("größe_日本_🐭.mp4".encode(), "größe_日本_🐭.mp4"),
        (b"\xff\xfe.mp4", r"\xff\xfe.mp4"),
        (b"\x1b[31mred\x07\x9b", r"\x1b[31mred\x07\x9b"),
        (b"a\nb\tc\rd\x7f", r"a\nb\tc\rd\x7f"),
        ("gpj\u202e.mp4\u2028\u0085".encode(), r"gpj\u202e.mp4\u2028\x85"),
        (b"a  b", "a  b"),
        (rb"a\x1b", r"a\x1b"),
    ],
)
def test_what_cannot_be_seen_is_written_out(name: bytes, seen: str) -> None:
    text = os.fsdecode(name)
    assert shown(text) == seen
    assert shown(seen) == seen
    assert str(VideoError("is odd", path=text)) == f"{seen}: is odd"


@given(ANY_TEXT)
def test_any_text_is_one_line_of_utf8(text: str) -> None:
    seen = shown(text)
    assert seen.encode().decode() == seen
    assert seen.isprintable() or not any(c < " " or "\x7f" <= c < "\xa0" for c in seen)
    assert len(seen.splitlines()) <= 1


@given(ANY_TEXT | st.text("\\[x]/", max_size=6))
def test_rich_prints_it_as_shown(text: str) -> None:
    console = Console(file=io.StringIO(), width=10_000, soft_wrap=True, highlight=False)
    console.print(f"[red]x[/] {markup(text)}")
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b" not in printed
    assert printed.rstrip("\n").rstrip() == f"x {shown(text)}".rstrip()


@given(st.dictionaries(ANY_TEXT, ANY_TEXT))
def test_json_is_utf8_and_reads_back(value: dict[str, str]) -> None:
    text = json_text(value, indent=1)
    assert "\x1b" not in text and "\x9b" not in text
    back = json.loads(text.encode())
    # Two lone surrogates in a row are one character in JSON.
    assert {k.encode("utf-16", "surrogatepass") for k in back} == {
        k.encode("utf-16", "surrogatepass") for k in value
    }


def test_names_of_files_survive_json() -> None:
    name = os.fsdecode(b"v\xff\x1b\n.mp4")
    assert json.loads(json_text([name]).encode()) == [name]
    assert json_text(["größe"]) == '["größe"]'


def test_an_error_is_one_line() -> None:
    error = RayposeError("two\nlines \x1b[2J", path="a\n\x1b", hint="do\n\nthis\x9b")
    assert str(error) == r"a\n\x1b: two lines \x1b[2J. do this\x9b"
