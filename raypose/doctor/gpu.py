"""Checks of NVIDIA GPUs, of torch on them, and of their video engines.

Without a GPU these say so, and that networks run on the CPU. With one they have not been run: no
GPU was at hand. What they do with the answers of driver and torch is tested with made-up answers.
"""

from __future__ import annotations

import glob
import tempfile
from pathlib import Path
from typing import Any

from raypose.doctor.clip import write_clip
from raypose.doctor.findings import Asked, Finding
from raypose.errors import DeviceError, OutputError
from raypose.inference.device import count_gpus, resolve_device, visible_gpus

_PCI = "/sys/bus/pci/devices/*"
_NVIDIA, _DISPLAY = "0x10de", "0x03"
_BUSY = 0.5
_NOT_TRIED = "not tried: there is no GPU to try it on"


def check_gpus(asked: Asked) -> Finding:
    """The GPUs that the driver knows, and their free memory."""
    n_gpus, n_visible = count_gpus(), visible_gpus()
    if n_gpus == 0 and _cards_without_driver():
        found = "this machine has an NVIDIA GPU that this process can't see"
        advice = (
            "Install NVIDIA's driver; in a container, start it with the GPU (docker --gpus all "
            "and NVIDIA's container toolkit). Until then predictions run on the CPU."
        )
        return Finding("warning", found, advice, {"gpus": []})
    if n_gpus == 0:
        return Finding("ok", "no NVIDIA GPU: predictions run on the CPU", facts={"gpus": []})
    if n_visible == 0:
        found = f"{_gpus(n_gpus)} hidden by CUDA_VISIBLE_DEVICES: predictions run on the CPU"
        advice = "Unset the variable to use them."
        return Finding("warning", found, advice, {"gpus": [], "hidden": n_gpus})
    import pynvml

    return describe_gpus(pynvml, n_visible)


def describe_gpus(nvml: Any, n_visible: int) -> Finding:
    """What NVIDIA's library says of the GPUs; `nvml` is `pynvml`."""
    try:
        nvml.nvmlInit()
        driver = _text(nvml.nvmlSystemGetDriverVersion())
        cuda = cuda_version(nvml.nvmlSystemGetCudaDriverVersion())
        gpus: list[dict[str, Any]] = []
        for i in range(nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(i)
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            name = _text(nvml.nvmlDeviceGetName(handle))
            gpus.append({"name": name, "bytes": int(memory.total), "free": int(memory.free)})
    except nvml.NVMLError as error:
        advice = "Check the driver with nvidia-smi; restart the machine after an update of it."
        return Finding("problem", f"the driver does not answer ({error})", advice)
    facts = {"driver": driver, "driver_cuda": cuda, "gpus": gpus, "visible": n_visible}
    names = {gpu["name"]: [g["name"] for g in gpus].count(gpu["name"]) for gpu in gpus}
    listed = ", ".join(f"{n} × {name}" for name, n in names.items())
    found = f"{listed}; driver {driver}, for CUDA up to {cuda}"
    if n_visible < len(gpus):
        found += f"; {n_visible} of them visible to this process"
    busy = [
        f"GPU {i} has {gpu['free'] / 1e9:.1f} of {gpu['bytes'] / 1e9:.1f} GB free"
        for i, gpu in enumerate(gpus)
        if gpu["free"] < _BUSY * gpu["bytes"]
    ]
    if busy:
        advice = "Other programs use it (nvidia-smi lists them); close them, or batches are small."
        return Finding("warning", f"{found}; {', '.join(busy)}", advice, facts)
    return Finding("ok", found, facts=facts)


def check_torch(asked: Asked) -> Finding:
    """Whether torch computes, on each visible GPU or on the CPU."""
    import torch

    version, built_for = torch.__version__, torch.version.cuda
    facts = {"torch": version, "cuda": built_for}
    if visible_gpus() == 0 or asked.device == "cpu":
        total = float((torch.ones(64, 64) @ torch.ones(64, 64)).sum())
        assert total == 64**3, f"torch computes {total} for 64³"
        return Finding("ok", f"torch {version} computes on the CPU", facts=facts)
    try:
        resolve_device("cuda")
    except DeviceError as error:
        return Finding("problem", f"torch {version}: {error.message}", error.hint, facts)
    return compute_on_gpus(torch, facts)


def compute_on_gpus(torch: Any, facts: dict[str, Any]) -> Finding:
    """Multiply on each GPU that torch sees."""
    n_gpus = torch.cuda.device_count()
    for i in range(n_gpus):
        try:
            ones = torch.ones(64, 64, device=f"cuda:{i}")
            total = float((ones @ ones).sum())
        except RuntimeError as error:
            capability = ".".join(map(str, torch.cuda.get_device_capability(i)))
            reason = str(error).splitlines()[0]
            advice = (
                "Install a torch that supports this GPU (https://pytorch.org lists which), or "
                "run with --device cpu."
            )
            found = f"GPU {i} (compute capability {capability}) fails: {reason}"
            return Finding("problem", found, advice, facts)
        if total != 64**3:
            advice = "Do not use this GPU: the numbers would be wrong."
            return Finding("problem", f"GPU {i} computes {total} for 64³", advice, facts)
    found = f"torch {facts['torch']}, built for CUDA {facts['cuda']}, computes on {_gpus(n_gpus)}"
    return Finding("ok", found, facts={**facts, "gpus": n_gpus})


def check_nvdec(asked: Asked) -> Finding:
    """Whether the GPU decodes a clip as the CPU does."""
    if visible_gpus() == 0:
        return Finding("ok", _NOT_TRIED)
    import torch

    from raypose.inference.nvdec import unsupported_reason
    from raypose.video.index import index_video

    with tempfile.TemporaryDirectory(prefix="raypose-doctor-") as folder:
        index = index_video(write_clip(Path(folder, "clip.mp4")))
        reason = unsupported_reason(index, torch.device("cuda:0"))
    if reason:
        advice = "Leave --decoder nvdec out: the CPU decodes, which is the default."
        return Finding("warning", f"can't be used: {reason}", advice)
    return Finding("ok", "decodes a clip as the CPU does: --decoder nvdec can be used")


def check_nvenc(asked: Asked) -> Finding:
    """Whether the GPU encodes a labelled video."""
    if visible_gpus() == 0:
        return Finding("ok", _NOT_TRIED)
    with tempfile.TemporaryDirectory(prefix="raypose-doctor-") as folder:
        return encode_on_gpu(Path(folder))


def encode_on_gpu(folder: Path) -> Finding:
    """Encode a clip with NVENC; files go into `folder`."""
    from raypose.video.decoding import iter_frames
    from raypose.video.index import index_video
    from raypose.video.pixels import FrameConverter
    from raypose.video.writer import NVENC_LABELED, VideoWriter, count_shown

    index = index_video(write_clip(folder / "clip.mp4"))
    convert = FrameConverter(index)
    encoded = folder / "encoded.mp4"
    try:
        with VideoWriter(encoded, index, NVENC_LABELED) as writer:
            for n, frame, _ in iter_frames(index):
                writer.write(convert(frame), int(index.pts[n]))
        shown = count_shown(encoded)
    except OutputError as error:
        return Finding("warning", error.message, error.hint)
    if shown != index.n_frames:
        found = f"the GPU's encoder wrote {shown} of {index.n_frames} frames"
        return Finding("warning", found, "Leave --encoder nvenc out.")
    return Finding("ok", "encodes a clip: --encoder nvenc can be used")


def cuda_version(number: int) -> str:
    """CUDA's version as people write it: 12040 is 12.4."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _cards_without_driver() -> bool:
    """Whether the machine has a display controller of NVIDIA, whoever may use it."""
    for device in glob.glob(_PCI):
        try:
            vendor = Path(device, "vendor").read_text().strip()
            kind = Path(device, "class").read_text().strip()
        except OSError:
            continue
        if vendor == _NVIDIA and kind.startswith(_DISPLAY):
            return True
    return False


def _gpus(n: int) -> str:
    return "1 GPU" if n == 1 else f"{n} GPUs"


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
