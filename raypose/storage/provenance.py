"""Provenance of predictions: the settings that were asked for, and those that were used.

`--precision auto` and the precision that it chooses give the same result, and so do
`--decoder cpu` and an NVDEC that fell back to the CPU. So a record holds the settings that were
used, and a plan accepts every record that its request could have led to.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

Provenance = Mapping[str, Any]
"""What an output is made from, as JSON: fingerprints, settings, versions of the method."""

_DECODERS = ("decoder", "decoder_asked")
_BOTH = "cpu+nvdec"


def acceptable(
    made_from: Provenance, *, precisions: Sequence[str], decoder: str
) -> tuple[Provenance, ...]:
    """The provenances of tables that a request accepts; the first is that of a new table.

    It asks for a `decoder` and can lead to some `precisions`; `made_from` is all but these.
    """
    fallen_back: dict[str, Any] = {"decoder": "cpu", "decoder_asked": "nvdec"}
    decoders: list[dict[str, Any]] = [{"decoder": decoder}, fallen_back]
    if decoder == "nvdec":
        decoders.append({"decoder": _BOTH, "decoder_asked": "nvdec"})
    pairs = itertools.product(decoders, precisions)
    return tuple({**made_from, "precision": used, **chosen} for chosen, used in pairs)


def as_done(provenance: Provenance, *, precision: str, decoder: str) -> Provenance:
    """A planned provenance with the settings that were used."""
    asked = provenance.get("decoder")
    if asked is None:
        return provenance
    other = {} if decoder == asked else {"decoder_asked": asked}
    return {**_without_decoders(provenance), "precision": precision, "decoder": decoder, **other}


def together(provenances: Sequence[Provenance]) -> Provenance | None:
    """The provenance of a table from those of its parts; None where the parts do not match."""
    first = provenances[0]
    if all(provenance == first for provenance in provenances):
        return first
    bare = _without_decoders(first)
    if any(_without_decoders(provenance) != bare for provenance in provenances):
        return None
    decoders = {str(provenance.get("decoder")) for provenance in provenances}
    decoder = _BOTH if len(decoders) > 1 else decoders.pop()
    asked = {"decoder_asked": "nvdec"} if decoder == _BOTH else {}
    return {**bare, "decoder": decoder, **asked}


def _without_decoders(provenance: Provenance) -> dict[str, Any]:
    return {name: value for name, value in provenance.items() if name not in _DECODERS}
