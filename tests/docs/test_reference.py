"""The parts of the site that are made from the code, and where its links lead."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

import raypose
from raypose.config import EksOptions, RunConfig
from tests.docs.test_commands import COMMANDS, command, options
from tests.markdown import PAGES, ROOT, blocks

SITE = ROOT / "docs" / "site"


@pytest.fixture(scope="module")
def hooks() -> Iterator[Any]:
    """As MkDocs imports it."""
    sys.path.insert(0, str(SITE))
    import hooks

    yield hooks
    sys.path.remove(str(SITE))


@pytest.fixture(scope="module")
def command_line(hooks: Any) -> str:
    page: str = hooks.reference.command_line()
    return page


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_in_its_section(name: str, command_line: str) -> None:
    section = command_line.partition(f"## raypose {name}\n")[2].partition("\n## ")[0]
    assert command(name).help.split()[0] in section
    missing = {flag for flag in options(name) if f"`{flag}`" not in section}
    assert not missing - {"--help", "-h"}
    assert "[dim]" not in section and "[/]" not in section


def test_values_and_defaults_are_shown(command_line: str) -> None:
    assert re.search(r"\| `--chunk-frames` `\w+` \| 50000 \| Longest", command_line)
    assert "| `--eks` / `--no-eks` | off |" in command_line
    assert re.search(r"\| `--frames`, `-n` `[^`]+` \| 50 \|", command_line)


def test_every_setting_is_listed(hooks: Any) -> None:
    page = hooks.reference.settings()
    fields = {*RunConfig.model_fields, *EksOptions.model_fields} - {"eks_options"}
    assert not {name for name in fields if f"| `{name}` |" not in page}
    assert "&lt;video>_bbox.csv" in page  # would be HTML


def test_every_public_name_is_in_the_reference_of_python() -> None:
    page = (ROOT / "docs" / "reference" / "python.md").read_text()
    names = [n for n in raypose.__all__ if n != "__version__" and not n.endswith("Error")]
    assert not [name for name in names if f"::: raypose.{name}\n" not in page]
    assert "::: raypose.errors\n" in page  # its docstring lists all exceptions


@pytest.mark.parametrize(
    ("target", "source", "page", "found"),
    [
        ("gpu.md", "docs/report.md", "report.md", "gpu.md"),
        ("../cluster/README.md", "docs/gpu.md", "gpu.md", "cluster.md"),
        ("../../cluster/README.md", "docs/guides/cost.md", "guides/cost.md", "../cluster.md"),
        ("../docs/gpu.md", "cluster/README.md", "cluster.md", "gpu.md"),
        ("aws.yaml", "cluster/README.md", "cluster.md", "R/blob/main/cluster/aws.yaml"),
        ("../README.md", "docs/gpu.md", "gpu.md", "R/blob/main/README.md"),
        ("https://www.ray.io", "docs/gpu.md", "gpu.md", "https://www.ray.io"),
    ],
)  # fmt: skip
def test_links_stay_in_the_site_or_lead_to_the_repository(
    hooks: Any, target: str, source: str, page: str, found: str
) -> None:
    assert hooks.resolve(target, PurePosixPath(source), page, "R") == found


def test_a_link_to_nothing_is_a_warning(hooks: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        hooks.resolve("../nothing.md", PurePosixPath("docs/gpu.md"), "gpu.md", "R")
    assert "docs/gpu.md links to ../nothing.md" in caplog.text


FILES = [b for page in PAGES for b in blocks(page) if b.language == "yaml" and "videos:" in b.code]


@pytest.mark.parametrize("block", FILES, ids=map(str, FILES))
def test_configuration_files_on_the_pages_are_valid(block: Any, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(block.code)
    assert RunConfig.from_file(path).models
