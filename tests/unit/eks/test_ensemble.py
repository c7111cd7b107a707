"""Which members fit each other, and what open-ended tables get at their ends."""

from __future__ import annotations

import numpy as np
import pytest

from raypose.eks.ensemble import fitting_members
from raypose.errors import SmoothingError
from raypose.tables.keypoints import COORDS, KeypointTable

NAMES = ("nose", "tail")


def table(n_frames: int, *, open_ended: bool = False) -> KeypointTable:
    values = np.arange(n_frames * 6, dtype=np.float32).reshape(n_frames, 2, 3)
    return KeypointTable("s", NAMES, COORDS, values, open_ended=open_ended)


def sleap(n_frames: int) -> KeypointTable:
    return table(n_frames, open_ended=True)


def test_open_ended_tables_get_the_frames_of_the_longest() -> None:
    members = fitting_members({"": {"a": sleap(60), "b": sleap(57), "c": sleap(60)}})
    tables = members.tables[""]
    assert [t.n_frames for t in tables.values()] == [60, 60, 60]
    np.testing.assert_array_equal(tables["b"].values[:57], sleap(57).values)
    assert np.isnan(tables["b"].xy[57:]).all()
    assert (tables["b"].likelihood[57:] == 0).all()
    (note,) = members.notes
    assert note.startswith("b: SLEAP's table ends after 57 frames") and "3 more, without" in note
    assert not members.excluded


def test_tables_that_name_every_frame_say_how_many_there_are() -> None:
    members = fitting_members({"": {"a": table(60), "b": sleap(59)}})
    assert [t.n_frames for t in members.tables[""].values()] == [60, 60]
    with pytest.raises(SmoothingError, match="b has 61 frames, and the others have 60"):
        fitting_members({"": {"a": table(60), "c": table(60), "b": sleap(61)}})


def test_other_tables_are_never_longer_than_they_are() -> None:
    with pytest.raises(SmoothingError, match="b has 57 frames, and the others have 60"):
        fitting_members({"": {"a": table(60), "c": table(60), "b": table(57)}})


def test_views_end_together() -> None:
    views = {"top": {"a": sleap(60), "b": sleap(50)}, "side": {"a": sleap(55), "b": sleap(60)}}
    members = fitting_members(views)
    assert {t.n_frames for view in members.tables.values() for t in view.values()} == {60}
    assert [note.partition(":")[0] for note in members.notes] == ["a, view side", "b, view top"]
