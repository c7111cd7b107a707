"""Fixtures that all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real models, a real video and upstream's answers; tests skip where they are absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the shared example data is not on this machine")
    return SHARED_DATA
