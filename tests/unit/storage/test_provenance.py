"""Which settings are the same result."""

from __future__ import annotations

import pytest

from raypose.storage.provenance import acceptable, as_done, together

BARE = {"kind": "predictions", "video": "v"}


def accepts(decoder: str, *precisions: str) -> tuple[dict[str, object], ...]:
    return tuple(map(dict, acceptable(BARE, precisions=precisions, decoder=decoder)))


def planned(decoder: str) -> dict[str, object]:
    return accepts(decoder, "fp32")[0]


def test_the_first_is_what_is_expected() -> None:
    assert planned("cpu") == {**BARE, "precision": "fp32", "decoder": "cpu"}
    assert planned("nvdec") == {**BARE, "precision": "fp32", "decoder": "nvdec"}


def test_several_precisions() -> None:
    found = {provenance["precision"] for provenance in accepts("cpu", "fp32", "fp16")}
    assert found == {"fp32", "fp16"}


@pytest.mark.parametrize(
    ("asked", "used", "then", "same"),
    [
        ("cpu", "cpu", "cpu", True),
        ("nvdec", "nvdec", "nvdec", True),
        ("nvdec", "nvdec", "cpu", False),
        ("cpu", "cpu", "nvdec", False),
        ("nvdec", "cpu", "nvdec", True),
        ("nvdec", "cpu", "cpu", True),
    ],
)
def test_what_was_used_counts(asked: str, used: str, then: str, same: bool) -> None:
    done = as_done(planned(asked), precision="fp32", decoder=used)
    assert (done in accepts(then, "fp32")) is same


def test_another_precision_is_another_result() -> None:
    done = as_done(planned("cpu"), precision="fp16", decoder="cpu")
    assert done not in accepts("cpu", "fp32")
    assert done in accepts("cpu", "fp16")


def test_other_recipes_stay_as_they_are() -> None:
    assert as_done({"kind": "test"}, precision="fp32", decoder="cpu") == {"kind": "test"}


class TestTogether:
    def test_equal_parts(self) -> None:
        assert together([planned("cpu")] * 3) == planned("cpu")

    def test_parts_by_both_decoders(self) -> None:
        nvdec = planned("nvdec")
        made = together([nvdec, as_done(nvdec, precision="fp32", decoder="cpu")])
        assert made in accepts("nvdec", "fp32")
        assert made not in accepts("cpu", "fp32")

    def test_parts_by_the_cpu_for_either_reason(self) -> None:
        fallen_back = as_done(planned("nvdec"), precision="fp32", decoder="cpu")
        assert together([planned("cpu"), fallen_back]) == planned("cpu")

    def test_other_precisions_or_models_do_not_fit(self) -> None:
        provenance = planned("cpu")
        assert together([provenance, {**provenance, "precision": "fp16"}]) is None
        assert together([provenance, {**provenance, "model": "m"}]) is None
