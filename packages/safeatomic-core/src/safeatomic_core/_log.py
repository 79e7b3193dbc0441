"""Diagnostics for ``logging.getLogger("safeatomic")``, which the library never configures.

The logging package takes longer to import than this one, and most writes have nothing to say: it is
loaded by the first warning, and messages below that are dropped while nobody else has loaded it,
since then nobody can have asked for them.
"""

from __future__ import annotations

import sys

from ._hashes import unloadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType


def warning(message: str, *args: object) -> None:
    """Report something the user should see, such as metadata that could not be kept."""
    try:
        import logging
    except unloadable():  # in a chroot the installation cannot be read, at the end nothing can
        kept = _kept[0]
        if kept is not None:
            kept.getLogger("safeatomic").warning(message, *args, stacklevel=2)
        elif sys.is_finalizing() and sys.stderr is not None:
            # What logging does itself where nobody has set it up, as nobody has here.
            sys.stderr.write(f"{message % args}\n")
    else:
        logging.getLogger("safeatomic").warning(message, *args, stacklevel=2)


def keep() -> None:
    """Remember the logging module if it is loaded, for warnings at the interpreter's end."""
    _kept[0] = sys.modules.get("logging")


_kept: list[ModuleType | None] = [None]
_OWN = tuple(f"{name}." for name in (__package__, "safeatomic", "safeatomic_formats"))


def info(message: str, *args: object) -> None:
    """Report a recovery, such as a dead holder's lock that was taken over."""
    logging = sys.modules.get("logging")
    if logging is not None:
        logging.getLogger("safeatomic").info(message, *args, stacklevel=2)


def debug(message: str, *args: object) -> None:
    """Report anything else."""
    logging = sys.modules.get("logging")
    if logging is not None:
        logging.getLogger("safeatomic").debug(message, *args, stacklevel=2)


def warn(message: str, category: type[Warning]) -> None:
    """Issue a warning that is about no line of the caller's; none where imports no longer work."""
    try:
        import warnings

        warnings.warn(message, category, stacklevel=2)
    except unloadable():  # the interpreter is going down
        return


def warn_caller(message: str, category: type[Warning]) -> None:
    """Issue a warning that points at the caller's own line.

    That is the innermost frame outside this package and the two that are built on it, wherever they
    are: installed, in a checkout, vendored under another name, or in a program that has no files.
    """
    try:
        from warnings import warn  # wanted by few calls
    except unloadable():
        from _warnings import warn  # the same function, in the interpreter itself

    # What skip_file_prefixes of warnings.warn() does from Python 3.12 on, where there are files.
    level = 1
    frame = sys._getframe(0)  # noqa: SLF001 - the documented way to see one's callers
    while frame.f_back is not None and f"{frame.f_globals.get('__name__')}.".startswith(_OWN):
        frame = frame.f_back
        level += 1
    try:
        warn(message, category, stacklevel=level)
    except ImportError:  # of what shows the warning: the interpreter is going down
        return
