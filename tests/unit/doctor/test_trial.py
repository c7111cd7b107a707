"""The trial of a model on a video, and the checks around it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raypose.doctor import trial
from raypose.doctor.findings import Asked
from raypose.doctor.programs import check_ray, check_video
from raypose.doctor.trial import Speeds, check_model, check_speed, check_video_file, describe
from raypose.inputs.models import open_model
from raypose.specs import VideoSpec
from raypose.storage.trials import Trial, last_trial, remember_trial
from tests.models import make_model
from tests.stores import Store
from tests.videos import make_video

VIDEO = VideoSpec("/v.mp4", "v", 600, 640, 480, 30.0, 20.0, "print")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def predictor(device: str) -> Any:
    network = SimpleNamespace(device=SimpleNamespace(type=device.split(":")[0]))
    return SimpleNamespace(network=network, precision="fp32", batch_size=16)


@pytest.mark.parametrize(
    ("decoding", "network", "bottleneck", "advice"),
    [
        (1000, 100, "the network", ""),
        (100, 1000, "decoding", "--decoder nvdec"),
        (100, 110, "decoding and network, about equally", ""),
    ],
)
def test_the_bottleneck_on_a_gpu(
    decoding: float, network: float, bottleneck: str, advice: str
) -> None:
    found = describe(Speeds(decoding, network, 90), predictor("cuda:0"), VIDEO)
    assert found.facts["bottleneck"] == bottleneck
    assert found.found.endswith(f"Bottleneck: {bottleneck}")
    assert advice in found.advice


def test_what_a_run_will_take() -> None:
    found = describe(Speeds(400, 200, 100), predictor("cpu"), VIDEO)
    # 600 frames at 100 per second; an hour has 108,000.
    assert "This video takes 6 s, an hour of such video 18 min 00 s per model" in found.found
    assert found.facts["seconds_per_hour_of_video"] == 1080
    assert found.advice == "A GPU would make the most difference."


def test_a_machine_that_others_use() -> None:
    found = describe(Speeds(400, 200, 100, cpu_share=0.4), predictor("cpu"), VIDEO)
    assert found.status == "warning"
    assert found.found.endswith("Other programs were using the CPU: the trial got 40% of it")
    assert (
        describe(Speeds(400, 200, 100, cpu_share=0.4), predictor("cuda:0"), VIDEO).status == "ok"
    )


def test_a_video_and_its_oddities(tmp_path: Path) -> None:
    video = make_video(tmp_path / "v.mp4", n_frames=12)
    found = check_video_file(Asked(video=str(video)))
    assert (found.status, found.facts["n_frames"]) == ("ok", 12)
    assert found.found.startswith("12 frames of ")


def test_a_video_in_a_store_is_copied_to_the_scratch_directory(
    store: Store, tmp_path: Path
) -> None:
    url = store.put("v.mp4", make_video(tmp_path / "v.mp4", n_frames=12))
    chosen = tmp_path / "disk"
    found = check_video_file(Asked(video=url, scratch_dir=str(chosen)))
    assert (found.status, found.facts["n_frames"]) == ("ok", 12)
    assert [path.name for path in chosen.iterdir()] == [f"raypose-{os.getuid()}"]


def test_the_cpu_writes_and_reads_a_clip() -> None:
    found = check_video(Asked())
    assert found.status == "ok", found.found


@pytest.mark.slow
def test_the_trial_is_kept_for_plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_ALONE_S", 0.1)
    model = make_model(tmp_path / "model")
    video = make_video(tmp_path / "v.mp4", n_frames=40)
    asked = Asked(str(model), str(video), device="cpu")
    opened = check_model(asked)
    assert (opened.status, opened.facts["keypoints"]) == ("ok", 3)
    found = check_speed(asked)
    assert found.facts["decoding_frames_per_s"] > 0
    assert found.facts["network_frames_per_s"] > 0
    kept = last_trial(open_model(model).fingerprint)
    assert kept is not None
    assert kept.device == "cpu"
    assert kept.frames_per_s == pytest.approx(found.facts["frames_per_s"], abs=0.1)


@pytest.mark.ray
@pytest.mark.slow
def test_ray_starts_and_stops() -> None:
    import ray

    if ray.is_initialized():
        pytest.skip("this process uses Ray already")
    found = check_ray(Asked())
    assert found.status == "ok", found.found
    assert not ray.is_initialized()


def test_a_trial_of_another_machine_is_not_used(cache: Path) -> None:
    remember_trial(Trial("model", "cpu", 100.0, 640 * 480))
    assert last_trial("model") is not None
    assert last_trial("another") is None
    (kept,) = (cache / "trials").iterdir()
    kept.write_text(kept.read_text().replace('"host": "', '"host": "not-'))
    assert last_trial("model") is None
    kept.write_text("{}")
    assert last_trial("model") is None
