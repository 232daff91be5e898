"""Reading a checkpoint file: data only, checked for damage, errors in one line.

    state = read("checkpoint_best.pt")      # dict

PyTorch's zip layout and the older one without zip are read; neither may unfold to much more than its size (`limits`).
Of the zip layout every part has a checksum, which is verified, so a flipped bit does not become a wrong weight.
"""

import contextlib
import io
import os
import pickle
import pickletools
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from typing import Any, BinaryIO, Union

import torch

from fairseq.checkpoint import inert, limits
from fairseq.errors import CheckpointError

# PyTorch admits these, and they take memory by number
ALLOCATING = {"builtins.bytearray", "torch._utils._rebuild_meta_tensor_no_storage"}


def read(path: Union[str, os.PathLike]) -> Any:
    """The object in the checkpoint at `path`, tensors on the CPU.

    Raises:
        CheckpointError: no such file; damaged; or holding more than data, with the name of what was refused.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise CheckpointError(f"checkpoint {path} does not exist (started in {os.getcwd()})")
    try:
        if zipfile.is_zipfile(path):
            _verify_checksums(path)
        return _load(path)
    except CheckpointError:
        raise
    except (Exception, RecursionError) as error:  # a damaged file can make the parser fail in any way
        raise CheckpointError(
            f"checkpoint {path} is damaged or no PyTorch checkpoint ({_first_line(error)}); use another copy of it"
        ) from None


def _load(path: str) -> Any:
    allowed = inert.allowed()
    claims = sorted(_names(path) & ALLOCATING)
    if claims:
        raise _refusal(path, claims[0])
    try:
        return _load_with(path, allowed)
    except pickle.UnpicklingError as error:
        extra = _foreign_names(path, {name for _, name in allowed})
        refused = sorted(name for name in extra if not name.startswith(inert.PREFIXES))
        if refused:
            raise _refusal(path, ", ".join(refused[:3])) from None
        if not extra:
            raise CheckpointError(
                f"checkpoint {path} is damaged or holds more than data ({_reason(error)}); refused"
            ) from None
        return _load_with(path, allowed + [(inert.inert(name), name) for name in extra])


def _load_with(path: str, allowed: list) -> Any:
    with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on old pickle protocols and storage types
        try:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
        except CheckpointError as error:  # raised by a stand-in, with what it will not rebuild
            raise _refusal(path, str(error)) from None
    limits.check_contents(loaded, os.path.getsize(path))
    return inert.plain(loaded)


def _refusal(path: str, what: str) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {path} refers to {what}, which is not data: refused, nothing was run "
        "(if you trust its author, have it saved again with plain values in its place)"
    )


def _foreign_names(path: str, known: set[str]) -> set[str]:
    """Every class or function that the file names and that is neither `known` nor PyTorch's own safe ones."""
    return _names(path) - known - set(torch._weights_only_unpickler._get_allowed_globals())


def _names(path: str) -> set[str]:
    """Every class or function that the file names."""
    if zipfile.is_zipfile(path):
        return set(_names_in(io.BytesIO(torch._C.PyTorchFileReader(path).get_record("data.pkl"))))
    with open(path, "rb") as file:
        found: set[str] = set()
        for _ in range(4):  # magic number, protocol, system, object; storages follow
            found |= set(_names_in(file))
        return found


def _names_in(stream: BinaryIO) -> set[str]:
    found, texts = set(), ["", ""]
    with contextlib.suppress(Exception):  # cut short: what was seen before counts
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "GLOBAL":
                found.add(_todays_name(*str(argument).split(" ", 1)))
            elif opcode.name == "STACK_GLOBAL":
                found.add(".".join(texts[-2:]))
            elif isinstance(argument, str):
                texts.append(argument)
    return found


def _todays_name(module: str, name: str) -> str:
    """The dotted name of a global; pickles of protocol 2 spell those of the standard library as Python 2 did."""
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return f"{module}.{name}"


def _verify_checksums(path: str) -> None:
    with zipfile.ZipFile(path) as archive:
        limits.check_archive(archive, path)
        for part in archive.infolist():
            if part.CRC == 0:  # written without checksums
                continue
            with archive.open(part) as stream:
                while stream.read(1 << 22):  # raises BadZipFile where the checksum differs
                    pass


def _reason(error: Exception) -> str:
    """The part of torch's message that says what was wrong, without its advice on how to load it all the same."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "WeightsUnpickler error" in line]
    return (telling or lines or [type(error).__name__])[-1][:200]


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__
