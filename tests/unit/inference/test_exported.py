"""Exports of Lightning Pose in the place of torch: the same keypoints, and what can be wrong."""

from __future__ import annotations

import shutil
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from raypose import RunConfig, run
from raypose.errors import DeviceError, ModelError
from raypose.inference.artifact import cached_artifact
from raypose.inference.exported import SessionForward, load_exported
from raypose.inference.loop import MemberResult
from raypose.inference.predictor import Predictor
from raypose.inputs.models import open_model
from raypose.specs import ModelSpec
from tests.models import export_onnx, make_model
from tests.predictions import predict_frames, predict_video
from tests.unit.inference.conftest import put_engine, smooth_frames
from tests.videos import make_video

UPSTREAM_SPREAD_PX = 0.02
"""Lightning Pose's own largest difference between ONNX and its eager float32."""

MULTIVIEW = {
    "model_type": "heatmap_multiview_transformer",
    "backbone": "vits_dino",
    "view_names": ("top", "side"),
}


def difference(got: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest distance of confident keypoints, in pixels."""
    confident = expected[..., 2] > 0.9
    assert confident.float().mean() > 0.1
    return float((got - expected)[..., :2].norm(dim=-1)[confident].max())


class TestAgainstTorch:
    def test_heatmaps(self, exported: Path) -> None:
        frames = smooth_frames(21, 100, 120)
        boxes = np.tile(np.array([[10, 5, 80, 100]]), (21, 1))
        by_torch = Predictor(open_model(exported))
        by_onnx = Predictor(open_model(exported, runtime="onnx"))
        for where in (None, boxes):
            expected, got = (
                predict_frames(by_torch, frames, where),
                predict_frames(by_onnx, frames, where),
            )
            assert got.dtype == torch.float32
            assert difference(got, expected) < UPSTREAM_SPREAD_PX
            assert (got - expected)[..., 2].abs().max() < 1e-3
        assert by_onnx.network.architecture == by_torch.network.architecture

    def test_regression(self, tmp_path: Path) -> None:
        directory = make_model(tmp_path / "m", model_type="regression")
        export_onnx(directory)
        frames = smooth_frames(5, 100, 120)
        expected = predict_frames(Predictor(open_model(directory)), frames)
        got = predict_frames(Predictor(open_model(directory, runtime="onnx")), frames)
        assert difference(got, expected) < UPSTREAM_SPREAD_PX

    def test_several_views(self, tmp_path: Path) -> None:
        directory = make_model(tmp_path / "m", **MULTIVIEW)
        export_onnx(directory)
        frames = [smooth_frames(3, 100, 120), smooth_frames(3, 80, 90, seed=1)]
        expected = predict_frames(Predictor(open_model(directory)), frames)
        got = predict_frames(Predictor(open_model(directory, runtime="onnx")), frames)
        assert got.shape == (3, 6, 3)
        assert (got - expected).abs().max() < UPSTREAM_SPREAD_PX

    def test_half_precision_is_the_exports_own(self, exported: Path) -> None:
        spec = open_model(exported, runtime="onnx", precision="fp16")
        assert spec.exported is not None and spec.exported.path.endswith("_fp16.onnx")
        predictor = Predictor(spec)
        assert predictor.network.dtype == torch.float16
        frames = smooth_frames(9, 100, 120)
        expected = predict_frames(Predictor(open_model(exported)), frames)
        assert difference(predict_frames(predictor, frames), expected) < 0.5

    @pytest.mark.slow
    def test_a_real_model_and_video(self, shared_data: Path, tmp_path: Path) -> None:
        source = shared_data / "models" / "2026-11-01" / "10-00-00-effb0-seed0"
        directory = Path(shutil.copytree(source, tmp_path / "m", copy_function=shutil.copyfile))
        export_onnx(directory)
        video = shared_data / "mirror-mouse-example" / "videos" / "test_vid.mp4"
        specs = [open_model(directory), open_model(directory, runtime="onnx")]
        results = predict_video(video, [Predictor(spec) for spec in specs], stop=200)
        by_torch, by_onnx = (
            torch.from_numpy(r.values) for r in results if isinstance(r, MemberResult)
        )
        assert difference(by_onnx, by_torch) < 0.002
        assert (by_onnx - by_torch)[..., :2].abs().max() < UPSTREAM_SPREAD_PX
        assert (by_onnx - by_torch)[..., 2].abs().max() < 1e-4


class TestLoading:
    def test_a_worker_without_the_package(
        self, exported: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec = open_model(exported, runtime="onnx")
        packed = cached_artifact(spec)
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(ModelError, match="needs the package onnxruntime"):
            Predictor(spec, packed)

    def test_a_config_of_other_images(self, exported: Path) -> None:
        changes = ("data.image_resize_dims.width=128",)
        spec = open_model(exported, overrides=changes, runtime="onnx")
        with pytest.raises(ModelError, match=r"images of 3×64×96.*would be 3×64×128") as caught:
            Predictor(spec)
        assert "litpose export" in caught.value.hint and "\n" not in str(caught.value)

    def test_a_config_of_other_keypoints(self, exported: Path) -> None:
        changes = ("data.keypoint_names=[nose,paw]",)
        spec = open_model(exported, overrides=changes, runtime="onnx")
        with pytest.raises(ModelError, match=r"heatmaps of 3×16×24.*would be 2×16×24"):
            Predictor(spec)

    @pytest.mark.parametrize("model_type", ["regression", "heatmap_multiview_transformer"])
    def test_a_config_of_another_type(self, exported: Path, model_type: str) -> None:
        spec = open_model(
            exported,
            overrides=(f"model.model_type={model_type}", "+data.view_names=[top,side]"),
            runtime="onnx",
        )
        with pytest.raises(ModelError, match=r"the exported network (gives|takes)"):
            Predictor(spec)

    @pytest.mark.parametrize("which", [0, -1])
    def test_a_damaged_file(self, model: Path, which: int) -> None:
        spec = open_model(model, runtime="onnx")
        assert spec.exported is not None
        path = Path(spec.exported.files[which])
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(ModelError, match="ONNX Runtime can't run the export") as caught:
            Predictor(open_model(model, runtime="onnx"))
        assert "\n" not in str(caught.value)

    def test_an_onnxruntime_without_cuda(self, exported: Path) -> None:
        spec = open_model(exported, runtime="onnx")
        with pytest.raises(DeviceError, match="no CUDAExecutionProvider") as caught:
            load_exported(spec, cached_artifact(spec), "cuda:0")
        assert "onnxruntime-gpu" in caught.value.hint

    def test_an_export_that_takes_few_frames_at_a_time(self, exported: Path) -> None:
        """As TensorRT's do, whatever batch is asked for."""
        spec = open_model(exported, runtime="onnx")
        assert spec.exported is not None
        device = torch.device("cpu")
        providers = ["CPUExecutionProvider"]
        session = onnxruntime.InferenceSession(spec.exported.path, providers=providers)
        images = torch.randn(5, 3, 64, 96).to(memory_format=torch.channels_last)
        several = SessionForward(session, spec, device)(images)
        few = SessionForward(session, spec, device, max_batch=2)(images)
        assert few.shape == several.shape == (5, 3, 16, 24)
        assert torch.allclose(few, several, atol=1e-6)


class TestTensorrt:
    """As far as it goes without a GPU."""

    BUILT_FOR = {  # noqa: RUF012
        "gpu_name": "NVIDIA A",
        "tensorrt_version": "10.1",
        "max_batch_size": 8,
        "opt_batch_size": 4,
    }

    def spec(self, model: Path) -> ModelSpec:
        put_engine(model, self.BUILT_FOR)
        return open_model(model, runtime="tensorrt")

    @pytest.fixture(autouse=True)
    def installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """TensorRT as this machine would have it."""
        module = types.ModuleType("tensorrt")
        module.__spec__ = ModuleSpec("tensorrt", None)
        module.__version__ = self.BUILT_FOR["tensorrt_version"]
        monkeypatch.setitem(sys.modules, "tensorrt", module)
        gpu = self.BUILT_FOR["gpu_name"]
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: gpu)

    def test_it_has_no_cpu(self, model: Path) -> None:
        with pytest.raises(DeviceError, match="TensorRT runs on NVIDIA GPUs alone") as caught:
            Predictor(self.spec(model), device="cpu")
        assert "--runtime onnx" in caught.value.hint

    def test_a_worker_without_the_package(
        self, model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec = self.spec(model)
        packed = cached_artifact(spec)
        monkeypatch.setitem(sys.modules, "tensorrt", None)
        with pytest.raises(ModelError, match="needs the package tensorrt"):
            Predictor(spec, packed, "cuda:0")

    def test_damaged_metadata(self, model: Path) -> None:
        self.spec(model)
        (metadata,) = model.rglob("trt_metadata.json")
        metadata.write_text("{")
        with pytest.raises(ModelError, match=r"trt_metadata\.json can't be read"):
            Predictor(open_model(model, runtime="tensorrt"), device="cuda:0")

    @pytest.mark.parametrize(
        ("built_for", "words"),
        [
            ({"gpu_name": "NVIDIA B"}, "built for the GPU NVIDIA B, and here is NVIDIA A"),
            ({"tensorrt_version": "11.0"}, "built for TensorRT 11.0, and here is 10.1"),
            ({}, "no TensorrtExecutionProvider"),
            ({"gpu_name": None}, "no TensorrtExecutionProvider"),
        ],
    )
    def test_an_engine_of_another_machine(
        self, model: Path, built_for: dict[str, str | None], words: str
    ) -> None:
        put_engine(model, {**self.BUILT_FOR, **built_for})
        with pytest.raises(DeviceError, match=words):
            Predictor(open_model(model, runtime="tensorrt"), device="cuda:0")

    @pytest.mark.parametrize("precision", ["fp32", "fp16"])
    def test_what_onnxruntime_is_told(
        self, model: Path, monkeypatch: pytest.MonkeyPatch, precision: str
    ) -> None:
        asked: list[list[tuple[str, dict[str, Any]]]] = []
        open_session = onnxruntime.InferenceSession

        def record(path: str, options: Any, providers: Any) -> Any:
            if providers == ["CPUExecutionProvider"]:
                return open_session(path, options, providers=providers)
            asked.append(providers)
            raise RuntimeError("this machine has no GPU")

        monkeypatch.setattr(onnxruntime, "InferenceSession", record)
        known = ["TensorrtExecutionProvider", "CUDAExecutionProvider"]
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: known)
        put_engine(model, self.BUILT_FOR, precision)
        spec = open_model(model, runtime="tensorrt", precision=precision)
        with pytest.raises(ModelError, match="this machine has no GPU"):
            Predictor(spec, device="cuda:1")
        (((name, options), (fallback, _)),) = asked
        assert [name, fallback] == known
        assert options["device_id"] == 1 and options["trt_engine_cache_enable"]
        assert options["trt_fp16_enable"] is (precision == "fp16")
        assert {
            key: value.partition(":")[2] for key, value in options.items() if "shapes" in key
        } == {
            "trt_profile_min_shapes": "1x3x64x96",
            "trt_profile_opt_shapes": "4x3x64x96",
            "trt_profile_max_shapes": "8x3x64x96",
        }


def test_a_run_takes_no_results_of_another_runtime(exported: Path, tmp_path: Path) -> None:
    video = make_video(tmp_path / "cam.mp4", n_frames=9)

    def config(**options: Any) -> RunConfig:
        values = {
            "output_dir": tmp_path / "out",
            "metrics": False,
            "report": False,
            "inline": True,
        }
        return RunConfig(videos=[str(video)], models=[str(exported)], **values, **options)

    first = run(config(runtime="onnx", device="cpu"))
    assert first.ok, [str(failed) for failed in first.failures]
    assert run(config(runtime="onnx", device="cpu")).nothing_to_do
    other = run(config(device="cpu"))
    assert other.ok and other.made["table"]
    table = other.plan.recordings[0].videos[0].members[0].table
    assert table.reason == "made with another model, runtime"
