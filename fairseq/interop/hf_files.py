"""Reading a Hugging Face model folder: config.json and weights, as data only.

folder = locate("bert-base-uncased")        # a folder, or a name that was downloaded before
config, tensors = read_config(folder), read_tensors(folder)
"""

import json
import os
from pathlib import Path
from typing import Any, Optional

from torch import Tensor

from fairseq.checkpoint import reading
from fairseq.errors import CheckpointError, reason


def locate(name: str) -> Path:
    """The folder called `name`, or that of a model id: in Hugging Face's cache, else downloaded by `huggingface_hub`.

    Raises:
        CheckpointError: none of them, with what to do.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    advice = "download the model (config, weights, tokenizer files) and give its folder"
    if folder.exists() or name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise CheckpointError(f"{name}: no such folder; {advice}")
    if (cached := _cached(name)) is not None:
        return cached
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise CheckpointError(
            f"{name}: no such folder, not in Hugging Face's cache, and huggingface_hub is not installed; {advice}"
        ) from None
    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.txt", "*.model", "*.safetensors", "*.bin"]))
    except Exception as error:  # network, permissions, no such model: the library has an exception for each
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{name}: no such folder, and it could not be downloaded ({first}); {advice}") from None


def _cached(name: str) -> Optional[Path]:
    """The model of that id in the cache that Hugging Face's libraries keep, None if it is not there."""
    home = os.environ.get("HF_HOME", "~/.cache/huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE", os.path.join(home, "hub"))).expanduser()
    model = cache / f"models--{name.replace('/', '--')}"
    revision = model / "refs" / "main"
    if not revision.is_file():
        return None
    snapshot = model / "snapshots" / revision.read_text(encoding="utf-8").strip()
    return snapshot if (snapshot / "config.json").is_file() else None


def read_json(path: Path) -> Any:
    """The contents of a JSON file; CheckpointError where it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"there is no {path}; the folder must hold a Hugging Face model") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"cannot read {path}: {reason(error)}; get the file again") from None


def read_config(folder: Path) -> dict[str, Any]:
    config = read_json(folder / "config.json")
    if not isinstance(config, dict):
        raise CheckpointError(f"{folder / 'config.json'} does not hold a model's settings; get the file again")
    return config


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All floating-point tensors of the model, fp32, from model.safetensors or pytorch_model.bin, also in parts."""
    for name, read in (("model.safetensors", read_tensor_file), ("pytorch_model.bin", _read_pickle)):
        index = folder / f"{name}.index.json"
        if (folder / name).exists():
            files = [folder / name]
        elif index.exists():
            described = read_json(index)
            parts = described.get("weight_map") if isinstance(described, dict) else None
            if not isinstance(parts, dict) or not all(isinstance(part, str) for part in parts.values()):
                raise CheckpointError(f"{index} does not say which file holds which weight; get the file again")
            files = [folder / Path(part).name for part in sorted(set(parts.values()))]
        else:
            continue
        tensors: dict[str, Tensor] = {}
        for file in files:
            tensors.update(read(file))
        return {name: tensor.float() for name, tensor in tensors.items() if tensor.is_floating_point()}
    raise CheckpointError(f"{folder} has neither model.safetensors nor pytorch_model.bin; download the weights")


def read_tensor_file(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with open(path, "rb"):  # the library reports every file that it cannot open as missing
            pass
        return load_file(path)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}; get the file again") from None
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged ({reason(error)}); get the file again") from None


def _read_pickle(path: Path) -> dict[str, Tensor]:
    loaded = reading.read(path)
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path} does not hold named tensors; get the file again")
    return {name: tensor for name, tensor in loaded.items() if isinstance(tensor, Tensor) and isinstance(name, str)}
