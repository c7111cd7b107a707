"""What the files beside the package say of it agrees with the package."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

import raypose

ROOT = Path(__file__).parents[2]


def test_citation_and_changelog_are_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == raypose.__version__
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0].split()[0] in (raypose.__version__, "Unreleased")
