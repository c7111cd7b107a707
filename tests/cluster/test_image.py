"""The Dockerfile: linted by hadolint, and what no linter knows of."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CLUSTER = Path(__file__).parents[2] / "cluster"
TEXT = (CLUSTER / "Dockerfile").read_text()


def hadolint(path: Path) -> str:
    tool = Path(sys.executable).with_name("hadolint")
    return subprocess.run([tool, "--no-color", path], capture_output=True, text=True).stdout


def test_the_linter_has_nothing_to_say() -> None:
    assert hadolint(CLUSTER / "Dockerfile") == ""


def test_the_linter_is_awake(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM ubuntu:latest\nRUN cd /tmp && sudo ls\n")
    assert "DL3007" in hadolint(tmp_path / "Dockerfile")


def test_versions_are_those_of_the_lock() -> None:
    assert TEXT.count("uv sync --locked") == TEXT.count("uv sync") == 2
    assert all(
        ":" in image and "latest" not in image for image in re.findall("^FROM (.+)", TEXT, re.M)
    )
    assert "nvidia/cuda" in TEXT


def test_it_does_not_run_as_root_and_asks_for_a_token() -> None:
    (user,) = re.findall(r"^USER (\d+):(\d+)$", TEXT, re.M)
    assert all(int(number) > 0 for number in user)
    assert "RAY_AUTH_MODE=token" in TEXT


def test_only_code_goes_in() -> None:
    """Whatever lies in the checkout (models, videos, tokens), the build sees the package alone."""
    lines = (CLUSTER / "Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", TEXT, re.M)
        for source in line.split()[:-1]
    }
    assert copied == let_in == {"pyproject.toml", "uv.lock", "README.md", "raypose"}
    package = CLUSTER.parent / "raypose"
    assert not [p for p in package.rglob("*") if p.suffix in {".ckpt", ".pt", ".mp4", ".pth"}]
