"""The public surface: 43 names with exactly these signatures, in every package that has them."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import safeatomic
import safeatomic_core
import safeatomic_formats

# W and R are the options of every write and of every read. A default of None stands for the one of
# safeatomic_config. This is the contract: a change here is a change of the public interface.
W = (
    "concurrency='lock', preserve_metadata=True, write_checksum=False, checksum_algo=None, "
    "retries=None, delay=None, session=None, safety='strict', mode=None, overwrite=True"
)
R = "check_checksum=False, checksum_algo=None, safety='strict'"
FUNCTIONS = {
    "write_atomic": f"path, data, *, encoding=None, {W}",
    "write_atomic_bytes": f"path, data, *, {W}",
    "read_atomic": f"path, *, encoding=None, {R}",
    "read_atomic_bytes": f"path, *, {R}",
    "move_atomic": (
        "src, dst, *, force=False, preserve_metadata=True, concurrency='lock', retries=None, "
        "delay=None, session=None, safety='strict'"
    ),
    "AtomicWriter": f"path, *, {W}",
    "AtomicReader": f"path, *, {R}",
    "try_acquire_lock": "path, *, session=None, retries=None, delay=None, safety='strict'",
    "release_lock": "path",
    "force_release_lock": "path",
    "is_locked": "path",
    "inspect_lock": "path",
    "get_lock_age": "path",
    "is_stale_lock": "path, *, max_age_s=None",
    "release_stale_lock": "path, *, max_age_s=None",
    "compute_hash_file": "path, *, algo=None",
    "compute_hash_data": "data, *, algo=None",
    "verify_checksum": "path, expected=None, *, algo=None",
    "write_checksum_file": (
        "path, *, algo=None, concurrency='lock', retries=None, delay=None, session=None, "
        "safety='strict'"
    ),
    "get_checksum_info": "path",
    "inspect_guarantees": "path",
    "doctor": "path, *, destructive=False, require=None",
    "safeatomic_config": "*, encoding=None, checksum_algo=None, retries=None, delay=None",
    "atomic_json_dump": (
        "path, obj, *, indent=2, sort_keys=False, ensure_ascii=False, allow_nan=False, "
        f"default=None, cls=None, encoding=None, {W}"
    ),
    "atomic_yaml_dump": (
        f"path, obj, *, default_flow_style=False, sort_keys=False, encoding=None, {W}"
    ),
    "atomic_yaml_dump_ruamel": f"path, obj, *, yaml_instance=None, encoding=None, {W}",
    "atomic_toml_dump": f"path, obj, *, multiline_strings=False, {W}",
    "atomic_json_load": f"path, *, encoding=None, {R}",
    "atomic_yaml_load": f"path, *, encoding=None, {R}",
    "atomic_yaml_load_ruamel": f"path, *, yaml_instance=None, encoding=None, {R}",
    "atomic_toml_load": f"path, *, {R}",
}
FIELDS = {
    "LockInfo": [
        *("path", "lock_path", "exists", "pid", "hostname", "session_hash", "timestamp"),
        *("alive", "corrupt", "raw"),
    ],
    "ChecksumInfo": ["path", "algo", "hash", "timestamp"],
    "Environment": [
        *("platform", "filesystem", "filesystem_class", "supports_fsync_file"),
        *("supports_fsync_dir", "supports_atomic_replace", "symlink_policy"),
    ],
    "GuaranteeReport": ["environment", "guarantees"],
    "DoctorCheck": ["name", "status", "detail"],
    "DoctorReport": ["path", "environment", "guarantees", "checks", "ok"],
}
EXCEPTIONS = {
    "SafeAtomicError": Exception,
    "UnsupportedEnvironmentError": safeatomic_core.SafeAtomicError,
    "UnsupportedEnvironmentWarning": UserWarning,
    "ChecksumMismatchError": safeatomic_core.SafeAtomicError,
    "CrossDeviceAtomicityError": safeatomic_core.SafeAtomicError,
    "LockError": safeatomic_core.SafeAtomicError,
}
MODULES = [safeatomic_core, safeatomic_formats, safeatomic]


def test_the_contract_covers_every_name() -> None:
    assert {*FUNCTIONS, *FIELDS, *EXCEPTIONS} == set(safeatomic.__all__)
    assert len(safeatomic.__all__) == 43
    assert len(safeatomic_core.__all__) == 35
    assert len(safeatomic_formats.__all__) == 8


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_signature_is_the_one_agreed(name: str) -> None:
    parameters = inspect.signature(getattr(safeatomic, name)).parameters.values()
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in parameters]
    assert str(inspect.Signature(bare)) == f"({FUNCTIONS[name]})"


@pytest.mark.parametrize("name", FIELDS)
def test_a_record_has_the_fields_agreed_first(name: str) -> None:
    given = list(inspect.signature(getattr(safeatomic, name)).parameters)
    assert given[: len(FIELDS[name])] == FIELDS[name]


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_an_exception_has_the_base_agreed(name: str) -> None:
    assert getattr(safeatomic, name).__bases__ == (EXCEPTIONS[name],)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_name_is_documented(module: ModuleType) -> None:
    assert module.__doc__
    for name in module.__all__:
        assert (inspect.getdoc(getattr(module, name)) or "").strip(), name


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_there_is_no_public_name_besides(module: ModuleType) -> None:
    shown = {name for name in dir(module) if not name.startswith("_")}
    assert shown - {"annotations", "TYPE_CHECKING"} == set(module.__all__)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_a_star_import_gives_exactly_these_names(module: ModuleType) -> None:
    scope: dict[str, object] = {}
    exec(f"from {module.__name__} import *", scope)
    assert set(scope) - {"__builtins__"} == set(module.__all__)


def sources(module: ModuleType) -> Iterator[tuple[Path, ast.Module]]:
    assert module.__file__ is not None
    for path in sorted(Path(module.__file__).parent.rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def test_the_core_imports_only_the_standard_library_and_itself_relatively() -> None:
    for path, tree in sources(safeatomic_core):
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            else:
                continue
            for name in names:
                top = name.partition(".")[0]
                # _typeshed exists for type checkers alone, and comes with them.
                assert top in {*sys.stdlib_module_names, "_typeshed"}, f"{path.name}: {name}"


def test_no_package_reads_its_own_metadata() -> None:
    for module in MODULES:
        for path, _ in sources(module):
            assert "importlib.metadata" not in path.read_text(encoding="utf-8"), path


def module_name(path: Path, root: Path) -> str:
    """Return a module's dotted name inside its package; the package's own is the empty one."""
    return (
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix("__init__").rstrip(".")
    )


def imports_inside(tree: ast.Module, name: str, *, is_package: bool) -> set[str]:
    """Return the siblings a module imports, at its top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or node.level == 0:
            continue
        parts = name.split(".") if name else []
        base = parts[: len(parts) - node.level + is_package]
        if node.module:
            found.add(".".join([*base, node.module]))
        else:
            found |= {".".join([*base, alias.name]) for alias in node.names}
    return found


def graph_of(module: ModuleType) -> dict[str, set[str]]:
    assert module.__file__ is not None
    root = Path(module.__file__).parent
    graph = {}
    for path, tree in sources(module):
        name = module_name(path, root)
        graph[name] = imports_inside(tree, name, is_package=path.name == "__init__.py")
    return graph


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_no_module_imports_itself_through_others(module: ModuleType) -> None:
    graph = graph_of(module)
    done: set[str] = set()
    while layer := {
        name for name, needs in graph.items() if name not in done and needs & {*graph} <= done
    }:
        done |= layer
    assert done == set(graph), f"a cycle among {sorted(set(graph) - done)}"


def drawn_rooms() -> dict[str, tuple[int, int]]:
    """Return the line and the place on it of every module that the core's drawing shows."""
    rooms = {}
    drawing = (safeatomic_core.__doc__ or "").partition("\n\n    ")[2]
    for number, line in enumerate(drawing.partition("\n\n")[0].splitlines()):
        for place, name in enumerate(line.strip().split("   ")[0].split()):
            if name.startswith("_"):
                rooms[name] = (number, place)
    return rooms


def test_every_module_of_the_core_is_drawn_and_imports_only_what_stands_below_it() -> None:
    rooms = drawn_rooms()
    graph = graph_of(safeatomic_core)
    assert {name.partition(".")[0] for name in graph} - {""} == rooms.keys() - {"__init__"}
    for name, needs in graph.items():
        room = name.partition(".")[0]
        if not room:  # the package itself imports what it re-exports
            continue
        for needed in sorted(needs):
            other = needed.partition(".")[0]
            if other != room and other in rooms and other != "_version":
                assert rooms[other] > rooms[room], f"{name} imports {needed}, which stands above"


@pytest.mark.parametrize("module", ["safeatomic", "safeatomic_core", "safeatomic_formats"])
def test_importing_is_silent_and_loads_no_parser(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert not done.stderr
    parsers = {"yaml", "tomli_w", "tomllib", "ruamel", "ruamel.yaml", "importlib.metadata"}
    assert not parsers & set(done.stdout.split())


def test_importing_the_core_loads_nothing_slow() -> None:
    # docs/adr/0015-import-time.md; what the interpreter has loaded by itself costs nothing.
    code = "import sys; before = {*sys.modules}; import safeatomic_core\n"
    code += "print(*({*sys.modules} - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    ours = {name for name in loaded if name.partition(".")[0] == "safeatomic_core"}
    # SHA-256 by itself, a small module: a program may enter a chroot before it hashes.
    assert loaded - ours <= {
        *("__future__", "errno", "fcntl", "select"),
        *("_contextvars", "_functools", "itertools", "_sha2", "_sha256"),
        "io",  # small, and no longer loaded by every interpreter before a program starts
    }
    assert "safeatomic_core._file_api" in ours
    later = ("_doctor.", "_cli")
    assert not [name for name in ours if name.removeprefix("safeatomic_core.").startswith(later)]


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> int:
    """Count a function's lines without its docstring, comments and blank lines."""
    documented = ast.get_docstring(node) is not None
    first = node.body[1].lineno if documented and len(node.body) > 1 else node.body[0].lineno
    body = (line.strip() for line in lines[first - 1 : node.end_lineno])
    return sum(bool(line) and not line.startswith("#") for line in body)


def test_modules_and_functions_of_the_core_are_small() -> None:
    for path, tree in sources(safeatomic_core):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 400, path.name
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert code_lines(node, lines) <= 60, f"{path.name}: {node.name}"
