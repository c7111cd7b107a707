"""Completion, by the protocol that the shells' scripts follow, and by the functions behind it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from raypose.cli import completion
from tests.projects import fake_model

MAIN = "import sys; from raypose.cli import main; main()"
HEAVY = ("torch", "ray", "pandas", "cv2", "av", "lightning_pose", "numpy")
SAY_HEAVY = (
    "import atexit, sys\n"
    f"heavy = lambda: print(*[m for m in {HEAVY} if m in sys.modules], file=sys.stderr)\n"
    "atexit.register(heavy)\n"
)


def complete(line: str, folder: Path, shell: str = "bash") -> list[str]:
    """What `raypose` answers the shell's script for a line that ends at the cursor."""
    words = shlex.split(line)
    if line.endswith(" "):
        words.append("")
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_TYPER_COMPLETE_ARGS": line}
    more = {"_RAYPOSE_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    process = subprocess.run(
        [sys.executable, "-c", SAY_HEAVY + MAIN],
        env={**os.environ, **asked, **more},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert (process.returncode, process.stderr) == (0, "\n")
    return process.stdout.splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fake_model(tmp_path / "models" / "2026-11-01" / "10-00-00")
    fake_model(tmp_path / "models" / "2026-11-02" / "10-00-00")
    (tmp_path / "models" / "notes").mkdir()
    (tmp_path / "models" / "loop").symlink_to("loop")
    (tmp_path / "videos").mkdir()
    for name in ("a.mp4", "b.AVI", "b.csv", ".hidden.mp4"):
        (tmp_path / "videos" / name).touch()
    return tmp_path


def test_commands_options_and_choices(folder: Path) -> None:
    assert complete("raypose pl", folder) == ["plan"]
    assert "--label" in complete("raypose run --la", folder)
    assert complete("raypose run videos --label ", folder) == ["full", "snippet"]
    assert complete("raypose smooth --eks-mode m", folder) == ["mirrored", "multicam"]
    assert complete("raypose suggest out --format ", folder) == ["lp", "dlc"]


def test_models_and_videos(folder: Path) -> None:
    found = ["models/2026-11-01/10-00-00", "models/2026-11-02/10-00-00"]
    assert complete("raypose run videos -m ", folder) == found
    assert complete("raypose run v", folder) == ["videos/", "videos/a.mp4", "videos/b.AVI"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells(folder: Path, shell: str) -> None:
    (answer,) = complete("raypose run --device cu", folder, shell)
    assert "cuda" in answer and "cpu" not in answer


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell(folder: Path, shell: str) -> None:
    process = subprocess.run(
        [sys.executable, "-c", MAIN],
        env={**os.environ, "_RAYPOSE_COMPLETE": f"source_{shell}"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0
    assert f"_RAYPOSE_COMPLETE=complete_{shell}" in process.stdout


class TestModels:
    def test_below_what_is_typed(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(folder)
        assert completion.models("models/2026-11-02") == ["models/2026-11-02/10-00-00"]
        assert completion.models(f"{folder}/models/2026-11-01/1") == [
            f"{folder}/models/2026-11-01/10-00-00"
        ]
        assert completion.models("videos") == []
        assert completion.models("nowhere/") == []

    def test_the_shell_quotes_names_itself(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(folder)
        fake_model(folder / "models" / "a b")
        assert completion.models("models/") == []
        assert completion.models("models/2026-11-01/") == ["models/2026-11-01/10-00-00"]

    def test_large_trees_are_left_to_the_shell(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        for i in range(completion._MOST_ENTRIES):
            (tmp_path / f"d{i:04d}").mkdir()
        fake_model(tmp_path / "a")
        fake_model(tmp_path / "z")
        assert completion.models("") == []
        assert completion.models("z") == ["z"]


class TestVideos:
    def test_hidden_files_only_if_asked_for(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(folder)
        assert completion.videos("videos/") == ["videos/a.mp4", "videos/b.AVI"]
        assert completion.videos("videos/.") == ["videos/.hidden.mp4"]
        assert completion.videos("") == ["models/", "videos/"]
        assert completion.videos("videos/c") == []
