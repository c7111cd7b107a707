"""The process that builds what the cache lacks: its answers, and when it starts over."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from raypose.errors import Failure, ModelChangedError, ModelError, UnsafeCheckpointError
from raypose.execution.artifacts import ArtifactBuilder, build_requested
from raypose.inference import artifact, minimal_import
from raypose.inference.artifact import cached_artifact, is_cached, load_network
from raypose.inputs.models import open_model
from tests.models import make_model


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "cache"))


def test_artifacts_of_all_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = [open_model(make_model(tmp_path / str(seed), seed=seed)) for seed in range(2)]
    with ArtifactBuilder(specs, allow_unsafe=False) as builder:
        made = list(builder.artifacts(lambda what: None))
    assert [spec for spec, _ in made] == specs
    assert all(is_cached(spec) for spec in specs)
    assert load_network(made[0][1]).architecture.backbone == "resnet18"
    monkeypatch.setattr(sys, "executable", "/nowhere")  # no process is needed
    with ArtifactBuilder(specs, allow_unsafe=False) as builder:
        assert list(builder.artifacts(lambda what: None)) == made


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    """After the process has started over: whether the model is at fault is known only then."""
    directory = make_model(tmp_path / "model")
    config = directory / "config.yaml"
    config.write_text(config.read_text().replace("  - nose\n", ""))
    with (
        ArtifactBuilder([open_model(directory)], allow_unsafe=False) as builder,
        pytest.raises(ModelError, match="3 keypoints, and the config names 2"),
    ):
        list(builder.artifacts(lambda what: None))


def test_a_model_that_changed_after_the_plan_is_skipped(tmp_path: Path) -> None:
    """The others go on, and nothing is kept under the name of what it was."""
    specs = [open_model(make_model(tmp_path / str(seed), seed=seed)) for seed in range(2)]
    shutil.copy(specs[1].checkpoint, specs[0].checkpoint)
    with ArtifactBuilder(specs, allow_unsafe=False) as builder:
        made = list(builder.artifacts(lambda what: None))
    assert [spec for spec, _ in made] == specs[1:]
    assert not is_cached(specs[0])
    with pytest.raises(ModelChangedError):
        cached_artifact(specs[0])


class StartedOver(Exception):
    """In place of `os.execv`, from which nothing returns."""


@pytest.fixture
def build(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[Failure | None, list[str]]]:
    """Runs the builder's process here, with stubs; returns its answer and what it did."""

    def run(error: Exception | None, *, whole: bool, unsafe: bool) -> Any:
        done: list[str] = []

        def fail_or_not(model: str, *, allow_unsafe: bool) -> None:
            done.append(model)
            if error is not None:
                raise error

        def execv(path: str, arguments: list[str]) -> NoReturn:
            assert path == sys.executable
            assert arguments == [*sys.orig_argv, "--whole"]
            raise StartedOver

        monkeypatch.setattr(artifact, "cached_artifact", fail_or_not)
        monkeypatch.setattr(minimal_import, "exclude_training", lambda: done.append("minimal"))
        monkeypatch.setattr(os, "execv", execv)
        request = tmp_path / "request"
        request.write_bytes(pickle.dumps((["model"], unsafe)))
        build_requested(request, whole=whole)
        return pickle.loads((tmp_path / "answer").read_bytes()), done

    return run


def test_starts_over_with_everything(build: Callable[..., Any]) -> None:
    with pytest.raises(StartedOver):
        build(AttributeError("it was excluded"), whole=False, unsafe=False)
    failure, done = build(AttributeError("it is not there"), whole=True, unsafe=False)
    assert "it is not there" in failure.message
    assert done == ["model"]


def test_starts_over_for_nothing_else(build: Callable[..., Any]) -> None:
    assert build(None, whole=False, unsafe=False) == (None, ["minimal", "model"])
    failure, _ = build(UnsafeCheckpointError("no"), whole=False, unsafe=False)
    assert failure.error == "UnsafeCheckpointError"
    assert build(None, whole=False, unsafe=True) == (None, ["model"])
