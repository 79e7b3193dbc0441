from __future__ import annotations

import asyncio
import functools
import stat
import threading
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest

from safeatomic_core import (
    AtomicWriter,
    _options,
    compute_hash_data,
    inspect_lock,
    safeatomic_config,
    write_atomic,
    write_atomic_bytes,
)
from safeatomic_core._options import check_algorithm, defaults, resolve_algorithm, resolve_encoding


def test_the_session_of_a_write_is_in_its_lock(target: Path) -> None:
    with AtomicWriter(target, session="run 7"):
        assert inspect_lock(target).session_hash == compute_hash_data(b"run 7")


def test_defaults_without_a_scope() -> None:
    now = defaults()
    assert (now.encoding, now.checksum_algo, now.retries, now.delay) == ("utf-8", "sha256", 0, 0.1)


def test_a_scope_sets_what_it_names_and_restores_it() -> None:
    with safeatomic_config(encoding="latin-1", retries=3):
        with safeatomic_config(checksum_algo="SHA512", delay=1):
            now = defaults()
            assert (now.encoding, now.checksum_algo) == ("latin-1", "sha512")
            assert (now.retries, now.delay) == (3, 1)
        assert defaults().checksum_algo == "sha256"
    assert defaults().retries == 0


def test_a_scope_can_be_entered_twice() -> None:
    scope = safeatomic_config(retries=1)
    with scope, scope:
        assert defaults().retries == 1
    assert defaults().retries == 0


@pytest.mark.parametrize(
    "name", ["safety", "concurrency", "preserve_metadata", "write_checksum", "nonsense"]
)
def test_what_changes_a_guarantee_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        safeatomic_config(**{name: "x"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"encoding": "klingon"}, ValueError, "encoding 'klingon'"),
        ({"encoding": "a\0b"}, ValueError, "encoding"),
        ({"encoding": "base64"}, ValueError, "not a text encoding"),
        ({"encoding": 1}, TypeError, "encoding must be a str"),
        ({"checksum_algo": "md6"}, ValueError, "checksum_algo 'md6'"),
        ({"checksum_algo": "shake_128"}, ValueError, "fixed-length"),
        ({"checksum_algo": 256}, TypeError, "checksum_algo must be a str"),
        ({"retries": -1}, ValueError, "retries must be 0 to 9223372036854775807, not -1"),
        ({"retries": 1.5}, TypeError, "retries must be an int"),
        ({"retries": True}, TypeError, "retries must be an int"),
        ({"delay": -0.1}, ValueError, "delay must be 0 to 9223372036 seconds, not -0.1"),
        ({"delay": float("nan")}, ValueError, "delay"),
        ({"delay": float("inf")}, ValueError, "delay"),
        ({"delay": 1e10}, ValueError, "delay must be 0 to 9223372036 seconds"),
        ({"delay": 10**5000}, ValueError, "not a number of that size"),
        ({"retries": -(10**5000)}, ValueError, "not a negative number"),
        ({"retries": 2**63}, ValueError, "retries must be 0 to"),
        ({"delay": "1"}, TypeError, "delay must be a number"),
        ({"delay": False}, TypeError, "delay must be a number"),
    ],
)
def test_bad_values_are_refused_by_name(
    options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        safeatomic_config(**options)  # type: ignore[arg-type]


def test_the_limits_of_what_is_counted_are_allowed() -> None:
    with safeatomic_config(retries=2**63 - 1, delay=9223372036):
        assert (defaults().retries, defaults().delay) == (2**63 - 1, 9223372036)
    with safeatomic_config(retries=0, delay=0):
        assert (defaults().retries, defaults().delay) == (0, 0)


@pytest.mark.parametrize("mode", [0, 0o777])
def test_every_permission_bit_may_be_asked_for_or_none(target: Path, mode: int) -> None:
    path = target.with_name("new")
    write_atomic_bytes(path, b"x", mode=mode)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_data_that_is_refused_is_free_while_the_error_is_handled(target: Path) -> None:
    data = bytearray(b"not contiguous")
    with (
        memoryview(data) as whole,
        whole[::2] as half,
        pytest.raises(TypeError, match="contiguous") as caught,
    ):
        write_atomic_bytes(target, half)
    data.clear()  # which is refused while a view shows it
    assert caught.value.__traceback__ is not None


def test_threads_do_not_see_each_other_s_scope() -> None:
    seen = []
    with safeatomic_config(retries=7):
        thread = threading.Thread(target=lambda: seen.append(defaults().retries))
        thread.start()
        thread.join()
    assert seen == [0]


def test_tasks_do_not_see_each_other_s_scope() -> None:
    async def scoped(ready: asyncio.Event, done: asyncio.Event) -> None:
        with safeatomic_config(retries=7):
            ready.set()
            await done.wait()

    async def main() -> int:
        ready, done = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(scoped(ready, done))
        await ready.wait()
        seen = defaults().retries
        done.set()
        await task
        return seen

    assert asyncio.run(main()) == 0


def test_resolution_prefers_the_call() -> None:
    with safeatomic_config(encoding="latin-1", checksum_algo="sha1"):
        assert resolve_encoding(None) == "latin-1"
        assert resolve_encoding("utf-16") == "utf-16"
        assert resolve_algorithm(None) == "sha1"
        assert resolve_algorithm("blake2b") == "blake2b"


def test_an_algorithm_that_is_listed_but_switched_off_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import hashlib

    def refuse(name: str, **_options: object) -> None:
        raise ValueError(f"unsupported hash type {name}")

    monkeypatch.setattr(hashlib, "new", refuse)
    monkeypatch.setattr(hashlib, "algorithms_available", {"md4"})
    with pytest.raises(ValueError, match="md4"):
        check_algorithm("md4")


def test_one_scope_serves_a_function_a_coroutine_and_two_tasks_at_a_time() -> None:
    import asyncio
    from functools import partial

    scope = safeatomic_config(retries=7)

    @scope
    def plain(extra: int) -> int:
        return defaults().retries + extra

    @scope
    async def coroutine(first: asyncio.Event, then: asyncio.Event) -> int:
        then.set()
        await first.wait()
        return defaults().retries

    async def main() -> list[int]:
        one, two = asyncio.Event(), asyncio.Event()
        return list(await asyncio.gather(coroutine(one, two), coroutine(two, one)))

    assert plain(1) == 8
    assert scope(partial(plain, 2))() == 9
    assert asyncio.run(main()) == [7, 7]
    assert defaults().retries == 0


def test_scopes_that_are_left_out_of_order_end_as_they_began() -> None:
    outer, inner = safeatomic_config(retries=1), safeatomic_config(retries=2)
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    assert defaults().retries == 0
    inner.__exit__(None, None, None)
    assert defaults().retries == 0
    inner.__exit__(None, None, None)
    assert defaults().retries == 0


def test_what_has_no_view_but_can_be_written_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """An array of dates of numpy's is such an object: it has no format for its elements."""

    def no_format(_data: object) -> memoryview:
        raise ValueError("cannot include dtype 'M' in a buffer")

    monkeypatch.setattr(_options, "memoryview", no_format, raising=False)
    assert _options.check_data(bytearray(b"dates")) == b"dates"


def test_a_decorated_generator_has_the_defaults_while_it_runs_and_its_caller_does_not() -> None:
    scope = safeatomic_config(retries=7)
    seen: list[object] = []

    @scope
    def numbers() -> Generator[int, str, str]:
        try:
            seen.append((yield defaults().retries))
            yield defaults().retries
        except KeyError:
            yield defaults().retries + 1
        finally:
            seen.append(defaults().retries)
        return "end"

    running = numbers()
    assert (next(running), defaults().retries) == (7, 0)
    assert (running.send("sent"), defaults().retries) == (7, 0)
    assert (running.throw(KeyError()), defaults().retries) == (8, 0)
    with pytest.raises(StopIteration) as caught:
        next(running)
    assert (caught.value.value, seen) == ("end", ["sent", 7])
    closed = numbers()
    next(closed)
    closed.close()
    assert (seen, defaults().retries) == (["sent", 7, 7], 0)


def test_a_decorated_asynchronous_generator_has_the_defaults_while_it_runs() -> None:
    scope = safeatomic_config(retries=7)
    seen: list[int] = []

    @scope
    async def numbers() -> AsyncGenerator[int, str]:
        try:
            await asyncio.sleep(0)
            yield defaults().retries
            yield defaults().retries
        except KeyError:
            yield defaults().retries + 1
        finally:
            seen.append(defaults().retries)

    async def use() -> None:
        async for number in numbers():
            assert (number, defaults().retries) == (7, 0)
        running = numbers()
        assert await anext(running) == 7
        assert await running.athrow(KeyError()) == 8
        await running.aclose()
        assert (seen, defaults().retries) == ([7, 7], 0)

    asyncio.run(use())


class _Calls:
    """What a decorator may be given instead of a function: an object that can be called."""

    async def __call__(self, count: int) -> list[int]:
        await asyncio.sleep(0)
        return [defaults().retries] * count


async def _retries(count: int) -> list[int]:
    return await _Calls()(count)


def _each(count: int) -> Generator[int, None, None]:
    for _ in range(count):
        yield defaults().retries


async def _each_later(count: int) -> AsyncGenerator[int, None]:
    for _ in range(count):
        yield defaults().retries


def test_what_a_partial_or_an_object_calls_has_the_defaults_while_it_runs() -> None:
    scope = safeatomic_config(retries=5)

    async def collect() -> list[int]:
        later = scope(functools.partial(functools.partial(_each_later), 2))
        return [retries async for retries in later()]

    assert asyncio.run(scope(functools.partial(_retries, 2))()) == [5, 5]
    assert asyncio.run(scope(functools.partial(_Calls(), count=2))()) == [5, 5]
    assert asyncio.run(scope(_Calls())(2)) == [5, 5]
    assert list(scope(functools.partial(_each, 2))()) == [5, 5]
    assert asyncio.run(collect()) == [5, 5]
    assert scope(functools.partial(lambda: defaults().retries))() == 5


@pytest.mark.parametrize("mode", [True, "0600", 0o600 + 0.5])
def test_a_mode_of_another_type_is_refused(target: Path, mode: object) -> None:
    with pytest.raises(TypeError, match="mode must be an int"):
        write_atomic(target, "x", mode=mode)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", [-1, 0o1000, 0o1777, stat.S_IFREG | 0o600])
def test_a_mode_with_other_bits_is_refused(target: Path, mode: int) -> None:
    with pytest.raises(ValueError, match="permission bits"):
        write_atomic(target, "x", mode=mode)
    assert target.read_bytes() == b"old"
