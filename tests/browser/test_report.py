"""The report in a real browser: nothing fails, everything can be used, and axe finds no fault."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raypose.report.html import write_report
from tests.frames import make_frames
from tests.reports import commit_table, describe_run, make_review, make_table
from tests.videos import make_video

sync_api = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

pytestmark = [pytest.mark.browser, pytest.mark.slow]

HOSTILE = "</script><img src=x onerror=alert(1)>".replace("/", "_")
VIDEOS = ("good", "better", "damaged", "unlikely", HOSTILE)
PLAY = """video => new Promise((resolve, reject) => {
    video.ontimeupdate = () => video.currentTime > 0.2 && resolve(video.currentTime);
    video.onerror = () => reject(video.error.message);
    video.play().catch(reject);
})"""
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="module")
def page_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of five videos by two models and EKS, and of one that failed."""
    out = tmp_path_factory.mktemp("browser") / "out"
    for i, name in enumerate(VIDEOS):
        frames = make_frames(900, missing=range(300, 330), suspect=range(330, 350))
        for owner in ("model_a", "model_b", "eks"):
            table = make_table(
                900,
                seed=i,
                smoothed=owner == "eks",
                unlikely={"unlikely": 0.6, "damaged": 0.1}.get(name, 0.03),
                frames=frames if name == "damaged" else None,
            )
            path = commit_table(out, owner, name, make_review(table, pictures=owner == "eks"))
            snippets = path.parent / "snippets"
            snippets.mkdir(exist_ok=True)
            make_video(snippets / f"{name}.short.labeled.mp4", n_frames=25)
    owners = ("model_a", "model_b", "eks")
    describe_run(out, (*VIDEOS, "broken"), owners, failures={"broken": "the file is cut short"})
    return write_report(out)[0]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=list(OPTIONS))
        yield started
        started.close()


@pytest.fixture(params=["light", "dark"])
def tab(browser: Any, page_path: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The open report; a message of the console or an error of the page fails the test."""
    context = browser.new_context(
        color_scheme=request.param, viewport={"width": 1280, "height": 800}
    )
    tab = context.new_page()
    faults: list[str] = []
    tab.on("console", lambda message: faults.append(message.text))
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.goto(page_path.as_uri())
    yield tab
    assert not faults
    context.close()


def names(tab: Any) -> list[str]:
    """Names of the videos that the table shows, from top to bottom."""
    links = tab.locator("#table tbody tr:not([hidden]) th a")
    return [str(text) for text in links.all_text_contents()]


def check_accessible(tab: Any) -> None:
    found = axe.Axe().run(tab)
    assert not found.response["violations"], found.generate_report()


def test_videos_are_ranked_sorted_and_filtered(tab: Any) -> None:
    assert names(tab)[0] == "broken" and set(names(tab)[1:3]) == {"damaged", "unlikely"}
    assert HOSTILE in names(tab)
    tab.get_by_role("button", name="Video").click()
    assert names(tab) == sorted(names(tab), key=str.casefold)
    tab.get_by_role("button", name="Damaged frames").click()
    assert names(tab)[0] == "damaged"
    tab.get_by_role("button", name="Damaged frames").press("Enter")
    assert names(tab)[-1] == "damaged"
    tab.get_by_label("Name").fill("DAM")
    assert names(tab) == ["damaged"] and tab.locator("#shown").inner_text() == "1 of 6 videos"
    tab.get_by_label("Name").fill("")
    tab.get_by_label("Show").select_option("high")
    assert {"broken", "damaged", "unlikely"} <= set(names(tab)) < {*VIDEOS, "broken"}
    tab.get_by_label("Show").select_option("failed")
    assert names(tab) == ["broken"]
    check_accessible(tab)


def test_many_videos_are_shown_step_by_step(browser: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    keys = [f"session_{i:04d}" for i in range(1100)]
    describe_run(out, keys, ["model_a"], failures={keys[-1]: "the file is cut short"})
    tab = browser.new_page()
    tab.goto(write_report(out)[0].as_uri())
    more = tab.get_by_role("button", name="more of")
    assert len(names(tab)) == 500
    assert tab.locator("#shown").inner_text() == "1100 videos"
    assert more.inner_text() == "Show 500 more of 600"
    more.click()
    assert len(names(tab)) == 1000 and more.inner_text() == "Show 100 more of 100"
    more.click()
    assert len(names(tab)) == 1100 and not more.is_visible()
    tab.get_by_label("Name").fill("session_10")
    assert len(names(tab)) == 100
    tab.get_by_label("Name").fill("")
    tab.get_by_role("button", name="Video").click()
    assert names(tab) == keys[:500]
    tab.close()


def test_a_video_is_opened_by_keyboard_and_left_again(tab: Any) -> None:
    link = tab.get_by_role("link", name="damaged", exact=True)
    link.focus()
    tab.keyboard.press("Enter")
    heading = tab.get_by_role("heading", name="damaged")
    heading.wait_for()
    assert heading.evaluate("h => h === document.activeElement")
    assert tab.locator(".moments img").count() == 10
    assert tab.locator("canvas").count() >= 6
    assert "30 of 900 frames are missing, 20 suspect" in tab.locator("#video").inner_text()
    check_accessible(tab)
    tab.go_back()
    tab.locator("#table").wait_for()
    assert link.evaluate("a => a === document.activeElement")


def test_traces_follow_what_is_chosen(tab: Any) -> None:
    tab.get_by_role("link", name="unlikely", exact=True).click()
    assert (
        tab.get_by_role("img", name="x of nose over time")
        .or_(tab.get_by_role("img", name="x of paw over time"))
        .or_(tab.get_by_role("img", name="x of tail over time"))
        .count()
    )
    tab.get_by_label("Keypoint").select_option("tail")
    chart = tab.get_by_role("img", name="x of tail over time")
    chart.wait_for()
    tab.get_by_label("model_a", exact=True).uncheck()
    chart.hover(position={"x": 300, "y": 60})
    assert "model_b x" in tab.locator(".readout").inner_text()
    assert "model_a" not in tab.locator(".readout").inner_text()
    tab.get_by_role("button", name="Whole video").click()
    moment = tab.get_by_role("button", name="in the traces").last
    frame = int((moment.get_attribute("aria-label") or "").split()[2])
    tab.mouse.move(0, 0)
    before = tab.locator(".readout").inner_text()
    moment.press("Enter")
    sync_api.expect(tab.locator(".readout")).not_to_have_text(before)
    minutes, seconds, _ = tab.locator(".readout").inner_text().split(":", 2)
    assert abs(60 * int(minutes) + float(seconds) - frame / 25) <= 2 / 25  # two frames per point
    tab.get_by_role("button", name="Whole video").click()


def test_a_snippet_plays(tab: Any) -> None:
    tab.get_by_role("link", name="good", exact=True).click()
    video = tab.locator("video")
    assert video.evaluate(PLAY) > 0.2
    tab.get_by_label("Play").select_option(index=1)
    assert video.evaluate(PLAY) > 0.2


def test_a_name_is_never_more_than_a_name(tab: Any) -> None:
    tab.get_by_role("link", name=HOSTILE).click()
    tab.get_by_role("heading", name=HOSTILE).wait_for()
    assert tab.locator("img[src=x]").count() == 0


def test_the_phone_shows_no_wider_page(browser: Any, page_path: Path) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 800}, is_mobile=True)
    tab = context.new_page()
    for place in ("", "#video-1"):
        tab.goto(page_path.as_uri() + place)
        tab.wait_for_timeout(200)
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        check_accessible(tab)
    context.close()
