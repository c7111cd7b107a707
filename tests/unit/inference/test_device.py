"""Which device and precision a request stands for, on machines with and without a GPU."""

from __future__ import annotations

import glob
import subprocess
import sys

import pytest

from raypose.errors import DeviceError, UsageError
from raypose.inference.device import (
    count_gpus,
    resolve_device,
    resolve_precision,
    visible_gpus,
)


@pytest.fixture(autouse=True)
def _visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def no_gpu() -> int:
    return 0


def two_gpus() -> int:
    return 2


def torch_without_gpu(monkeypatch: pytest.MonkeyPatch, cuda: str | None) -> None:
    """What torch says on a machine whose GPU it can't use."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)


def test_a_machine_without_the_driver_has_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    def no_library() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", no_library)
    monkeypatch.setattr(glob, "glob", lambda pattern: [])
    assert count_gpus() == visible_gpus() == 0


def test_gpus_are_counted_by_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    for name, answer in (("nvmlInit", None), ("nvmlDeviceGetCount", 3), ("nvmlShutdown", None)):
        monkeypatch.setattr(pynvml, name, lambda answer=answer: answer)
    assert count_gpus() == visible_gpus() == 3
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert visible_gpus() == 2


def test_counting_gpus_does_not_import_torch() -> None:
    code = (
        "import sys; from raypose.inference.device import visible_gpus; visible_gpus(); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_cpu_when_it_is_asked_for_whatever_there_is() -> None:
    assert resolve_device("cpu", find_gpus=two_gpus) == "cpu"


def test_the_cpu_by_itself_only_where_there_is_no_gpu() -> None:
    assert resolve_device("auto", find_gpus=no_gpu) == "cpu"


def test_gpus_that_a_scheduler_hides_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert resolve_device("auto", find_gpus=two_gpus) == "cpu"


@pytest.mark.parametrize(
    ("cuda", "words"), [("13.0", "driver is too old"), (None, "built without CUDA")]
)
def test_a_gpu_that_torch_can_not_use_is_an_error_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, cuda: str | None, words: str
) -> None:
    torch_without_gpu(monkeypatch, cuda)
    with pytest.raises(DeviceError, match=words) as caught:
        resolve_device("auto", find_gpus=two_gpus)
    assert "Install" in caught.value.hint and "--device cpu" in caught.value.hint


def test_a_gpu_that_is_asked_for_and_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    torch_without_gpu(monkeypatch, "13.0")
    with pytest.raises(DeviceError, match="knows none on this machine"):
        resolve_device("cuda", find_gpus=no_gpu)


@pytest.mark.parametrize("request_", ["gpu", "cuda:x", "cuda:-1", ""])
def test_an_unknown_device(request_: str) -> None:
    with pytest.raises(UsageError, match="unknown"):
        resolve_device(request_, find_gpus=no_gpu)


def test_precision_is_float32_unless_another_is_named() -> None:
    assert resolve_precision("auto", "cuda:0") == resolve_precision("auto", "cpu") == "fp32"
    assert resolve_precision("bf16", "cuda:0") == "bf16"
    with pytest.raises(UsageError, match="int8"):
        resolve_precision("int8", "cpu")


@pytest.mark.gpu
def test_a_gpu_that_is_there_is_used() -> None:
    assert count_gpus() > 0
    assert resolve_device("auto") == "cuda:0"
