"""What the doctor says of GPUs; where there is none, of made-up answers of driver and torch."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raypose.doctor import gpu
from raypose.doctor.findings import Asked
from raypose.doctor.gpu import compute_on_gpus, cuda_version, describe_gpus, encode_on_gpu

ASKED = Asked()


class FakeNvml:
    """The part of `pynvml` that is asked, with GPUs of a name, size and free memory in GB."""

    class NVMLError(Exception):
        pass

    def __init__(self, *gpus: tuple[str, float, float], fails: bool = False) -> None:
        self._gpus, self._fails = gpus, fails

    def nvmlInit(self) -> None:
        if self._fails:
            raise self.NVMLError("Driver/library version mismatch")

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.65.06"

    def nvmlSystemGetCudaDriverVersion(self) -> int:
        return 13000

    def nvmlDeviceGetCount(self) -> int:
        return len(self._gpus)

    def nvmlDeviceGetHandleByIndex(self, i: int) -> int:
        return i

    def nvmlDeviceGetName(self, i: int) -> bytes:
        return self._gpus[i][0].encode()

    def nvmlDeviceGetMemoryInfo(self, i: int) -> Any:
        _, total, free = self._gpus[i]
        return SimpleNamespace(total=int(total * 1e9), free=int(free * 1e9))


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("count_gpus", "visible_gpus"):
        monkeypatch.setattr(gpu, name, lambda: 0)


@pytest.mark.usefixtures("no_gpu")
class TestWithoutGpu:
    def test_predictions_run_on_the_cpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gpu, "_PCI", "/nowhere/*")
        found = gpu.check_gpus(ASKED)
        assert (found.status, found.advice) == ("ok", "")
        assert found.found == "no NVIDIA GPU: predictions run on the CPU"

    def test_a_card_without_a_driver(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for name, vendor, kind in (("0", "0x8086", "0x030000"), ("1", "0x10de", "0x030200")):
            (tmp_path / name).mkdir()
            (tmp_path / name / "vendor").write_text(f"{vendor}\n")
            (tmp_path / name / "class").write_text(f"{kind}\n")
        monkeypatch.setattr(gpu, "_PCI", f"{tmp_path}/*")
        found = gpu.check_gpus(ASKED)
        assert found.status == "warning"
        assert "--gpus all" in found.advice
        (tmp_path / "1" / "class").write_text("0x040300\n")  # the sound of a graphics card
        assert gpu.check_gpus(ASKED).status == "ok"

    def test_torch_computes(self) -> None:
        found = gpu.check_torch(ASKED)
        assert (found.status, "computes on the CPU" in found.found) == ("ok", True)

    def test_video_engines_are_not_tried(self) -> None:
        for check in (gpu.check_nvdec, gpu.check_nvenc):
            assert check(ASKED).found == "not tried: there is no GPU to try it on"


def test_gpus_that_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "count_gpus", lambda: 2)
    monkeypatch.setattr(gpu, "visible_gpus", lambda: 0)
    found = gpu.check_gpus(ASKED)
    assert found.status == "warning"
    assert found.found.startswith("2 GPUs hidden by CUDA_VISIBLE_DEVICES")


def test_gpus_and_driver() -> None:
    found = describe_gpus(FakeNvml(("NVIDIA L4", 24, 23), ("NVIDIA L4", 24, 23)), 1)
    assert found.status == "ok"
    assert found.found == (
        "2 × NVIDIA L4; driver 580.65.06, for CUDA up to 13.0; 1 of them visible to this process"
    )
    assert found.facts["gpus"][0] == {"name": "NVIDIA L4", "bytes": 24 * 10**9, "free": 23 * 10**9}


def test_a_gpu_that_others_use() -> None:
    found = describe_gpus(FakeNvml(("NVIDIA L4", 24, 23), ("NVIDIA T4", 16, 2)), 2)
    assert found.status == "warning"
    assert found.found.endswith("GPU 1 has 2.0 of 16.0 GB free")


def test_a_driver_that_does_not_answer() -> None:
    found = describe_gpus(FakeNvml(fails=True), 1)
    assert found.status == "problem"
    assert "Driver/library version mismatch" in found.found


def fake_torch(total: float | Exception) -> Any:
    """A torch with one GPU, on which the sum of a product is `total`, or raises it."""

    def ones(*size: int, device: str) -> Any:
        class Tensor:
            def __matmul__(self, other: Any) -> Any:
                return self

            def sum(self) -> float:
                if isinstance(total, Exception):
                    raise total
                return total

        return Tensor()

    cuda = SimpleNamespace(device_count=lambda: 1, get_device_capability=lambda i: (3, 7))
    return SimpleNamespace(cuda=cuda, ones=ones)


def test_torch_on_gpus() -> None:
    facts = {"torch": "2.9", "cuda": "12.8"}
    good = compute_on_gpus(fake_torch(64.0**3), facts)
    assert good.found == "torch 2.9, built for CUDA 12.8, computes on 1 GPU"
    bad = compute_on_gpus(fake_torch(RuntimeError("no kernel image\nfor this device")), facts)
    assert (bad.status, bad.found) == (
        "problem",
        "GPU 0 (compute capability 3.7) fails: no kernel image",
    )
    wrong = compute_on_gpus(fake_torch(1.0), facts)
    assert (wrong.status, "computes 1.0" in wrong.found) == ("problem", True)


def test_an_encoder_that_is_not_there(tmp_path: Path) -> None:
    if gpu.visible_gpus():
        pytest.skip("this machine has a GPU")
    found = encode_on_gpu(tmp_path)
    assert found.status == "warning"
    assert "the GPU's encoder can't be used" in found.found
    assert "--encoder x264" in found.advice


@pytest.mark.gpu
def test_video_engines_of_a_real_gpu() -> None:
    assert gpu.check_gpus(ASKED).status in ("ok", "warning")
    assert gpu.check_torch(ASKED).status == "ok"
    assert gpu.check_nvdec(ASKED).status in ("ok", "warning")
    assert gpu.check_nvenc(ASKED).status in ("ok", "warning")


@pytest.mark.parametrize(("number", "words"), [(12040, "12.4"), (13000, "13.0"), (11080, "11.8")])
def test_versions_of_cuda(number: int, words: str) -> None:
    assert cuda_version(number) == words
