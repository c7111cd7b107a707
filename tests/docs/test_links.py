"""Links between the pages, as GitHub resolves them: files and headings exist."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.markdown import PAGES, ROOT, prose

_LINK = re.compile(r"(?:\]\(|(?:src|href)=\")([^)\s\"]+)")
_MADE_IN_THE_SITE = ("docs/reference/cli.md", "docs/reference/settings.md")


@cache
def anchors(page: Path) -> frozenset[str]:
    found = []
    for line in re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", line).lower())
        found.append(words.strip().replace(" ", "-"))
    return frozenset(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    lost = []
    for link in _LINK.findall(re.sub(r"`[^`\n]+`", "", prose(page))):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (anchor and path.suffix == ".md" and not has(path, anchor)):
            lost.append(link)
    assert not lost


def has(page: Path, anchor: str) -> bool:
    return anchor in anchors(page) or str(page.relative_to(ROOT)) in _MADE_IN_THE_SITE


@pytest.mark.parametrize(
    "page", [p for p in PAGES if "docs" in p.parts[len(ROOT.parts) :]], ids=lambda page: page.name
)
def test_blocks_are_closed_and_name_their_language(page: Path) -> None:
    fences = re.findall(r"^ *```(.*)$", page.read_text(), re.MULTILINE)
    assert all(fences[::2]) and not any(fences[1::2]) and len(fences) % 2 == 0
