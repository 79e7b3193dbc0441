"""The 43 names: all there, the real things, and as lazy as promised."""

from __future__ import annotations

import inspect
import pickle
import pydoc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import safeatomic
import safeatomic_core
import safeatomic_formats

PARSERS = {"yaml", "tomli_w", "tomllib", "ruamel", "ruamel.yaml", "safeatomic_formats"}


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def modules_after(code: str) -> set[str]:
    """Return what some code loads beyond what the interpreter and its site load by themselves."""
    shown = "\nimport sys; print(*sys.modules)"
    return set(run(code + shown).split()) - set(run(shown).split())


def test_there_are_43_names_from_two_packages() -> None:
    assert len(safeatomic_core.__all__) == 35
    assert len(safeatomic_formats.__all__) == 8
    assert len(safeatomic.__all__) == len(set(safeatomic.__all__)) == 43
    assert set(safeatomic.__all__) == {*safeatomic_core.__all__, *safeatomic_formats.__all__}


def test_the_list_of_names_is_written_out() -> None:
    source = Path(safeatomic.__file__).read_text(encoding="utf-8")
    written = source[source.index("__all__ = [") :]
    assert [line.strip(' ,"') for line in written.splitlines() if '"' in line] == safeatomic.__all__


@pytest.mark.parametrize("name", safeatomic.__all__)
def test_a_name_is_the_very_object(name: str) -> None:
    owner = safeatomic_formats if name in safeatomic_formats.__all__ else safeatomic_core
    assert getattr(safeatomic, name) is getattr(owner, name)


def test_importing_loads_no_parser_and_no_metadata() -> None:
    loaded = modules_after("import safeatomic")
    assert not loaded & (PARSERS | {"importlib.metadata", "email", "json", "typing"})


def test_using_a_lazy_name_loads_no_parser_either() -> None:
    loaded = modules_after("import safeatomic\nsafeatomic.atomic_yaml_load")
    assert "safeatomic_formats" in loaded
    assert not loaded & (PARSERS - {"safeatomic_formats"})


def test_a_lazy_name_is_looked_up_once() -> None:
    code = (
        "import safeatomic\n"
        "assert 'atomic_json_dump' not in vars(safeatomic)\n"
        "first = safeatomic.atomic_json_dump\n"
        "assert vars(safeatomic)['atomic_json_dump'] is first\n"
    )
    run(code)


def test_a_star_import_gives_all_names_and_no_others() -> None:
    code = (
        "before = set(dir()) | {'before'}\n"
        "from safeatomic import *\n"
        "print(*(set(dir()) - before))\n"
    )
    assert set(run(code).split()) == set(safeatomic.__all__)


def test_dir_shows_every_name_before_it_is_used() -> None:
    shown = run("import safeatomic\nprint(*dir(safeatomic))").split()
    assert shown == sorted(shown)
    assert set(safeatomic.__all__) <= set(shown)
    assert "__version__" in shown


def test_help_shows_the_real_functions() -> None:
    text = pydoc.plain(pydoc.render_doc(safeatomic))
    for name in ("atomic_json_dump", "atomic_yaml_load_ruamel", "write_atomic", "AtomicWriter"):
        assert name in text
    text = pydoc.plain(pydoc.render_doc(safeatomic.atomic_toml_dump))
    assert "TOML has no null" in text


@pytest.mark.parametrize("name", safeatomic.__all__)
def test_a_signature_names_every_parameter(name: str) -> None:
    thing = getattr(safeatomic, name)
    if inspect.isclass(thing) and issubclass(thing, BaseException):
        return
    kinds = {parameter.kind for parameter in inspect.signature(thing).parameters.values()}
    assert inspect.Parameter.VAR_KEYWORD not in kinds
    assert inspect.Parameter.VAR_POSITIONAL not in kinds


@pytest.mark.parametrize(
    "name", ["write_atomc", "atomic_json_dmp", "atomic_", "yaml", "__wrapped__"]
)
def test_a_misspelt_name_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'safeatomic' has no attribute '{name}'"):
        getattr(safeatomic, name)


def test_a_misspelt_import_is_an_import_error() -> None:
    with pytest.raises(ImportError, match="atomic_json_dmp"):
        exec("from safeatomic import atomic_json_dmp", {})


def test_the_version_is_the_packages_own() -> None:
    versions = {safeatomic.__version__, safeatomic_core.__version__}
    assert versions == {safeatomic_formats.__version__}


def records(folder: Path) -> Iterator[object]:
    target = folder / "file"
    safeatomic.write_atomic(target, "text", write_checksum=True)
    assert safeatomic.try_acquire_lock(target, session="test")
    yield safeatomic.inspect_lock(target)
    safeatomic.release_lock(target)
    yield safeatomic.inspect_lock(target)
    yield safeatomic.get_checksum_info(target)
    report = safeatomic.inspect_guarantees(target)
    yield report
    yield report.environment
    diagnosis = safeatomic.doctor(target)
    yield diagnosis
    yield diagnosis.checks[0]


def test_every_record_pickles(tmp_path: Path) -> None:
    seen = set()
    for record in records(tmp_path):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            again = pickle.loads(pickle.dumps(record, protocol))
            assert again == record
            assert str(again) == str(record)
            assert type(again) is type(record)
        seen.add(type(record))
    assert seen == {
        safeatomic.LockInfo,
        safeatomic.ChecksumInfo,
        safeatomic.GuaranteeReport,
        safeatomic.Environment,
        safeatomic.DoctorReport,
        safeatomic.DoctorCheck,
    }


ERRORS = [
    safeatomic.SafeAtomicError("what happened"),
    safeatomic.UnsupportedEnvironmentError("p", "nfs4", "CrashDurability", "NonTarget", "why"),
    safeatomic.UnsupportedEnvironmentWarning("what is missing"),
    safeatomic.ChecksumMismatchError("p", "00", "ff"),
    safeatomic.CrossDeviceAtomicityError("a", "b"),
    safeatomic.LockError("p", "held"),
]


def test_every_exception_is_tested_for_pickling() -> None:
    exceptions = {
        thing
        for thing in vars(safeatomic).values()
        if inspect.isclass(thing) and issubclass(thing, BaseException)
    }
    assert exceptions == {type(error) for error in ERRORS}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_exception_pickles(error: Exception) -> None:
    error.add_note("a note")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_the_functions_pickle_by_name() -> None:
    for name in safeatomic.__all__:
        thing = getattr(safeatomic, name)
        assert pickle.loads(pickle.dumps(thing)) is thing
