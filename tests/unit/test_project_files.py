"""What the files beside the package say of it agrees with the package."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import raypose

ROOT = Path(__file__).parents[2]


def test_citation_and_changelog_are_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == raypose.__version__
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0].split()[0] in (raypose.__version__, "Unreleased")


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*_*.yml")), ids=str
)
def test_an_issue_form_has_what_github_requires(path: Path) -> None:
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(form)
    for element in form["body"]:
        key = "value" if element["type"] == "markdown" else "label"
        assert element["attributes"][key]


def test_what_readme_leads_to_exists() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.findall(r'\]\((?!http)([^)#]+)|src="([^"]+)"', text)
    assert len(found) > 20
    assert [name for pair in found for name in pair if name and not (ROOT / name).exists()] == []
