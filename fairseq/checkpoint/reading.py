"""Reading a checkpoint file: data only, checked for damage, errors in one line.

    state = read("checkpoint_best.pt")      # dict

PyTorch's zip layout and the older one without zip are read; neither may unfold to much more than its size (`limits`).
Of the zip layout every part has a checksum, which is verified, so a flipped bit does not become a wrong weight.
"""

import contextlib
import errno
import io
import os
import pickle
import pickletools
import re
import sys
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from typing import Any, BinaryIO, Union

import torch

from fairseq.checkpoint import inert, limits
from fairseq.checkpoint.limits import Bounded
from fairseq.errors import CheckpointError
from fairseq.file_io import exists

# PyTorch admits these, and they take memory by number
ALLOCATING = {"builtins.bytearray", "torch._utils._rebuild_meta_tensor_no_storage"}


def read(path: Union[str, os.PathLike], *, shapes_only: bool = False, foreign: bool = False) -> Any:
    """The object in the checkpoint at `path`, tensors on the CPU.

    Args:
        shapes_only: tensors on the meta device, without their contents, which are then not verified either.
        foreign: of another program, such as Lightning: classes of any package are stood for, too; what names a part of
            Python itself is refused as ever.

    Raises:
        CheckpointError: no such file; damaged; or holding more than data, with the name of what was refused.
    """
    path = os.fspath(path)
    if not exists(path, CheckpointError) or not os.path.isfile(path):
        if os.path.isdir(path):
            raise CheckpointError(f"checkpoint {path} is a folder; give a file in it, such as checkpoint_best.pt")
        raise CheckpointError(f"checkpoint {path} does not exist (started in {os.getcwd()})")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                limits.check_archive(archive, path)
                if not shapes_only:
                    _verify_checksums(archive)
        return _load(path, "meta" if shapes_only else "cpu", foreign)
    except CheckpointError:
        raise
    except PermissionError as error:
        raise CheckpointError(f"cannot read checkpoint {path}: {error.strerror}") from None
    except (Exception, RecursionError) as error:  # a damaged file can make the parser fail in any way
        raise CheckpointError(
            f"checkpoint {path} is damaged or no PyTorch checkpoint ({_damage(error)}); use another copy of it"
        ) from None


def _load(path: str, device: str, foreign: bool = False) -> Any:
    allowed = inert.allowed()
    claims = sorted(_names(path) & ALLOCATING)
    if claims:
        raise _refusal(path, claims[0])
    try:
        return _load_with(path, device, allowed)
    except pickle.UnpicklingError:
        extra = _foreign_names(path, {name for _, name in allowed})
        refused = sorted(name for name in extra if not (_of_a_package(name) if foreign else _is_ours(name)))
        if refused:
            raise _refusal(path, ", ".join(refused[:3])) from None
        if not extra:
            raise CheckpointError(f"checkpoint {path} is damaged or holds more than data; refused") from None
        return _load_with(path, device, allowed + [(inert.inert(name), name) for name in extra])


def _load_with(path: str, device: str, allowed: list) -> Any:
    with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on old pickle protocols and storage types
        try:
            if zipfile.is_zipfile(path):
                loaded = torch.load(path, map_location=device, weights_only=True)
            else:
                with Bounded(path) as file:
                    loaded = torch.load(file, map_location=device, weights_only=True)
        except CheckpointError as error:  # raised by a stand-in, with what it will not rebuild
            raise _refusal(path, str(error)) from None
    limits.check_contents(loaded, os.path.getsize(path), tensors=device != "meta")
    return inert.to_builtins(loaded)


def _is_ours(name: str) -> bool:
    return name.startswith(inert.PREFIXES)


def _of_a_package(name: str) -> bool:
    """Whether a name is not Python's own: what a library saves of itself, and a user's classes."""
    own = name.partition(".")[0] in sys.stdlib_module_names and not name.startswith("__main__.")
    return _is_ours(name) or not own


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
    with Bounded(path) as file:
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


def _verify_checksums(archive: zipfile.ZipFile) -> None:
    for part in archive.infolist():
        if part.CRC == 0:  # written without checksums
            continue
        with archive.open(part) as stream:
            while stream.read(1 << 22):  # raises BadZipFile where the checksum differs
                pass


def _damage(error: BaseException) -> str:
    """What is wrong with a file, in words about the file: the parser's own are about the parser."""
    text = str(error)
    if isinstance(error, zipfile.BadZipFile):
        part = re.search(r"Bad CRC-32 for file '(.*)'", text)
        return f"its part {part[1]} does not have its checksum" if part is not None else "its table of parts is broken"
    if isinstance(error, OSError) and error.errno != errno.EINVAL:
        return error.strerror or "it cannot be read"
    if isinstance(error, (EOFError, OSError)) or "EOF" in text or "central directory" in text:
        return "it is cut short"
    if type(error) is ValueError:  # of `limits`
        return text
    return "its contents cannot be parsed"
