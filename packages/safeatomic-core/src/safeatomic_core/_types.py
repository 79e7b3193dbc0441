"""The values the library hands out, and the words it accepts.

Every report is a `Record`: immutable, comparable, picklable, with a readable ``str()``. It is not a
dataclass because importing `dataclasses` costs more than importing the whole of this package
(`docs/adr/0015-import-time.md`); type checkers see the same thing.
"""

from __future__ import annotations

from os import PathLike

TYPE_CHECKING = False  # type checkers take this name as true; importing typing is slow
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import MappingProxyType
    from typing import Any, Literal, TypeAlias, TypeVar, dataclass_transform

    _T = TypeVar("_T")

    StrPath: TypeAlias = str | bytes | PathLike[str] | PathLike[bytes]
    Buffer: TypeAlias = bytes | bytearray | memoryview
    Safety: TypeAlias = Literal["strict", "warn", "best_effort"]
    Concurrency: TypeAlias = Literal["lock", "none"]
    Level: TypeAlias = Literal["Guaranteed", "BestEffort", "NonTarget", "Unsupported"]
    Alive: TypeAlias = Literal["yes", "no", "unknown"]
    CheckStatus: TypeAlias = Literal["pass", "warn", "fail", "unknown"]
else:
    # What `typing.get_type_hints` finds at run time, where a Literal would take `typing` to make.
    StrPath = str | bytes | PathLike[str] | PathLike[bytes]
    Buffer = bytes | bytearray | memoryview
    Safety = Concurrency = Level = Alive = CheckStatus = str
    MappingProxyType = type(vars(type))  # as `types` itself finds it, which not everybody imports

    def dataclass_transform(**_options: object) -> Callable[[_T], _T]:
        return lambda cls: cls


SAFETY = ("strict", "warn", "best_effort")
CONCURRENCY = ("lock", "none")
LEVELS = ("Guaranteed", "BestEffort", "NonTarget", "Unsupported")

ATOMIC_VISIBILITY = "AtomicVisibility"
CRASH_DURABILITY = "CrashDurability"
WRITER_EXCLUSION = "WriterExclusion"
INTEGRITY_DETECTION = "IntegrityDetection"
READER_CONSISTENCY = "ReaderConsistency"
STALE_RECOVERY = "StaleRecovery"
METADATA_PRESERVATION = "MetadataPreservation"
CROSS_DEVICE_SAFETY = "CrossDeviceSafety"
GUARANTEES = (
    ATOMIC_VISIBILITY,
    CRASH_DURABILITY,
    WRITER_EXCLUSION,
    INTEGRITY_DETECTION,
    READER_CONSISTENCY,
    STALE_RECOVERY,
    METADATA_PRESERVATION,
    CROSS_DEVICE_SAFETY,
)


class _LazySignature:
    """Build ``inspect.signature`` of a record only when somebody asks for it."""

    def __get__(self, _instance: object, owner: type[Record]) -> object:
        import inspect  # slow to import, and wanted by help() alone

        return inspect.Signature(
            [
                inspect.Parameter(
                    name,
                    inspect.Parameter.POSITIONAL_OR_KEYWORD,
                    default=vars(owner).get(name, inspect.Parameter.empty),
                    annotation=kind,
                )
                for name, kind in owner.__annotations__.items()
            ]
        )


@dataclass_transform(frozen_default=True)
class Record:
    """An immutable value whose fields are its annotations, in their order.

    A field that has a value in the class may be left out.
    """

    if not TYPE_CHECKING:
        __signature__ = _LazySignature()

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            given = vars(type(self))
            fields = tuple(type(self).__annotations__)
            if len(args) > len(fields):
                raise TypeError(f"{type(self).__name__} has {len(fields)} fields, not {len(args)}")
            values = dict(zip(fields, args, strict=False))
            for name, value in kwargs.items():
                if name in values or name not in fields:
                    raise TypeError(f"{type(self).__name__}: unexpected field {name!r}")
                values[name] = value
            missing = [name for name in fields if name not in values and name not in given]
            if missing:
                raise TypeError(f"{type(self).__name__}: missing {', '.join(missing)}")
            for name in fields:
                value = values[name] if name in values else given[name]
                frozen = MappingProxyType(dict(value)) if isinstance(value, dict) else value
                object.__setattr__(self, name, frozen)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: cannot set {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: cannot delete {name!r}")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash(
            tuple(
                tuple(sorted(value.items())) if isinstance(value, dict) else value
                for value in self._values()
            )
        )

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in type(self).__annotations__)
        return f"{type(self).__name__}({fields})"

    def __reduce__(self) -> tuple[type[Record], tuple[object, ...]]:
        return type(self), self._values()

    def _values(self) -> tuple[object, ...]:
        """Return the field values in order, mappings as plain dicts (a proxy cannot be pickled)."""
        return tuple(
            dict(value) if isinstance(value, MappingProxyType) else value
            for value in (getattr(self, name) for name in type(self).__annotations__)
        )
