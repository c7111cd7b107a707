"""Models that Lightning Pose exported, run by ONNX Runtime.

The worker opens what `exports` packed, which takes the place of torch's forward, on a CPU or with
CUDA, or through TensorRT below ONNX Runtime, as Lightning Pose itself runs it. The images, and
everything after the heatmaps, are those of the torch path.

On a CPU this is tested. The CUDA and TensorRT providers have not been run on a GPU yet.
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from raypose.errors import DeviceError, ModelError
from raypose.inference.artifact import Network, NetworkArtifact
from raypose.inference.exports import METADATA, how_to_export, not_installed
from raypose.inference.network import Architecture
from raypose.specs import ExportedModel, ModelSpec
from raypose.storage import as_path

# A batch on a GPU, in pixels of the network's input, where the export does not say what it was
# built for. It can't be measured as for torch: the memory is not torch's.
_GPU_BATCH_PIXELS = 32 * 256 * 256
# A batch of two shows an export whose network has batch 1 inside.
_PROBE = 2


def load_exported(spec: ModelSpec, packed: NetworkArtifact, device: str = "cpu") -> Network:
    """Open what `exports.pack_export` packed on a device."""
    exported = spec.exported
    assert exported is not None
    where = torch.device(device)
    with tempfile.TemporaryDirectory(prefix="raypose-export-") as name:
        folder = Path(name)
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            archive.extractall(folder)
        built_for = {}
        if exported.runtime == "tensorrt":
            built_for = _what_it_was_built_for(exported, folder, where)
        engines = _engine_states(folder)
        # ONNX Runtime tells its engines by the name of the .onnx file, not by its folder.
        session = _open_session(exported, folder, where, built_for)
        forward = SessionForward(session, spec, where, built_for.get("max_batch_size"))
        if _engine_states(folder) != engines:
            # It takes minutes on every worker, and results would be recorded as the old engine's.
            raise DeviceError(
                "ONNX Runtime did not use the TensorRT engine, and built another",
                path=exported.path,
                hint=f"Export it again on this machine: {how_to_export(spec)}.",
            )
    architecture, batch_size = forward.architecture, None
    if where.type == "cuda":
        pixels = spec.image_height * spec.image_width * architecture.n_views
        suits = max(1, min(64, _GPU_BATCH_PIXELS // pixels))
        batch_size = built_for.get("opt_batch_size") or suits
    return Network(architecture, forward, where, forward.dtype, batch_size=batch_size)


def _what_it_was_built_for(
    exported: ExportedModel, folder: Path, device: torch.device
) -> dict[str, Any]:
    """The metadata of a TensorRT engine, which must have been built for this GPU and TensorRT."""
    if device.type != "cuda":
        raise DeviceError(
            "TensorRT runs on NVIDIA GPUs alone, and this worker has none",
            path=exported.path,
            hint="Use --runtime onnx, or a machine with a GPU.",
        )
    try:
        import tensorrt  # this loads its libraries, which ONNX Runtime looks for
    except ImportError:
        raise not_installed("tensorrt", "tensorrt") from None
    try:
        metadata: dict[str, Any] = json.loads((folder / METADATA).read_text())
    except ValueError as error:
        raise ModelError(
            f"the TensorRT export's {METADATA} can't be read ({error})",
            path=exported.path,
            hint="Export it again with litpose export.",
        ) from error
    for key, what, here in (
        ("gpu_name", "the GPU", torch.cuda.get_device_name(device)),
        ("tensorrt_version", "TensorRT", tensorrt.__version__),
    ):
        if metadata.get(key) not in (None, here):
            raise DeviceError(
                f"the TensorRT engine was built for {what} {metadata[key]}, and here is {here}",
                path=exported.path,
                hint="Export it again on this machine (litpose export … --runtime tensorrt), or "
                "use --runtime onnx.",
            )
    return metadata


def _engine_states(folder: Path) -> dict[str, tuple[int, int]]:
    files = folder.glob("*.engine")
    return {f.name: (f.stat().st_size, f.stat().st_mtime_ns) for f in files}


def _open_session(
    exported: ExportedModel, folder: Path, device: torch.device, built_for: Mapping[str, Any]
) -> Any:
    """An ONNX Runtime session with the provider that was asked for, or an error.

    By itself, ONNX Runtime would go on on the CPU if it can't use the GPU.
    """
    try:
        import onnxruntime
    except ImportError:
        raise not_installed("onnxruntime", exported.runtime) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors come as exceptions
    # On a CPU, batches run side by side, each on one core (`batch_executor`).
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    onnx = str(folder / as_path(exported.path).name)
    providers = _providers(exported, device, folder)
    wanted, settings = providers[0]
    session = None
    try:
        if wanted in onnxruntime.get_available_providers():
            if wanted == "TensorrtExecutionProvider":
                cpu = ["CPUExecutionProvider"]
                probe = onnxruntime.InferenceSession(onnx, options, providers=cpu)
                settings.update(_profile(built_for, probe.get_inputs()[0]))
            session = onnxruntime.InferenceSession(onnx, options, providers=providers)
    except Exception as error:  # ONNX Runtime's errors have no common class but this
        raise _unusable(exported, error) from error
    if session is None or wanted not in session.get_providers():
        raise DeviceError(
            f"ONNX Runtime can't use the GPU: it has no {wanted}",
            hint="Install onnxruntime-gpu instead of onnxruntime"
            f"{' (uv sync --extra tensorrt)' if exported.runtime == 'tensorrt' else ''}, built "
            "for the CUDA of the installed torch, or run with --device cpu.",
        )
    return session


def _providers(
    exported: ExportedModel, device: torch.device, folder: Path
) -> list[tuple[str, dict[str, Any]]]:
    """ONNX Runtime's providers, the one that must be used first."""
    if device.type != "cuda":
        return [("CPUExecutionProvider", {})]
    gpu = {"device_id": device.index or 0}
    # The default doubles the memory it holds, which networks of an ensemble share.
    cuda = ("CUDAExecutionProvider", {**gpu, "arena_extend_strategy": "kSameAsRequested"})
    if exported.runtime == "onnx":
        return [cuda, ("CPUExecutionProvider", {})]
    tensorrt = {
        **gpu,
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(folder),
        "trt_fp16_enable": exported.precision == "fp16",
    }
    return [("TensorrtExecutionProvider", tensorrt), cuda]


def _profile(built_for: Mapping[str, Any], images: Any) -> dict[str, str]:
    """The range of batches that the engine was built for; with another, it would be rebuilt."""
    size = "x".join(str(side) for side in images.shape[1:])
    most = built_for.get("max_batch_size") or 8
    batches = {"min": 1, "opt": built_for.get("opt_batch_size") or most, "max": most}
    return {f"trt_profile_{k}_shapes": f"{images.name}:{n}x{size}" for k, n in batches.items()}


class SessionForward:
    """Images → heatmaps, or coordinates, through a session; see `artifact.Network.forward`.

    It takes images of `dtype` on the device, up to `max_batch` frames at a time, or any number.
    """

    def __init__(
        self, session: Any, spec: ModelSpec, device: torch.device, max_batch: int | None = None
    ) -> None:
        assert spec.exported is not None
        self._session = session
        self._exported = spec.exported
        self._device = device
        self._max_batch = max_batch
        (self._input, *_), (self._output, *_) = session.get_inputs(), session.get_outputs()
        self.dtype = _torch_type(self._input.type)
        views = (len(spec.view_names),) if spec.takes_views else ()
        images = (*views, 3, spec.image_height, spec.image_width)
        if tuple(self._input.shape[1:]) != images:
            raise _misfit(spec, f"takes images of {_times(self._input.shape[1:])}", images)
        batch = min(_PROBE, max_batch or _PROBE)
        zeros = np.zeros((batch, *images), _numpy_type(self.dtype))
        try:
            (outputs,) = session.run([self._output.name], {self._input.name: zeros})
        except Exception as error:  # ONNX Runtime's errors have no common class but this
            raise _unusable(self._exported, error) from error
        self._shape = tuple(outputs.shape[1:])
        self.architecture = _architecture(spec, *(views or (1,)), self._shape)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Heatmaps (B, V·K, h, w) or coordinates (B, K, 2), in float32."""
        most = self._max_batch or len(images)
        if len(images) > most:
            return torch.cat([self(part) for part in torch.split(images, most)])
        images = images.contiguous()
        shape, dtype = (len(images), *self._shape), _torch_type(self._output.type)
        outputs = torch.empty(shape, dtype=dtype, device=self._device)
        # Both stay where they are: the session reads and writes torch's memory.
        binding = self._session.io_binding()
        where = self._device.type, self._device.index or 0
        for bind, name, tensor in (
            (binding.bind_input, self._input.name, images),
            (binding.bind_output, self._output.name, outputs),
        ):
            kind = _numpy_type(tensor.dtype)
            bind(name, *where, kind, tuple(tensor.shape), tensor.data_ptr())
        if self._device.type == "cuda":
            # The session has a stream of its own, which does not wait for torch's.
            torch.cuda.current_stream(self._device).synchronize()
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # ONNX Runtime's errors have no common class but this
            if self._device.type == "cuda" and "allocate memory" in str(error):
                raise torch.cuda.OutOfMemoryError(str(error)) from error
            raise _unusable(self._exported, error) from error
        of_frame = (-1, 2) if self.architecture.gives_coordinates else self._shape
        return outputs.to(torch.float32).view(len(outputs), *of_frame)


def _architecture(spec: ModelSpec, n_views: int, shape: Sequence[int]) -> Architecture:
    """The architecture, from the config and the shape of a frame's output, which must agree."""
    n_keypoints = len(spec.keypoint_names)
    size = (spec.image_height, spec.image_width)
    downsample_factor = 0
    if spec.model_type == "regression":
        if tuple(shape) != (2 * n_keypoints,):
            raise _misfit(spec, f"gives {_times(shape)} coordinates", (2 * n_keypoints,))
    else:
        if len(shape) == 3:
            downsample_factor = max(0, (size[0] // max(1, shape[1])).bit_length() - 1)
        wanted = (n_views * n_keypoints, *(side >> downsample_factor for side in size))
        if tuple(shape) != wanted:
            raise _misfit(spec, f"gives heatmaps of {_times(shape)}", wanted)
    return Architecture(
        spec.model_type, spec.backbone, n_keypoints, n_views, downsample_factor, *size
    )


def _misfit(spec: ModelSpec, what: str, wanted: Sequence[int]) -> ModelError:
    assert spec.exported is not None
    return ModelError(
        f"the exported network {what}, and by the config it would be {_times(wanted)}",
        path=spec.exported.path,
        hint=f"Export it again: {how_to_export(spec)}.",
    )


def _times(shape: Sequence[object]) -> str:
    return "×".join(str(side) for side in shape)


def _unusable(exported: ExportedModel, error: Exception) -> ModelError:
    return ModelError(
        f"ONNX Runtime can't run the export ({error})",
        path=exported.path,
        hint="Export it again with litpose export, or run with --runtime torch.",
    )


def _torch_type(name: str) -> torch.dtype:
    return torch.float16 if name == "tensor(float16)" else torch.float32


def _numpy_type(dtype: torch.dtype) -> Any:
    return np.float16 if dtype == torch.float16 else np.float32
