"""Models, exports and frames for the tests of inference."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from raypose.inference.network import offline_backbones
from raypose.inputs.models import open_model
from raypose.specs import ModelSpec
from tests.models import export_onnx, make_model


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of the tests' own, shared within a test session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path_factory.mktemp("raypose-cache")))
        yield


@pytest.fixture(scope="session")
def make_spec(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ModelSpec]:
    """Makes a model directory as `tests.models.make_model` does, and opens it."""

    def make(**arguments: Any) -> ModelSpec:
        return open_model(make_model(tmp_path_factory.mktemp("model") / "m", **arguments))

    return make


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A heatmap model with exports in both precisions; not to be changed."""
    directory = make_model(tmp_path_factory.mktemp("exported") / "a model", height=64, width=96)
    export_onnx(directory, "fp32")
    export_onnx(directory, "fp16")
    return directory


@pytest.fixture
def model(exported: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(exported, tmp_path / "a model"))


def put_engine(
    model: Path, metadata: Mapping[str, Any] | None = None, precision: str = "fp32"
) -> None:
    """Beside the model's ONNX export, something like what TensorRT's would be."""
    (onnx,) = (model / "exports_onnx").glob(f"*_{precision}.onnx")
    folder = model / "exports_trt" / onnx.stem
    folder.mkdir(parents=True)
    (folder / "TensorrtExecutionProvider_graph_1_0_sm90.engine").write_bytes(b"an engine")
    if metadata is not None:
        (folder / "trt_metadata.json").write_text(json.dumps(metadata))


def smooth_frames(n: int, height: int, width: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """(n, height, width, 3) RGB frames of slowly changing coloured clouds."""
    import cv2

    generator = np.random.default_rng(seed)
    coarse = generator.uniform(0, 255, (n + 4, 6, 7, 3))
    frames = [
        cv2.resize(coarse[i : i + 5].mean(0), (width, height), interpolation=cv2.INTER_CUBIC)
        for i in range(n)
    ]
    stretched = (np.stack(frames) - 127.5) * 2 + 127.5
    return stretched.clip(0, 255).astype(np.uint8)


def upstream_model(spec: ModelSpec) -> Any:
    """The model as Lightning Pose itself loads it, ready for `predict_step`."""
    import torch
    from lightning_pose.models import get_model_class

    content = torch.load(spec.checkpoint, map_location="cpu", weights_only=False)
    arguments = dict(content["hyper_parameters"])
    arguments["pretrained"] = False
    with offline_backbones():
        tracker = get_model_class(spec.model_type, semi_supervised=False)(**arguments)
    tracker.load_state_dict(content["state_dict"])
    return tracker.eval()


def upstream_images(frames: NDArray[np.uint8], height: int, width: int) -> Any:
    """Frames as Lightning Pose's own OpenCV reader prepares them."""
    import torch
    from lightning_pose.data.video.utils import normalize_frames

    return normalize_frames(torch.from_numpy(frames).permute(0, 3, 1, 2), [height, width])


def upstream_prediction(
    spec: ModelSpec, frames: NDArray[np.uint8], *, batch: dict[str, Any] | None = None
) -> NDArray[np.float32]:
    """(B, K, 3) of Lightning Pose's `predict_step` on these frames."""
    import torch
    from lightning_pose.data.bboxes import full_frame_bbox

    images = upstream_images(frames, spec.image_height, spec.image_width)
    height, width = frames.shape[1:3]
    inputs = batch or {
        "frames": images,
        "bbox": full_frame_bbox(height, width, len(frames), "cpu"),
        "is_multiview": False,
    }
    with torch.inference_mode():
        keypoints, confidence = upstream_model(spec).predict_step(inputs, 0)
    xy = keypoints.reshape(len(keypoints), -1, 2)
    return torch.cat((xy, confidence[..., None]), dim=-1).numpy()
