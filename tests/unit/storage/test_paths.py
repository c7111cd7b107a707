"""Paths and URLs alike: what names mean."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from raypose.errors import UsageError
from raypose.storage import as_path, common_folder, local_path, parts


def test_what_is_on_a_file_system() -> None:
    for url in ("s3://b/x", "gs://b/x", "S3://b/x", "http://host/x", Path("s3://b/x")):
        assert local_path(url) is None, url
    for local in ("/a/b", "a", "file:///a", "10:00:00/x", "models:/x", "C:x", "./s3:x"):
        assert local_path(local) == as_path(local), local


def test_relative_paths_start_at_a_base() -> None:
    assert as_path("../x.mp4", base="/data/lists") == Path("/data/x.mp4")
    assert as_path("/x.mp4", base="/data") == Path("/x.mp4")
    assert str(as_path("s3://b/x.mp4", base="/data")) == "s3://b/x.mp4"


def test_the_parts_of_a_url_are_like_those_of_a_path() -> None:
    assert parts(Path("/a/b.mp4")) == ("a", "b.mp4")
    assert parts(as_path("s3://lab/day/b.mp4")) == ("s3", "lab", "day", "b.mp4")


def test_the_folder_that_holds_all_files() -> None:
    assert common_folder([Path("/a/b/x"), Path("/a/c/y")]) == "/a"
    assert common_folder([as_path("s3://lab/b/x"), Path("/a/c/y")]) == "s3://lab/b"


def test_a_file_url_is_a_path() -> None:
    assert as_path("file:///data/my%20videos/a.mp4") == Path("/data/my videos/a.mp4")
    assert as_path("file://localhost/data") == Path("/data")
    odd = Path(os.fsdecode(b"/data/m\xff %5"))
    assert as_path(odd.as_uri()) == odd
    assert as_path("~/x") == Path.home() / "x"
    assert as_path("x") == Path.cwd() / "x"


def test_a_url_has_the_methods_of_a_path() -> None:
    url = as_path("s3://lab/day 1/#1 ü?.mp4")
    assert (url.name, url.stem, url.suffix) == ("#1 ü?.mp4", "#1 ü?", ".mp4")
    assert str(url.parent / "x") == "s3://lab/day 1/x"
    assert str(as_path("s3://lab/day/")) == "s3://lab/day"


def test_a_slash_that_pathlib_swallowed() -> None:
    assert str(as_path(Path("s3://lab/out"))) == "s3://lab/out"


@pytest.mark.parametrize("text", ["http://host/x", "abfs://c/x"])
def test_a_url_of_another_kind(text: str) -> None:
    with pytest.raises(UsageError, match="does not know"):
        as_path(text)


def test_credentials_in_a_url_are_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError) as raised:
        as_path("s3://AKIA:hunter2@lab/x")
    assert "hunter2" not in str(raised.value)


def test_the_name_of_an_access_point_has_colons() -> None:
    url = "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/lab/x"
    assert str(as_path(url)) == url
