"""The latencies of products on this machine (`latency.py`), measured once and kept in a file.

    latencies().prefers_integers((768, 768))

One entry for each machine, number of threads, and version of torch and of the code that was measured, in
`~/.cache/fairseq` (or under `XDG_CACHE_HOME`).
"""

import functools
import hashlib
import json
import logging
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

import torch

from fairseq.native import announce, library
from fairseq.quantization.plan import calibrate_latency
from fairseq.quantization.plan.latency import Latencies

logger = logging.getLogger(__name__)

PACKAGE = Path(__file__).parents[2]
# folders whose code is what was measured
SOURCES = ("native", "quantization/kernels", "quantization/products", "quantization/layers")


@functools.cache
def latencies(device_type: str = "cpu") -> Latencies:
    """Latencies of this machine, measured if they are not in the file."""
    path, key, sources = _file(), _machine(device_type), _sources()
    known = _read(path)
    entry = known.get(key)
    if entry is not None and entry.get("sources") == sources:
        try:
            return Latencies.of_lists(entry)
        except (KeyError, OverflowError, TypeError, ValueError):  # of another version
            pass
    logger.info("quantization: measuring once how long integer products take on this machine (%s)", path)
    with announce.waiting("measuring integer products, once for this machine"):
        found = calibrate_latency.measure(device_type)
    _write(path, {**known, key: {"sources": sources, **found.as_lists()}})
    return found


# --- the file ---------------------------------------------------------------------------------------------------------


def _file() -> Path:
    return library.cache_folder() / "integer_costs.json"


def _machine(device_type: str) -> str:
    if device_type == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    processor = hashlib.sha256(library._processor().encode()).hexdigest()[:8]
    cpu = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()} {processor}"
    return f"{cpu}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _sources() -> str:
    """A digest of the code that was measured."""
    text = hashlib.sha256()
    for folder in SOURCES:
        for path in sorted((PACKAGE / folder).rglob("*.*")):
            if path.suffix in (".py", ".cpp", ".h"):
                text.update(path.name.encode() + path.read_bytes())
    return text.hexdigest()[:16]


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        found = json.loads(path.read_text())
    except (OSError, RecursionError, ValueError):  # no file, or not one of ours: measure again
        return {}
    if not isinstance(found, dict):
        return {}
    return {key: entry for key, entry in found.items() if isinstance(entry, dict)}


def _write(path: Path, known: dict[str, dict[str, Any]]) -> None:
    """Replace the file atomically; in a folder that cannot be written the next process measures again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            file.write(json.dumps(known, indent=1))
        os.replace(file.name, path)
    except OSError as error:
        logger.warning("quantization: the latencies of integer products could not be written to %s (%s)", path, error)
