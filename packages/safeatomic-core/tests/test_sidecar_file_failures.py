"""What cannot be found out about a sidecar, and what becomes of the call then."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import _sidecar_file as sidecar_file
from safeatomic_core import get_checksum_info, read_atomic_bytes, write_atomic_bytes
from safeatomic_core._sidecar_file import Sidecar
from safeatomic_core._target import Target
from sidecar_contents import OURS


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_no_descriptor_to_look_with_is_no_reason_to_go_on(
    target: Path, side: Path, faults: Any, code: int
) -> None:
    side.write_text(OURS["sealed"])
    faults.fail("open", code, when=lambda name, *_a, **_k: str(name).endswith(".sha256"))
    with pytest.raises(OSError, match="unchanged") as caught:
        write_atomic_bytes(target, b"new")
    assert caught.value.errno == code
    assert target.read_bytes() == b"old"


def test_a_sidecar_that_vanishes_while_it_is_asked_about_is_nothing(
    target: Path, side: Path, faults: Any, locate: Callable[[str | Path], Target]
) -> None:
    faults.fail("open", errno.EACCES, when=lambda name, *_a, **_k: str(name).endswith(".sha256"))
    place = locate(target)
    sidecar = Sidecar(place, "sha256")
    assert sidecar.kind == "nothing"
    assert sidecar.still_there(place)
    assert not sidecar.is_at("data.bin", place.dir_fd)
    assert sidecar.hold()
    place.close()


def test_an_error_while_reading_the_sidecar_is_no_verdict(target: Path, faults: Any) -> None:
    write_atomic_bytes(target, b"content", write_checksum=True)
    faults.fail("pread", errno.EIO, when=lambda _fd, size, _at: size == 65537)
    with pytest.raises(OSError, match="cannot read the checksum sidecar"):
        read_atomic_bytes(target, check_checksum=True)


def test_an_interrupt_while_looking_closes_the_sidecar(
    target: Path, side: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_args: object) -> None:
        raise KeyboardInterrupt

    side.write_text(OURS["sealed"])
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(sidecar_file, "parse_record", interrupt)
    with pytest.raises(KeyboardInterrupt):
        get_checksum_info(target)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("code", [errno.EBADF, errno.ENOSYS, errno.EIO])
def test_a_flock_that_cannot_be_had_is_done_without(
    target: Path, side: Path, faults: Any, code: int, locate: Callable[[str | Path], Target]
) -> None:
    side.write_text(OURS["sealed"])
    place = locate(target)
    sidecar = Sidecar(place, "sha256")
    faults.fail("flock", code)
    if code == errno.EIO:
        with pytest.raises(OSError, match="Input/output"):
            sidecar.hold()
    else:
        assert sidecar.hold()
    sidecar.close()
    place.close()


def test_an_error_of_a_look_at_nothing_is_an_error(target: Path, faults: Any) -> None:
    faults.fail("exists_at", errno.EIO)
    with pytest.raises(OSError, match="unchanged") as caught:
        write_atomic_bytes(target, b"new")
    assert caught.value.errno == errno.EIO
