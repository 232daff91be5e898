"""Size and sha256 of what was downloaded first, in `manifest.json` next to it: for files without a published checksum.

record(Path("glue/RTE.zip"))            # at each download; warns if an earlier one had another sha256
is_as_recorded(Path("glue/RTE.zip"))    # False if the file has changed since
"""

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any

from fairseq.errors import reason

logger = logging.getLogger(__name__)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record(file: Path) -> None:
    """Record the file's size and sha256. Warn if an earlier download had another."""
    manifest = file.with_name("manifest.json")
    entries, entry = _entries(manifest), _entry(file)
    earlier = entries.get(file.name)
    if earlier is None:
        logger.info("%s: no published checksum; recorded sha256 %s in %s", file.name, entry["sha256"], manifest)
    elif earlier != entry:
        logger.warning(
            "%s differs from the one fetched before (sha256 %s, now %s)", file.name, earlier["sha256"], entry["sha256"]
        )
    entries[file.name] = entry
    temporary = manifest.with_name(manifest.name + ".tmp")
    temporary.write_text(json.dumps(entries, indent=1, sort_keys=True), encoding="utf-8")
    os.replace(temporary, manifest)


def is_as_recorded(file: Path) -> bool:
    """Whether the file is the one that was recorded last; also True where none was."""
    earlier = _entries(file.with_name("manifest.json")).get(file.name)
    return earlier is None or earlier == _entry(file)


def _entry(file: Path) -> dict[str, Any]:
    return {"bytes": file.stat().st_size, "sha256": sha256(file)}


def _entries(manifest: Path) -> dict[str, dict[str, Any]]:
    """What the manifest records; a damaged manifest is replaced, since the files can be hashed again."""
    try:
        found = json.loads(manifest.read_text(encoding="utf-8"))
        if isinstance(found, dict) and all(_is_entry(entry) for entry in found.values()):
            return found
        why = "it is of another shape"
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        why = reason(error)
    logger.warning("%s is damaged (%s): it is written again", manifest, why)
    return {}


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("sha256"), str) and isinstance(entry.get("bytes"), int)
