"""What the executor takes from the environment."""

from __future__ import annotations

import pytest

from raypose.errors import UsageError
from raypose.execution.ray.executor import wait_limit_s


def test_the_wait_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAYPOSE_GPU_WAIT_S", raising=False)
    assert wait_limit_s() == 900
    monkeypatch.setenv("RAYPOSE_GPU_WAIT_S", "2.5")
    assert wait_limit_s() == 2.5


@pytest.mark.parametrize("value", ["15min", "", "nan", "-1"])
def test_a_wait_that_is_no_number(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPOSE_GPU_WAIT_S", value)
    with pytest.raises(UsageError, match=f"RAYPOSE_GPU_WAIT_S is {value!r}") as caught:
        wait_limit_s()
    assert "RAYPOSE_GPU_WAIT_S=900" in caught.value.hint
