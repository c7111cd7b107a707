"""How `raypose demo` shows its preparation."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from raypose.cli.demo import _preparation


def console(*, is_terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=is_terminal, width=80, _environ={})


@pytest.mark.parametrize("is_terminal", [True, False])
def test_each_part_is_named_with_its_share(is_terminal: bool) -> None:
    out = console(is_terminal=is_terminal)
    with _preparation(out) as report:
        report("Training two models", 0.5)
        report("The example project is ready", 1.0)
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert "Training two models" in text and "50%" in text


def test_the_bar_is_gone_before_the_runs_display_and_after_ctrl_c() -> None:
    out = console(is_terminal=True)
    with _preparation(out) as report:
        report("Drawing", 0.05)
        report("The example project is ready", 1.0)
        with out.status("a display of its own"):
            pass
    with pytest.raises(KeyboardInterrupt), _preparation(out) as report:
        report("Drawing", 0.05)
        raise KeyboardInterrupt
    with out.status("the terminal is free again"):
        pass
