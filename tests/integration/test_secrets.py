"""Secrets reach no output, log, record, cache, message or list of processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from raypose.errors import Failure, VideoError
from raypose.storage import as_path
from raypose.storage.connection import shared_environment
from raypose.text import without_secrets
from tests.projects import fake_model
from tests.stores import Store
from tests.videos import make_video

MARK = "swordfish"
SIGNED = f"https://lab.example/cam.mp4?X-Amz-Credential={MARK}&X-Amz-Signature={MARK}"
WITH_KEY = f"s3://AKIA:{MARK}/{MARK}@lab/cam.mp4"


def raypose(*arguments: str, folder: Path) -> tuple[str, str]:
    """What a command prints, and the command lines of all processes that it had."""
    environment = {
        **os.environ,
        "AWS_SECRET_ACCESS_KEY": MARK,
        "AWS_SESSION_TOKEN": MARK,
        "RAYPOSE_CACHE_DIR": str(folder / "cache"),
        "TMPDIR": str(folder),
    }
    with (folder / "printed").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "raypose", *arguments],
            env=environment,
            cwd=folder,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    seen: set[str] = set()
    while process.poll() is None:
        for place in Path("/proc").glob("[0-9]*"):
            try:
                group = os.getpgid(int(place.name))
                if group == process.pid:
                    seen.add((place / "cmdline").read_bytes().decode(errors="replace"))
            except OSError:
                continue
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
    return (folder / "printed").read_text(), "\n".join(seen)


def test_a_run_over_videos_in_a_store(store: Store, tmp_path: Path) -> None:
    clip = make_video(tmp_path / "clip.mp4")
    url = store.put("v/cam.mp4", clip)
    model = fake_model(tmp_path / "m")
    arguments = ["run", url, "-m", str(model), "-o", str(tmp_path / "out"), "--inline"]
    printed, processes = raypose(*arguments, folder=tmp_path)
    assert "checkpoint" in printed, "the model can't be loaded, so that there is an error to log"
    assert MARK not in printed + processes
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    names = {path.name for path in written}
    assert {"run.json", "events.jsonl"} <= names
    assert any(path.suffix == ".index" for path in written)
    for path in written:
        assert MARK.encode() not in path.read_bytes(), path
    for key in store.keys():
        assert MARK.encode() not in store.get(key), key


@pytest.mark.parametrize("url", [SIGNED, WITH_KEY])
def test_a_url_with_a_secret_is_refused_and_not_repeated(url: str, tmp_path: Path) -> None:
    model = fake_model(tmp_path / "m")
    printed, _ = raypose("plan", url, "-m", str(model), "-o", str(tmp_path), folder=tmp_path)
    assert "URL" in printed
    assert MARK not in printed
    with pytest.raises(Exception, match="URL") as caught:
        as_path(url)
    assert MARK not in str(caught.value) + repr(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"GET {SIGNED} failed", "GET https://lab.example/cam.mp4?… failed"),
        (f"'{WITH_KEY}'", "'s3://…@lab/cam.mp4'"),
        (f"http://me:{MARK}@host:9000/x", "http://…@host:9000/x"),
        ("s3://lab/cam?.mp4", "s3://lab/cam?.mp4"),
        ("/videos/what?=a@b.mp4", "/videos/what?=a@b.mp4"),
    ],
)
def test_errors_and_failures_show_no_secret_of_a_url(text: str, expected: str) -> None:
    assert without_secrets(text) == expected
    error = VideoError(text, path=text, hint=text)
    assert (error.message, error.path, error.hint) == (expected,) * 3
    failure = Failure.of("predict", ValueError(text))
    assert failure.message.endswith(expected)
    assert MARK not in failure.details


def test_an_endpoint_with_a_password_stays_in_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://me:{MARK}@host:9000")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert MARK not in str(shared_environment())
    assert shared_environment()["AWS_REGION"] == "eu-west-1"
