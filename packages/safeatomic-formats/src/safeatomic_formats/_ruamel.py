"""YAML documents that keep comments and layout, through ruamel.yaml (the extra ``ruamel``)."""

from __future__ import annotations

from safeatomic_core import read_atomic

from ._documents import dump, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from ruamel.yaml import YAML

    from safeatomic_core._types import Concurrency, Safety, StrPath


def atomic_yaml_dump_ruamel(
    path: StrPath,
    obj: object,
    *,
    yaml_instance: YAML | None = None,
    encoding: str | None = None,
    concurrency: Concurrency = "lock",
    preserve_metadata: bool = True,
    write_checksum: bool = False,
    checksum_algo: str | None = None,
    retries: int | None = None,
    delay: float | None = None,
    session: str | None = None,
    safety: Safety = "strict",
    mode: int | None = None,
    overwrite: bool = True,
) -> None:
    """Replace a YAML file with an object that `atomic_yaml_load_ruamel` returned, with its layout.

    An unchanged document is written byte for byte as it was loaded (without a byte order mark). If
    you change it, only the lines of the change are written again, or as many around it as the text
    needs to read back; all other lines stay. Inside ``[]`` or ``{}``, so do the lines, spaces and
    comments around the change. Lines that are written again keep comments, order, anchors, quotes,
    indents and line ends. They lose other spaces inside a line, the spelling of ``null``, the line
    breaks of a plain text over several lines, and, if brackets are written again as a whole, the
    comments in them. New lines are indented like most of the document, and come before blank lines
    and comments that belong to what follows. Comments above a removed entry stay, and comments in
    it go; comments in an emptied list or mapping move behind it. None (the content of a file with
    only comments), a lone value and a set remember no layout: if the file already says the same,
    its text stays. Plain objects are written in block style.

    The text is published only if it reads back as the object, as far as YAML 1.2 can represent it:
    a tuple comes back as a list, and a subclass as its base. If ruamel.yaml would write something
    wrongly, it is refused. The check costs one load and a comparison; the first dump of a loaded
    document costs one more load and rendering, which keep its lines.

    Args:
        path: The file; it need not exist, its directory must.
        obj: What `atomic_yaml_load_ruamel` returned, changed or not, or a plain object.
        yaml_instance: A configured `ruamel.yaml.YAML`, used as it is: it alone decides the layout.
            Its text is then only checked to be YAML in which no key occurs twice and, for an object
            of a plain class, to be neither empty nor of another kind. Threads may share it: they
            wait for each other. A dump that failed does not affect the next one.
        encoding: Text encoding; YAML for others to read is UTF-8.
        concurrency: See `safeatomic_core.write_atomic_bytes`, as for all that follow.
        preserve_metadata: Keep mode, owner, group and extended attributes.
        write_checksum: Keep a checksum sidecar beside the file.
        checksum_algo: Name of a fixed-length `hashlib` algorithm.
        retries: How many times to retry when the lock is held; by default 0.
        delay: Seconds for each retry; by default 0.1. ``retries`` times ``delay`` is the longest
            wait in seconds; a lock that becomes free earlier is taken within about 50 ms.
        session: Text identifying the run that takes the lock.
        safety: ``"strict"``, ``"warn"`` or ``"best_effort"``.
        mode: Permission bits of a new file; None for what the umask leaves of 0o666.
        overwrite: False to fail with FileExistsError if the file exists.

    Raises:
        ImportError: ruamel.yaml is not installed; the message holds the command that installs it.
            The target is unchanged.
        TypeError: ``yaml_instance`` is not a `ruamel.yaml.YAML`. The target is unchanged.
        ruamel.yaml.error.YAMLError: The object contains a value that has no safe form in YAML. The
            target is unchanged.
        ValueError: The text would not read back, or ruamel.yaml cannot write the object; the
            message names the place in the object. Or this thread is using ``yaml_instance`` for
            another document. The target is unchanged.
        RecursionError: The object is nested too deeply: at some 240 levels with the interpreter's
            default recursion limit, at 1,000 with any, and, in a thread with a small stack, at more
            than one level for every 2 KiB of it. The target is unchanged.
        UnicodeEncodeError: The encoding lacks a character. The target is unchanged.
        Exception: Whatever `safeatomic_core.write_atomic` raises; a note says what became of the
            target.
    """
    layout = _require("atomic_yaml_dump_ruamel")

    def present() -> str:
        return read_atomic(path, encoding=encoding, safety="best_effort")

    dump(
        path,
        "YAML",
        obj,
        lambda document: layout.render(document, present, yaml_instance),
        foreign=yaml_instance is not None,
        encoding=encoding,
        concurrency=concurrency,
        preserve_metadata=preserve_metadata,
        write_checksum=write_checksum,
        checksum_algo=checksum_algo,
        retries=retries,
        delay=delay,
        session=session,
        safety=safety,
        mode=mode,
        overwrite=overwrite,
    )


def atomic_yaml_load_ruamel(
    path: StrPath,
    *,
    yaml_instance: YAML | None = None,
    encoding: str | None = None,
    check_checksum: bool = False,
    checksum_algo: str | None = None,
    safety: Safety = "strict",
) -> Any:
    """Return the content of a YAML file, with its comments and layout, from one consistent version.

    Mappings and sequences come as subclasses of dict and list that remember how they were written.
    A key that occurs twice is an error. Use `atomic_yaml_load` for input that you do not trust:
    here the work is not bounded, and it takes some twenty times as long.

    Args:
        path: The file. A byte order mark is ignored.
        yaml_instance: A configured `ruamel.yaml.YAML`, used as it is, by one thread at a time; the
            function returns what it returns.
        encoding: Text encoding; by default ``"utf-8"``.
        check_checksum: Compare the bytes with the checksum sidecar.
        checksum_algo: Require this algorithm; by default, the recorded one is used.
        safety: ``"strict"``, ``"warn"`` or ``"best_effort"``.

    Raises:
        ImportError: ruamel.yaml is not installed; the message holds the command that installs it.
        TypeError: ``yaml_instance`` is not a `ruamel.yaml.YAML`.
        ruamel.yaml.error.YAMLError: The text is not YAML, or a value does not fit its type; a note
            names the file.
        ValueError: This thread is using ``yaml_instance`` for another document.
        RecursionError: The text is nested too deeply; the bounds are those of the dump.
        UnicodeDecodeError: The bytes are not text in this encoding.
        Exception: Whatever `safeatomic_core.read_atomic` raises.
    """
    layout = _require("atomic_yaml_load_ruamel")
    return load(
        path,
        "YAML",
        lambda text: layout.load(text, yaml_instance),
        encoding=encoding,
        check_checksum=check_checksum,
        checksum_algo=checksum_algo,
        safety=safety,
    )


def _require(function: str) -> ModuleType:
    """Return the module that needs ruamel.yaml."""
    try:
        from . import _layout  # an extra, and slow to import
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{function}() needs ruamel.yaml, which is not installed. Install it with: "
            "pip install 'ruamel.yaml>=0.17.21'",
            name="ruamel.yaml",
        ) from error
    return _layout
