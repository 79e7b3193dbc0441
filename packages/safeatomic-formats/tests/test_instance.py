"""A converter of the caller's own: what one document leaves in it, and what it loses."""

from __future__ import annotations

import io
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

ruamel = pytest.importorskip("ruamel.yaml", reason="ruamel.yaml is not installed")

from safeatomic_formats import (  # noqa: E402
    _instance,
    atomic_yaml_dump_ruamel,
    atomic_yaml_load,
    atomic_yaml_load_ruamel,
)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "document.yaml"


class Raising:
    yaml_tag = "!raising"

    @classmethod
    def to_yaml(cls, _representer: object, _node: object) -> None:
        raise OSError("no form for it")


def nested(levels: int) -> Any:
    document: Any = 1
    for _ in range(levels):
        document = [document]
    return document


REFUSED = {
    "an object": lambda: {"users": [object()]},
    "too many levels": lambda: nested(2_000),
    "its own class": lambda: {"users": [Raising()]},
}


@pytest.mark.parametrize("kind", ["rt", "safe"])
@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED)
def test_a_converter_works_after_a_refused_dump(target: Path, refused: Any, kind: str) -> None:
    own = ruamel.YAML(typ=kind, pure=True)
    own.register_class(Raising)
    document = {"users": ["a"]}
    atomic_yaml_dump_ruamel(target, document, yaml_instance=own)
    with pytest.raises((ruamel.error.YAMLError, RecursionError, OSError)):
        atomic_yaml_dump_ruamel(target, refused(), yaml_instance=own)
    for name in "bc":
        document["users"].append(name)
        atomic_yaml_dump_ruamel(target, document, yaml_instance=own, write_checksum=True)
        assert atomic_yaml_load(target, check_checksum=True) == document


def test_a_converter_works_after_a_dump_of_the_callers_that_failed(target: Path) -> None:
    own = ruamel.YAML()
    document: dict[str, Any] = {"users": [object()]}
    with pytest.raises(ruamel.error.YAMLError):
        own.dump(document, io.StringIO())
    document["users"][:] = ["a"]
    atomic_yaml_dump_ruamel(target, document, yaml_instance=own)
    assert atomic_yaml_load(target) == document


def test_a_dump_inside_the_callers_own_leaves_that_one_alone(target: Path) -> None:
    stream = io.StringIO()
    with ruamel.YAML(output=stream) as own:
        own.dump({"a": 1})
        atomic_yaml_dump_ruamel(target, {"b": 2}, yaml_instance=own)
        own.dump({"c": 3})
    assert target.read_text() == "b: 2\n"
    assert stream.getvalue() == "a: 1\n---\nc: 3\n"


def test_what_was_set_on_the_emitter_and_the_representer_counts(target: Path) -> None:
    own = ruamel.YAML()
    own.representer.ignore_aliases = lambda _data: True
    own.emitter.best_map_indent = 6
    shared = {"x": 1}
    atomic_yaml_dump_ruamel(target, {"a": shared, "b": shared}, yaml_instance=own)
    assert target.read_text() == "a:\n      x: 1\nb:\n      x: 1\n"
    with pytest.raises(ruamel.error.YAMLError):
        atomic_yaml_dump_ruamel(target, [object()], yaml_instance=own)
    atomic_yaml_dump_ruamel(target, {"a": shared, "b": shared}, yaml_instance=own)
    assert "*" not in target.read_text()


@pytest.mark.parametrize(
    ("document", "written"),
    [
        ({"a": 1}, ""),
        ({"a": 1}, "# nothing\n"),
        ({"a": 1}, "null\n"),
        ({"a": 1}, "{}\n"),
        ({"a": 1}, "- a\n"),
        ({}, ""),
        ([1], "[]\n"),
        ([1], "{a: 1}\n"),
        ([1], "text\n"),
        ({1}, "!!set {}\n"),
        ("text", ""),
        (5, "~\n"),
        (object(), ""),
    ],
    ids=repr,
)
def test_a_text_that_cannot_be_the_documents_is_not_published(
    target: Path, document: object, written: str
) -> None:
    target.write_text("old: 1\n")
    careless = ruamel.YAML()
    careless.dump = lambda _data, stream: stream.write(written)
    with pytest.raises(ValueError, match="yaml_instance writes would not read back"):
        atomic_yaml_dump_ruamel(target, document, yaml_instance=careless, write_checksum=True)
    assert target.read_text() == "old: 1\n"
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_converter_that_writes_only_texts_is_refused_a_mapping(target: Path) -> None:
    with pytest.raises(ValueError, match=r"a dict of 1 becomes a|cannot write"):
        atomic_yaml_dump_ruamel(target, {"a": 1}, yaml_instance=ruamel.YAML(typ="base"))
    assert not target.exists()


def test_a_form_of_the_callers_own_may_be_of_any_kind(target: Path) -> None:
    class Nothing:
        pass

    class Pairs(dict[str, int]):
        pass

    class Representer(ruamel.YAML().Representer):  # type: ignore[misc]
        pass

    own = ruamel.YAML()
    own.Representer = Representer
    Representer.add_representer(Nothing, lambda it, _: it.represent_none(None))
    Representer.add_representer(Pairs, lambda it, data: it.represent_list(list(data.items())))
    Representer.add_representer(
        dict, lambda it, data: it.represent_dict({k: v for k, v in data.items() if v is not None})
    )
    for document, read in (
        (Nothing(), None),
        (Pairs(a=1), [["a", 1]]),
        ({"a": None}, {}),
        (None, None),
        ([], []),
        ((1,), [1]),
        ({1}, {1}),
    ):
        atomic_yaml_dump_ruamel(target, document, yaml_instance=own)
        assert atomic_yaml_load_ruamel(target) == read


def slow(begun: threading.Event, waiting: threading.Event) -> tuple[Any, object]:
    """Return a converter, and what it takes long to write: until somebody waits."""

    class Slow:
        yaml_tag = "!slow"

        @classmethod
        def to_yaml(cls, representer: Any, _data: object) -> Any:
            begun.set()
            waiting.wait(60)
            return representer.represent_str("slow")

    own = ruamel.YAML()
    own.register_class(Slow)
    return own, Slow()


def test_an_interrupt_as_a_converter_is_given_back_blocks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ruamel.YAML()

    def trace(frame: Any, _event: str, _arg: object) -> None:
        """Interrupt as a function begins: there signals are seen."""
        ours = frame.f_code.co_filename == _instance.__file__
        if ours and frame.f_code.co_name != "<genexpr>":  # whose end swallows it
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt

    for number in range(1, 200):
        left, former = [number], sys.gettrace()
        sys.settrace(trace)
        try:
            atomic_yaml_dump_ruamel(tmp_path / "f", {"a": 1}, yaml_instance=own)
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(former)
        if left[0] > 0:
            break
        atomic_yaml_dump_ruamel(tmp_path / "f", {"a": number}, yaml_instance=own)
        assert atomic_yaml_load(tmp_path / "f") == {"a": number}
    assert 10 < number < 199, number


def test_threads_may_share_a_converter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is in the middle of its document until the second waits for it."""
    begun, waiting = threading.Event(), threading.Event()

    class Lock:
        def __init__(self) -> None:
            self.locked, self.release = (real := threading.Lock()).locked, real.release
            self._acquire = real.acquire

        def __enter__(self) -> None:
            if self.locked():
                waiting.set()
            self._acquire()

        def __exit__(self, *_: object) -> None:
            self.release()

    own, document = slow(begun, waiting)
    _instance._turns[own] = turn = _instance._Turn()
    monkeypatch.setattr(turn, "lock", Lock())
    failures: list[BaseException] = []

    def run(name: str, document: object) -> None:
        try:
            atomic_yaml_dump_ruamel(tmp_path / name, document, yaml_instance=own)
            atomic_yaml_load_ruamel(tmp_path / name, yaml_instance=own)
        except BaseException as error:
            failures.append(error)

    first = threading.Thread(target=run, args=("first", {"a": document, "b": 1}))
    second = threading.Thread(target=run, args=("second", {"c": [2]}))
    first.start()
    assert begun.wait(60)
    second.start()
    first.join()
    second.join()
    assert not failures
    assert atomic_yaml_load(tmp_path / "first") == {"a": "slow", "b": 1}
    assert atomic_yaml_load(tmp_path / "second") == {"c": [2]}


def test_a_converter_that_is_at_work_in_this_thread_is_refused(tmp_path: Path) -> None:
    class Writing:
        yaml_tag = "!writing"

        @classmethod
        def to_yaml(cls, representer: Any, _data: object) -> Any:
            with pytest.raises(ValueError, match="at work on another document"):
                atomic_yaml_dump_ruamel(tmp_path / "inner", {"b": 2}, yaml_instance=own)
            return representer.represent_str("done")

    own = ruamel.YAML()
    own.register_class(Writing)
    atomic_yaml_dump_ruamel(tmp_path / "outer", {"a": Writing()}, yaml_instance=own)
    assert [path.name for path in tmp_path.iterdir()] == ["outer"]
    assert atomic_yaml_load(tmp_path / "outer") == {"a": "done"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_the_parents_threads(tmp_path: Path) -> None:
    begun, waiting = threading.Event(), threading.Event()

    own, document = slow(begun, waiting)
    busy = threading.Thread(
        target=atomic_yaml_dump_ruamel,
        args=(tmp_path / "parent", {"a": document}),
        kwargs={"yaml_instance": own},
    )
    busy.start()
    assert begun.wait(60)
    child = os.fork()
    if not child:
        try:
            atomic_yaml_dump_ruamel(tmp_path / "child", {"b": 1}, yaml_instance=own)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    waiting.set()
    busy.join()
    assert (tmp_path / "child").read_text() == "b: 1\n"
    assert (tmp_path / "parent").read_text() == "a: slow\n"
