"""The descriptor of a sidecar that was recognised, and how much of one is read."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import _sidecar_file as sidecar_file
from safeatomic_core import write_checksum_file
from safeatomic_core._checksum_record import CAP
from safeatomic_core._descriptor import Descriptor
from safeatomic_core._sidecar_file import Sidecar
from safeatomic_core._target import Target
from sidecar_contents import OLD, OTHER

needs_proc = pytest.mark.skipif(
    not os.path.isdir("/proc/self/fd"), reason="no /proc/self/fd to list"
)


@pytest.fixture
def side(target: Path) -> Path:
    write_checksum_file(target)
    return target.with_name("data.bin.sha256")


@pytest.fixture
def place(target: Path, side: Path, locate: Callable[[str | Path], Target]) -> Target:
    return locate(target)


def kind(place: Target) -> str:
    sidecar = Sidecar(place, "sha256")
    sidecar.close()
    return sidecar.kind


# ----------------------------------------------------------------------------------- descriptors


def test_a_forked_child_does_not_keep_the_flock_of_a_sidecar(place: Target, side: Path) -> None:
    sidecar = Sidecar(place, "sha256")
    assert sidecar.hold()
    end, stay = os.pipe()
    begun, begin = os.pipe()
    child = os.fork()
    if not child:
        os.close(stay)
        os.close(begin)
        os.read(end, 1)
        os._exit(0)
    os.close(end)
    os.close(begin)
    try:
        assert os.read(begun, 1) == b""  # the child has closed what it does not keep
        sidecar.close()
        with side.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(begun)
        os.close(stay)
        os.waitpid(child, 0)


def test_a_sidecar_without_a_standard_input_has_another_number(place: Target, side: Path) -> None:
    kept = os.dup(0)
    os.close(0)
    try:
        sidecar = Sidecar(place, "sha256")
        assert sidecar.fd > 2
        assert sidecar.hold()
        with side.open("rb") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        sidecar.close()
    finally:
        os.dup2(kept, 0)
        os.close(kept)


@needs_proc
@pytest.mark.parametrize("lasting", [True, False])
@pytest.mark.parametrize("held", [True, False])
def test_a_sidecar_is_closed(place: Target, lasting: bool, held: bool) -> None:
    before = os.listdir("/proc/self/fd")
    place.lasting = lasting
    sidecar = Sidecar(place, "sha256")
    if held:
        assert sidecar.hold()
    sidecar.close()
    assert os.listdir("/proc/self/fd") == before


def test_what_the_program_opened_under_the_number_of_a_sidecar_stays_open(
    place: Target, target: Path
) -> None:
    place.lasting = True
    sidecar = Sidecar(place, "sha256")
    os.close(sidecar.fd)
    theirs = os.open(target, os.O_RDONLY)
    assert theirs == sidecar.fd
    sidecar.close()
    assert os.read(theirs, 3) == b"old"
    os.close(theirs)


def test_a_sidecar_that_no_program_could_have_closed_is_not_examined_once_more(
    place: Target, faults: Any
) -> None:
    place.lasting = False
    sidecar = Sidecar(place, "sha256")
    faults.calls.clear()
    sidecar.close()
    assert faults.calls == ["close"]


@needs_proc
def test_an_interrupt_right_after_the_opening_leaves_no_descriptor(
    place: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Descriptor.open

    def interrupted(*args: Any, **options: Any) -> int:
        real(*args, **options)
        raise KeyboardInterrupt

    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(Descriptor, "open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Sidecar(place, "sha256")
    assert os.listdir("/proc/self/fd") == before


# --------------------------------------------------------------------------------- how much counts


@pytest.mark.parametrize(("more", "found"), [(0, "ours"), (1, "list")])
def test_a_record_may_have_so_many_bytes(place: Target, side: Path, more: int, found: str) -> None:
    line = f"{OLD}  data.bin\n# timestamp="
    side.write_text(line + "x" * (CAP - len(line) + more))
    assert kind(place) == found


@pytest.mark.parametrize(("less", "found"), [(0, "list"), (1, "foreign")])
def test_a_list_may_have_so_many_bytes(
    place: Target, side: Path, monkeypatch: pytest.MonkeyPatch, less: int, found: str
) -> None:
    raw = f"{OTHER}  a\n{OLD}  data.bin\n"
    side.write_text(raw)
    monkeypatch.setattr(sidecar_file, "_LONGEST_LIST", len(raw) - less)
    assert kind(place) == found


@pytest.mark.parametrize("length", [30, 130])
def test_what_is_longer_than_a_list_may_be_is_not_empty_because_it_begins_with_nuls(
    place: Target, side: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    side.write_bytes(bytes(length) + b"theirs")
    monkeypatch.setattr(sidecar_file, "CAP", 10)
    monkeypatch.setattr(sidecar_file, "_CHUNK", 20)
    monkeypatch.setattr(sidecar_file, "_LONGEST_LIST", 30)
    assert kind(place) == "foreign"


@pytest.mark.parametrize(
    "line",
    ["made for data.bin", f"{OTHER}  elsewhere/data.bin", "0" * 34 + "  data.bin", f"{OTHER}  a"],
)
def test_a_line_that_gives_no_digest_of_the_file_hides_none_that_does(
    place: Target, side: Path, line: str
) -> None:
    side.write_text(f"{line}\n{OLD}  data.bin\n{OTHER}  b\n")
    assert kind(place) == "list"


# ------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(("alias", "found"), [("alias", "ours"), ("d/alias", "foreign")])
def test_another_name_of_the_file_is_its_own_in_this_directory_only(
    place: Target, side: Path, target: Path, alias: str, found: str
) -> None:
    target.with_name("d").mkdir()
    os.link(target, target.parent / alias)
    side.write_text(f"{OLD}  {alias}\n")
    assert kind(place) == found


def test_another_name_is_not_that_of_a_file_that_is_not_there(
    tmp_path: Path, locate: Callable[[str | Path], Target]
) -> None:
    (tmp_path / "alias").write_bytes(b"old")
    (tmp_path / "f.sha256").write_text(f"{OLD}  alias\n")
    assert kind(locate(tmp_path / "f")) == "foreign"
