"""Documents of many levels in threads with small stacks: an error, never the process's end."""

from __future__ import annotations

import builtins
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeatomic_formats import _depth

FORMATS = ["json", "toml", "yaml"]
try:
    import ruamel.yaml  # noqa: F401
except ModuleNotFoundError:
    pass
else:
    FORMATS += ["ruamel", "instance"]

# In a process of its own, which a slip ends; what each call came to is printed.
CODE = """
import functools, os, sys, tempfile, threading
import safeatomic_formats as formats
kind, kib, limit = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if kind == "instance":
    from ruamel.yaml import YAML
    dump = lambda *a: formats.atomic_yaml_dump_ruamel(*a, yaml_instance=YAML(pure=True))
    load = lambda *a: formats.atomic_yaml_load_ruamel(*a, yaml_instance=YAML(pure=True))
else:
    name = {"ruamel": "yaml_%s_ruamel"}.get(kind, kind + "_%s")
    dump = getattr(formats, "atomic_" + name % "dump")
    load = getattr(formats, "atomic_" + name % "load")
path = os.path.join(tempfile.mkdtemp(), "f")

class Linked:
    def __init__(self, inner):
        self.inner = inner

def try_all():
    for depth in (10, 90, 400) if kind in ("ruamel", "instance") else (10, 90, 900, 5_000):
        for opening, closing, wrap in [
            ("[", "]", lambda v: [v]),
            ("{a = " if kind == "toml" else '{"a": ', "}", lambda v: {"a": v}),
        ]:
            value = 1
            for _ in range(depth):
                value = wrap(value)
            text = opening * depth + "1" + closing * depth
            if kind == "toml":
                text, value = "a = " + text, {"a": value}
            open(path, "w").write(text)
            attempt("load", depth, lambda: load(path))
            os.unlink(path)
            attempt("dump", depth, lambda: dump(path, value))
            if kind == "json":
                attempt("default", depth, functools.partial(linked, depth))

def linked(depth):
    value = None
    for _ in range(depth):
        value = Linked(value)
    try:
        dump(path, value, default=vars)
    finally:
        while value is not None:  # by itself it would be freed by recursion
            value.inner, value = None, value.inner

def attempt(what, depth, call):
    try:
        call()
    except RecursionError:
        print(what, depth, "RecursionError", flush=True)
    else:
        print(what, depth, "done", flush=True)

sys.setrecursionlimit(limit)
if kib:
    threading.stack_size(kib * 1024)
thread = threading.Thread(target=try_all)
thread.start()
thread.join()
"""


@pytest.mark.parametrize(("kib", "limit"), [(64, 1_000), (128, 20_000), (768, 1_000), (0, 20_000)])
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.skipif(
    sys.implementation.name != "cpython",
    reason="PyPy takes every stack to be as large as sys.setrecursionlimit() says",
)
def test_no_depth_ends_the_process(kind: str, kib: int, limit: int) -> None:
    if sys.version_info[:2] == (3, 13) and 0 < kib < 768:
        pytest.skip("3.13 frees what is nested by recursion in C, for which such a stack is small")
    if sys.version_info >= (3, 14) and kib == 64:
        pytest.skip("3.14 and newer keep most of such a stack free, and leave no room for any work")
    slow = kind in ("ruamel", "instance")
    if slow and not kib:
        pytest.skip("ruamel.yaml takes a minute for what the raised limit lets pass")
    done = subprocess.run(
        [sys.executable, "-c", CODE, kind, str(kib), str(limit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.returncode, done.stdout[-200:], done.stderr[-2000:])
    outcomes = [line.split() for line in done.stdout.splitlines()]
    assert len(outcomes) == (3 if slow else 4) * 2 * (3 if kind == "json" else 2)
    assert all(outcome == "done" for _, depth, outcome in outcomes if depth == "10")
    assert (what := outcomes[-1])[2] == "RecursionError", what


def in_thread(call: Callable[[], Any], kib: int) -> Any:
    result: list[Any] = []
    before = threading.stack_size(kib * 1024)
    try:
        thread = threading.Thread(target=lambda: result.append(call()))
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    return result[0]


def test_a_small_stack_is_seen() -> None:
    assert in_thread(_depth.levels, 64) == 32
    assert in_thread(_depth.levels, 64 << 10) is None
    assert _depth.levels() is None


FIRST_THREAD = """
import os, sys, tempfile
import safeatomic_formats
sys.setrecursionlimit(20_000)
path = os.path.join(tempfile.mkdtemp(), "f")
with open(path, "w") as file:
    file.write("[" * 4_000 + "]" * 4_000)
try:
    safeatomic_formats.atomic_json_load(path)
except RecursionError:
    print("refused")
"""


def test_a_small_stack_of_the_first_thread_is_seen() -> None:
    resource = pytest.importorskip("resource")
    _, most = resource.getrlimit(resource.RLIMIT_STACK)
    done = subprocess.run(
        [sys.executable, "-c", FIRST_THREAD],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_STACK, (512 << 10, most)),
    )
    assert (done.returncode, done.stdout) == (0, "refused\n"), done.stderr


def test_where_no_limit_can_be_asked_for_the_usual_stack_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    assert _depth.levels() is None


def test_a_raised_recursion_limit_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "getrecursionlimit", lambda: 1_000_000)
    assert _depth.levels() == 4_096


@pytest.mark.parametrize("missing", ["ctypes", "function", "answer"])
def test_a_stack_of_unknown_size_counts_as_small(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    import ctypes

    class Libc:
        def pthread_getattr_np(self, *_arguments: object) -> int:
            if missing == "function":
                raise AttributeError
            return 2

    if missing == "ctypes":
        real = builtins.__import__

        def fail(name: str, *arguments: Any, **options: Any) -> Any:
            if name == "ctypes":
                raise ImportError
            return real(name, *arguments, **options)

        monkeypatch.setattr(builtins, "__import__", fail)
    else:
        monkeypatch.setattr(ctypes, "CDLL", lambda _name: Libc())
    assert in_thread(_depth.levels, 64 << 10) == 64


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_depth, "levels", lambda: 20)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("filler", ["", '"]", ', '"\\"]", ', '"\\\\\\"}", "é]", ', "[], "])
def test_brackets_are_counted_outside_of_texts(filler: str) -> None:
    def nested(depth: int) -> str:
        return f"[{filler}" * depth + "1" + "]" * depth

    def shallow(width: int) -> str:
        return "[" + ", ".join([f'[{filler}"["]'] * width) + "]"

    for source in nested(17), nested(21), shallow(100):
        json.loads(source)
    _depth.check_json(nested(17))
    _depth.check_json(shallow(100))
    with pytest.raises(RecursionError, match="more than 20 levels"):
        _depth.check_json(nested(21))
    with pytest.raises(RecursionError):
        _depth.check_json("[" * 21 + "oops" + "]" * 21)


@pytest.mark.usefixtures("few")
def test_what_default_returns_is_counted_and_asked_for_once() -> None:
    asked: list[object] = []

    def default(value: Any) -> object:
        asked.append(value)
        return sorted(value)

    document = {"a": [{1, 2}, {2}], "b": "x"}
    remembered = _depth.check_object(document, default)
    assert json.dumps(document, default=remembered) == '{"a": [[1, 2], [2]], "b": "x"}'
    assert len(asked) == 2
    assert remembered(frozenset({3})) == [3]


@pytest.mark.usefixtures("few")
def test_what_is_shared_is_counted_once_a_level() -> None:
    value: list[Any] = []
    for _ in range(19):
        value = [value] * 9
    _depth.check_object(value)
    assert _depth.check_object({"a": (object(), [b""])}) is None
    _depth.check_json("[[]]" * 20)
    with pytest.raises(RecursionError):
        _depth.check_object([[value]])


documents = st.recursive(
    st.text(alphabet='[]{}\\"a,:') | st.none(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet='[]{}\\"'), inner),
)


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


@given(documents, st.integers(0, 40), st.sampled_from([None, 2]))
def test_the_count_of_brackets_is_the_depth(
    document: object, more: int, indent: int | None
) -> None:
    for _ in range(more):
        document = [document, "]"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_depth, "levels", lambda: 20)
        refused = False
        try:
            _depth.check_json(json.dumps(document, indent=indent))
        except RecursionError:
            refused = True
    assert refused == (depth_of(document) > 20)
