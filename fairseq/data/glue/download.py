"""Fetching GLUE's archives and RoBERTa's BPE files: checked, resumable, with a progress bar.

    fetch("https://dl.fbaipublicfiles.com/glue/data/RTE.zip", Path("RTE.zip"))

A download is written to `<name>.part`; when it is complete (and has the expected sha256) it is renamed. A `.part`
file that an interrupted run left is continued with an HTTP `Range` request, unless the server's file has changed
since (`If-Range`). What was fetched is kept in `$FAIRSEQ_CACHE` (default `~/.cache/fairseq`) and not fetched again.

The BPE files have a pinned sha256. For the archives none is published: size and sha256 of the first download are
recorded in `manifest.json` beside them, and a later download that differs says so; the TSV files inside are compared
with known ones. What is damaged is removed and fetched again.
"""

import http.client
import logging
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Optional

from fairseq.data.glue.archive import DamagedArchive, extract
from fairseq.data.glue.manifest import is_as_recorded, record, sha256
from fairseq.data.glue.mrpc import DEV_IDS, PUBLISHED
from fairseq.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

BASE_URL = "https://dl.fbaipublicfiles.com/"
ARCHIVES = {
    "CoLA": "CoLA.zip",
    "MNLI": "MNLI.zip",
    "QNLI": "QNLIv2.zip",
    "QQP": "QQP-clean.zip",
    "RTE": "RTE.zip",
    "SST-2": "SST-2.zip",
    "STS-B": "STS-B.zip",
    "WNLI": "WNLI.zip",
}
# MRPC's licence does not allow an archive; GLUE points at these files.
MRPC_FILES = {
    PUBLISHED["train"]: "senteval/senteval_data/msr_paraphrase_train.txt",
    PUBLISHED["test"]: "senteval/senteval_data/msr_paraphrase_test.txt",
    DEV_IDS: "glue/data/mrpc_dev_ids.tsv",
}
BPE_FILES = {
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    "dict.txt": None,  # copies with more unused symbols at the end are about; compared with KNOWN instead
}
# sha256 of the files that this version was tested with; others work, with a warning
KNOWN = {
    "gpt2_bpe/dict.txt": "2c31c5b236661067fe8626775eb995ef5fe808ac87d2ad4a6ddbef68550f5cc6",
    "CoLA/train.tsv": "cb368ebeb9f27d7ad03720d27ddc95687a311bdb100781a2fe59a5f5b1bc0624",
    "CoLA/dev.tsv": "8c013e21dc39957cac37378d87bebe225b694a0d5fe13eded66c2856628833fd",
    "QNLI/dev.tsv": "ac19409dcb04631eaaa094bdebdcf621086bc352503dfb6a1a648b614986f4fd",
    "RTE/train.tsv": "41e3a9b063433392343fad9e962cf2f58b681c78d8f71592f4186f0837246c5c",
    "RTE/dev.tsv": "80230dfa1347282e7b532b06a1004a76a710087541189bf874223ddf0e3819fb",
    "SST-2/train.tsv": "48eac26399f8456935f81dd9e3a745c1430adb6c62e233ccfe22db4a0d15d1d1",
    "SST-2/dev.tsv": "54a9c12c77e402fc14d6a66a506f24d999f596b0176eb777c972cccc2f9cc4b0",
    "STS-B/train.tsv": "41c4d978b6162abdcada7e49a982211954cca5459c228db478af333124b257a2",
    "STS-B/dev.tsv": "fe7dc0632a5033562f3cadff991f6e8d9b9b6311861660e78c3c82eb7db67f59",
    "WNLI/train.tsv": "9a88e9d54b6861cc796a088e9acf4f5f65064a9ef65ae6fa7a688b28391e5c9a",
    "WNLI/dev.tsv": "cba00490596dd14be8cf53b4f53bb744abe3a7b89f81ab210528d80225338ed5",
}
_BLOCK = 1 << 16
MAX_BYTES = 4 << 30  # of one download: the largest archive has a third of a gigabyte


def cache_dir() -> Path:
    """`$FAIRSEQ_CACHE`, or `~/.cache/fairseq`."""
    return Path(os.environ.get("FAIRSEQ_CACHE") or Path.home() / ".cache" / "fairseq")


def fetch_bpe(cache: Optional[Path] = None, base_url: str = BASE_URL) -> Path:
    """The folder with `encoder.json`, `vocab.bpe` and `dict.txt`, downloaded where they are not in the cache."""
    folder = (cache or cache_dir()) / "gpt2_bpe"
    for name, checksum in BPE_FILES.items():
        url = f"{base_url}fairseq/gpt2_bpe/{name}"
        if checksum is None:
            _fetch_recorded(url, folder / name)
        else:
            fetch(url, folder / name, checksum)
    compare_with_known("gpt2_bpe", folder)
    return folder


def fetch_task(name: str, cache: Optional[Path] = None, base_url: str = BASE_URL) -> Path:
    """The folder with one GLUE task's files, downloaded where it is not in the cache.

    Raises:
        DataError: the network, the server or the archive failed; one line says which and what to do.
    """
    cache = cache or cache_dir()
    folder = cache / "glue" / name
    if name == "MRPC":
        for file, path in MRPC_FILES.items():
            _fetch_recorded(base_url + path, folder / file)
        return folder
    if name not in ARCHIVES:
        raise ConfigError(f"GLUE task {name} is not published as an archive; give its folder by --glue-dir")
    if not folder.is_dir():
        archive = cache / "glue" / ARCHIVES[name]
        url, was_there = f"{base_url}glue/data/{ARCHIVES[name]}", archive.is_file()
        _fetch_recorded(url, archive)
        try:
            extract(archive, folder, name)
        except DamagedArchive as error:
            if not was_there:  # just fetched: it would come the same way again
                raise
            logger.warning("%s; fetching it again", error)
            _fetch_recorded(url, archive)
            extract(archive, folder, name)
        archive.unlink()
    compare_with_known(name, folder)
    return folder


def _fetch_recorded(url: str, target: Path) -> None:
    """`fetch` without a published checksum: what was fetched is recorded, and fetched again where it has changed."""
    if target.is_file() and not is_as_recorded(target):
        logger.warning("%s is not as it was fetched, fetching it again", target)
        target.unlink()
    if fetch(url, target):
        record(target)


def fetch(url: str, target: Path, checksum: Optional[str] = None) -> bool:
    """Download `url` to `target`, going on where an earlier attempt stopped.

    Args:
        checksum: the sha256 that the file must have; an existing file without it is fetched again.

    Returns:
        whether it was downloaded; False where it was there.

    Raises:
        DataError: the download failed or has another checksum. The part that came is kept in the first case.
    """
    if target.is_file():
        if checksum is None or sha256(target) == checksum:
            return False
        logger.warning("%s has another sha256 than expected, fetching it again", target)
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _download(url, part, target.name)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
        kept = f"; {part.stat().st_size} bytes are kept and will be continued" if part.is_file() else ""
        raise DataError(f"cannot download {url}: {reason}{kept}; run the command again, or give local files") from None
    if checksum is not None and (found := sha256(part)) != checksum:
        part.unlink()
        raise DataError(f"{url}: sha256 is {found[:16]}..., expected {checksum[:16]}...; run the command again")
    _forget_validator(part)
    os.replace(part, target)
    return True


def _download(url: str, part: Path, name: str) -> None:
    """Append what is missing to `part`; a server that ignores the range starts it over."""
    validator = part.with_name(part.name + ".etag")
    tag = validator.read_text("latin-1") if validator.is_file() else ""
    have = part.stat().st_size if part.is_file() and tag.isascii() and tag.isprintable() and tag else 0
    request = urllib.request.Request(url, headers={"User-Agent": "fairseq"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", tag)
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{have}":
            return  # everything had come already, only the rename was missing
        if error.code == 416:
            part.unlink()
        raise
    with response:
        resumed = response.status == 206
        tag = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if not resumed:
            _forget_validator(part)
            if tag and not tag.startswith("W/"):  # a weak tag cannot vouch for bytes
                validator.write_text(tag)
        length = response.headers.get("Content-Length")
        start = have if resumed else 0
        total = start + int(length) if length and length.isdecimal() else None
        written = start
        with part.open("ab" if resumed else "wb") as file, _bar(name, total, start) as bar:
            while block := response.read(_BLOCK):
                written += len(block)
                if written > MAX_BYTES:
                    break
                file.write(block)
                bar.update(len(block))
            file.flush()
            os.fsync(file.fileno())
    if written > MAX_BYTES:
        part.unlink()
        _forget_validator(part)
        raise OSError(0, f"more than {MAX_BYTES:,} bytes came")
    if total is not None and part.stat().st_size != total:
        raise OSError(0, f"connection closed after {part.stat().st_size} of {total} bytes")


def _forget_validator(part: Path) -> None:
    part.with_name(part.name + ".etag").unlink(missing_ok=True)


def _bar(name: str, total: Optional[int], start: int):  # type: ignore[no-untyped-def]
    from tqdm import tqdm

    return tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=name, file=sys.stderr, mininterval=0.5)


def compare_with_known(name: str, folder: Path) -> None:
    """Warn about files that are not byte for byte those this project was tested with."""
    for known, checksum in KNOWN.items():
        path = folder / Path(known).name
        if known.startswith(f"{name}/") and path.is_file() and sha256(path) != checksum:
            logger.warning("%s is not the file this version was tested with (sha256 differs)", path)
