"""Artifacts are of the installed Lightning Pose, and kept by its code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from raypose.errors import ModelError
from raypose.inference import artifact, network
from raypose.inference.artifact import _versions_digest


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    artifact.installed_code.cache_clear()
    yield
    artifact.installed_code.cache_clear()


def clone(folder: Path) -> Path:
    (folder / "lightning_pose").mkdir(parents=True)
    (folder / "lightning_pose" / "__init__.py").write_text("raise ImportError('a clone')\n")
    return folder


def test_the_key_is_that_of_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _versions_digest()
    monkeypatch.syspath_prepend(str(clone(tmp_path / "editable")))
    keys = {before}
    for text in ("a = 1\n", "a = 2\n"):
        artifact.installed_code.cache_clear()
        (tmp_path / "editable" / "lightning_pose" / "models.py").write_text(text)
        keys.add(_versions_digest())
    assert len(keys) == 3


def test_a_clone_in_the_current_directory_is_not_what_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _versions_digest()
    artifact.installed_code.cache_clear()
    monkeypatch.delitem(sys.modules, "lightning_pose", raising=False)
    network.check_imported()
    monkeypatch.chdir(clone(tmp_path))
    monkeypatch.syspath_prepend("")  # as in a notebook
    assert _versions_digest() == before
    with pytest.raises(ModelError, match="and not the installed one") as raised:
        network.check_imported()
    assert raised.value.path == str(tmp_path / "lightning_pose")
    assert "pip install -e" in raised.value.hint
