"""Checkpoints: when they are saved and under which names, where a run starts from, and models read back from files.

    save_checkpoint(cfg.checkpoint, trainer, epoch_itr, val_loss)
    extra_state, epoch_itr = load_checkpoint(cfg.checkpoint, trainer)
    models, cfg, task = load_model_ensemble_and_task(["checkpoint_best.pt"])

A file is data, never code (`fairseq.checkpoint.reading`), and its name always leads to a whole file
(`fairseq.checkpoint.writing`). Names and retention: `fairseq.checkpoint.names`; layout: `fairseq.checkpoint.format`.
"""

import logging
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Optional

from torch import nn

from fairseq.checkpoint import config, contents, names, reading, writing
from fairseq.checkpoint.contents import get_maybe_sharded_checkpoint_filename
from fairseq.checkpoint.format import load_weights
from fairseq.checkpoint.layout import check_layout, restoring
from fairseq.checkpoint.names import checkpoint_paths
from fairseq.checkpoint.upgrade import upgrade_state as _upgrade_state_dict
from fairseq.dataclass import schema
from fairseq.dataclass.groups.checkpoint import CheckpointConfig
from fairseq.errors import CheckpointError, ConfigError
from fairseq.file_io import PathManager, exists
from fairseq.loading import load_model_ensemble, load_model_ensemble_and_task

__all__ = [
    "PathManager",
    "_torch_persistent_save",
    "_upgrade_state_dict",
    "checkpoint_paths",
    "get_maybe_sharded_checkpoint_filename",
    "load_checkpoint",
    "load_checkpoint_to_cpu",
    "load_ema_from_checkpoint",
    "load_model_ensemble",
    "load_model_ensemble_and_task",
    "load_pretrained_component_from_model",
    "prune_state_dict",
    "save_checkpoint",
    "save_ema_as_checkpoint",
    "torch_persistent_save",
    "verify_checkpoint_directory",
]

logger = logging.getLogger(__name__)

DEFAULT_RESTORE_FILE = "checkpoint_last.pt"


# -- saving ------------------------------------------------------------------------------------------------------------


def save_checkpoint(cfg: Any, trainer: Any, epoch_itr: Any, val_loss: Optional[float]) -> None:
    """Save the run under every name that is due, and delete what is no longer kept.

    Args:
        cfg: the `checkpoint` group.
        trainer: its `best_score` is brought up to date, and is saved with the rest.
        val_loss: `best_checkpoint_metric` of the validation just done; None if there was none.

    Raises:
        CheckpointError: a file could not be written; earlier checkpoints are untouched.
    """
    cfg = with_defaults(cfg)
    best = names.best_of(val_loss, _number(getattr(trainer, "best_score", None)), cfg.maximize_best_checkpoint_metric)
    trainer.best_score = best
    if cfg.no_save:
        return
    trainer.consolidate_optimizer()
    if not trainer.should_save_checkpoint_on_current_rank:
        if trainer.always_call_state_dict_during_save_checkpoint:
            trainer.state_dict()  # a collective: every process has to take part
        return

    start = time.perf_counter()
    os.makedirs(cfg.save_dir, exist_ok=True)
    epoch, num_updates, end_of_epoch = epoch_itr.epoch, trainer.get_num_updates(), epoch_itr.end_of_epoch()
    logger.info(f"Preparing to save checkpoint for epoch {epoch} @ {num_updates} updates")
    paths = names.files_due(
        cfg,
        epoch=epoch,
        num_updates=num_updates,
        end_of_epoch=end_of_epoch,
        val_loss=val_loss,
        best=best,
        suffix=trainer.checkpoint_suffix,
    )
    if paths:
        extra_state = {"train_iterator": epoch_itr.state_dict(), "val_loss": val_loss}
        if hasattr(trainer.task, "get_checkpoint_dict"):  # a hook that tasks of plugins may have
            extra_state.update(trainer.task.get_checkpoint_dict())
        if best is not None:
            extra_state["best"] = best
        trainer.save_checkpoint(paths[0], extra_state)
        in_background = cfg.write_checkpoints_asynchronously
        for path in paths[1:]:
            _do(in_background, writing.copy, paths[0], path, PathManager)
        seconds = time.perf_counter() - start
        logger.info(
            f"Saved checkpoint {paths[0]} (epoch {epoch} @ {num_updates} updates, score {val_loss}) "
            f"(writing took {seconds} seconds)",
            extra={"terminal": f"saved {', '.join(paths)} in {seconds:.1f} s"},
        )
    _do(cfg.write_checkpoints_asynchronously, _remove_expired, cfg, end_of_epoch, trainer.checkpoint_suffix)


def _number(value: Any) -> Optional[float]:
    return value if isinstance(value, (int, float)) else None


def _do(in_background: bool, function: Callable[..., None], *args: Any) -> None:
    if in_background:
        PathManager.later(function, *args)
    else:
        function(*args)


def _remove_expired(cfg: Any, end_of_epoch: bool, suffix: str) -> None:
    for path in names.files_expired(cfg, end_of_epoch, suffix):
        os.remove(path)


def torch_persistent_save(obj: Any, filename: str, async_write: bool = False) -> None:
    """Write `obj` atomically.

    Args:
        async_write: write the file while the caller goes on; `PathManager.async_close` waits for it. What is written is
            `obj` as it is now.
    """
    if async_write:
        with PathManager.opena(filename, "wb") as file:
            writing.serialise(obj, file)
    else:
        writing.save(obj, filename, PathManager)


def _torch_persistent_save(obj: Any, f: Any) -> None:
    """Write `obj` to an open file, or to a path as `torch_persistent_save` does."""
    if hasattr(f, "write"):
        writing.serialise(obj, f)
    else:
        writing.save(obj, f, PathManager)


def finish_writing() -> None:
    """Wait for the checkpoints that are written in the background.

    Raises:
        CheckpointError: one could not be written.
    """
    if not PathManager.async_close():
        raise CheckpointError("a checkpoint could not be written in the background; the log says why")


def load_checkpoint_to_cpu(
    path: str, arg_overrides: Optional[dict[str, Any]] = None, load_on_all_ranks: bool = False
) -> dict[str, Any]:
    """See `fairseq.checkpoint.contents`; paths that are not local go through `PathManager`."""
    return contents.load_checkpoint_to_cpu(PathManager.get_local_path(path), arg_overrides, load_on_all_ranks)


def verify_checkpoint_directory(save_dir: str) -> None:
    """Make `save_dir` and check that it can be written to."""
    try:
        os.makedirs(save_dir, exist_ok=True)
        with writing.atomic(os.path.join(save_dir, "dummy")) as file:
            file.write(b"0")
        os.remove(os.path.join(save_dir, "dummy"))
    except OSError as error:
        raise CheckpointError(
            f"cannot write to checkpoint.save_dir {save_dir}: {error.strerror or error}; choose another folder"
        ) from None


# -- resuming ----------------------------------------------------------------------------------------------------------


def load_checkpoint(cfg: Any, trainer: Any, **passthrough_args: Any) -> tuple[Optional[dict[str, Any]], Any]:
    """Start the run where the config says: from its own last checkpoint, another file, or from scratch.

    Args:
        cfg: the `checkpoint` group.
        passthrough_args: for `trainer.get_train_iterator`.

    Returns:
        the checkpoint's `extra_state` (None from scratch) and the training iterator, at the position to continue from.

    Raises:
        CheckpointError: the file that the user named does not exist, or cannot be used.
        ConfigError: settings that contradict each other.
    """
    cfg = with_defaults(cfg)
    path, reset_all = _starting_point(cfg, trainer)
    extra_state = trainer.load_checkpoint(
        path,
        reset_all or cfg.reset_optimizer,
        reset_all or cfg.reset_lr_scheduler,
        config.parse_overrides(cfg.optimizer_overrides, "checkpoint.optimizer_overrides"),
        reset_meters=reset_all or cfg.reset_meters,
    )
    fresh_scores = reset_all or cfg.reset_optimizer or cfg.reset_meters
    if extra_state is not None and extra_state.get("best") is not None and not fresh_scores:
        trainer.best_score = extra_state["best"]

    if extra_state is not None and not (reset_all or cfg.reset_dataloader):
        position = extra_state["train_iterator"]
        epoch_itr = trainer.get_train_iterator(epoch=position["epoch"], load_dataset=True, **passthrough_args)
        with restoring(path, "extra_state.train_iterator", "set checkpoint.reset_dataloader to start an epoch again"):
            epoch_itr.load_state_dict(position)
    else:
        epoch_itr = trainer.get_train_iterator(epoch=1, load_dataset=True, **passthrough_args)
    trainer.lr_step(epoch_itr.epoch)
    return extra_state, epoch_itr


def starting_point(cfg: Any, trainer: Any) -> tuple[str, bool]:
    """The checkpoint that `load_checkpoint` takes (which need not exist), and whether it is in `save_dir` itself."""
    path, _ = _starting_point(cfg, trainer)
    return path, os.path.realpath(os.path.dirname(path)) == os.path.realpath(cfg.save_dir)


def _starting_point(cfg: Any, trainer: Any) -> tuple[str, bool]:
    """The file to load (which need not exist where it is the run's own), and whether only its weights count."""
    suffix = trainer.checkpoint_suffix or ""
    if cfg.finetune_from_model is not None:
        resets = ("reset_optimizer", "reset_lr_scheduler", "reset_meters", "reset_dataloader")
        given = [name for name in resets if getattr(cfg, name)]
        if given:
            raise ConfigError(
                f"checkpoint.finetune_from_model resets everything already; leave checkpoint.{given[0]} out"
            )
        if cfg.restore_file != DEFAULT_RESTORE_FILE:
            raise ConfigError("checkpoint.finetune_from_model and checkpoint.restore_file cannot both be given")

    if cfg.restore_file != DEFAULT_RESTORE_FILE:
        path = cfg.restore_file.replace(".pt", f"{suffix}.pt")
        return _existing(path, "restore_file", cfg.save_dir, trainer), False
    last = os.path.join(cfg.save_dir, f"checkpoint_last{suffix}.pt")
    if not _exists(last):
        if cfg.continue_once is not None:
            return _existing(cfg.continue_once, "continue_once", cfg.save_dir, trainer), False
        if cfg.finetune_from_model is not None:
            path = _existing(cfg.finetune_from_model, "finetune_from_model", cfg.save_dir, trainer)
            logger.info(f"starting from the weights of {path}; optimizer, schedule, meters and data start from scratch")
            return path, True
    return last, False


def _exists(path: str) -> bool:
    """As `PathManager` has it; raises CheckpointError where the system does not let us look."""
    return PathManager.exists(path) or (not exists(path, CheckpointError) and False)


def with_defaults(cfg: Any) -> Any:
    """`cfg`, a `checkpoint` group or what plugins take for one, with the defaults of the keys that it lacks."""
    declared = schema.keys_of(CheckpointConfig)
    lacking = [key for key in declared if not (key in cfg if hasattr(cfg, "keys") else hasattr(cfg, key))]
    if not lacking:
        return cfg
    own = {key: getattr(cfg, key) for key in declared if key not in lacking}
    return SimpleNamespace(**{key: schema.default_of(declared[key]) for key in lacking}, **own)


def _existing(path: str, setting: str, save_dir: str, trainer: Any) -> str:
    """`path`, which the user asked for. Training from scratch instead would ignore it silently."""
    if trainer.is_data_parallel_master and not _exists(path):
        beside = os.path.join(save_dir, path)
        hint = f"; did you mean {beside}?" if os.path.exists(beside) else f" (started in {os.getcwd()})"
        raise CheckpointError(f"checkpoint.{setting}: {path} does not exist{hint}")
    return path


# -- reading -----------------------------------------------------------------------------------------------------------


def load_pretrained_component_from_model(component: nn.Module, checkpoint: str, strict: bool = True) -> nn.Module:
    """Load an encoder or a decoder from the checkpoint of a whole model; returns `component`."""
    from fairseq.models import FairseqDecoder, FairseqEncoder

    kinds = {FairseqEncoder: "encoder", FairseqDecoder: "decoder"}
    prefix = next((f"{name}." for base, name in kinds.items() if isinstance(component, base)), None)
    if prefix is None:
        raise ConfigError(f"{type(component).__name__} is neither a FairseqEncoder nor a FairseqDecoder")
    weights = load_checkpoint_to_cpu(checkpoint)["model"]
    own = OrderedDict((key[len(prefix) :], value) for key, value in weights.items() if key.startswith(prefix))
    if not own:
        raise CheckpointError(f"checkpoint {checkpoint} has no {prefix[:-1]}")
    load_weights(component, own, checkpoint, strict=strict)
    return component


def prune_state_dict(state_dict: dict[str, Any], model_cfg: Any) -> dict[str, Any]:
    """`state_dict` reduced to the layers in `encoder_layers_to_keep` / `decoder_layers_to_keep` of `model_cfg`."""
    from fairseq.models.layer_pruning import prune_state_dict as prune

    return prune(state_dict, model_cfg)


# -- averaged weights --------------------------------------------------------------------------------------------------


def load_ema_from_checkpoint(fpath: str) -> dict[str, Any]:
    """The checkpoint at `fpath` with the moving average of the weights in place of the weights."""
    state = reading.read(fpath)
    if not isinstance(state, dict):
        raise CheckpointError(f"checkpoint {fpath} holds no model in fairseq's layout, but {type(state).__name__}")
    check_layout(state, fpath)
    averaged = state.get("extra_state", {}).get("ema_fp32_params") or state.get("extra_state", {}).get("ema")
    if not averaged:
        raise CheckpointError(f"checkpoint {fpath} holds no averaged weights; train with ema.store_ema=true")
    state["model"] = OrderedDict(averaged)
    return state


def save_ema_as_checkpoint(src_path: str, dst_path: str) -> None:
    """Write the averaged weights of `src_path` as a checkpoint of their own."""
    torch_persistent_save(load_ema_from_checkpoint(src_path), dst_path)
