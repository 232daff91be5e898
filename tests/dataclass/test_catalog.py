"""A component is one file, one config and one line of the catalog: that is all that these tests add."""

import pkgutil
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import fairseq
from fairseq.dataclass import catalog, schema
from fairseq.registry import REGISTRIES

CONFIG = '''
from dataclasses import dataclass
from fairseq.dataclass.base import FairseqDataclass, option

@dataclass
class NewConfig(FairseqDataclass):
    """`new`: made for a test."""

    amount: int = option(3, "how much of it")

@dataclass
class NewLargeConfig(NewConfig):
    amount: int = option(24, "how much of it")
'''

# slot -> the module to write, what it holds, and what shows that the component was built with its config
COMPONENTS = {
    "optimizer": (
        "optim.new",
        "from fairseq.optim import FairseqOptimizer, register_optimizer\n"
        "@register_optimizer('new', dataclass=NewConfig)\n"
        "class New(FairseqOptimizer):\n"
        "    def __init__(self, cfg, params): self.amount = cfg.amount\n",
        "from fairseq.optim import build_optimizer; assert build_optimizer(cfg.optimizer, []).amount == 3",
    ),
    "lr_scheduler": (
        "optim.lr_scheduler.new",
        "from fairseq.optim.lr_scheduler import FairseqLRScheduler, register_lr_scheduler\n"
        "@register_lr_scheduler('new', dataclass=NewConfig)\n"
        "class New(FairseqLRScheduler):\n"
        "    def __init__(self, cfg, optimizer): self.amount = cfg.amount\n",
        "from fairseq.optim.lr_scheduler import build_lr_scheduler as build\n"
        "assert build(cfg.lr_scheduler, None).amount == 3",
    ),
    "criterion": (
        "criterions.new",
        "from fairseq.criterions import FairseqCriterion, register_criterion\n"
        "@register_criterion('new', dataclass=NewConfig)\n"
        "class New(FairseqCriterion):\n"
        "    @classmethod\n"
        "    def build_criterion(cls, cfg, task): return cfg.amount\n",
        "from fairseq.criterions import build_criterion; assert build_criterion(cfg.criterion, None) == 3",
    ),
    "task": (
        "tasks.new",
        "from fairseq.tasks import FairseqTask, register_task\n"
        "@register_task('new', dataclass=NewConfig)\n"
        "class New(FairseqTask): pass\n",
        "from fairseq.tasks import setup_task; assert setup_task(cfg.task).cfg.amount == 3",
    ),
    "model": (
        "models.new",
        "from fairseq.models import BaseFairseqModel, register_model\n"
        "from fairseq.models.registries import register_sizes\n"
        "@register_model('new', dataclass=NewConfig)\n"
        "class New(BaseFairseqModel):\n"
        "    @classmethod\n"
        "    def build_model(cls, cfg, task): return cfg.amount\n"
        "register_sizes('new')\n",
        "from argparse import Namespace; from fairseq import models\n"
        "assert models.build_model(cfg.model, None) == 24 and models.build_model(Namespace(arch='new'), None) == 3\n"
        "assert models.ARCH_MODEL_INV_REGISTRY['new'] == ['new', 'new_large']",
    ),
}


def test_one_file_one_config_one_line(tmp_path):
    """The library's own files, with a component of each kind added by a file, a config and a line."""
    package = tmp_path / "fairseq"
    shutil.copytree(Path(fairseq.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "dataclass" / "new.py").write_text(CONFIG)
    table = (package / "dataclass" / "catalog.py").read_text()
    for slot, (module, code, _) in COMPONENTS.items():
        path = package.joinpath(*module.split(".")).with_suffix(".py")
        path.write_text(f"from fairseq.dataclass.new import NewConfig\n{code}")
        line = f'    "{slot}": {{\n'
        assert table.count(line) == 1
        table = table.replace(line, f'{line}        "new": Builtin("new:NewConfig", "{module}"),\n')
    sizes = "SIZES: dict[str, dict[str, str]] = {\n"
    table = table.replace(sizes, f'{sizes}    "new": {{"new_large": "new:NewLargeConfig"}},\n')
    (package / "dataclass" / "catalog.py").write_text(table)
    words = [f"{slot}=new" for slot in COMPONENTS if slot != "model"] + ["model=new_large"]
    code = [
        "import sys, fairseq",
        f"assert fairseq.__file__.startswith({str(tmp_path)!r})",
        "from fairseq.dataclass.initialize import compose",
        f"cfg = compose(overrides={words})",
        "from fairseq.dataclass import schema",
        f"assert all('new' in schema.components(slot) for slot in {list(COMPONENTS)})",
        "assert 'torch' not in sys.modules, 'reading a config needs no torch'",
        *(check for _, _, check in COMPONENTS.values()),
    ]
    subprocess.run([sys.executable, "-c", "\n".join(code)], check=True, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})


HOMES = {
    "task": "fairseq.tasks",
    "model": "fairseq.models",
    "criterion": "fairseq.criterions",
    "optimizer": "fairseq.optim",
    "lr_scheduler": "fairseq.optim.lr_scheduler",
    "bpe": "fairseq.data.encoders",
    "tokenizer": "fairseq.data.encoders",
    "scoring": "fairseq.scoring",
}


def registry_of(slot):
    package = import_module(HOMES[slot])
    own = {"task": "TASK_REGISTRY", "model": "ARCH_MODEL_REGISTRY"}.get(slot)
    return getattr(package, own) if own else REGISTRIES[slot]["registry"]


@pytest.mark.parametrize("slot", catalog.BUILTINS)
def test_each_line_leads_to_a_component_and_its_config(slot):
    for name, builtin in catalog.BUILTINS[slot].items():
        assert isinstance(catalog.group(slot)[name], type) and name in schema.components(slot)
        assert registry_of(slot)[name].__module__.startswith(f"fairseq.{builtin.module}")


@pytest.mark.parametrize("slot", catalog.BUILTINS)
def test_each_component_of_the_library_has_a_line(slot):
    """One without a line could be built from Python and chosen by no command."""
    package = import_module(HOMES[slot])
    for found in pkgutil.iter_modules(package.__path__):
        import_module(f"{HOMES[slot]}.{found.name}")
    entries = registry_of(slot)._entries.items()
    own = {name for name, entry in entries if entry.__module__.startswith("fairseq.")}
    assert own == set(catalog.BUILTINS[slot])


def test_help_lists_what_is_registered():
    from fairseq.quantization import PRESETS
    from fairseq.quantization.schedules import SCHEDULES

    group = schema.keys_of(schema.GROUPS["quantization"])
    assert schema.help_of(group["preset"]).endswith(": " + ", ".join(PRESETS))
    name = schema.keys_of(group["schedule"].type)["name"]
    assert schema.help_of(name).endswith(": " + ", ".join(SCHEDULES))
