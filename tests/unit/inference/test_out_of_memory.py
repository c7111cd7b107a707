"""A GPU whose memory runs out: smaller batches, the same rows, and an end where nothing fits.

The networks here are real ones on the CPU that raise what torch raises on a full GPU.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raypose.errors import DeviceError, Failure
from raypose.inference.artifact import cached_artifact
from raypose.inference.loop import MemberResult
from raypose.inference.predictor import Predictor
from raypose.specs import ModelSpec
from tests.predictions import predict_frames, predict_video
from tests.unit.inference.conftest import smooth_frames
from tests.videos import make_video

N = 23


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """One batch after another, as on a GPU."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clouds = smooth_frames(N, 80, 112)
    path = tmp_path_factory.mktemp("video") / "clouds.mp4"
    return make_video(path, n_frames=N, width=112, height=80, picture=lambda i, *_: clouds[i])


@pytest.fixture(scope="module")
def heatmap(make_spec: Callable[..., ModelSpec]) -> tuple[ModelSpec, bytes]:
    spec = make_spec()
    return spec, cached_artifact(spec)


@pytest.fixture(scope="module")
def context(make_spec: Callable[..., ModelSpec]) -> tuple[ModelSpec, bytes]:
    spec = make_spec(model_type="heatmap_mhcrnn")
    return spec, cached_artifact(spec)


def full(error: str = "CUDA out of memory. Tried to allocate 2.00 GiB.") -> RuntimeError:
    return torch.cuda.OutOfMemoryError(error)


class Crowded:
    """A part of a network that has room for a few frames, and notes how many came.

    Attributes:
        sizes: frames of every call.
        kept: what the calls that failed had allocated.
    """

    def __init__(self, forward: Callable[..., Any], room: int, extra: int = 0) -> None:
        self.forward, self.room, self.extra = forward, room, extra
        self.sizes: list[int] = []
        self.kept: list[weakref.ref[torch.Tensor]] = []

    def __call__(self, inputs: torch.Tensor) -> Any:
        self.sizes.append(len(inputs) - self.extra)
        activations = torch.zeros(10)
        if self.sizes[-1] > self.room:
            self.kept.append(weakref.ref(activations))
            raise full()
        return self.forward(inputs)


def crowd(predictor: Predictor, part: str, room: int) -> Crowded:
    crowded = Crowded(getattr(predictor.network, part), room, 4 if part == "heads" else 0)
    predictor.network = dataclasses.replace(predictor.network, **{part: crowded})
    return crowded


def rows(results: list[MemberResult | Failure]) -> list[np.ndarray[Any, Any]]:
    assert all(isinstance(result, MemberResult) for result in results), results
    return [result.values for result in results if isinstance(result, MemberResult)]


@pytest.mark.parametrize("room", [1, 3, 7])
def test_batches_become_smaller_than_those_of_the_reader(
    video: Path, heatmap: tuple[ModelSpec, bytes], room: int
) -> None:
    whole = Predictor(*heatmap)
    (expected,) = rows(predict_video(video, [whole], batch_size=8))
    predictor, other = Predictor(*heatmap), Predictor(*heatmap)
    crowded = crowd(predictor, "forward", room)
    got, beside = rows(predict_video(video, [predictor, other], batch_size=8))
    np.testing.assert_allclose(got, expected, atol=0.05)
    np.testing.assert_allclose(beside, expected, atol=0.05)
    fits = {1: 1, 3: 2, 7: 4}[room]
    assert predictor.limit.n_frames == fits
    assert other.limit.n_frames is None
    # 8, and half of it until it fits: no batch fails twice, and none is larger ever after.
    assert [size for size in crowded.sizes if size > room] == [8, 4, 2][: len(crowded.kept)]
    assert sum(size for size in crowded.sizes if size <= room) == N
    crowded.sizes.clear()
    rows(predict_video(video, [predictor], batch_size=8))
    assert max(crowded.sizes) == fits, "a video later, it is still known what fits"


@pytest.mark.parametrize("room", [1, 5])
def test_heads_of_models_with_context(
    video: Path, context: tuple[ModelSpec, bytes], room: int
) -> None:
    whole = Predictor(*context)
    (expected,) = rows(predict_video(video, [whole], batch_size=8))
    predictor = Predictor(*context)
    crowded = crowd(predictor, "heads", room)
    (got,) = rows(predict_video(video, [predictor], batch_size=8))
    np.testing.assert_allclose(got, expected, atol=0.05)
    assert crowded.kept
    assert max(crowded.sizes[-3:]) <= room


def test_nothing_of_the_failed_batch_is_kept_when_memory_is_released(
    video: Path, heatmap: tuple[ModelSpec, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor(*heatmap)
    crowded = crowd(predictor, "forward", 2)
    seen = []
    lower = predictor.limit.lower

    def watched(tried: int) -> None:
        seen.append([kept() is None for kept in crowded.kept])
        lower(tried)

    monkeypatch.setattr(predictor.limit, "lower", watched)
    rows(predict_video(video, [predictor], batch_size=8))
    assert seen == [[True], [True, True]]


def test_a_frame_that_does_not_fit_fails_the_model_by_name(
    video: Path, heatmap: tuple[ModelSpec, bytes]
) -> None:
    predictor, other = Predictor(*heatmap), Predictor(*heatmap)
    crowded = crowd(predictor, "forward", 0)
    failed, fine = predict_video(video, [predictor, other], batch_size=8)
    assert isinstance(failed, Failure)
    assert failed.error == "DeviceError"
    assert failed.path == predictor.spec.directory
    assert "too small for one frame" in failed.message
    assert crowded.sizes[:4] == [8, 4, 2, 1]
    assert set(crowded.sizes[4:]) <= {1}, "of the batch that was on its way already"
    assert isinstance(fine, MemberResult)
    with pytest.raises(DeviceError, match="too small for one frame"):
        predict_frames(predictor, smooth_frames(2, 80, 112))


def test_memory_that_runs_out_elsewhere_has_a_name() -> None:
    for error in (
        full(),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
    ):
        failure = Failure.of("predict", error)
        assert failure.error == "DeviceError"
        assert "memory is used up" in failure.message
        assert not failure.details
    assert "defect" in Failure.of("predict", RuntimeError("CUDA error: invalid argument")).hint
