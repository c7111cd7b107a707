"""Signals that end a run as Ctrl-C does."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from raypose.execution.interrupts import stop_signals_interrupt


@pytest.fixture(autouse=True)
def nothing_ignored() -> Iterator[None]:
    """These tests may run under nohup."""
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP)}
    for one in before:
        signal.signal(one, signal.SIG_DFL)
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


@pytest.mark.parametrize("one", [signal.SIGTERM, signal.SIGHUP])
def test_a_stop_signal_is_as_ctrl_c_inside_the_block_only(one: signal.Signals) -> None:
    before = signal.getsignal(one)
    with pytest.raises(KeyboardInterrupt), stop_signals_interrupt():
        os.kill(os.getpid(), one)
    assert signal.getsignal(one) is before


def test_a_second_signal_does_not_interrupt_the_clean_up() -> None:
    with pytest.raises(KeyboardInterrupt), stop_signals_interrupt():
        try:
            os.kill(os.getpid(), signal.SIGHUP)
        finally:
            os.kill(os.getpid(), signal.SIGHUP)
            cleaned_up = True
    assert cleaned_up


def test_nor_does_it_once_a_block_within_another_has_ended() -> None:
    with pytest.raises(KeyboardInterrupt), stop_signals_interrupt():
        try:
            with stop_signals_interrupt():
                os.kill(os.getpid(), signal.SIGHUP)
        finally:
            os.kill(os.getpid(), signal.SIGHUP)
            cleaned_up = True
    assert cleaned_up
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_a_signal_that_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals_interrupt():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
