"""Folders are listed once: on disk, and in a store in pages."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from raypose.inputs.videos import find_videos
from raypose.storage import as_path, identity_of
from raypose.storage.listing import Kind, Listing, NoListing
from tests.stores import Store

PAGE = 1000
"""Objects that S3 names in one answer."""


def listings(store: Store) -> int:
    return sum("list-type=2" in request for request in store.requests)


def test_files_folders_and_links(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    file = tmp_path / "a.csv"
    file.write_bytes(b"12")
    (tmp_path / "link.csv").symlink_to(file)
    listing = Listing()
    kinds = {name: listing.kind(f"{tmp_path}/{name}") for name in ("a.csv", "below", "link.csv")}
    assert kinds == {"a.csv": Kind.FILE, "below": Kind.OTHER, "link.csv": Kind.OTHER}
    assert listing.identity(str(file)) == identity_of(file)
    assert listing.kind(f"{tmp_path}/none/a.csv") is Kind.MISSING


def test_a_folder_is_listed_once(tmp_path: Path) -> None:
    listing = Listing()
    assert listing.kind(f"{tmp_path}/a.csv") is Kind.MISSING
    (tmp_path / "a.csv").touch()
    assert listing.kind(f"{tmp_path}/a.csv") is Kind.MISSING


def test_all_files_below(tmp_path: Path) -> None:
    (tmp_path / "x" / "y").mkdir(parents=True)
    for name in ("a", "x/b", "x/y/c"):
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    os.symlink(tmp_path, tmp_path / "x" / "circle")
    listing = Listing()
    names = {os.path.relpath(path, tmp_path) for path in listing.files_below(tmp_path)}
    assert names == {"a", "link", "x/b", "x/y/c"}
    assert set(Listing().files_below(tmp_path / "none")) == set()


def test_a_folder_behind_a_link_is_listed_too(tmp_path: Path) -> None:
    """Labelled videos may be on another disk."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a.mp4").touch()
    tables = tmp_path / "video_preds"
    tables.mkdir()
    (tables / "labeled_videos").symlink_to(tmp_path / "disk")
    listing = Listing()
    assert set(listing.files_below(tables)) == set()
    assert listing.kind(f"{tables}/labeled_videos/a.mp4") is Kind.FILE
    assert listing.kind(f"{tables}/labeled_videos/b.mp4") is Kind.MISSING


def test_a_folder_that_cannot_be_listed_is_not_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: str) -> None:
        raise OSError(errno.EIO, "the disk fails")

    monkeypatch.setattr(os, "scandir", fail)
    assert Listing().kind(f"{tmp_path}/a.csv") is Kind.OTHER


def test_a_single_file_without_a_listing(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    listing = NoListing()
    assert listing.kind(str(path)) is Kind.MISSING
    path.write_bytes(b"12")
    assert listing.kind(str(path)) is Kind.FILE
    assert listing.identity(str(path)) == identity_of(path)
    assert listing.kind("s3://bucket/a.csv") is Kind.OTHER


def test_a_store_is_listed_in_pages(store: Store) -> None:
    n = PAGE + 1
    base = "s3://lab/video_preds"
    for i in range(n):
        store.put(f"video_preds/{i}.mp4", b"1")
    store.requests.clear()
    listing = Listing()
    assert all(listing.kind(f"{base}/{i}.mp4") is Kind.FILE for i in range(n))
    assert listing.kind(f"{base}/report/7_review.arrow") is Kind.MISSING
    assert listings(store) == len(store.requests) == 2

    store.requests.clear()
    videos = find_videos([base]).videos
    assert len(videos) == n
    assert len(store.requests) <= 5, "two pages, and what asks for records beside the videos"
    by_listing = {listing.identity(f"{base}/0.mp4"), videos[0].identity}
    assert by_listing == {identity_of(videos[0].path)}


def test_folders_between_objects(store: Store) -> None:
    store.put("out/m/video_preds/.raypose/7.csv.json", b"{}")
    listing = Listing()
    base = "s3://lab/out/m/video_preds"
    assert listing.kind(f"{base}/.raypose/7.csv.json") is Kind.FILE
    assert listing.kind(f"{base}/.raypose") is Kind.OTHER
    assert listing.kind(f"{base}/7.csv") is Kind.MISSING
    assert list(listing.files_below(as_path(base))) == [f"{base}/.raypose/7.csv.json"]
