"""How the links of a path are resolved, of one that does not exist as well."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from safeatomic_core._posix import kernel


@pytest.mark.parametrize(
    "name",
    [
        "file",
        "to-file",
        "folder/../file",
        "to-folder/../file",
        "to-folder/inner",
        "chain/inner",
        "missing",
        "missing/below/../file",
        "dangling",
        "dangling/below",
        "absolute/inner",
        "folder//./inner",
        "folder/inner/",
    ],
)
def test_a_path_is_resolved_as_far_as_it_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "folder").mkdir()
    for file in ("file", "folder/inner"):
        (tmp_path / file).touch()
    links = {
        "to-file": "file",
        "to-folder": "folder",
        "chain": "to-folder/../to-folder",
        "dangling": "nowhere/../missing",
        "absolute": f"{tmp_path}/chain",
    }
    for link, place in links.items():
        (tmp_path / link).symlink_to(place)
    monkeypatch.chdir(tmp_path)
    for path in (name, f"{tmp_path}/{name}"):
        assert kernel.realpath(path) == os.path.realpath(path)


def test_what_leads_in_a_circle_stays_a_path(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    assert (
        kernel.realpath(f"{tmp_path}/circle/below") == f"{os.path.realpath(tmp_path)}/circle/below"
    )


def test_as_many_links_are_followed_as_the_kernel_follows(tmp_path: Path) -> None:
    (tmp_path / "link0").touch()
    for number in range(1, 42):
        (tmp_path / f"link{number}").symlink_to(f"link{number - 1}")
    assert kernel.realpath(f"{tmp_path}/link40").endswith("/link0")
    assert kernel.realpath(f"{tmp_path}/link41").endswith("/link41")
    with pytest.raises(OSError, match="symbolic links"):
        os.stat(tmp_path / "link41")
