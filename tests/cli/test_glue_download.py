"""Downloads of GLUE and of the BPE files, from a server on loopback: checked, resumed, never half there."""

import json
import os
import zipfile

import pytest
from file_server import serving

from fairseq.data import download
from fairseq.data import download_manifest as manifest
from fairseq.data.encoders import gpt2_files
from fairseq.data.glue import archive
from fairseq.data.glue import download as glue
from fairseq.errors import DataError


@pytest.fixture
def server(tmp_path):
    (tmp_path / "www").mkdir()
    with serving(tmp_path / "www") as server:
        yield server


@pytest.fixture
def big(server):
    content = os.urandom(300_000)
    (server.root / "big.bin").write_bytes(content)
    return content


def make_zip(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in members.items():
            packed.writestr(name, content)


def fetch(server, folder, checksum=None):
    download.fetch(server.url + "big.bin", folder / "big.bin", checksum)
    return (folder / "big.bin").read_bytes()


def test_fetches_once(server, big, tmp_path):
    assert fetch(server, tmp_path / "to") == big
    assert fetch(server, tmp_path / "to") == big
    assert len(server.requests) == 1
    assert os.listdir(tmp_path / "to") == ["big.bin"]


def test_goes_on_where_the_connection_broke(server, big, tmp_path):
    server.cut_after = 100_000
    with pytest.raises(DataError, match="100000 bytes are kept") as caught:
        fetch(server, tmp_path)
    assert "\n" not in str(caught.value) and not (tmp_path / "big.bin").exists()
    assert fetch(server, tmp_path) == big
    assert [wanted for _, wanted in server.requests] == [None, "bytes=100000-"]


@pytest.mark.parametrize("kind", ["changed", "no ranges"])
def test_starts_over_where_going_on_would_mix_files(server, big, tmp_path, kind):
    server.cut_after = 1000
    with pytest.raises(DataError):
        fetch(server, tmp_path)
    if kind == "changed":
        big = bytes(reversed(big))
        (server.root / "big.bin").write_bytes(big)
    else:
        server.ranges = False
    assert fetch(server, tmp_path) == big
    assert server.requests[1][1] == "bytes=1000-"


def test_everything_had_come_and_only_the_rename_was_missing(server, big, tmp_path):
    server.cut_after = 10
    with pytest.raises(DataError):
        fetch(server, tmp_path)
    (tmp_path / "big.bin.part").write_bytes(big)
    assert fetch(server, tmp_path) == big


def test_wrong_checksum_leaves_nothing(server, big, tmp_path):
    with pytest.raises(DataError, match="expected 0000"):
        fetch(server, tmp_path / "to", checksum="0" * 64)
    assert os.listdir(tmp_path / "to") in ([], ["big.bin.part.etag"])


def test_existing_file_with_another_checksum_is_fetched_again(server, big, tmp_path):
    import hashlib

    (tmp_path / "big.bin").write_bytes(b"old")
    assert fetch(server, tmp_path, hashlib.sha256(big).hexdigest()) == big


def test_missing_file_and_dead_server_end_in_one_line(server, tmp_path):
    with pytest.raises(DataError, match=r"cannot download .*nothing\.zip: Not Found"):
        download.fetch(server.url + "nothing.zip", tmp_path / "x")
    with pytest.raises(DataError, match=r"cannot download http://127\.0\.0\.1:9/x"):
        download.fetch("http://127.0.0.1:9/x", tmp_path / "x")


def test_task_is_unpacked_recorded_and_kept(server, tmp_path, caplog):
    make_zip(server.root / "glue/data/RTE.zip", {"RTE/train.tsv": "a", "RTE/dev.tsv": "b", "__MACOSX/x": ""})
    cache = tmp_path / "cache"
    folder = glue.fetch_task("RTE", cache, server.url)
    assert (folder / "train.tsv").read_text() == "a"
    assert sorted(os.listdir(cache / "glue")) == ["RTE", "manifest.json"]
    assert set(json.loads((cache / "glue" / "manifest.json").read_text())["RTE.zip"]) == {"bytes", "sha256"}
    assert "not the file this version was tested with" in caplog.text  # its TSV files are not the real ones
    glue.fetch_task("RTE", cache, server.url)
    assert len(server.requests) == 1


def test_a_changed_archive_is_told(server, tmp_path, caplog):
    for content in ("a", "b"):
        make_zip(server.root / "glue/data/CoLA.zip", {"CoLA/train.tsv": content})
        folder = glue.fetch_task("CoLA", tmp_path, server.url)
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    assert "differs from the one fetched before" in caplog.text


@pytest.mark.parametrize("name", ["../outside.tsv", "/abs.tsv", "RTE/../../outside.tsv"])
def test_members_outside_the_folder_are_refused(server, tmp_path, name):
    make_zip(server.root / "glue/data/RTE.zip", {"RTE/train.tsv": "a", name: "b"})
    with pytest.raises(DataError, match="outside its folder"):
        glue.fetch_task("RTE", tmp_path / "cache", server.url)
    assert not (tmp_path / "cache" / "glue" / "RTE").exists()
    assert not list(tmp_path.glob("**/outside.tsv"))


def test_a_damaged_archive_is_not_kept(server, tmp_path):
    make_zip(server.root / "glue/data/RTE.zip", {"RTE/train.tsv": "a" * 1000})
    damaged = (server.root / "glue/data/RTE.zip").read_bytes()
    (server.root / "glue/data/RTE.zip").write_bytes(damaged.replace(b"aaaa", b"aaba", 1))
    with pytest.raises(DataError, match="no intact zip"):
        glue.fetch_task("RTE", tmp_path, server.url)
    assert not list((tmp_path / "glue").glob("RTE*"))


@pytest.mark.parametrize("damage", ["cut short", "bad block", "no zip", "bomb", "outside"])
def test_a_damaged_archive_that_was_left_is_fetched_again(server, tmp_path, damage):
    make_zip(server.root / "glue/data/RTE.zip", {"RTE/train.tsv": "a"})
    left = tmp_path / "glue" / "RTE.zip"
    make_zip(left, {"RTE/train.tsv": "b" * 1000})
    content = left.read_bytes()
    if damage == "cut short":
        left.write_bytes(content[:-30])
    elif damage == "bad block":  # a compressed member whose stream is no stream
        with zipfile.ZipFile(left, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("RTE/train.tsv", os.urandom(1000))
        content = bytearray(left.read_bytes())
        content[60:70] = b"\xff" * 10
        left.write_bytes(content)
    elif damage == "no zip":
        left.write_bytes(b"<html>busy</html>")
    elif damage == "bomb":
        with zipfile.ZipFile(left, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("RTE/train.tsv", bytes(1 << 25))
    else:
        make_zip(left, {"RTE/train.tsv": "a", "../outside.tsv": "b"})
    folder = glue.fetch_task("RTE", tmp_path, server.url)
    assert (folder / "train.tsv").read_text() == "a" and not left.exists()


def test_an_archive_that_changed_since_it_was_recorded_is_fetched_again(server, tmp_path, caplog):
    make_zip(server.root / "glue/data/RTE.zip", {"RTE/train.tsv": "a"})
    left = tmp_path / "glue" / "RTE.zip"
    make_zip(left, {"RTE/train.tsv": "b"})
    manifest.record(left)
    make_zip(left, {"RTE/train.tsv": "c"})
    folder = glue.fetch_task("RTE", tmp_path, server.url)
    assert (folder / "train.tsv").read_text() == "a" and "is not as it was fetched" in caplog.text


@pytest.mark.parametrize(
    "text", [b"{", b"\xff", b"[]", b'{"RTE.zip": 3}', b'{"RTE.zip": {"bytes": 1}}', b"[" * 100_000]
)
def test_a_damaged_manifest_is_begun_anew(server, tmp_path, text, caplog):
    make_zip(server.root / "glue/data/RTE.zip", {"RTE/train.tsv": "a"})
    (tmp_path / "glue").mkdir()
    (tmp_path / "glue" / "manifest.json").write_bytes(text)
    glue.fetch_task("RTE", tmp_path, server.url)
    assert "manifest.json is damaged" in caplog.text
    assert set(json.loads((tmp_path / "glue" / "manifest.json").read_text())["RTE.zip"]) == {"bytes", "sha256"}


def test_a_full_disk_is_not_called_a_damaged_file(tmp_path, monkeypatch):
    make_zip(tmp_path / "RTE.zip", {"RTE/train.tsv": "a"})

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive.shutil, "copyfileobj", full)
    with pytest.raises(DataError, match=r"cannot unpack .*RTE\.zip: No space left") as caught:
        archive.extract(tmp_path / "RTE.zip", tmp_path / "RTE", "RTE")
    assert not isinstance(caught.value, archive.DamagedArchive) and (tmp_path / "RTE.zip").exists()


def test_an_endless_download_is_ended(server, big, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "MAX_BYTES", 100_000)
    with pytest.raises(DataError, match="more than 100,000 bytes came"):
        fetch(server, tmp_path)
    assert not list(tmp_path.glob("big.bin*"))


def test_a_damaged_etag_begins_anew(server, big, tmp_path):
    (tmp_path / "big.bin.part").write_bytes(b"x" * 10)
    (tmp_path / "big.bin.part.etag").write_bytes(b"\xff\n")
    assert fetch(server, tmp_path) == big


def test_mrpc_comes_as_three_files(server, tmp_path, caplog):
    for path in glue.MRPC_FILES.values():
        (server.root / path).parent.mkdir(parents=True, exist_ok=True)
        (server.root / path).write_text("x")
    folder = glue.fetch_task("MRPC", tmp_path, server.url)
    assert sorted(os.listdir(folder)) == sorted([*glue.MRPC_FILES, "manifest.json"])
    damaged = folder / next(iter(glue.MRPC_FILES))
    damaged.write_text("y")
    glue.fetch_task("MRPC", tmp_path, server.url)
    assert damaged.read_text() == "x" and len(server.requests) == 4


def test_bpe_files_are_checked(server, tmp_path):
    for name in gpt2_files.FILES:
        (server.root / "fairseq/gpt2_bpe").mkdir(parents=True, exist_ok=True)
        (server.root / "fairseq/gpt2_bpe" / name).write_text("not the real one")
    with pytest.raises(DataError, match=r"encoder\.json: sha256"):
        gpt2_files.fetch_bpe(tmp_path, server.url)


def test_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("FAIRSEQ_CACHE", str(tmp_path))
    assert download.cache_dir() == tmp_path
