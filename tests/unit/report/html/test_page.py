"""The page and the summary: self-contained, escaped, and the same numbers in both."""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from raypose.errors import UsageError
from raypose.report.html import outputs, write_report
from raypose.text import shown
from tests.reports import commit_table, describe_run, make_review, make_table

HOSTILE = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}'&amp;\u202e",
    "javascript:alert(1)",
    "=cmd|' /C calc'!A0",
    "new\nline\x1b[31m",
)
ASSETS = Path(__file__).parents[4] / "raypose" / "report" / "html" / "assets"


class Page(HTMLParser):
    """Elements of a page with their attributes, and the texts of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {"script": [], "style": []}
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        if tag in self.texts:
            self.texts[tag].append("")

    def handle_data(self, data: str) -> None:
        if self._inside in self.texts:
            self.texts[self._inside][-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def data(self, number: int) -> dict[str, Any]:
        """What the page has of a video."""
        ids = [attrs.get("id") for tag, attrs in self.elements if tag == "script"]
        content = json.loads(self.texts["script"][ids.index(f"data-{number}")])
        section = json.loads(gzip.decompress(base64.b64decode(content["data"])))
        return {**section, "pictures": content["pictures"]}


def make_run(out: Path, names: tuple[str, ...], models: tuple[str, ...] = ("a", "b")) -> None:
    for i, name in enumerate(names):
        for model in models:
            review = make_review(make_table(unlikely=i / 10, seed=i), pictures=True)
            commit_table(out, model, name, review)
    describe_run(out, names, models)


def read(out: Path) -> Page:
    page, _ = write_report(out)
    return Page(page.read_text())


def test_everything_is_inside(tmp_path: Path) -> None:
    make_run(tmp_path, ("v", "w"))
    for tag, attributes in read(tmp_path).elements:
        assert tag not in ("link", "iframe", "object", "base")
        assert "style" not in attributes and not any(name.startswith("on") for name in attributes)
        assert tag != "script" or "src" not in attributes
        source = attributes.get("src")
        assert source is None or source.startswith("data:image/webp;base64,")
        link = attributes.get("href")
        assert link is None or link.startswith("#")


def test_the_policy_allows_the_pages_own_script_and_style_alone(tmp_path: Path) -> None:
    make_run(tmp_path, ("v",))
    page = read(tmp_path)
    (policy,) = (
        attributes["content"]
        for tag, attributes in page.elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None and policy.startswith("default-src 'none';")
    assert "unsafe" not in policy and "http" not in policy
    types = [attributes.get("type") for tag, attributes in page.elements if tag == "script"]
    run = [t for t, kind in zip(page.texts["script"], types, strict=True) if kind is None]
    assert len(run) == 2
    for text in (*run, *page.texts["style"]):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_texts(tmp_path: Path, name: str) -> None:
    plain = tmp_path / "plain"
    make_run(plain, ("v",), ("m",))
    expected = [tag for tag, _ in read(plain).elements]
    hostile = tmp_path / "hostile"
    make_run(hostile, (name.replace("/", "_"),), (name.replace("/", "-"),))
    page = read(hostile)
    assert [tag for tag, _ in page.elements] == expected
    (video,) = (
        attributes["data-name"] for _, attributes in page.elements if "data-name" in attributes
    )
    assert video == shown(name.replace("/", "_")).lower()
    assert "\x1b" not in (hostile / "raypose" / "report.html").read_text()


def test_links_lead_to_the_files_whatever_their_names(tmp_path: Path) -> None:
    name = "a b#c?d%20é<&"
    make_run(tmp_path, (name,), ("m:1",))
    (model,) = read(tmp_path).data(0)["models"]
    (file,) = model["files"]
    assert file["href"].startswith("./../m%3A1/")
    assert (tmp_path / "raypose" / unquote(file["href"])).resolve() == (
        tmp_path / "m:1" / "video_preds" / f"{name}.csv"
    )


def test_a_name_that_is_not_text(tmp_path: Path) -> None:
    name = "v\udcff"
    make_run(tmp_path, (name,))
    page = read(tmp_path)
    assert page.data(0)["name"] == "v\\xff"
    assert "%FF" in page.data(0)["models"][0]["files"][0]["href"]


def test_videos_come_by_rank_and_the_summary_has_the_same_numbers(tmp_path: Path) -> None:
    make_run(tmp_path, ("good", "bad", "worst"))
    page, summary = write_report(tmp_path)
    rows = list(csv.DictReader(summary.read_text().splitlines()))
    assert [(row["video"], row["model"]) for row in rows] == [
        (video, model) for video in ("worst", "bad", "good") for model in ("a", "b")
    ]
    assert [row["rank"] for row in rows] == ["1", "1", "2", "2", "3", "3"]
    read_page = Page(page.read_text())
    for number, row in enumerate(rows[::2]):
        video = read_page.data(number)
        assert video["name"] == row["video"]
        assert video["score"] == pytest.approx(float(row["score"]), abs=0.01)
        first = video["models"][0]
        assert first["numbers"]["unlikely"] == pytest.approx(
            float(row["below_threshold"]), abs=1e-6
        )
        assert first["moments"][0]["frame"] == int(row["worst_frame"])
        assert row["ok"] == row["n_frames"] == "400" and row["corrupt"] == "0"
        assert len(video["pictures"]["a"]) == 10


def test_beyond_a_number_of_tables_the_worst_are_shown_in_detail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path, ("a", "b", "c", "d"))
    everything = read(tmp_path)
    monkeypatch.setattr(outputs, "MAX_REVIEWS", 4)
    page = read(tmp_path)
    for number in range(4):
        shown_in_full, found = everything.data(number), page.data(number)
        assert found["name"] == shown_in_full["name"]
        for model, in_full in zip(found["models"], shown_in_full["models"], strict=True):
            assert model["numbers"] == in_full["numbers"]
            assert bool(model["note"]) == (number >= 2)
        if number < 2:
            assert found["traces"] == shown_in_full["traces"]
            assert found["pictures"] == shown_in_full["pictures"]


def test_a_video_that_failed_has_a_row_with_the_reason(tmp_path: Path) -> None:
    make_run(tmp_path, ("v",), ("m",))
    describe_run(tmp_path, ["v", "broken"], ["m"], failures={"broken": "the file is cut short"})
    page, summary = write_report(tmp_path)
    first, *_ = csv.DictReader(summary.read_text().splitlines())
    assert (first["video"], first["score"], first["error"]) == (
        *("broken", "100.0"),
        "the file is cut short",
    )
    text = page.read_text()
    assert text.count("the file is cut short") >= 2 and "1 video without predictions" in text


def test_a_run_without_report_data_is_shown_with_what_there_is(tmp_path: Path) -> None:
    commit_table(tmp_path, "m", "v", None)
    describe_run(tmp_path, ["v"], ["m"])
    video = read(tmp_path).data(0)
    assert video["models"][0]["frames"] == "all 400 frames are ok"
    assert video["traces"]["tables"] == {} and "run the same command" in video["models"][0]["note"]


def test_tables_alone_are_enough(tmp_path: Path) -> None:
    commit_table(tmp_path, "m", "v", make_review(make_table()))
    page, _ = write_report(tmp_path)
    assert page == tmp_path / "raypose" / "report.html" and "no log of a run" in page.read_text()


def test_another_place_for_the_page(tmp_path: Path) -> None:
    make_run(tmp_path / "out", ("v",))
    page, summary = write_report(tmp_path / "out" / "raypose", tmp_path / "mine.html")
    assert (page, summary) == (tmp_path / "mine.html", tmp_path / "mine.csv")
    assert Page(page.read_text()).data(0)["models"][0]["files"][0]["href"] == (
        "./out/a/video_preds/v.csv"
    )


def test_a_directory_in_the_place_of_the_page(tmp_path: Path) -> None:
    make_run(tmp_path / "out", ("cam",))
    with pytest.raises(UsageError, match="is a directory"):
        write_report(tmp_path / "out", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no run"):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_library_is_the_published_one() -> None:
    rows = re.findall(r"\| `(\S+)` \|.*\| `(\w{64})` \|", (ASSETS / "README.md").read_text())
    assert len(rows) == 2
    for name, digest in rows:
        assert hashlib.sha256((ASSETS / name).read_bytes()).hexdigest() == digest
