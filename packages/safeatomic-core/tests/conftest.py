"""Fixtures shared by the core's tests."""

from __future__ import annotations

import copy
import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from failing_calls import Faults
from mount_tables import ATTEMPTS, FakeWatch, can_be_watched
from replacements import Missing
from safeatomic_core import _environment as environment
from safeatomic_core import _guarantees as guarantees
from safeatomic_core import _metadata, _protocol, _trace, release_lock, try_acquire_lock
from safeatomic_core import _mounts as mounts
from safeatomic_core import _verdicts as verdicts
from safeatomic_core._doctor import examination
from safeatomic_core._doctor.subject import Place
from safeatomic_core._guarantees import GuaranteeReport
from safeatomic_core._posix import intercept, kernel
from safeatomic_core._target import Target, check_path

# No deadlines: machines are shared. The same examples at each run of CI, others elsewhere.
settings.register_profile("safeatomic", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("safeatomic")


@pytest.fixture
def faults() -> Iterator[Faults]:
    made = Faults()
    with intercept(made.wrap):
        yield made


@pytest.fixture
def locate() -> Iterator[Callable[[str | Path], Target]]:
    """Return what opens the target of a path; it is closed at the end."""
    made: list[Target] = []

    def opened(path: str | Path) -> Target:
        made.append(Target(check_path(path)))
        try:
            made[-1].open()
        except BaseException:
            made[-1].close()
            raise
        return made[-1]

    yield opened
    for target in made:
        target.close()


@pytest.fixture
def steps() -> Iterator[list[tuple[str, dict[str, object]]]]:
    """Record the trace of every step."""
    events: list[tuple[str, dict[str, object]]] = []
    _trace.hook = lambda step, facts: events.append((step, facts))
    try:
        yield events
    finally:
        _trace.hook = None


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file with old content and mode 0640."""
    path = tmp_path / "data.bin"
    path.write_bytes(b"old")
    path.chmod(0o640)
    return path


@pytest.fixture
def side(target: Path) -> Path:
    """The name of the target's sidecar."""
    return target.with_name("data.bin.sha256")


@pytest.fixture
def place(target: Path, locate: Callable[[str | Path], Target]) -> Target:
    """The target, opened."""
    return locate(target)


@pytest.fixture
def missing() -> Iterator[dict[str, int]]:
    """System calls that are missing, with their errors; a test puts them in."""
    made = Missing()
    with intercept(made.wrap):
        yield made.missing


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """A file to be moved."""
    path = tmp_path / "src"
    path.write_bytes(b"moved")
    return path


@pytest.fixture
def mounted(target: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The target as a mount point that only the rename detects."""
    really = kernel.rename

    def rename(src: Any, dst: Any, **kwargs: Any) -> None:
        if dst == target.name:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), src, None, dst)
        really(src, dst, **kwargs)

    def is_mount_point(_dir_fd: int, name: str, *_verdict: object) -> bool:
        return name == target.name

    monkeypatch.setattr(kernel, "rename", rename, raising=False)
    monkeypatch.setattr(verdicts, "is_mount_point", is_mount_point)
    monkeypatch.setattr(_protocol, "is_mount_point", is_mount_point)
    return target


@pytest.fixture
def seen(mounted: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The target as a mount point that the mount table shows."""
    really = verdicts.verdict_on

    def verdict_on(*args: Any) -> Any:
        verdict = copy.copy(really(*args))  # a copy: the original stays for later tests
        verdict.mounted_names = frozenset({mounted.name})
        return verdict

    monkeypatch.setattr(verdicts, "verdict_on", verdict_on)
    return mounted


@pytest.fixture(params=["any descriptor", "descriptor 0"])
def opened(target: Path, request: pytest.FixtureRequest) -> Iterator[Target]:
    """The target with its directory open, under any number."""
    place = Target(str(target))
    place.open()
    number, kept = place.dir_fd, os.dup(0)
    if request.param == "descriptor 0":  # as in a daemon without standard input
        place.dir_fd = os.dup2(number, 0)
    yield place
    os.dup2(kept, 0)
    os.close(kept)
    place.dir_fd = number
    place.close()


@pytest.fixture
def listing(tmp_path: Path) -> Callable[[], list[str]]:
    """Return the names in the test's directory when called."""
    return lambda: sorted(os.listdir(tmp_path))


@pytest.fixture
def signals_not_ignored() -> Iterator[None]:
    """Let signals end the programs that a test starts, even if the tests run under nohup or &.

    A started program inherits the ignored signals (execve(2)).
    """
    before = {
        number: handler
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM)
        if (handler := signal.getsignal(number)) is signal.SIG_IGN
    }
    for number in before:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The path of a file that does not exist yet."""
    return tmp_path / "data"


@pytest.fixture
def held(data: Path) -> Iterator[Path]:
    """A file whose lock this context has taken."""
    assert try_acquire_lock(data)
    yield data
    release_lock(data)


@pytest.fixture
def watch() -> Iterator[mounts.MountWatch]:
    """A watch on the kernel's mount table, which nobody is changing."""
    if not can_be_watched():
        pytest.skip("this /proc cannot be watched")
    for _ in range(ATTEMPTS):
        made = mounts.MountWatch()
        if made.unchanged():
            yield made
            made.close()
            return
        made.close()
    pytest.fail("a table that nobody changes counts as changed")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeWatch]]:
    """Show the library a mount table that the test writes; find mounts by device and path."""
    monkeypatch.setattr(mounts, "MountWatch", FakeWatch)
    monkeypatch.setattr(mounts, "mount_id", lambda _fd: None)
    monkeypatch.setattr(environment, "PLATFORM", "linux")
    monkeypatch.setattr(environment, "_process_findings", tuple)
    monkeypatch.setattr(environment, "has_journal", lambda _environment: True)
    monkeypatch.setattr(verdicts, "_idle", [])
    FakeWatch.made = FakeWatch.reads = FakeWatch.open_now = 0
    FakeWatch.changing = FakeWatch.long = False
    FakeWatch.failure = None
    FakeWatch.table = b""
    yield FakeWatch
    FakeWatch.failure = None


@pytest.fixture
def report_on(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], GuaranteeReport]:
    """Judge the mount in a line of a mount table; an ext4 has a journal there."""
    monkeypatch.setattr(environment, "has_journal", lambda _environment: True)

    def judge(line: str) -> GuaranteeReport:
        mount = environment.parse_mount(line.encode())
        assert mount is not None
        dev = os.makedev(*map(int, mount.device.split(":")))
        return guarantees._report_on(verdicts.judge(mount, dev))

    return judge


@pytest.fixture
def take_place_for(
    monkeypatch: pytest.MonkeyPatch, report_on: Callable[[str], GuaranteeReport]
) -> Callable[[str], None]:
    """Let every call find the filesystem that the test chooses."""

    def choose(fstype: str) -> None:
        report = report_on(f"1 1 8:1 / / rw - {fstype} /dev/sda1 rw")
        verdict = verdicts.Verdict(report.environment, report.guarantees, report.reasons)
        monkeypatch.setattr(verdicts, "remembered", lambda _dev: verdict)

    return choose


@pytest.fixture
def guaranteed_place(take_place_for: Callable[[str], None]) -> None:
    """Let every call find a place where everything is guaranteed, whatever the real one is."""
    take_place_for("ext4")


@pytest.fixture
def at(report_on: Callable[[str], GuaranteeReport]) -> Iterator[Callable[..., Place]]:
    """Open places, on ext4 unless a report says otherwise; they are closed after the test."""
    ext4 = report_on("1 1 8:1 / / rw - ext4 /dev/sda1 rw")
    places: list[Place] = []

    def opened(path: str | Path, report: GuaranteeReport = ext4) -> Place:
        place = Place(str(path), report.environment)
        place.open()
        places.append(place)
        return place

    yield opened
    for place in places:
        place.close()


@pytest.fixture
def on(
    monkeypatch: pytest.MonkeyPatch, report_on: Callable[[str], GuaranteeReport]
) -> Callable[[str], None]:
    """Let the doctor find a filesystem of the test's choice."""

    def choose(line: str) -> None:
        report = report_on(f"1 1 8:1 / / rw - {line}")
        monkeypatch.setattr(examination, "inspect_guarantees", lambda _path: report)

    return choose


@pytest.fixture
def ext4(on: Callable[[str], None]) -> None:
    """Let the doctor find ext4."""
    on("ext4 /dev/sda1 rw")


@pytest.fixture
def unknown_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the attributes of files, because tests cannot set them everywhere."""
    monkeypatch.setattr(mounts, "attributes", lambda _dir_fd, _name="": None)


@pytest.fixture(autouse=True)
def nothing_was_warned_of() -> None:
    """Reset the warnings that come once in a process, so that every test sees them."""
    _metadata._warned.clear()


class Stdin:
    """Standard input with given bytes, or one that fails."""

    def __init__(self, content: bytes | BaseException, *, terminal: bool = False) -> None:
        self._failure = content if isinstance(content, BaseException) else None
        self.buffer = self if self._failure else io.BytesIO(content)  # type: ignore[arg-type]
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def read(self, _size: int) -> bytes:
        assert self._failure is not None
        raise self._failure


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Any:
    def give(content: bytes | BaseException, **options: bool) -> None:
        monkeypatch.setattr(sys, "stdin", Stdin(content, **options))

    return give


@contextmanager
def _around(
    entry: str,
    name: str,
    *,
    before: Callable[[], object] | None = None,
    after: Callable[[], object] | None = None,
) -> Iterator[None]:
    """Do something at the first system call whose destination has this name."""
    real, waiting = getattr(kernel, entry), [True]

    def call(*args: Any, **options: Any) -> Any:
        first = waiting and args[1] == name
        if first:
            waiting.clear()
        if first and before is not None:
            before()
        result = real(*args, **options)
        if first and after is not None:
            after()
        return result

    setattr(kernel, entry, call)
    try:
        yield
    finally:
        setattr(kernel, entry, real)


@pytest.fixture
def around() -> Callable[..., AbstractContextManager[None]]:
    """Return a function that does something beside a system call; see `_around`."""
    return _around
