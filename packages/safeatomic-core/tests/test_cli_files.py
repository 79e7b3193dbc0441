from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from safeatomic_core import (
    AtomicWriter,
    inspect_lock,
    verify_checksum,
    write_atomic_bytes,
)
from safeatomic_core._cli import commands, main
from safeatomic_core._errors import UNCHANGED


def test_write_takes_standard_input(target: Path, stdin: Any) -> None:
    stdin(b"new")
    assert main(["write", str(target), "--checksum"]) == 0
    assert target.read_bytes() == b"new"
    assert verify_checksum(target)


def test_write_takes_a_file(target: Path, tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"from a file")
    options = ["--algo", "sha512", "--retries", "3", "--delay", "0.5", "--no-lock"]
    assert main(["write", str(target), "--from", str(tmp_path / "input"), *options]) == 0
    assert target.read_bytes() == b"from a file"
    assert verify_checksum(target, algo="sha512")


def test_write_says_that_it_reads_a_terminal(
    target: Path, stdin: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    stdin(b"typed", terminal=True)
    assert main(["write", str(target), "--from", "-"]) == 0
    assert "reading standard input" in capsys.readouterr().err
    assert target.read_bytes() == b"typed"


def test_write_publishes_nothing_when_its_input_fails(
    target: Path, stdin: Any, capsys: pytest.CaptureFixture[str], listing: Any
) -> None:
    stdin(OSError(5, "input failed"))
    assert main(["write", str(target)]) == 2
    assert capsys.readouterr().err == (
        "safeatomic: standard input: input failed; the target is unchanged\n"
    )
    assert main(["write", str(target), "--from", str(target.with_name("missing"))]) == 2
    assert "No such file" in capsys.readouterr().err
    assert target.read_bytes() == b"old"
    assert listing() == ["data.bin"]


def test_an_input_that_cannot_be_read_is_named(
    target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Failing(io.BytesIO):
        name = "new.conf"

        def read(self, _size: int | None = -1) -> bytes:
            raise OSError(5, "input failed")

    with pytest.raises(OSError, match="input failed") as caught:
        commands.read_input(Failing())
    assert caught.value.filename == "new.conf"
    assert main(["write", str(target), "--from", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"safeatomic: {tmp_path}: Is a directory; {UNCHANGED}\n"


def test_an_interrupt_after_publication_says_that_the_file_is_new(
    target: Path, stdin: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stdin(b"new")
    real = AtomicWriter.commit

    def commit(self: Any) -> None:
        real(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(AtomicWriter, "commit", commit)
    assert main(["write", str(target)]) == 130
    assert "the new content is visible and durable" in capsys.readouterr().err


def test_an_interrupt_before_the_lock_says_that_the_file_is_unchanged(
    target: Path, stdin: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stdin(b"new")

    def interrupted(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "open_writer", interrupted)
    assert main(["write", str(target)]) == 130
    assert "the target is unchanged" in capsys.readouterr().err


def test_a_path_that_cannot_be_is_said_and_nothing_else(
    stdin: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    stdin(b"new")
    assert main(["write", ""]) == 2
    assert capsys.readouterr().err == (
        "safeatomic: path must not be empty; give the path of a file\n"
    )


def test_a_new_file_can_be_private_and_must_be_new(data: Path, stdin: Any) -> None:
    stdin(b"secret")
    assert main(["write", str(data), "--mode", "600", "--no-clobber", "--checksum"]) == 0
    assert data.stat().st_mode & 0o777 == 0o600
    stdin(b"other")
    assert main(["write", str(data), "--no-clobber"]) == 2
    assert data.read_bytes() == b"secret"


@pytest.mark.parametrize("content", [b"", b"x" * 10, b"x" * (commands._CHUNK * 2 + 5)])
def test_unchanged_content_leaves_the_file_alone(target: Path, stdin: Any, content: bytes) -> None:
    target.write_bytes(content)
    before = target.stat()
    stdin(content)
    assert main(["write", str(target), "--if-changed"]) == 0
    after = target.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert not inspect_lock(target).exists


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"abc", b"abd"),
        (b"abc", b"ab"),
        (b"ab", b"abc"),
        (b"", b"x"),
        (b"x", b""),
        (b"x" * commands._CHUNK + b"old", b"x" * commands._CHUNK + b"new and longer"),
        (b"x" * commands._CHUNK, b"x" * (3 * commands._CHUNK)),
    ],
)
def test_changed_content_is_written_whole(target: Path, stdin: Any, old: bytes, new: bytes) -> None:
    target.write_bytes(old)
    stdin(new)
    assert main(["write", str(target), "--if-changed"]) == 0
    assert target.read_bytes() == new


def test_what_is_not_there_counts_as_changed(data: Path, stdin: Any) -> None:
    stdin(b"")
    assert main(["write", str(data), "--if-changed"]) == 0
    assert data.read_bytes() == b""


def test_a_missing_checksum_counts_as_a_change(target: Path, stdin: Any) -> None:
    for algo in ("sha256", "sha256", "sha512"):
        stdin(b"old")
        assert main(["write", str(target), "--if-changed", "--checksum", "--algo", algo]) == 0
        assert verify_checksum(target, algo=algo)


@pytest.mark.parametrize("asked", [["--checksum"], ["--algo", "sha512"]])
def test_a_checksum_is_asked_for_by_either_option(
    target: Path, stdin: Any, asked: list[str]
) -> None:
    stdin(b"old")
    assert main(["write", str(target), "--if-changed", *asked]) == 0
    assert verify_checksum(target)


def test_unchanged_content_with_its_checksum_is_left_alone(target: Path, stdin: Any) -> None:
    stdin(b"old")
    assert main(["write", str(target), "--checksum"]) == 0
    before = target.stat()
    stdin(b"old")
    assert main(["write", str(target), "--if-changed", "--checksum"]) == 0
    assert target.stat().st_ino == before.st_ino
    assert verify_checksum(target)


def test_a_file_that_shrinks_while_it_is_compared_is_not_published(
    target: Path, stdin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.write_bytes(b"x" * commands._CHUNK + b"old")
    real = commands._compare

    def compare(*args: Any) -> Any:
        result = real(*args)
        target.write_bytes(b"cut")
        return result

    monkeypatch.setattr(commands, "_compare", compare)
    stdin(b"x" * commands._CHUNK + b"new")
    assert main(["write", str(target), "--if-changed"]) == 2
    assert target.read_bytes() == b"cut"


def test_read_prints_and_checks(target: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    write_atomic_bytes(target, b"\xff\0raw", write_checksum=True)
    assert main(["read", str(target), "--check"]) == 0
    assert capfdbinary.readouterr().out == b"\xff\0raw"
    target.write_bytes(b"rotten")
    assert main(["read", str(target), "--check"]) == 1
    out = capfdbinary.readouterr()
    assert out.out == b""
    assert b"does not match its checksum" in out.err
    assert b"safeatomic checksum" in out.err
    assert main(["read", str(target.with_name("missing"))]) == 2


def test_move_renames(target: Path, listing: Any, capsys: pytest.CaptureFixture[str]) -> None:
    target.with_name("other").write_bytes(b"x")
    assert main(["move", str(target), str(target.with_name("other"))]) == 2
    err = capsys.readouterr().err
    assert "--force" in err
    assert "force=True" not in err
    assert main(["move", str(target), str(target.with_name("other")), "--force"]) == 0
    assert listing() == ["other"]


@pytest.mark.usefixtures("guaranteed_place")
def test_inspect_prints_text_and_json(target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(target)]) == 0
    assert "AtomicVisibility" in capsys.readouterr().out
    assert main(["inspect", str(target), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["guarantees"]["AtomicVisibility"] == "Guaranteed"


@pytest.mark.usefixtures("guaranteed_place")
def test_doctor_answers_by_its_exit_status(
    target: Path, capsys: pytest.CaptureFixture[str], listing: Any
) -> None:
    assert main(["doctor", str(target), "--destructive"]) == 0
    assert "AtomicVisibility" in capsys.readouterr().out
    assert main(["doctor", str(target), "--require", "Nonsense"]) == 1
    capsys.readouterr()
    assert main(["doctor", str(target), "--require", "atomic_visibility", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    assert listing() == ["data.bin"]


def test_doctor_s_colours_are_the_only_escapes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "wants_colour", lambda _stream: True)
    main(["doctor", str(tmp_path / "x\x1b[2J")])
    out = capsys.readouterr().out
    assert "\x1b[32m" in out
    assert "\x1b[2J" not in out
