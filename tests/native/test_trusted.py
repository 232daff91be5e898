"""Compiled code that other users could have written is not loaded."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairseq.native import library, trusted


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An own cache folder, in which "compiling" writes a file that tells itself from a planted one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(library, "_compile", lambda command: Path(command[command.index("-o") + 1]).write_text("ours"))
    monkeypatch.setattr(library, "_compiler", lambda: os.__file__)
    previous = os.umask(0o002)  # the usual one where each user has an own group
    yield library.cache_folder()
    os.umask(previous)


def built() -> Path:
    return library._built(library.SOURCES / "norm.cpp")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_we_make_is_closed_to_others_whatever_the_umask(cache: Path) -> None:
    assert not mode(built()) & 0o022 and not mode(cache) & 0o022
    assert library.is_built("norm")


def test_what_is_kept_is_loaded_without_compiling(cache: Path) -> None:
    built().write_text("kept")
    assert built().read_text() == "kept"


@pytest.mark.parametrize("open_to", [0o020, 0o002])
def test_a_file_that_others_can_write_is_built_anew(open_to: int, cache: Path) -> None:
    path = built()
    path.write_text("planted")
    path.chmod(0o755 | open_to)
    assert not library.is_built("norm")
    assert built().read_text() == "ours" and not mode(path) & 0o022


@pytest.mark.parametrize("open_to", [0o020, 0o002])
def test_a_folder_that_others_can_write_is_closed_and_emptied(open_to: int, cache: Path) -> None:
    path = built()
    path.write_text("planted")
    (cache / "integer_costs.json").write_text("{}")
    cache.chmod(0o755 | open_to)
    assert not library.is_built("norm")
    assert built().read_text() == "ours" and not mode(cache) & 0o022
    assert (cache / "integer_costs.json").exists()


def test_a_folder_of_somebody_else_is_refused(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    built().write_text("planted")
    monkeypatch.setattr(trusted.os, "geteuid", lambda: cache.stat().st_uid + 1 or 1)
    if cache.stat().st_uid == 0:  # what is root's is trusted: the folder must be a third user's
        os.chown(cache, 4321, -1)
    assert not library.is_built("norm")
    with pytest.raises(PermissionError, match="belongs to another user"):
        built()
    library.library.cache_clear()
    try:
        assert library.library("norm") is None
    finally:
        library.library.cache_clear()
    (warning,) = caplog.messages
    assert str(cache) in warning and "XDG_CACHE_HOME" in warning


def test_a_file_of_somebody_else_is_built_anew(cache: Path) -> None:
    path = built()
    path.write_text("planted")
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(path, 4321, -1)
    assert built().read_text() == "ours" and path.stat().st_uid == 0
