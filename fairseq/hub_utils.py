"""From a folder with a checkpoint to a model that is ready for use.

loaded = from_pretrained("checkpoints", "checkpoint_best.pt", data_name_or_path="RTE-bin", bpe="gpt2")
loaded["models"], loaded["task"], loaded["args"]
"""

import os
from pathlib import Path
from typing import Any, Optional

from omegaconf import OmegaConf, open_dict

from fairseq.dataclass import catalog
from fairseq.errors import CheckpointError, ConfigError, unknown
from fairseq.generation.hub_interface import BPEHubInterface, GeneratorHubInterface, TokenizerHubInterface
from fairseq.loading import load_model_ensemble_and_task

__all__ = ["BPEHubInterface", "GeneratorHubInterface", "TokenizerHubInterface", "from_pretrained"]

# files that a model's folder may hold, and the settings that then point at them
TOKENIZER_FILES = {
    "code": "bpe_codes",
    "bpecodes": "bpe_codes",
    "sentencepiece.bpe.model": "sentencepiece_model",
    "merges.txt": "bpe_merges",
    "vocab.json": "bpe_vocab",
    "encoder.json": "gpt2_encoder_json",
    "vocab.bpe": "gpt2_vocab_bpe",
    "vocab.txt": "bpe_vocab_file",
    "tokenizer.json": "bpe_tokenizer_json",
}


def from_pretrained(
    model_name_or_path: str,
    checkpoint_file: str = "model.pt",
    data_name_or_path: Optional[str] = ".",
    archive_map: Optional[dict[str, Any]] = None,
    default_bpe: Optional[str] = None,
    integer_weights: bool = False,
    **kwargs: Any,
) -> dict[str, Any]:
    """Load models with their task.

    Args:
        model_name_or_path: a folder.
        checkpoint_file: a file in it, or several between colons (an ensemble).
        data_name_or_path: the data folder with the dictionaries; one that begins with "." is below the model's.
        archive_map: names of published archives and their addresses.
        default_bpe: used where `bpe` is not given, the checkpoint names none, and the folder has no tokenizer.
        integer_weights: keep the weights of a quantized checkpoint as integers only, to the same scores; such a
            model runs at its evaluation bits only and cannot be trained.
        kwargs: settings by bare name that replace those in the checkpoint (`max_positions=256`); `bpe` and
            `tokenizer` choose what turns text into symbols.

    Returns:
        `args` (the config), `task` and `models`.

    Raises:
        CheckpointError: no such folder. ConfigError: no such byte-pair encoding.
    """
    folder = _folder(model_name_or_path, archive_map or {})
    overrides = {setting: str(folder / name) for name, setting in TOKENIZER_FILES.items() if (folder / name).exists()}
    overrides.update(kwargs)
    chosen: dict[str, Optional[str]] = {
        group: overrides.pop(group) for group in ("bpe", "tokenizer") if group in overrides
    }
    if data_name_or_path is not None:
        relative = data_name_or_path.startswith(".")
        overrides["data"] = str((folder / data_name_or_path).resolve() if relative else data_name_or_path)
    if "user_dir" in overrides:
        from argparse import Namespace

        from fairseq.plugins import import_user_module

        import_user_module(Namespace(user_dir=overrides["user_dir"]))

    paths = [str(folder / name) for name in checkpoint_file.split(os.pathsep)]
    models, cfg, task = load_model_ensemble_and_task(paths, arg_overrides=overrides, integer_weights=integer_weights)
    carries_its_own = getattr(task, "carried_text", lambda: None)() is not None
    if "bpe" not in chosen and cfg.get("bpe") is None and not carries_its_own:
        chosen["bpe"] = bpe_of(folder) or default_bpe  # None for a model without any
    for group, name in chosen.items():
        with open_dict(cfg):
            cfg[group] = None if name is None else _component(group, name, overrides)
    return {"args": cfg, "task": task, "models": models}


def generator_from_pretrained(
    model_name_or_path: str,
    checkpoint_file: str = "model.pt",
    data_name_or_path: Optional[str] = ".",
    archive_map: Optional[dict[str, Any]] = None,
    **kwargs: Any,
) -> GeneratorHubInterface:
    """`from_pretrained`, with its arguments, for models that generate text."""
    loaded = from_pretrained(model_name_or_path, checkpoint_file, data_name_or_path, archive_map, **kwargs)
    return GeneratorHubInterface(loaded["args"], loaded["task"], loaded["models"])


def bpe_of(folder: Path) -> Optional[str]:
    """The byte-pair encoding whose files are in `folder`, as fairseq-import-hf writes them; None without any."""
    for file, name in (("encoder.json", "gpt2"), ("tokenizer.json", "hf_tokenizer"), ("vocab.txt", "bert")):
        if (folder / file).exists():
            return name
    return None


def _folder(name: str, archives: dict[str, Any]) -> Path:
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if name in archives:
        archive = archives[name]
        address = archive["path"] if isinstance(archive, dict) else archive
        raise CheckpointError(f"{name} is not on this machine: download {address}, unpack it, and give its folder")
    raise CheckpointError(f"{name}: no such folder (started in {os.getcwd()})")


def _component(group: str, name: str, settings: dict[str, Any]) -> Any:
    """The config node of one byte-pair encoding or tokenizer, with those of `settings` that it knows."""
    dataclasses = catalog.group(group)
    if name not in dataclasses:
        raise ConfigError(unknown(group, name, dataclasses))
    node = OmegaConf.structured(dataclasses[name]())
    node._name = name
    for key in node:
        if key in settings and key != "_name":
            node[key] = settings[key]
    return node
