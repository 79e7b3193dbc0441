"""Everything that is run on this repository: tests, checks, evidence, builds.

A bare ``nox`` runs what CI runs, two sessions at a time; ``nox -s NAME`` runs one of them, with
what it needs. The wheels are built once and installed everywhere, so what is tested is what is
shipped. Results in JUnit form and a table of the sessions are left in ``.nox/reports``.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import nox

nox.needs_version = ">=2026.8.10"  # sessions side by side
nox.options.default_venv_backend = "virtualenv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False  # reported as skipped
nox.options.parallel = 2
nox.options.reuse_existing_virtualenvs = False

ROOT = Path(__file__).parent
DIST = ROOT / "dist"
REPORTS = ROOT / ".nox" / "reports"
REPORTS.mkdir(parents=True, exist_ok=True)
nox.options.report = str(REPORTS / "sessions.json")

PYTHONS = ["3.11", "3.12", "3.13", "3.14", "3.15"]
FREE_THREADED = ["3.13t", "3.14t", "3.15t"]
OTHER_INTERPRETERS = ["python3.14", "python3.15", "pypy3", "python3.14t", "python3.15t"]
CORE, FORMATS, META = PACKAGES = ["safeatomic-core", "safeatomic-formats", "safeatomic"]
NEEDS = {CORE: [CORE], FORMATS: [CORE, FORMATS], META: [CORE, FORMATS, META]}


@nox.session
def wheels(session: nox.Session) -> None:
    """Build sdist and wheel of each package into dist/; the other sessions install them."""
    session.install("hatchling>=1.26")
    shutil.rmtree(DIST, ignore_errors=True)
    for package in PACKAGES:
        with session.chdir(ROOT / "packages" / package):
            session.run("hatchling", "build", "-d", str(DIST), silent=True)


# The long sessions come first: two side by side then end at about the same time.


@nox.session(requires=["wheels"], allow_parallel=True)
def crash(session: nox.Session) -> None:
    """Enumerate crash states, kill writers, inject errors on real filesystems (-- --long)."""
    install(session, CORE, groups=["crash"])
    pytest(session, "tests-integration/crash", "tests-integration/faults")


@nox.session(requires=["wheels"], allow_parallel=True)
def formal(session: nox.Session) -> None:
    """Check the models, refute their broken variants, replay the code's traces (needs Java)."""
    install(session, CORE, groups=["formal"])
    traces = sorted(ROOT.glob("tests-integration/test_formal*.py"))
    pytest(session, *map(str, traces), options=[])
    try:
        session.run("python", "formal/run.py", *session.posargs)
    except nox.command.CommandFailed as error:
        if error.return_code == 77:  # never where CI=true
            session.skip("no Java 11 or newer")
        raise


@nox.session(python=PYTHONS, requires=["wheels"], allow_parallel=True)
@nox.parametrize("package", PACKAGES)
def tests(session: nox.Session, package: str) -> None:
    """Run a package's tests, with nothing installed but what it declares."""
    install(session, *NEEDS[package], extra="ruamel" if package == FORMATS else None)
    pytest(session, f"packages/{package}/tests")


MATRIX = {
    "oldest": ["PyYAML==6.0.1", "ruamel.yaml==0.17.21", "tomli-w==1.0.0"],
    "between": ["PyYAML==6.0.2", "ruamel.yaml==0.18.0", "tomli-w==1.1.0"],
    "newest": ["PyYAML", "ruamel.yaml", "tomli-w"],
}


@nox.session(requires=["wheels"], allow_parallel=True)
@nox.parametrize("libraries", list(MATRIX))
def matrix(session: nox.Session, libraries: str) -> None:
    """Run the formats' tests with the oldest and the newest libraries that are supported."""
    install(session, *NEEDS[FORMATS], extra="ruamel")
    session.install("--upgrade", *MATRIX[libraries])
    session.run("pip", "check")
    pytest(session, f"packages/{FORMATS}/tests")


@nox.session(requires=["wheels"], allow_parallel=True)
def coverage(session: nox.Session) -> None:
    """Run the core's tests once more; 99 % of all branches must be taken (root)."""
    if os.geteuid() != 0:
        session.skip("without root the tests that change users, mount or make devices are skipped")
    install(session, CORE, groups=["coverage"])
    session.env["COVERAGE_FILE"] = str(Path(session.create_tmp()) / "coverage")
    session.run("coverage", "erase")
    pytest(session, f"packages/{CORE}/tests", prefix=["coverage", "run", "-m"])
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report", "--fail-under=99", "--precision=2")


@nox.session(python=FREE_THREADED, requires=["wheels"], allow_parallel=True)
def freethreaded(session: nox.Session) -> None:
    """Run the core's tests and the storms of threads where there is no interpreter lock."""
    install(session, CORE)
    storms = [f"tests-integration/faults/test_{name}.py" for name in ("contention", "forks")]
    pytest(session, f"packages/{CORE}/tests", *storms)


@nox.session(allow_parallel=True)
def vendored(session: nox.Session) -> None:
    """Run the core's tests on a copy inside another package, the core not being installed."""
    install(session)
    session.run("python", "tests-integration/vendoring.py", f"packages/{CORE}/src")
    pytest(session, f"packages/{CORE}/tests")


@nox.session(requires=["wheels"], allow_parallel=True)
def integration(session: nox.Session) -> None:
    """Run the tests across packages."""
    install(session, *NEEDS[META], extra="ruamel", groups=["integration"])
    elsewhere = ["crash", "faults", "kernels", "interpreters", "consumers", "mutation"]
    elsewhere += ["benchmarks", "typing"]  # other sessions, and no tests at all
    elsewhere += ["test_formal*.py", "test_lockstep.py", "test_reproducible.py"]
    elsewhere += ["test_wheels.py", "test_typing.py"]
    ignored = (f"--ignore-glob=tests-integration/{name}" for name in elsewhere)
    pytest(session, "tests-integration", *ignored)


@nox.session(requires=["wheels"], allow_parallel=True)
def consumers(session: nox.Session) -> None:
    """Let pandas, polars, Pillow, h5py, zipfile and others write through an AtomicWriter."""
    install(session, CORE, groups=["consumers"])
    pytest(session, "tests-integration/consumers")


@nox.session(requires=["wheels"], allow_parallel=True)
def build(session: nox.Session) -> None:
    """Install from the wheels alone; check what is in wheels and sdists, and that they rebuild."""
    install(session, *NEEDS[META], groups=["build"])
    session.run("pip", "check")
    session.run("twine", "check", "--strict", *map(str, sorted(DIST.iterdir())))
    tests = ("wheels", "lockstep", "reproducible")
    pytest(session, *(f"tests-integration/test_{name}.py" for name in tests))


@nox.session(requires=["wheels"], allow_parallel=True)
def types(session: nox.Session) -> None:
    """Check types in the sources and tests, then as a user of the installed wheels sees them."""
    install(session, *NEEDS[META], extra="ruamel", groups=["types", "coverage", "docs"])
    session.run("mypy", *(f"packages/{package}/src" for package in PACKAGES))
    for package in PACKAGES:
        session.run("mypy", f"packages/{package}/tests")
    session.run("mypy", "tests-integration", "formal", "docs")
    session.run("mypy", "noxfile.py")
    pytest(session, "tests-integration/test_typing.py")


@nox.session(allow_parallel=True)
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    install(session, groups=["lint"])
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session(requires=["wheels"], allow_parallel=True)
def docs(session: nox.Session) -> None:
    """Build the site, look at it in a browser, run what README and docs show (-- --serve)."""
    install(session, *NEEDS[META], extra="ruamel", groups=["docs"])
    if "--serve" not in session.posargs:
        pytest(session, "docs")
        return
    site = ROOT / ".nox" / "site"
    session.run("sphinx-build", "--fail-on-warning", "--keep-going", "docs", str(site))
    session.log("http://localhost:8000 - stop with Ctrl-C")
    session.run("python", "-m", "http.server", "--bind", "localhost", "-d", str(site), "8000")


@nox.session(allow_parallel=True)
def workflows(session: nox.Session) -> None:
    """Check what the forge runs, offline: zizmor, jactionlint (with shellcheck), the schemas."""
    install(session, groups=["workflows"])
    session.run("zizmor", "--offline", "--no-progress", "--persona=pedantic", ".github")
    session.run("jactionlint", *glob(".github/workflows/*.yml"))  # a fork of actionlint
    check = ["check-jsonschema", "--builtin-schema"]
    session.run(*check, "vendor.github-workflows", *glob(".github/workflows/*.yml"))
    session.run(*check, "vendor.dependabot", ".github/dependabot.yml")
    session.run(*check, "vendor.github-issue-forms", *glob(".github/ISSUE_TEMPLATE/[!c]*.yml"))


# These two come last: they are what a slow machine leaves out of a run that has to end in time.


@nox.session(requires=["wheels"], allow_parallel=True)
def kernels(session: nox.Session) -> None:
    """Make and judge crash images on the kernels of other Debian releases, in QEMU."""
    skip_if_late(session)
    install(session, CORE, groups=["crash"])
    pytest(session, "tests-integration/kernels")


@nox.session(requires=["wheels"], allow_parallel=True)
@nox.parametrize("program", OTHER_INTERPRETERS)
def interpreters(session: nox.Session, program: str) -> None:
    """Run the tests on an interpreter of Debian's next suite, in a folder of its own."""
    skip_if_late(session)
    tools = Path(session.create_tmp()) / "tools"
    shutil.rmtree(tools, ignore_errors=True)
    # Another interpreter fills the folder, so nothing in it may be compiled, as hypothesis is from
    # 6.130 on.
    needed = [*wheels_of(*PACKAGES, extra="ruamel"), *tools_of("test"), "hypothesis<6.130"]
    session.run("pip", "install", "--quiet", "--target", str(tools), *needed)
    for old in REPORTS.glob(f"{program}-*"):
        old.unlink()
    script = "tests-integration/interpreters/run.py"
    try:
        session.run("python", script, str(tools), str(REPORTS), program, *session.posargs)
    except nox.command.CommandFailed as error:
        if error.return_code == 77:
            session.skip(f"no {program}: see above")
        raise


@nox.session(default=False, venv_backend="none")
def dev(session: nox.Session) -> None:
    """Make .venv (or -- DIR) with all three packages, editable, and every tool."""
    folder = Path(session.posargs[0] if session.posargs else ROOT / ".venv")
    session.run(sys.executable, "-m", "virtualenv", "--quiet", str(folder))
    editable = [["-e", f"packages/{package}"] for package in (CORE, FORMATS)]
    editable.append(["-e", f"packages/{META}[ruamel]"])
    session.run(
        *(str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"),
        *(word for option in editable for word in option),  # in one command: they pin each other
        *nox.project.dependency_groups(_PROJECT, "dev"),
    )
    session.log(f"{folder} is ready")


@nox.session(default=False, requires=["wheels"])
def bench(session: nox.Session) -> None:
    """Measure against the bare protocol and the peers."""
    install(session, *NEEDS[META], extra="ruamel")
    session.install("-r", "tests-integration/benchmarks/requirements.txt")
    session.run("python", "tests-integration/benchmarks/bench.py", *session.posargs)


@nox.session(default=False)
def mutation(session: nox.Session) -> None:
    """Break the core at random places and count what the tests notice (-- --sample N --seed N)."""
    session.install(*tools_of("test", "crash", "coverage"))  # a broken core is put in its place
    session.run("python", "tests-integration/mutation/run.py", *session.posargs)


@nox.session(default=False, venv_backend="none")
def bump(session: nox.Session) -> None:
    """Set the version of all three packages and the pins between them (-- X.Y.Z)."""
    if len(session.posargs) != 1 or not _VERSION.fullmatch(session.posargs[0]):
        session.error("give one version: X.Y.Z, or X.Y.ZaN, bN, rcN")
    version = session.posargs[0]
    for package in PACKAGES:
        folder = ROOT / "packages" / package
        (source,) = folder.glob("src/*/_version.py")
        source.write_text(f'__version__ = "{version}"\n', encoding="utf-8")
        project = folder / "pyproject.toml"
        text = project.read_text(encoding="utf-8")
        project.write_text(_PIN.sub(rf"\g<1>{version}", text), encoding="utf-8")
        session.log(f"{package} {version}")


_VERSION = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}((a|b|rc)(0|[1-9]\d*))?", re.ASCII)
_PIN = re.compile(r'("safeatomic(?:-core|-formats)?(?:\[\w+\])?==)[^"]*')


def skip_if_late(session: nox.Session) -> None:
    """Skip a session that would begin after the time that ``SAFEATOMIC_BEGIN_BEFORE`` gives.

    Its value is in seconds since the epoch; `.ci/run` sets it, since a run there has to end.
    """
    latest = float(os.environ.get("SAFEATOMIC_BEGIN_BEFORE", "inf"))
    if time.time() > latest:
        session.skip("this machine took so long for the others that no time is left for it")


def install(
    session: nox.Session, *packages: str, extra: str | None = None, groups: list[str] | None = None
) -> None:
    """Install wheels of ours and groups of tools in one call of pip.

    Args:
        session: The session.
        packages: Distributions to install from ``dist/``; one that is not named is not installed.
        extra: Extra of the last of them.
        groups: Dependency groups of the root `pyproject.toml`, besides ``test``.
    """
    session.install(*wheels_of(*packages, extra=extra), *tools_of("test", *(groups or [])))


def wheels_of(*packages: str, extra: str | None = None) -> list[str]:
    """Return the wheels of distributions in ``dist/``, the last of them with an extra."""
    found = [str(next(DIST.glob(f"{name.replace('-', '_')}-[0-9]*.whl"))) for name in packages]
    if extra is not None:
        found[-1] += f"[{extra}]"
    return found


def tools_of(*groups: str) -> list[str]:
    """Return what dependency groups of the root `pyproject.toml` require, each once."""
    return list(
        dict.fromkeys(
            requirement
            for group in groups
            for requirement in nox.project.dependency_groups(_PROJECT, group)
        )
    )


_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def glob(pattern: str) -> list[str]:
    """Return the files of the repository that match."""
    return sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(pattern))


def pytest(
    session: nox.Session,
    *arguments: str,
    prefix: list[str] | None = None,
    options: list[str] | None = None,
) -> None:
    """Run pytest, by default with what follows ``--``; leave results in ``.nox/reports``."""
    report = REPORTS / (re.sub(r"[^\w.]+", "-", session.name).strip("-") + ".xml")
    figures = report.with_suffix(".json")
    for old in (report, figures):
        old.unlink(missing_ok=True)
    # A folder for each run: pytest removes old ones at its end, and two runs that do so at the same
    # time get into each other's way.
    with tempfile.TemporaryDirectory(prefix="safeatomic-", ignore_cleanup_errors=True) as room:
        Path(room).chmod(0o711)  # tests become other users, which pass through here as through /tmp
        session.run(
            *(prefix or []),
            "pytest",
            "-p",
            "no:cacheprovider",
            f"--junitxml={report}",
            *arguments,
            *(session.posargs if options is None else options),
            env={
                "PYTEST_DEBUG_TEMPROOT": room,
                "SAFEATOMIC_DIST": str(DIST),
                "SAFEATOMIC_FIGURES": str(figures),
            },
        )
