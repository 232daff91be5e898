"""Read images and labels from CIFAR-10's binary files and MNIST's idx files, each as it is or packed with gzip.

CIFAR-10   records of 1 label byte and 3072 bytes: the red, green and blue planes of 32 x 32 (Krizhevsky 2009)
idx        0 0 8 D, then D sizes of 4 bytes, big-endian, then bytes (LeCun, Cortes and Burges); 8 is unsigned byte
"""

import gzip
import math
import zlib
from pathlib import Path
from typing import Optional

import numpy as np

from fairseq.data.errors import MissingDataError
from fairseq.errors import DataError, reason

CIFAR_SHAPE = (3, 32, 32)
IDX_UNSIGNED_BYTE = 8

Images = tuple[np.ndarray, np.ndarray]  # (N, C, H, W) uint8 and (N,) int64


def read_bytes(path: Path) -> bytes:
    """The content of a file, unpacked if it begins like a gzip file.

    Raises:
        DataError: missing, or a gzip file that is damaged.
    """
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({reason(error)}); copy it again") from None


def read_cifar(path: Path) -> Images:
    """Images (N, 3, 32, 32) and labels (N) of a CIFAR-10 binary file."""
    content = read_bytes(path)
    size = 1 + math.prod(CIFAR_SHAPE)
    if not content or len(content) % size:
        raise DataError(
            f"{path}: {len(content)} bytes are not whole records of {size} (label, then 3072 of the image); it is cut "
            "short or no CIFAR-10 binary file"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, size)
    return records[:, 1:].reshape(-1, *CIFAR_SHAPE), records[:, 0].astype(np.int64)


def read_idx(path: Path) -> np.ndarray:
    """The array of unsigned bytes in an idx file."""
    content = read_bytes(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != IDX_UNSIGNED_BYTE:
        raise DataError(f"{path} is no idx file of unsigned bytes: it begins with {content[:4].hex(' ') or 'nothing'}")
    start = 4 + 4 * content[3]
    sizes = tuple(int(size) for size in np.frombuffer(content[4 : min(start, len(content) // 4 * 4)], ">u4"))
    if len(content) < start or len(content) - start != math.prod(sizes):
        described = " x ".join(map(str, sizes)) or "nothing"
        raise DataError(f"{path}: {len(content)} bytes do not hold what its head says ({described}); it is cut short")
    return np.frombuffer(content, np.uint8, offset=start).reshape(sizes)


def read_mnist(images_path: Path, labels_path: Path) -> Images:
    """Images (N, 1, H, W) and labels (N) of a pair of idx files."""
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim != 3 or labels.ndim != 1:
        raise DataError(
            f"{images_path} and {labels_path} have {images.ndim} and {labels.ndim} dimensions; images have 3, labels 1"
        )
    if len(images) != len(labels):
        raise DataError(f"{images_path} has {len(images)} images, but {labels_path} has {len(labels)} labels")
    return images[:, None], labels.astype(np.int64)


def find(folder: Path, *names: str) -> Optional[Path]:
    """The first of `names` that is in `folder`, as it is or with `.gz`."""
    candidates = (folder / (name + end) for name in names for end in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def cifar_split(folder: Path, split: str) -> Optional[Images]:
    """Split train, valid or test of a folder: `{split}.bin`, or the names that CIFAR-10 comes with. None: no files."""
    published = {"train": [f"data_batch_{number}.bin" for number in range(1, 6)], "test": ["test_batch.bin"]}
    whole = find(folder, f"{split}.bin")
    paths = [whole] if whole else [path for name in published.get(split, []) if (path := find(folder, name))]
    if not paths:
        return None
    if whole is None and len(paths) < len(published[split]):
        raise MissingDataError(f"{folder} has {len(paths)} of {', '.join(published[split])}; copy the others, too")
    images, labels = zip(*map(read_cifar, paths), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def mnist_split(folder: Path, split: str) -> Optional[Images]:
    """Split train, valid or test (t10k) of a folder. None: no files."""
    found = {}
    for part, dimensions in (("images", 3), ("labels", 1)):
        prefixes = (split, "t10k") if split == "test" else (split,)
        names = [f"{prefix}-{part}{dot}idx{dimensions}-ubyte" for prefix in prefixes for dot in "-."]
        found[part] = find(folder, *names), names[0]
    (images, images_name), (labels, labels_name) = found["images"], found["labels"]
    if images is None and labels is None:
        return None
    if images is None or labels is None:
        raise MissingDataError(f"{folder} has no {images_name if images is None else labels_name} (or with .gz)")
    return read_mnist(images, labels)
