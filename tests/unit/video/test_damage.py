"""The rules by which damage spreads, without a video.

Packets are named by the numbers of their frames, in the order of decoding.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from raypose.video.damage import DamageTracker

OK, SUSPECT, CORRUPT, MISSING = range(4)


def statuses(
    order: Sequence[int],
    *,
    keys: Collection[int] = (0,),
    corrupt: Collection[int] = (),
    missing: Collection[int] = (),
    refused: Collection[int] = (),
) -> list[int]:
    """What becomes of frames that are decoded in this order, with a decoder that reorders."""
    tracker = DamageTracker(0)
    found: list[tuple[int, int]] = []
    waiting: list[int] = []
    shown = -1
    for number in order:
        tracker.fed(number, number, corrupt=False)
        if number in refused:
            tracker.refused(number)
        if number not in missing:
            waiting.append(number)
        while waiting and (min(waiting) == shown + 1 or len(waiting) > 3):
            shown = min(waiting)
            waiting.remove(shown)
            tracker.came(shown, shown, corrupt=shown in corrupt, key=shown in keys)
        found += tracker.take()
    for number in sorted(waiting):
        tracker.came(number, number, corrupt=number in corrupt, key=number in keys)
    tracker.ended()
    found += tracker.take()
    assert [number for number, _ in found] == list(range(len(found)))
    assert tracker.found == any(status for _, status in found)
    return [status for _, status in found]


IN_ORDER = range(10)
B_FRAMES = (0, 3, 1, 2, 6, 4, 5, 9, 7, 8)
OPEN_GROUP = (0, 3, 1, 2, 6, 4, 5, 9, 7, 8)  # where 6 is a keyframe, which 4 and 5 lead


def test_nothing_is_damaged() -> None:
    assert statuses(IN_ORDER) == [OK] * 10
    assert statuses(B_FRAMES) == [OK] * 10


def test_damage_reaches_to_the_next_keyframe() -> None:
    assert statuses(IN_ORDER, keys=(0, 5), corrupt=[2]) == [0, 0, 2, 1, 1, 0, 0, 0, 0, 0]
    assert statuses(IN_ORDER, keys=(0, 5), missing=[2]) == [0, 0, 3, 1, 1, 0, 0, 0, 0, 0]


def test_damage_reaches_to_the_end_where_no_keyframe_follows() -> None:
    assert statuses(IN_ORDER, corrupt=[2]) == [0, 0, 2] + [1] * 7
    assert statuses(IN_ORDER, missing=[9]) == [0] * 9 + [3]


def test_a_damaged_keyframe_ends_nothing() -> None:
    assert statuses(IN_ORDER, keys=(0, 5), corrupt=[2, 5]) == [0, 0, 2, 1, 1, 2, 1, 1, 1, 1]
    assert statuses(IN_ORDER, keys=(0, 5), missing=[5]) == [0, 0, 0, 0, 0, 3, 1, 1, 1, 1]


def test_of_keyframes_alone_each_is_on_its_own() -> None:
    assert statuses(IN_ORDER, keys=IN_ORDER, corrupt=[2], missing=[6]) == [
        0, 0, 2, 0, 0, 0, 3, 0, 0, 0
    ]  # fmt: skip


def test_damage_spreads_in_the_order_of_decoding() -> None:
    # 6 is decoded before 4 and 5, which are shown before it.
    assert statuses(B_FRAMES, corrupt=[6]) == [0, 0, 0, 0, 1, 1, 2, 1, 1, 1]
    assert statuses(B_FRAMES, missing=[6]) == [0, 0, 0, 0, 1, 1, 3, 1, 1, 1]
    # 4 is decoded after 6.
    assert statuses(B_FRAMES, corrupt=[4]) == [0, 0, 0, 0, 2, 1, 0, 1, 1, 1]


def test_leading_frames_build_on_what_comes_before_their_keyframe() -> None:
    assert statuses(OPEN_GROUP, keys=(0, 6), corrupt=[3]) == [0, 1, 1, 2, 1, 1, 0, 0, 0, 0]
    # What is shown after the keyframe does not build on them.
    assert statuses(OPEN_GROUP, keys=(0, 6), corrupt=[4]) == [0, 0, 0, 0, 2, 1, 0, 0, 0, 0]


def test_a_refused_packet_whose_frame_comes_all_the_same_is_corrupt() -> None:
    assert statuses(IN_ORDER, refused=[4], keys=(0, 7)) == [0, 0, 0, 0, 2, 1, 1, 0, 0, 0]


def test_a_video_that_begins_without_a_keyframe_is_suspect_until_there_is_one() -> None:
    assert statuses(IN_ORDER, keys=(4,)) == [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]


def test_packets_without_a_number_show_nothing_but_may_be_damaged() -> None:
    for damaged in (False, True):
        tracker = DamageTracker(0)
        tracker.fed(-1, None, corrupt=damaged)
        tracker.fed(0, 0, corrupt=False)
        tracker.came(0, 0, corrupt=False, key=False)
        assert list(tracker.take()) == [(0, SUSPECT if damaged else OK)]


def test_what_the_container_calls_damaged_is_corrupt() -> None:
    tracker = DamageTracker(0)
    tracker.fed(0, 0, corrupt=True)
    tracker.came(0, 0, corrupt=False, key=True)
    assert list(tracker.take()) == [(0, CORRUPT)]


def test_frames_without_a_packet_are_missing() -> None:
    tracker = DamageTracker(0)
    for number in (0, 3, 4):
        tracker.fed(number, number, corrupt=False)
        tracker.came(number, number, corrupt=False, key=number == 0)
    assert list(tracker.take()) == [(0, OK), (1, MISSING), (2, MISSING), (3, 1), (4, 1)]


def test_counted_packets_wait_for_as_many_as_may_be_reordered() -> None:
    tracker = DamageTracker(0, slack=2)
    for id in range(5):
        tracker.fed(id, None, corrupt=False)
    tracker.refused(1)
    tracker.came(0, 0, corrupt=False, key=True)
    tracker.came(2, 1, corrupt=False, key=False)
    assert list(tracker.take()) == [(0, OK)]
    tracker.came(4, 2, corrupt=False, key=False)
    assert list(tracker.take()) == [(1, SUSPECT)], "the lost packet's own frame has no number"
    tracker.ended()
    assert list(tracker.take()) == [(2, SUSPECT)]


def test_no_one_waits_for_ever() -> None:
    tracker = DamageTracker(0)
    tracker.fed(99, 99, corrupt=False)
    for number in range(3):
        tracker.fed(number, number, corrupt=False)
        tracker.came(number, number, corrupt=False, key=number == 0)
    assert list(tracker.take()) == []
    assert list(tracker.take(at_once=True)) == [(0, OK), (1, OK), (2, OK)]
    assert not tracker.came(99, 99, corrupt=False, key=False), "it is settled already"
