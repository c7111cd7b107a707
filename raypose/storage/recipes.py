"""Recipes of predictions: the settings that were asked for, and those that were used.

`--precision auto` and the precision that it chooses give the same result, and so do
`--decoder cpu` and an NVDEC that fell back to the CPU. So a record holds the settings that were
used, and a plan accepts every record that its request could have led to.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

Recipe = Mapping[str, Any]
"""What an output is made from, as JSON: fingerprints, settings, versions of the method."""

_SETTINGS = ("decoder", "decoder_asked", "precision")
_BOTH = "cpu+nvdec"


def acceptable(
    made_from: Recipe, *, precisions: Sequence[str], decoder: str
) -> tuple[Recipe, ...]:
    """The recipes of tables that a request accepts; the first is the expected one of a new table.

    Args:
        made_from: all but the settings.
        precisions: those that the request can lead to.
        decoder: the one that was asked for.
    """
    fallen_back: dict[str, Any] = {"decoder": "cpu", "decoder_asked": "nvdec"}
    decoders: list[dict[str, Any]] = [{"decoder": decoder}, fallen_back]
    if decoder == "nvdec":
        decoders.append({"decoder": _BOTH, "decoder_asked": "nvdec"})
    return tuple(
        {**made_from, "precision": precision, **chosen}
        for chosen, precision in itertools.product(decoders, precisions)
    )


def as_done(recipe: Recipe, *, precision: str, decoder: str) -> Recipe:
    """A planned recipe with the settings that were used."""
    asked = recipe.get("decoder")
    if asked is None:
        return recipe
    chosen = {"decoder": decoder} if decoder == asked else {
        "decoder": decoder, "decoder_asked": asked,
    }  # fmt: skip
    return {**_without_settings(recipe), "precision": precision, **chosen}


def together(recipes: Sequence[Recipe]) -> Recipe | None:
    """The recipe of a table from those of its parts; None where the parts do not match."""
    first, *others = recipes
    if all(recipe == first for recipe in others):
        return first
    bare = _without_settings(first)
    if any(
        _without_settings(recipe) != bare or recipe.get("precision") != first.get("precision")
        for recipe in others
    ):
        return None
    decoders = {str(recipe.get("decoder")) for recipe in recipes}
    chosen = {"decoder": _BOTH if len(decoders) > 1 else decoders.pop()}
    if chosen["decoder"] == _BOTH:
        chosen["decoder_asked"] = "nvdec"
    return {**bare, "precision": first["precision"], **chosen}


def _without_settings(recipe: Recipe) -> dict[str, Any]:
    return {name: value for name, value in recipe.items() if name not in _SETTINGS}
