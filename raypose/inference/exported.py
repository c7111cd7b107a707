"""Networks that Lightning Pose exported, run by ONNX Runtime.

The other way to a `Network`, beside `graph`: what `exports` packed is opened on the worker and
takes the place of torch's forward, on a CPU or with CUDA, or through TensorRT below ONNX Runtime,
as Lightning Pose itself runs it. The images, and all that comes after the heatmaps, are those of
the torch path; only the layers' arithmetic is another library's.

On a CPU this is tested. The CUDA and TensorRT providers have not been run on a GPU yet.
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypose.errors import DeviceError, ModelError
from raypose.inference.exports import METADATA, how_to_export, not_installed
from raypose.specs import Engine, ModelSpec
from raypose.storage import as_path

if TYPE_CHECKING:
    import torch

    from raypose.inference.artifact import Network
    from raypose.inference.network import Architecture

# What a batch on a GPU amounts to, in pixels of the network's input, where no engine says what it
# was built for. What it takes can't be measured, as it is for torch: the memory is not torch's.
_GPU_BATCH_PIXELS = 32 * 256 * 256
# An export of one frame at a time has a network with batch 1 inside; one of two shows it.
_PROBE = 2


def load_engine(spec: ModelSpec, packed: bytes, device: str = "cpu") -> Network:
    """Open an engine on a device.

    Args:
        spec: the model, with its engine.
        packed: what `exports.pack_engine` gave.
        device: `cpu`, or `cuda:0` and so on.

    Raises:
        ModelError: a package is missing, the files are damaged, or they are of a network that
            the model's config does not describe.
        DeviceError: the device can't be used, or the engine was built for another GPU or TensorRT.
    """
    import torch

    from raypose.inference.artifact import Network

    assert spec.engine is not None
    where = torch.device(device)
    with tempfile.TemporaryDirectory(prefix="raypose-engine-") as name:
        folder = Path(name)
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            archive.extractall(folder)
        built_for = _built_for(spec.engine, folder, where)
        engines = _states(folder.glob("*.engine"))
        # ONNX Runtime tells its engines by the name of the .onnx file, not by its folder.
        session = _open_session(spec.engine, folder, where, built_for)
        batch = built_for.get("opt_batch_size"), built_for.get("max_batch_size")
        forward = _Forward(session, spec, where, max_batch=batch[1])
        if _states(folder.glob("*.engine")) != engines:
            # Minutes on every worker, and what it made is not what the results are said to be of.
            raise DeviceError(
                "ONNX Runtime did not take the TensorRT engine, and built another",
                path=spec.engine.path,
                hint=f"Make it again on this machine: {how_to_export(spec)}.",
            )
    pixels = spec.image_height * spec.image_width * forward.architecture.n_views
    suits = batch[0] or max(1, min(64, _GPU_BATCH_PIXELS // pixels))
    return Network(
        forward.architecture,
        forward,
        where,
        forward.input_dtype,
        batch_size=suits if where.type == "cuda" else None,
    )


def _built_for(engine: Engine, folder: Path, device: torch.device) -> dict[str, Any]:
    """What a TensorRT engine was built for, which must be what is here; empty for ONNX."""
    if engine.runtime != "tensorrt":
        return {}
    import torch

    if device.type != "cuda":
        raise DeviceError(
            "TensorRT runs on NVIDIA GPUs alone, and this worker has none",
            path=engine.path,
            hint="Use --runtime onnx, or a machine with a GPU.",
        )
    try:
        import tensorrt  # its libraries, which ONNX Runtime looks for, are loaded by this
    except ImportError:
        raise not_installed("tensorrt", "tensorrt") from None
    try:
        metadata: dict[str, Any] = json.loads((folder / METADATA).read_text())
    except ValueError as error:
        raise ModelError(
            f"the TensorRT export's {METADATA} can't be read ({error})",
            path=engine.path,
            hint="Make the export again with litpose export.",
        ) from error
    _check_built_for(
        engine,
        metadata,
        {
            "gpu_name": torch.cuda.get_device_name(device),
            "tensorrt_version": tensorrt.__version__,
        },
    )
    return metadata


def _check_built_for(engine: Engine, metadata: Mapping[str, Any], here: Mapping[str, str]) -> None:
    """An engine runs on the kind of GPU and with the TensorRT that it was built with.

    Raises:
        DeviceError: this is another.
    """
    for key, what in (("gpu_name", "the GPU"), ("tensorrt_version", "TensorRT")):
        built = metadata.get(key)
        if built is not None and built != here[key]:
            raise DeviceError(
                f"the TensorRT engine was built for {what} {built}, and here is {here[key]}",
                path=engine.path,
                hint="Export it again on this machine (litpose export … --runtime tensorrt), or "
                "use --runtime onnx.",
            )


def _states(files: Iterable[Path]) -> dict[str, tuple[int, int]]:
    return {f.name: (f.stat().st_size, f.stat().st_mtime_ns) for f in files}


def _open_session(
    engine: Engine, folder: Path, device: torch.device, built_for: Mapping[str, Any]
) -> Any:
    """ONNX Runtime's session of the engine, with the provider that was asked for.

    Raises:
        ModelError: it can't be read.
        DeviceError: ONNX Runtime can't use the GPU; it would go on without, on the CPU.
    """
    try:
        import onnxruntime
    except ImportError:
        raise not_installed("onnxruntime", engine.runtime) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is an error comes as an exception
    # Batches go side by side, each on one core (see `lanes`).
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    onnx = folder / as_path(engine.path).name
    providers = _providers(engine, device, folder)
    wanted = providers[0][0]
    there = wanted in onnxruntime.get_available_providers()
    try:
        if there and wanted == "TensorrtExecutionProvider":
            shape = _image_shape(onnxruntime, onnx, options)
            providers[0][1].update(_profile(built_for, *shape))
        session = (
            onnxruntime.InferenceSession(str(onnx), options, providers=providers)
            if there
            else None
        )
    except Exception as error:  # ONNX Runtime's errors have no common class but this
        raise _unusable(engine, error) from error
    if session is None or wanted not in session.get_providers():
        raise DeviceError(
            f"ONNX Runtime can't use the GPU: it has no {wanted}",
            hint="Install onnxruntime-gpu in the place of onnxruntime"
            f"{' (raypose[tensorrt])' if engine.runtime == 'tensorrt' else ''}, built for the "
            "CUDA of the torch that is installed, or run with --device cpu.",
        )
    return session


def _providers(
    engine: Engine, device: torch.device, folder: Path
) -> list[tuple[str, dict[str, Any]]]:
    """ONNX Runtime's providers, the one that must be used first."""
    if device.type != "cuda":
        return [("CPUExecutionProvider", {})]
    gpu = {"device_id": device.index or 0}
    # The default doubles the memory it holds, which networks of an ensemble share.
    cuda = ("CUDAExecutionProvider", {**gpu, "arena_extend_strategy": "kSameAsRequested"})
    if engine.runtime == "onnx":
        return [cuda, ("CPUExecutionProvider", {})]
    tensorrt = {
        **gpu,
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(folder),
        "trt_fp16_enable": engine.precision == "fp16",
    }
    return [("TensorrtExecutionProvider", tensorrt), cuda]


def _image_shape(onnxruntime: Any, onnx: Path, options: Any) -> tuple[str, Sequence[int]]:
    probe = onnxruntime.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
    entry = probe.get_inputs()[0]
    return entry.name, entry.shape[1:]


def _profile(built_for: Mapping[str, Any], name: str, shape: Sequence[int]) -> dict[str, str]:
    """The range of batches that the engine was built for; with another, it is built anew."""
    tail = "x".join(str(side) for side in shape)
    most = built_for.get("max_batch_size") or 8
    batches = {"min": 1, "opt": built_for.get("opt_batch_size") or most, "max": most}
    return {f"trt_profile_{k}_shapes": f"{name}:{batch}x{tail}" for k, batch in batches.items()}


class _Forward:
    """Images → heatmaps, or coordinates, through a session; see `graph.Network.forward`.

    Args:
        session: ONNX Runtime's.
        spec: the model.
        device: where its images are.
        max_batch: frames that the engine takes at a time; None for any number.

    Attributes:
        architecture: of the network, as far as the config and the shapes tell.
        input_dtype: of the images it takes.

    Raises:
        ModelError: the session is not of the network that the config describes.
    """

    def __init__(
        self, session: Any, spec: ModelSpec, device: torch.device, *, max_batch: int | None
    ) -> None:
        assert spec.engine is not None
        self._session = session
        self._engine = spec.engine
        self._device = device
        self._max_batch = max_batch
        self._input, self._output = session.get_inputs()[0], session.get_outputs()[0]
        self.input_dtype = _torch_type(self._input.type)
        self._output_dtype = _torch_type(self._output.type)
        n_views = len(spec.view_names) if spec.takes_views else 1
        images = (
            *((n_views,) if spec.takes_views else ()),
            3,
            spec.image_height,
            spec.image_width,
        )
        if tuple(self._input.shape[1:]) != images:
            raise _misfit(spec, f"takes images of {_times(self._input.shape[1:])}", images)
        self._tail = self._probe(images)
        self.architecture = _architecture(spec, n_views, self._tail)
        self._shape = (-1, 2) if self.architecture.gives_coordinates else self._tail

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        import torch

        most = self._max_batch or len(images)
        if len(images) > most:
            starts = range(0, len(images), most)
            return torch.cat([self(images[start : start + most]) for start in starts])
        images = images.contiguous()
        outputs = torch.empty(
            (len(images), *self._tail), dtype=self._output_dtype, device=self._device
        )
        # Both stay where they are: the session reads and writes torch's memory.
        binding = self._session.io_binding()
        for bind, name, tensor in (
            (binding.bind_input, self._input.name, images),
            (binding.bind_output, self._output.name, outputs),
        ):
            bind(
                name,
                self._device.type,
                self._device.index or 0,
                _numpy_type(tensor.dtype),
                tuple(tensor.shape),
                tensor.data_ptr(),
            )
        if self._device.type == "cuda":
            # The session has a stream of its own, which does not wait for torch's.
            torch.cuda.current_stream(self._device).synchronize()
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # ONNX Runtime's errors have no common class but this
            if self._device.type == "cuda" and "allocate memory" in str(error):
                raise torch.cuda.OutOfMemoryError(str(error)) from error
            raise _unusable(self._engine, error) from error
        return outputs.to(torch.float32).view(len(outputs), *self._shape)

    def _probe(self, images: Sequence[int]) -> tuple[int, ...]:
        """The shape of what the network gives for one frame, of what it does give."""
        import numpy as np

        batch = min(_PROBE, self._max_batch or _PROBE)
        zeros = np.zeros((batch, *images), _numpy_type(self.input_dtype))
        try:
            (outputs,) = self._session.run([self._output.name], {self._input.name: zeros})
        except Exception as error:  # as above
            raise _unusable(self._engine, error) from error
        return tuple(outputs.shape[1:])


def _architecture(spec: ModelSpec, n_views: int, tail: Sequence[int]) -> Architecture:
    """The architecture, from the config and the shape of what the network gives for a frame.

    Raises:
        ModelError: the two contradict each other.
    """
    from raypose.inference.network import Architecture

    n_keypoints = len(spec.keypoint_names)
    size = (spec.image_height, spec.image_width)
    smaller = 0
    if spec.model_type == "regression":
        if tuple(tail) != (2 * n_keypoints,):
            raise _misfit(spec, f"gives {_times(tail)} coordinates", (2 * n_keypoints,))
    else:
        if len(tail) == 3:
            smaller = max(0, (size[0] // max(1, tail[1])).bit_length() - 1)
        wanted = (n_views * n_keypoints, *(side >> smaller for side in size))
        if tuple(tail) != wanted:
            raise _misfit(spec, f"gives heatmaps of {_times(tail)}", wanted)
    return Architecture(
        model_type=spec.model_type,
        backbone=spec.backbone,
        n_keypoints=n_keypoints,
        n_views=n_views,
        downsample_factor=smaller,
        image_height=size[0],
        image_width=size[1],
    )


def _misfit(spec: ModelSpec, what: str, wanted: Sequence[int]) -> ModelError:
    assert spec.engine is not None
    return ModelError(
        f"the exported network {what}, and by the config it would be {_times(wanted)}",
        path=spec.engine.path,
        hint=f"Make the export again: {how_to_export(spec)}.",
    )


def _times(shape: Sequence[object]) -> str:
    return "×".join(str(side) for side in shape)


def _unusable(engine: Engine, error: Exception) -> ModelError:
    return ModelError(
        f"ONNX Runtime can't run the export ({error})",
        path=engine.path,
        hint="Make it again with litpose export, or run with --runtime torch.",
    )


def _torch_type(name: str) -> torch.dtype:
    import torch

    return {"tensor(float16)": torch.float16}.get(name, torch.float32)


def _numpy_type(dtype: torch.dtype) -> Any:
    import numpy as np
    import torch

    return np.float16 if dtype == torch.float16 else np.float32
