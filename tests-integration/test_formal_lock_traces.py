"""The running code against the model of the lock.

Real processes contend for one lock under the trace hook, are killed between any two system calls,
take over from the dead, and lose their lock to force. TLC must find every trace among the
behaviours of `SafeAtomicLock`; the same scenes played by code that is broken on purpose must be
rejected.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tlc
import trace_check

import safeatomic_core as sa
from lock_actors import (
    Actor,
    Gate,
    appear,
    checked_write,
    clear,
    force,
    hold,
    record,
    sequence,
    take_and_release,
    write,
)
from lock_defects import (
    foreign_taken_for_dead,
    none_without_check,
    publish_without_check,
    release_before_settle,
    release_without_identity_check,
    swap,
    takeover_without_flock,
    takeover_without_name_check,
    unlocked_lock,
)
from safeatomic_core import _lock, _lock_file

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from trace_check import Event, Verdict

TRACES = 75  # of each kind
CALLS_OF_A_WRITE = 40  # about as many system calls as a checked write makes


# Traces of the code as it is.


def crowd(dice: random.Random, letters: str) -> list[Actor]:
    """Make processes that write or just lock; half of them are killed somewhere."""
    return [
        Actor(
            key,
            sequence(*dice.choices([write, checked_write, take_and_release], k=dice.randint(1, 2))),
            dice.randint(1, CALLS_OF_A_WRITE) if dice.random() < 0.5 else 0,
        )
        for key in letters
    ]


def contention(folder: Path, dice: random.Random) -> list[Event]:
    """Three at a time, twice: the second three find what the first left."""
    return record(folder, crowd(dice, "abc"), crowd(dice, "def"))


def takeover(folder: Path, dice: random.Random) -> list[Event]:
    """A holder dies; three contend for its lock, and then two more for theirs."""
    return record(folder, [Actor("a", hold)], crowd(dice, "bcd"), crowd(dice, "ef"))


def force_among_them(folder: Path, dice: random.Random) -> list[Event]:
    """Somebody removes locks by force, or stale ones, while others use them."""
    rough = Actor("x", sequence(*dice.choices([force, clear, write], k=3)))
    return record(folder, crowd(dice, "ab"), [*crowd(dice, "cd"), rough], crowd(dice, "e"))


def foreign_locks(folder: Path, dice: random.Random) -> list[Event]:
    """Another tool's lock, or a corrupt one, stands in the way until somebody clears it."""
    kind = dice.choice(["foreign", "corrupt"])
    return record(
        folder,
        [Actor("x", appear(kind))],
        [*crowd(dice, "ab"), Actor("y", clear)],
        [Actor("z", sequence(clear, force)), *crowd(dice, "c")],
    )


@pytest.mark.slow
def test_every_trace_of_the_code_is_a_behaviour_of_the_model(
    tmp_path: Path, tool: tlc.Tlc, seed: int, tally: Counter[str]
) -> None:
    traces = []
    for scenario in (contention, takeover, force_among_them, foreign_locks):
        for number in range(TRACES):
            dice = random.Random(f"{scenario.__name__} {seed} {number}")
            traces.append(scenario(tmp_path / f"{scenario.__name__}.{number}", dice))
    verdicts = trace_check.check("lock", traces, tool=tool)
    assert_all_accepted(verdicts)
    tally["traces of the lock accepted by the model"] += len(traces)
    tally["events in them"] += sum(map(len, traces))
    # What the scenarios are meant to bring about did come about.
    seen = {event["e"] for verdict in verdicts for event in verdict.events}
    wanted = {"Contended", "StaleFlocked", "StaleUnlinked", "Killed", "Forced", "StaleReleased"}
    wanted |= {"Lost", "Unlinked", "Published", "Sealed", "Appeared", "Returned"}
    assert not wanted - seen


def assert_all_accepted(verdicts: list[Verdict]) -> None:
    rejected = [f"trace {i}: {v}" for i, v in enumerate(verdicts) if not v.accepted]
    assert not rejected, f"{len(rejected)} of {len(verdicts)}:\n" + "\n".join(rejected[:5])


# Scenes in which a defect shows. Each is played by the code as it is, and by broken code.


def two_takers(folder: Path, breakage: Callable[[], None] | None) -> list[Event]:
    """While one has flocked a dead lock, another tries to take it over."""
    flocked, go_on = Gate(), Gate()

    def pause() -> None:
        flocked.open()
        go_on.wait()

    def second(target: Path, me: Actor) -> None:
        flocked.wait()
        write(target, me, retries=0)

    slow = Actor("b", take_and_release, at={"stale-flocked": pause}, breakage=breakage)
    quick = Actor("c", second, breakage=breakage)
    return record(folder, [Actor("a", hold)], [slow, _last(quick, go_on)], gates=(flocked, go_on))


def late_taker(folder: Path, breakage: Callable[[], None] | None) -> list[Event]:
    """Between looking at a dead lock and flocking it, another takes it over and keeps it."""
    looked, taken, done = Gate(), Gate(), Gate()

    def pause() -> None:
        looked.open()
        taken.wait()

    def second(target: Path, _me: Actor) -> None:
        looked.wait()
        assert sa.try_acquire_lock(target)
        taken.open()
        done.wait()
        sa.release_lock(target)

    original = _lock_file.flock_stale

    def flock_late(fd: int) -> bool:
        pause()
        return original(fd)

    def patch() -> None:
        swap(_lock, "flock_stale", flock_late)
        if breakage is not None:
            breakage()

    late = Actor("b", take_and_release, breakage=patch)
    return record(
        folder,
        [Actor("a", hold)],
        [_last(late, done), Actor("c", second)],
        gates=(looked, taken, done),
    )


def living_holder(folder: Path, breakage: Callable[[], None] | None) -> list[Event]:
    """Somebody tries to acquire while the holder lives."""
    held, tried = Gate(), Gate()

    def first(target: Path, _me: Actor) -> None:
        assert sa.try_acquire_lock(target)
        held.open()
        tried.wait()
        sa.release_lock(target)

    def second(target: Path, me: Actor) -> None:
        held.wait()
        write(target, me, retries=0)

    return record(
        folder,
        [Actor("a", first, breakage=breakage), _last(Actor("b", second, breakage=breakage), tried)],
        gates=(held, tried),
    )


def forced_holder(folder: Path, breakage: Callable[[], None] | None) -> list[Event]:
    """The lock of a writer is removed before it publishes, and taken by another."""
    ready, gone = Gate(), Gate()

    def pause() -> None:
        ready.open()
        gone.wait()

    def rough(target: Path, me: Actor) -> None:
        ready.wait()
        force(target, me)
        assert sa.try_acquire_lock(target)

    writer = Actor("a", write, at={"Fill": pause}, breakage=breakage)
    return record(folder, [writer, _last(Actor("x", rough), gone)], gates=(ready, gone))


def own_lock(folder: Path, breakage: Callable[[], None] | None) -> list[Event]:
    """Somebody takes the lock, writes three times under it, loses it, and writes once more."""
    ready, gone = Gate(), Gate()

    def first(target: Path, me: Actor) -> None:
        assert sa.try_acquire_lock(target)
        write(target, me)
        write(target, me, checked=True)
        write(target, me, concurrency="none")
        ready.open()
        gone.wait()
        write(target, me, concurrency="none")
        sa.release_lock(target)

    def rough(target: Path, me: Actor) -> None:
        ready.wait()
        force(target, me)
        write(target, me)

    holder = Actor("a", first, breakage=breakage)
    return record(folder, [holder, _last(Actor("x", rough), gone)], gates=(ready, gone))


def one_writer(folder: Path, breakage: Callable[[], None] | None) -> list[Event]:
    return record(folder, [Actor("a", checked_write, breakage=breakage)])


def foreign_in_the_way(folder: Path, breakage: Callable[[], None] | None) -> list[Event]:
    """Another tool's lock stands there, its owner dead."""
    return record(
        folder,
        [Actor("x", appear("foreign"))],
        [Actor("a", take_and_release, breakage=breakage)],
    )


def late_word(folder: Path) -> list[Event]:
    """Somebody removes a dead lock, and another uses its inode again before that is said."""
    removed, used, said = Gate(), Gate(), Gate()

    def pause() -> None:
        used.open()
        said.wait()

    def first(target: Path, me: Actor) -> None:
        assert sa.release_stale_lock(target)
        removed.open()
        used.wait()
        me.say("stale-released")
        said.open()

    def second(target: Path, me: Actor) -> None:
        removed.wait()
        write(target, me)

    user = Actor("b", second, at={"prepared": pause})
    return record(
        folder, [Actor("a", hold)], [Actor("x", first), user], gates=(removed, used, said)
    )


def _last(actor: Actor, gate: Gate) -> Actor:
    """Open a gate when an actor is done."""
    play = actor.play

    def then_open(target: Path, me: Actor) -> None:
        try:
            play(target, me)
        finally:
            gate.open()

    actor.play = then_open
    return actor


SCENES = [
    (two_takers, takeover_without_flock),
    (late_taker, takeover_without_name_check),
    (living_holder, takeover_without_flock),
    (living_holder, unlocked_lock),
    (forced_holder, release_without_identity_check),
    (forced_holder, publish_without_check),
    (own_lock, publish_without_check),
    (own_lock, none_without_check),
    (one_writer, release_before_settle),
    (foreign_in_the_way, foreign_taken_for_dead),
]


def test_broken_code_leaves_traces_that_the_model_rejects(tmp_path: Path, tool: tlc.Tlc) -> None:
    sound, broken, names = [], [], []
    for number, (scene, breakage) in enumerate(SCENES):
        sound.append(scene(tmp_path / f"sound.{number}", None))
        broken.append(scene(tmp_path / f"broken.{number}", breakage))
        names.append(f"{scene.__name__}, {breakage.__name__}")
    verdicts = trace_check.check("lock", sound + broken, tool=tool)
    assert_all_accepted(verdicts[: len(sound)])
    missed = [
        name
        for name, verdict in zip(names, verdicts[len(sound) :], strict=True)
        if verdict.accepted
    ]
    assert not missed


def test_a_word_that_comes_late_is_believed(tmp_path: Path, tool: tlc.Tlc) -> None:
    assert_all_accepted(trace_check.check("lock", [late_word(tmp_path / "scene")], tool=tool))


def without(phase: str) -> Callable[[list[Event]], list[Event]]:
    """Leave the first event of a phase out."""

    def doctor(events: list[Event]) -> list[Event]:
        where = next(i for i, (_, facts) in enumerate(events) if facts.get("phase") == phase)
        return events[:where] + events[where + 1 :]

    return doctor


def changed(
    step: str, phase: str | None, /, **facts: object
) -> Callable[[list[Event]], list[Event]]:
    """Change facts of the last event of a step and phase."""

    def doctor(events: list[Event]) -> list[Event]:
        where = max(
            i for i, (word, old) in enumerate(events) if word == step and old.get("phase") == phase
        )
        return [
            *events[:where],
            (step, {**events[where][1], **facts}),
            *events[where + 1 :],
        ]

    return doctor


DOCTORED = [
    (two_takers, without("stale-flocked")),
    (two_takers, without("contended")),
    (living_holder, without("unlinked")),
    (living_holder, changed("Acquire", "contended", phase="linked")),
    (living_holder, changed("Acquire", "contended", phase="stale-flocked")),
    (one_writer, changed("Release", "unlinked", phase="lost")),
    (one_writer, changed("Release", "unlinked", inode=1)),
    (one_writer, changed("Publish", None, lock_checked=False)),
    (forced_holder, changed("Release", "lost", phase="unlinked")),
    (forced_holder, changed("seen", None, inode=0)),
    (own_lock, changed("Publish", None, lock_checked=False)),
    (foreign_in_the_way, changed("foreign", None, kind="corrupt", inode=1)),
]


def test_doctored_traces_are_rejected(tmp_path: Path, tool: tlc.Tlc) -> None:
    traces = [
        doctor(scene(tmp_path / str(number), None))
        for number, (scene, doctor) in enumerate(DOCTORED)
    ]
    verdicts = trace_check.check("lock", traces, tool=tool)
    assert [i for i, verdict in enumerate(verdicts) if verdict.accepted] == []
