"""Diagnostics for ``logging.getLogger("safeatomic")``, which the library never configures.

The logging package takes longer to import than this one, and most writes have nothing to say: it is
loaded by the first warning, and lesser messages are dropped while nobody else has loaded it, since
then nobody can have asked for them.
"""

from __future__ import annotations

import sys


def warning(message: str, *args: object) -> None:
    """Report something the user should see, such as metadata that could not be kept."""
    import logging

    logging.getLogger("safeatomic").warning(message, *args, stacklevel=2)


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
