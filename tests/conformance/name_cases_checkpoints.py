"""Cases: checkpoints with other configs, through a user's PathManager, averages of weights."""

import os
import tempfile
from argparse import Namespace
from unittest import mock

import torch
from name_case_tools import case, plain, raised, seeded
from torch import nn

SAVING = {
    "no_save": False,
    "save_interval": 1,
    "save_interval_updates": 0,
    "keep_last_epochs": -1,
    "keep_best_checkpoints": -1,
    "no_epoch_checkpoints": False,
    "no_last_checkpoints": False,
    "maximize_best_checkpoint_metric": False,
    "write_checkpoints_asynchronously": False,
}
LOADING = {
    "restore_file": "checkpoint_last.pt",
    "finetune_from_model": None,
    "reset_optimizer": False,
    "reset_lr_scheduler": False,
    "reset_meters": False,
    "reset_dataloader": False,
    "optimizer_overrides": "{}",
    "maximize_best_checkpoint_metric": False,
}


def stand_in_trainer():
    from fairseq import checkpoint_utils

    trainer = mock.MagicMock()
    trainer.checkpoint_suffix = ""
    trainer.data_parallel_rank = 0
    trainer.get_num_updates.return_value = 7
    trainer.load_checkpoint.return_value = None
    trainer.save_checkpoint.side_effect = lambda path, extra: checkpoint_utils.torch_persistent_save(extra, path)
    return trainer


def epochs(epoch=1, ended=True):
    iterator = mock.MagicMock()
    iterator.epoch = epoch
    iterator.end_of_epoch.return_value = ended
    iterator.state_dict.return_value = {"epoch": epoch}
    return iterator


def saved(values=(1.5, 1.2, 1.4), **settings):
    """The files that are there after an epoch with each of `values` of the metric."""
    from fairseq import checkpoint_utils

    if hasattr(checkpoint_utils.save_checkpoint, "best"):  # where fairseq keeps it
        del checkpoint_utils.save_checkpoint.best
    folder = tempfile.mkdtemp()
    cfg = Namespace(save_dir=folder, **{**SAVING, **settings})
    trainer = stand_in_trainer()
    for number, value in enumerate(values):
        checkpoint_utils.save_checkpoint(cfg, trainer, epochs(number + 1), value)
    best = [torch.load(os.path.join(folder, name))["train_iterator"] for name in os.listdir(folder) if "_best" in name]
    return [sorted(os.listdir(folder)), best]


@case
def checkpoints_saved_with_an_old_config():
    return saved()


@case
def checkpoints_saved_with_an_old_config_keeping_some():
    return saved(keep_last_epochs=1, no_last_checkpoints=True)


@case
def checkpoints_saved_with_an_old_config_maximizing():
    return saved(maximize_best_checkpoint_metric=True)


@case
def checkpoints_not_saved():
    return saved(no_save=True)


@case
def checkpoints_by_updates_with_an_old_config():
    from fairseq import checkpoint_utils

    folder = tempfile.mkdtemp()
    cfg = Namespace(
        save_dir=folder,
        **{**SAVING, "save_interval_updates": 7, "keep_interval_updates": 1, "keep_interval_updates_pattern": -1},
    )
    checkpoint_utils.save_checkpoint(cfg, stand_in_trainer(), epochs(2, ended=False), None)
    return sorted(os.listdir(folder))


def loaded(files=(), **settings):
    """What the trainer is asked to load."""
    from fairseq import checkpoint_utils

    folder = tempfile.mkdtemp()
    for name in files:
        checkpoint_utils.torch_persistent_save({}, os.path.join(folder, name))
    settings = {k: v.replace("DIR", folder) if isinstance(v, str) else v for k, v in {**LOADING, **settings}.items()}
    trainer = stand_in_trainer()
    extra, _ = checkpoint_utils.load_checkpoint(Namespace(save_dir=os.path.join(folder, "own"), **settings), trainer)
    (path, *flags), named = trainer.load_checkpoint.call_args
    return [extra, os.path.relpath(path, folder), plain(flags), named]


@case
def checkpoint_loaded_with_an_old_config():
    return loaded()


@case
def checkpoint_loaded_with_an_old_config_and_resets():
    return loaded(reset_optimizer=True, reset_meters=True, optimizer_overrides="{'lr': 0.5}")


@case
def checkpoint_loaded_to_finetune_with_an_old_config():
    return loaded(["x.pt"], finetune_from_model="DIR/x.pt")


@case
def checkpoint_loaded_by_restore_file_with_an_old_config():
    return loaded(["y.pt"], restore_file="DIR/y.pt")


# ---- PathManager


def recorder(calls):
    """fairseq's PathManager that notes what is asked of it."""
    from fairseq.file_io import PathManager

    def noting(name):
        def method(*args, **kwargs):
            calls.append([name, *(os.path.basename(str(argument)) for argument in args)])
            return getattr(PathManager, name)(*args, **kwargs)

        return staticmethod(method)

    names = ("open", "rename", "exists", "supports_rename", "get_local_path")
    return type("Recorder", (PathManager,), {name: noting(name) for name in names})


def path_calls(action):
    from fairseq import checkpoint_utils

    calls, folder = [], tempfile.mkdtemp()
    with mock.patch.object(checkpoint_utils, "PathManager", recorder(calls)):
        action(checkpoint_utils, folder)
    return [calls, sorted(os.listdir(folder))]


@case
def saving_goes_through_path_manager():
    return path_calls(lambda utils, folder: utils.torch_persistent_save({"a": 1}, folder + "/x.pt"))


@case
def saving_goes_through_patched_methods():
    from fairseq import checkpoint_utils

    opened, folder = [], tempfile.mkdtemp()

    def open_(path, mode="r", **kwargs):
        opened.append([os.path.basename(path), mode])
        return open(path, mode)

    with mock.patch("fairseq.checkpoint_utils.PathManager.open", open_):
        checkpoint_utils.torch_persistent_save({"a": 1}, folder + "/x.pt")
    return [opened, torch.load(folder + "/x.pt")]


@case
def saving_without_rename_writes_in_place():
    from fairseq import checkpoint_utils

    opened, folder = [], tempfile.mkdtemp()

    def open_(path, mode="r", **kwargs):
        opened.append([os.path.basename(path), mode])
        return open(path, mode)

    with (
        mock.patch("fairseq.checkpoint_utils.PathManager.open", open_),
        mock.patch("fairseq.checkpoint_utils.PathManager.supports_rename", lambda path: False),
    ):
        checkpoint_utils.torch_persistent_save({"a": 1}, folder + "/x.pt")
    return [opened, torch.load(folder + "/x.pt")]


@case
def loading_goes_through_path_manager():
    def load(utils, folder):
        utils.torch_persistent_save({"a": 1}, folder + "/x.pt")
        raised(lambda: utils.load_checkpoint_to_cpu(folder + "/x.pt"))

    return path_calls(load)


@case
def resuming_goes_through_path_manager():
    def load(utils, folder):
        utils.load_checkpoint(Namespace(save_dir=folder, **LOADING), stand_in_trainer())

    return path_calls(load)


@case
def path_manager_methods():
    from fairseq.file_io import PathManager

    folder = tempfile.mkdtemp()
    path = os.path.join(folder, "a.txt")
    with PathManager.open(path, "w") as file:
        file.write("x")
    PathManager.mkdirs(os.path.join(folder, "b"))
    out = [
        PathManager.exists(path),
        PathManager.exists(path + "x"),
        PathManager.isfile(path),
        PathManager.isfile(folder),
        sorted(PathManager.ls(folder)),
        PathManager.get_local_path(path) == path,
        PathManager.supports_rename(path),
        PathManager.path_requires_pathmanager(path),
    ]
    PathManager.copy(path, os.path.join(folder, "c"))
    PathManager.rename(os.path.join(folder, "c"), os.path.join(folder, "d"))
    PathManager.chmod(path, 0o600)
    out += [sorted(PathManager.ls(folder)), oct(os.stat(path).st_mode)[-3:]]
    PathManager.rm(path)
    return [*out, sorted(PathManager.ls(folder))]


@case
def saving_to_an_open_file():
    from fairseq import checkpoint_utils

    path = os.path.join(tempfile.mkdtemp(), "x.pt")
    with open(path, "wb") as file:
        checkpoint_utils._torch_persistent_save({"a": [1, 2]}, file)
    return torch.load(path)


# ---- averages


class Averaged(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.register_buffer("seen", torch.zeros(2))
        self.frozen = nn.Parameter(torch.zeros(1), requires_grad=False)


def averaged(half=False, skip_keys=None, updates=range(1, 7), **settings):
    from fairseq.dataclass.configs import EMAConfig
    from fairseq.models.ema import EMA

    model = seeded(Averaged())
    model = model.half() if half else model
    config = EMAConfig(store_ema=True, **{"ema_decay": 0.9, **settings})
    ema = EMA(model, config) if skip_keys is None else EMA(model, config, skip_keys=skip_keys)
    out = []
    for update in updates:
        with torch.no_grad():
            for tensor in [model.linear.weight, model.seen, model.frozen]:
                tensor.add_(1.0)
        ema.step(model, update)
        out.append([plain(ema.get_model().state_dict()), ema.get_decay(), sorted(ema.fp32_params)])
    return model, ema, out


@case
def average_of_weights():
    return averaged()[2]


@case
def average_starts_late():
    return averaged(ema_start_update=3)[2]


@case
def average_every_second_update():
    return averaged(ema_update_freq=2)[2]


@case
def average_without_numbers():
    return averaged(updates=[None, None], ema_start_update=5)[2]


@case
def average_in_fp32():
    _, ema, out = averaged(half=True, ema_fp32=True)
    fp32 = {name: [str(value.dtype), plain(value)] for name, value in ema.fp32_params.items()}
    return [out, fp32]


@case
def average_skips_keys():
    return averaged(skip_keys={"linear.weight"})[2]


@case
def average_reversed():
    model, ema, _ = averaged()
    returned = ema.reverse(model)
    return [returned is model, plain(model.state_dict())]


@case
def average_restored():
    _, ema, _ = averaged(half=True, ema_fp32=True)
    fresh = seeded(Averaged(), 0.5)
    ema.restore(fresh.state_dict(), build_fp32_params=True)
    fp32 = {name: [str(value.dtype), plain(value)] for name, value in sorted(ema.fp32_params.items())}
    return [plain(ema.get_model().state_dict()), fp32]


@case
def average_without_fp32_refuses_it():
    _, ema, _ = averaged()
    return [raised(ema.build_fp32_params), raised(lambda: ema.restore(ema.model.state_dict(), build_fp32_params=True))]


@case
def average_is_apart_from_the_model():
    model, ema, _ = averaged()
    return [ema.get_model() is model, any(p.requires_grad for p in ema.get_model().parameters())]
