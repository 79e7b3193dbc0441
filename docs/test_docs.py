"""The documentation is held to what it says: its code runs, its links lead on, it is current."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import safeatomic
import safeatomic_core
import safeatomic_formats
from safeatomic_core._trace import STEPS

DOCS = Path(__file__).parent
ROOT = DOCS.parent
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *DOCS.rglob("*.md"),
        *ROOT.glob("packages/*/README.md"),
        *ROOT.glob("formal/*.md"),
    ]
)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    return [code for kind, code in _BLOCK.findall(page.read_text("utf-8")) if kind == language]


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name)
def test_the_python_of_a_page_runs_from_top_to_bottom(page: Path, empty: Path) -> None:
    program = empty / "page.py"
    # Each block is one statement list of one program, so that later ones may use earlier names.
    program.write_text("\n\n".join(blocks(page, "python")), "utf-8")
    run_python(program, empty)


@pytest.mark.parametrize("example", sorted((DOCS / "examples").glob("*.py")), ids=name)
def test_an_example_runs_and_prints_what_the_page_shows(example: Path, empty: Path) -> None:
    printed = run_python(example, empty)
    page = (DOCS / "examples" / "README.md").read_text("utf-8")
    shown = page.partition(f"({example.name})")[2].partition("```text\n")[2].partition("```")[0]
    if example.name == "ask_the_machine.py":  # the rest depends on the place
        assert re.findall(r"^(?:doctor|on|result)\b", printed, re.MULTILINE) == re.findall(
            r"^(?:doctor|on|result)\b", shown, re.MULTILINE
        )
        assert set(re.findall(r"^  [A-Z]\w+", shown, re.MULTILINE)) <= set(
            re.findall(r"^  [A-Z]\w+", printed, re.MULTILINE)
        )
        return
    pattern = ".*".join(map(re.escape, shown.split("…")))
    assert re.fullmatch(pattern, printed), printed


def run_python(program: Path, directory: Path) -> str:
    directory = directory / "work"
    directory.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_listed() -> None:
    listed = (DOCS / "examples" / "README.md").read_text("utf-8")
    assert all(f"({path.name})" in listed for path in (DOCS / "examples").glob("*.py"))


def run_shell(page: Path, needed: str) -> str:
    if shutil.which(needed) is None:
        pytest.skip(f"no {needed} on this machine")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(blocks(page, "sh"))],
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.usefixtures("empty")
def test_the_shell_blocks_of_the_command_s_page_run() -> None:
    assert "MISMATCH" in run_shell(DOCS / "cli.md", "sha256sum")


@pytest.mark.usefixtures("empty")
def test_the_shell_blocks_of_the_recipes_run() -> None:
    assert "removed the lock of runs.json" in run_shell(DOCS / "recipes.md", "jq")


def test_the_shell_lines_about_vendoring_run_in_a_fresh_package(tmp_path: Path) -> None:
    if not (ROOT / "packages").is_dir():
        pytest.skip("this is not a checkout of the repository")
    (tmp_path / "safeatomic").symlink_to(ROOT)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(blocks(DOCS / "vendoring.md", "sh"))],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    vendored = tmp_path / "your_package" / "_vendor" / "safeatomic_core"
    assert {path.name for path in vendored.iterdir()} >= {"LICENSE", "__init__.py"}
    assert not (vendored / "_cli").exists()


def test_the_size_of_a_vendored_copy_is_about_what_the_page_says() -> None:
    page = (DOCS / "vendoring.md").read_text("utf-8")
    folder = Path(safeatomic_core.__file__).parent
    sources = list(folder.rglob("*.py"))
    lines = sum(path.read_text("utf-8").count("\n") for path in sources)
    size = sum(path.stat().st_size for path in sources)
    command = sum(path.stat().st_size for path in (folder / "_cli").rglob("*.py"))
    said = re.search(r"some ([\d,]+) lines.*?(\d+) KB.*?(\d+) KB", page)
    assert said is not None
    for found, stated in zip((lines, size / 1000, command / 1000), said.groups(), strict=True):
        assert abs(found / int(stated.replace(",", "")) - 1) < 0.2, (found, stated)


def test_every_public_name_is_in_a_program_that_runs() -> None:
    programs = [code for page in PAGES for code in blocks(page, "python")]
    programs += [path.read_text("utf-8") for path in (DOCS / "examples").glob("*.py")]
    words = set(re.findall(r"\w+", "\n".join(programs)))
    assert set(safeatomic.__all__) <= words


def messages() -> str:
    """Return every text of the code, with … where a value is put in."""
    texts = []
    files = (safeatomic_core.__file__, safeatomic_formats.__file__)
    packages = [Path(file).parent for file in files]
    for path in (path for package in packages for path in package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (getattr(part, "value", "…") for part in node.values)
                texts.append("".join(part if isinstance(part, str) else "…" for part in parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


def test_the_messages_that_are_explained_exist() -> None:
    page = (DOCS / "troubleshooting.md").read_text("utf-8").partition("## Leftover")[0]
    explained = re.findall(r"^\| `([^`]+)`", page.partition("## Locks")[2], re.MULTILINE)
    assert len(explained) > 30
    known = messages()
    for message in explained:
        for fragment in filter(None, (part.strip() for part in message.split("…"))):
            assert fragment in known, f"no code says {fragment!r} ({message})"


def explained_messages() -> list[str]:
    page = (DOCS / "troubleshooting.md").read_text("utf-8").partition("## Locks")[2]
    return re.findall(r"^\| `([^`]+)`", page, re.MULTILINE)


def test_every_piece_of_advice_is_explained() -> None:
    from safeatomic_core import _advice, _errors

    advice = list(_errors._GENERAL.values())
    for node in ast.walk(ast.parse(Path(_advice.__file__).read_text("utf-8"))):
        if isinstance(node, ast.Return) and isinstance(node.value, (ast.Constant, ast.JoinedStr)):
            parts = getattr(node.value, "values", [node.value])
            advice.append("…".join(str(getattr(part, "value", "")) for part in parts))
    assert len(advice) > 20
    fragments = [part.strip() for text in explained_messages() for part in text.split("…")]
    for text in filter(lambda text: text and text[0].isupper(), advice):
        assert any(fragment in text for fragment in fragments), f"nothing explains {text!r}"


# What is raised inside the packages and reaches nobody, or is said in another message's words.
_NOT_SEEN = {"MalformedError", "AttributeError"}
_NOT_EXPLAINED = {
    "no such disk in /proc/partitions": "caught where it is asked",
    "no ctypes, hence no statfs": "caught where it is asked",
    "the name is taken": "caught, and told as another error",
    "while constructing a mapping": "the place, before the message",
    "second occurrence": "the second place of a message",
    "fields, not": "a record that is made by hand",
    "unexpected field": "the same",
}
_REPORTS = ("warning", "warn_caller")


def reported_messages() -> list[str]:
    """Return every text with which an error is made or a warning given, … for what varies."""
    found = []
    packages = (safeatomic_core.__path__[0], safeatomic_formats.__path__[0])
    for path in (path for package in packages for path in Path(package).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in _NOT_SEEN or not name.endswith(("Error", *_REPORTS)):
                continue
            for text in node.args:
                if isinstance(text, (ast.Constant, ast.JoinedStr)):
                    parts = getattr(text, "values", [text])
                    words = (str(getattr(part, "value", "…")) for part in parts)
                    found.append("".join(word if word[:1] != "<" else "…" for word in words))
    return [text for text in found if len(text) > 12 and " " in text]


def test_every_message_is_explained() -> None:
    fragments = [part.strip() for text in explained_messages() for part in text.split("…")]
    known = [*filter(None, fragments), *_NOT_EXPLAINED]
    said = reported_messages()
    assert len(said) > 80
    missing = [text for text in said if not any(part in text for part in known)]
    assert not missing
    unused = [part for part in _NOT_EXPLAINED if not any(part in text for text in said)]
    assert not unused


def test_every_error_is_found_by_its_name() -> None:
    page = (DOCS / "troubleshooting.md").read_text("utf-8")
    for name in safeatomic_core.__all__:
        found = getattr(safeatomic_core, name)
        if isinstance(found, type) and issubclass(found, Exception):
            assert f"`{name}`" in page, name


# Shell blocks that no test runs, by their first line, and why.
_NOT_RUN = {
    "getting-started.md": "installs the packages, which runs as the first command of the README",
    "index.md": "the same, and runs nox inside of nox",
    "doctor.md": "the same commands run in cli.md, and a requirement that fails is shown here",
    "CONTRIBUTING.md": "sets up an environment with every tool, and runs nox inside of nox",
}
_RUN = {"README.md", "cli.md", "recipes.md", "vendoring.md"}


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "sh")], ids=name)
def test_every_shell_block_runs_or_has_a_reason(page: Path) -> None:
    assert (page.name in _RUN) != (page.name in _NOT_RUN)
    for code in blocks(page, "sh"):
        subprocess.run(["bash", "-n", "-c", code], check=True)


def test_the_readme_s_first_command_does_what_it_says(tmp_path: Path) -> None:
    files = subprocess.run(
        ["git", "ls-files", "-z", "packages", "README.md", "pyproject.toml"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if files.returncode != 0:
        pytest.skip("not a git checkout: cannot tell which files a fresh clone would hold")
    for entry in filter(None, files.stdout.decode().split("\0")):
        (tmp_path / entry).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / entry, tmp_path / entry)
    text = (ROOT / "README.md").read_text("utf-8")
    command = _BLOCK.search(text[text.index("<!-- command: main-job -->") :])
    assert command is not None
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command.group(2)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(": OK\n")


def test_the_readme_s_test_command_is_what_ci_runs() -> None:
    if not (ROOT / ".ci").is_dir():
        pytest.skip("this is not a checkout of the repository")
    assert "<!-- command: test -->" in (ROOT / ".ci" / "run").read_text("utf-8")
    text = (ROOT / "README.md").read_text("utf-8")
    command = _BLOCK.search(text[text.index("<!-- command: test -->") :])
    assert command is not None
    assert command.group(2).rstrip().endswith("bin/nox")


def test_generated_pages_are_current() -> None:
    done = subprocess.run(
        [sys.executable, str(DOCS / "generate.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr + "run: python docs/generate.py"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in _LINK.findall(text):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name(page)}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{name(page)}: {link}"


def test_the_tests_and_modules_that_pages_name_exist() -> None:
    sources = []
    for place, folders, found in os.walk(ROOT):
        folders[:] = [one for one in folders if one not in (".git", ".nox", ".venv", ".venv-test")]
        sources += [Path(place, file) for file in found if file.endswith(".py")]
    files = {path.name for path in sources}
    names = {
        test
        for path in sources
        for test in re.findall(r"\bdef (test_\w+)", path.read_text("utf-8"))
    }
    if "noxfile.py" not in files:
        pytest.skip("this is not a checkout of the repository")
    for page in PAGES:
        text = page.read_text("utf-8")
        for path in re.findall(r"`(?:[\w.-]+/)*(\w+\.py)`", text):
            assert path in files, f"{name(page)}: {path}"
        for test in re.findall(r"`(test_\w+)`", text):
            assert test in names, f"{name(page)}: {test}"


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_decisions_are_listed_and_have_their_parts() -> None:
    listed = (DOCS / "adr" / "README.md").read_text("utf-8")
    for page in (DOCS / "adr").glob("0*.md"):
        assert f"({page.name})" in listed
        text = page.read_text("utf-8")
        for part in ("Status:", "## Context", "## Decision", "## Rejected", "## Validation"):
            assert part in text, f"{page.name}: {part}"


def test_the_ten_steps_are_the_same_words_everywhere() -> None:
    protocol = (DOCS / "protocol.md").read_text("utf-8")
    rows = re.findall(r"^\| (\w+) \|", protocol.split("## The ten steps")[1], re.MULTILINE)
    assert tuple(rows[1:11]) == STEPS
    assert re.findall(r"^    (\w+) --> .*", protocol, re.MULTILINE)
    models = "".join(path.read_text("utf-8") for path in (ROOT / "formal").glob("SafeAtomic*.tla"))
    actions = set(re.findall(r"^([A-Z]\w*)(?:\(.*\))? *==", models, re.MULTILINE))
    for step in STEPS:
        assert any(action.startswith(step) for action in actions), f"no action for {step}"


_TWO_SENTENCES = re.compile(r"""[^\s.][.!?]["')*_]* (?=[A-Z`"*(\[])""")


def prose(page: Path) -> list[str]:
    """Return the lines of a page that are sentences: no code, tables, headings or comments."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    lines = [re.sub(r"^\s*(?:[-*]|\d+\.) ", "", line) for line in text.splitlines()]
    return [line for line in lines if not line.startswith(("|", "#", "<"))]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_line_holds_one_sentence_and_at_most_160_columns(page: Path) -> None:
    for line in prose(page):
        assert len(line) <= 160, line
        # What stands in code or in parentheses is part of the sentence around it.
        around = re.sub(r"`[^`]*`", "`code`", line)
        around = re.sub(r"\([^()]*\)", "(aside)", around)
        assert not _TWO_SENTENCES.search(around), line
