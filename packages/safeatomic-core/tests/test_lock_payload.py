"""What a lock file says, and what is not a lock of ours."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lock_payloads import GOOD, TOKEN, lock_of, payload
from safeatomic_core import _lock_payload, inspect_lock, release_lock, try_acquire_lock
from safeatomic_core._lock_payload import parse, parse_json, parse_timestamp


def test_the_payload_is_one_line_of_json_that_parses_back() -> None:
    raw = payload("run 7")
    assert raw.endswith(b"\n")
    assert raw.count(b"\n") == 1
    fields = parse(raw)
    assert fields is not None
    assert fields["pid"] == os.getpid()
    assert fields["hostname"] == os.uname().nodename
    assert fields["kernel_lock"] == "flock"
    assert b"run 7" not in raw
    assert len(str(fields["session_hash"])) == 64
    assert abs(time.time() - (parse_timestamp(fields["timestamp"]) or 0)) < 60


def test_a_payload_without_a_session_says_so_and_bears_its_token() -> None:
    fields = parse(payload(None))
    assert fields is not None
    assert fields["token"] == TOKEN
    assert fields["session_hash"] is None


@pytest.mark.parametrize("name", ["host", 'h"o\\st', "höst", "host\udc80", "\U0001f600", ""])
def test_a_payload_is_json_whatever_the_host_is_called(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("L", name, "1", "1", "x")))
    monkeypatch.setattr(_lock_payload, "_this_second", (0, "", ""))  # so that it is asked now
    raw = payload("run")
    fields = json.loads(raw)
    assert fields["hostname"] == name
    assert parse(raw) == fields


def test_our_own_payload_is_read_and_written_where_nothing_can_be_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = parse(payload("run"))
    for module in ("json", "datetime", "hashlib"):
        monkeypatch.setitem(sys.modules, module, None)
    assert expected is not None
    fields = parse(payload("run"))
    assert fields is not None
    assert fields["session_hash"] == expected["session_hash"]
    longest = payload("").replace(b'"pid":%d' % os.getpid(), b'"pid":2147483647')
    assert (parse(longest) or {}).get("pid") == 2147483647
    assert parse(longest.replace(b"2147483647", b"2147483648")) is None  # no process has it
    assert parse(json_of(GOOD)) is None
    assert parse_timestamp("2026-01-02T03:04:05+01:00") is None


def test_a_host_of_an_everyday_name_is_written_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("L", "host-1.lan", "1", "1", "x")))
    monkeypatch.setattr(_lock_payload, "_this_second", (-1, "", ""))
    assert b'"hostname":"host-1.lan",' in payload(None)


def test_a_sandbox_that_refuses_the_host_s_name_keeps_nobody_from_locking(
    monkeypatch: pytest.MonkeyPatch, target: Path
) -> None:
    def refuse() -> os.uname_result:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "uname", refuse)
    monkeypatch.setattr(_lock_payload, "_this_second", (-1, "", ""))
    assert try_acquire_lock(target)
    try:
        assert inspect_lock(target).hostname == "?"
    finally:
        assert release_lock(target)
    foreign = json_of({**GOOD, "pid": os.getpid(), "hostname": "elsewhere"})
    lock_of(target).write_bytes(foreign)
    assert inspect_lock(target).alive == "unknown"


def test_a_clock_that_begins_in_1970_is_good_for_a_payload() -> None:
    program = (
        "import time\n"
        "time.time_ns = lambda: 0\n"
        "from safeatomic_core._lock_payload import payload\n"
        "print(payload(None, '0123456789abcdef').decode())"
    )
    made = subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE)
    fields = parse(made.stdout.strip())
    assert fields is not None
    assert parse_timestamp(fields["timestamp"]) == 0
    assert fields["hostname"] == os.uname().nodename


def test_what_is_written_otherwise_than_ours_is_read_as_json() -> None:
    fields = parse(payload(None).replace(b"null", rb'"\u0041"'))
    assert fields is not None
    assert fields["session_hash"] == "A"


def json_of(value: object) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    "change",
    [
        (b'"pid":', b'"pid":x'),
        (b'"session_hash":null', b'"session_hash":nil'),
        (b'"session_hash":null', b'"session_hash":"'),
        (b'"hostname":"', b'"hostname":"a"'),
        (b'"timestamp":"', b'"timestamp":"\x07'),
        (b"}\n", b"}\nmore"),
        (b"null", b"\xff"),
        (b'{"version":1', b'{"version":2'),
        (b'"kernel_lock":"flock"', b'"kernel_lock":7'),
    ],
)
def test_a_payload_that_was_changed_is_not_a_lock(change: tuple[bytes, bytes]) -> None:
    assert parse(payload(None).replace(*change)) is None


@given(st.datetimes(), st.booleans())
def test_our_own_times_are_read_as_datetime_reads_them(moment: Any, whole: bool) -> None:
    text = f"{moment.replace(microsecond=0 if whole else moment.microsecond).isoformat()}"
    text = text if "." in text else f"{text}.000000"
    expected = datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    assert parse_timestamp(f"{text}Z") == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-29T00:00:00.000000Z",
        "2026-04-31T00:00:00.000000Z",
        "2026-13-01T00:00:00.000000Z",
        "2026-00-01T00:00:00.000000Z",
        "2026-01-01T24:00:00.000000Z",
        "2026-01-01T00:60:00.000000Z",
        "2026-01-01T00:00:60.000000Z",
        "0000-01-01T00:00:00.000000Z",
        "20260-1-01T00:00:00.000000Z",
        "2026-aa-01T00:00:00.000000Z",
    ],
)
def test_times_that_do_not_exist_are_none(text: str) -> None:
    assert parse_timestamp(text) is None


YEARS = (0, 1, 4, 96, 100, 104, 400, 1900, 1996, 2000, 2026, 2100, 9999)


@pytest.mark.parametrize("year", YEARS)
def test_every_year_has_the_days_that_it_has(year: int) -> None:
    for month in range(14):
        for day in (0, 1, 28, 29, 30, 31, 32):
            text = f"{year:04d}-{month:02d}-{day:02d}T12:30:59.000000Z"
            try:
                expected = datetime(year, month, day, 12, 30, 59, tzinfo=UTC).timestamp()
            except ValueError:
                assert parse_timestamp(text) is None, text
            else:
                assert parse_timestamp(text) == expected, text


@pytest.mark.parametrize("text", ["2026-01-02T03:04:05.0+01:00", "2026-01-02T03:04:05.000Z"])
def test_a_time_that_has_our_length_or_our_marks_alone_is_another_one(text: str) -> None:
    assert parse_timestamp(text) == datetime.fromisoformat(text).timestamp()


def test_what_is_nested_too_deep_is_not_read_however_its_brackets_are_mixed() -> None:
    shallow, deep = ('[{"a":' * levels + "1" + "}]" * levels for levels in (32, 33))
    assert parse_json(shallow.encode()) is not None
    assert parse_json(deep.encode()) is None


def test_a_stack_that_is_nearly_used_up_says_nothing_of_the_file() -> None:
    raw = json_of({**GOOD, "x": [[[[[]]]]]})

    def deeper(frames: int) -> object:
        return deeper(frames - 1) if frames else parse(raw)

    base = 0
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        base, frame = base + 1, frame.f_back
    for left in range(3, 30):
        try:
            result = deeper(sys.getrecursionlimit() - base - left)
        except RecursionError:
            continue
        assert result is not None, "a lock was taken for another tool's"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"garbage",
        b"\xff\xfe",
        b"[]",
        b"[" * 4000,
        b'{"version":1,"pid":' + b"9" * 4000 + b"}",
        b"{" + b" " * 5000 + b"}",
        json.dumps({**GOOD, "version": 2}).encode(),
        json.dumps({**GOOD, "version": True}).encode(),
        json.dumps({**GOOD, "version": 1.0}).encode(),
        json.dumps({**GOOD, "pid": "4242"}).encode(),
        json.dumps({**GOOD, "pid": True}).encode(),
        json.dumps({**GOOD, "pid": 0}).encode(),
        json.dumps({**GOOD, "pid": 2**40}).encode(),
        json.dumps({**GOOD, "hostname": None}).encode(),
        json.dumps({**GOOD, "session_hash": 3}).encode(),
        json.dumps({**GOOD, "timestamp": "yesterday"}).encode(),
        json.dumps({**GOOD, "timestamp": "2026-01-02T03:04:05"}).encode(),
        json.dumps({**GOOD, "timestamp": 5}).encode(),
        json.dumps({**GOOD, "kernel_lock": 1}).encode(),
    ],
)
def test_what_is_no_lock_is_none(raw: bytes) -> None:
    assert parse(raw) is None


@given(st.binary(max_size=6000))
def test_arbitrary_bytes_never_raise(raw: bytes) -> None:
    assert parse(raw) is None or isinstance(parse(raw), dict)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
def test_arbitrary_json_never_raises(value: object) -> None:
    fields = {**GOOD, "pid": value, "timestamp": value}
    assert parse(json.dumps(fields).encode()) is None or isinstance(value, int)
    parse(json.dumps(value).encode())


@given(st.text(max_size=50))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_arbitrary_timestamps_never_raise(text: str) -> None:
    assert parse_timestamp(text) is None or isinstance(parse_timestamp(text), float)


def test_extreme_timestamps_are_none_or_numbers() -> None:
    assert parse_timestamp("0001-01-01T00:00:00+14:00") is None or True
    assert parse_timestamp("2026-01-01T00:00:00+00:00") == 1767225600.0
    assert parse_timestamp("x" * 41) is None
