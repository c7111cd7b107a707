"""Which device and precision inference uses.

A GPU that torch can't use is an error and no silent fallback: a run on the CPU takes ten to a
hundred times as long, and no one would notice until the next morning. Nothing here starts CUDA
unless torch sees a GPU.
"""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Callable

from raypose.errors import DeviceError, UsageError

PRECISIONS = ("fp32", "bf16", "fp16")
PRECISIONS_OF_AUTO = ("fp32",)
"""What `auto` can mean, on any device: a plan can't know on which one a model will run."""


def resolve_device(request: str = "auto", *, find_gpus: Callable[[], int] | None = None) -> str:
    """The torch device that a request means: `cpu` or `cuda:N`.

    Args:
        request: `auto` (a GPU if there is one, else the CPU), `cpu`, `cuda` or `cuda:N`.
        find_gpus: counts the NVIDIA GPUs of this machine without torch; for tests.

    Raises:
        DeviceError: a GPU is asked for and there is none, or torch can't use it.
        UsageError: the request is none of these.
    """
    kind, _, number = request.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and not number.isdigit()):
        raise UsageError(f"the device {request!r} is unknown", hint="Use auto, cpu or cuda.")
    if kind == "cpu" or (kind == "auto" and _hidden_on_purpose()):
        return "cpu"
    n_gpus = (find_gpus or count_gpus)()
    if kind == "auto" and n_gpus == 0:
        return "cpu"  # without the seconds that importing torch takes
    import torch

    if torch.cuda.is_available():
        if int(number or 0) >= torch.cuda.device_count():
            raise DeviceError(f"there is no GPU {number}; torch sees {torch.cuda.device_count()}")
        return f"cuda:{number or 0}"
    if n_gpus > 0:
        raise _unusable(torch.version.cuda)
    raise DeviceError(
        "a GPU was requested, but NVIDIA's driver knows none on this machine",
        hint="Run with --device cpu, or on a machine with a GPU.",
    )


def resolve_precision(request: str = "auto", device: str = "cpu") -> str:
    """The precision that a request means on a device.

    `auto` is float32 everywhere. The sub-pixel step, a softmax at temperature 1000, magnifies what
    half precisions round away: confident keypoints of an EfficientNet-B0 move by up to 2.5 px in
    bfloat16, 0.7 in float16. Results must stay within 0.05 px.

    Raises:
        UsageError: the request is unknown.
    """
    if request == "auto":
        return PRECISIONS_OF_AUTO[0]
    if request not in PRECISIONS:
        hint = "Use auto, fp32, bf16 or fp16."
        raise UsageError(f"the precision {request!r} is unknown", hint=hint)
    return request


def count_gpus() -> int:
    """NVIDIA GPUs of this machine that the driver knows, whether or not torch can use them."""
    import pynvml

    n_gpus = 0
    with contextlib.suppress(pynvml.NVMLError):  # NVMLError_LibraryNotFound without a driver
        pynvml.nvmlInit()
        n_gpus = int(pynvml.nvmlDeviceGetCount())
        pynvml.nvmlShutdown()
    listed = ("/proc/driver/nvidia/gpus/*", "/dev/nvidia[0-9]*")
    return n_gpus or max(len(glob.glob(pattern)) for pattern in listed)


def visible_gpus() -> int:
    """NVIDIA GPUs of this machine that this process may use."""
    if _hidden_on_purpose():
        return 0
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    n_gpus = count_gpus()
    if shown is None or n_gpus == 0:
        return n_gpus
    n_shown = len(shown.split(","))
    return n_shown if "MIG" in shown else min(n_gpus, n_shown)  # MIG makes several of one GPU


def _hidden_on_purpose() -> bool:
    """Whether the user or a scheduler hides all GPUs from this process."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "unset").strip() in ("", "-1", "NoDevFiles")


def _unusable(cuda_version: str | None) -> DeviceError:
    if cuda_version is None:
        return DeviceError(
            "there is a GPU, but the installed torch was built without CUDA",
            hint="Install torch from https://pytorch.org with CUDA, or run with --device cpu.",
        )
    blocked = [node for node in glob.glob("/dev/nvidia[0-9]*") if not os.access(node, os.R_OK)]
    if blocked:
        return DeviceError(
            "there is a GPU, but this user has no permission to use it",
            path=blocked[0],
            hint="Ask for access to the device (often membership of the group video), or run "
            "with --device cpu.",
        )
    return DeviceError(
        f"there is a GPU, but torch (built for CUDA {cuda_version}) can't use it; most often "
        "the driver is too old",
        hint=f"Install an NVIDIA driver that supports CUDA {cuda_version}, or a torch built for "
        "an older CUDA, or run with --device cpu.",
    )
