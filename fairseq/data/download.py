"""Downloads: checked, resumed, kept in a cache, with a progress bar.

    fetch("https://dl.fbaipublicfiles.com/glue/data/RTE.zip", cache_dir() / "glue" / "RTE.zip")

A download is written to `<name>.part`. When it is complete (and has the expected sha256) it is renamed. A `.part`
file of an interrupted run is continued with an HTTP `Range` request, unless the server's file has changed since
(`If-Range`). The cache is `$FAIRSEQ_CACHE` (default `~/.cache/fairseq`).
"""

import http.client
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Optional

from fairseq.data.download_manifest import is_as_recorded, record, sha256
from fairseq.errors import DataError
from fairseq.job_progress import JobProgress

logger = logging.getLogger(__name__)

BASE_URL = "https://dl.fbaipublicfiles.com/"  # of fairseq's published files
_BLOCK = 1 << 16
MAX_BYTES = 4 << 30  # of one download: the largest of GLUE's archives has a third of a gigabyte


def cache_dir() -> Path:
    """`$FAIRSEQ_CACHE`, or `~/.cache/fairseq`."""
    return Path(os.environ.get("FAIRSEQ_CACHE") or Path.home() / ".cache" / "fairseq")


def fetch_recorded(url: str, target: Path) -> None:
    """`fetch` without a published checksum: what was fetched is recorded, and fetched again where it has changed."""
    if target.is_file() and not is_as_recorded(target):
        logger.warning("%s is not as it was fetched, fetching it again", target)
        target.unlink()
    if fetch(url, target):
        record(target)


def fetch(url: str, target: Path, checksum: Optional[str] = None) -> bool:
    """Download `url` to `target`, continuing an attempt that was interrupted.

    Args:
        checksum: the sha256 that the file must have; an existing file without it is fetched again.

    Returns:
        whether it was downloaded, False if it was there already.

    Raises:
        DataError: the download failed or has another checksum. In the first case the part received is kept.
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
    """Append the missing bytes to `part`. A server that ignores the range sends all of them again."""
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
            return  # complete: only the rename was missing
        if error.code == 416:
            part.unlink()
        raise
    with response:
        resumed = response.status == 206
        tag = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if not resumed:
            _forget_validator(part)
            if tag and not tag.startswith("W/"):  # a weak tag does not change with every byte
                validator.write_text(tag)
        length = response.headers.get("Content-Length")
        start = have if resumed else 0
        total = start + int(length) if length and length.isdecimal() else None
        written = start
        with part.open("ab" if resumed else "wb") as file, JobProgress(name, total, "B", done=start) as progress:
            while block := response.read(_BLOCK):
                written += len(block)
                if written > MAX_BYTES:
                    break
                file.write(block)
                progress.advance(len(block))
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


def warn_of_other_files(folder: Path, known: Mapping[str, str]) -> None:
    """Warn about files in `folder` that differ from those this project was tested with.

    Args:
        known: file name -> sha256. A file that is missing is not compared.
    """
    for name, checksum in known.items():
        path = folder / name
        if path.is_file() and sha256(path) != checksum:
            logger.warning("%s is not the file this version was tested with (sha256 differs)", path)
