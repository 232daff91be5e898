"""A plugin folder of `examples/` for a test module, with commands run on it; what it registers is taken out again."""

import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fairseq import models, tasks
from fairseq.dataclass import catalog
from fairseq.logging.history import read_history
from fairseq.plugins import import_user_module
from tests.training.conftest import Runs

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FLAGS = """
    --criterion label_smoothed_cross_entropy --report-accuracy --optimizer adam --lr 0.01 --batch-size 8 --cpu
    --num-workers 0 --no-epoch-checkpoints --log-format simple --log-interval 1
""".split()  # noqa: SIM905 - a command line


@contextmanager
def plugin(name: str, imported: bool = True) -> Iterator[Path]:
    """`examples/NAME`, imported as `--user-dir` does it, or left for a command to import."""
    tables = [catalog.group("model"), catalog.group("task"), tasks.TASK_REGISTRY]
    tables += [getattr(models, table) for table in models.__all__ if table.endswith("_REGISTRY")]
    before = [set(table) for table in tables], set(tasks.TASK_CLASS_NAMES)
    if imported:
        import_user_module(Namespace(user_dir=str(EXAMPLES / name)))
    yield EXAMPLES / name
    for table, names in zip(tables, before[0], strict=True):
        for added in set(table) - names:
            del table[added]
    tasks.TASK_CLASS_NAMES.intersection_update(before[1])
    for module in [module for module in sys.modules if module == name or module.startswith(f"{name}.")]:
        del sys.modules[module]


class PluginRuns(Runs):
    """`runs.train("run", *flags)` trains `arch` on `data`."""

    def __init__(self, folder: Path, monkeypatch, capsys, data: Path, *flags: str):
        super().__init__(data, folder, monkeypatch, capsys)
        self.flags = flags

    def argv(self, name: str, *flags: str, data=None) -> list[str]:
        run = ["--save-dir", str(self.folder / name)]
        return [str(data or self.data), *FLAGS, *self.flags, *run, *map(str, flags)]

    def validated(self, name: str, *flags: str) -> str:
        """Output of fairseq-validate on the last checkpoint of a run."""
        from fairseq_cli.validate import cli_main

        argv = [str(self.data), *self.flags[:4], "--path", str(self.folder / name / "checkpoint_last.pt"), *flags]
        result = self.call(cli_main, [*argv, "--batch-size", "8", "--cpu", "--num-workers", "0"])
        assert result.code == 0, result.err + result.out[-2000:]
        return result.out

    def last(self, name: str, tag: str) -> dict:
        """The last record of a run about `tag`: train, valid."""
        return [record for record in read_history(self.folder / name) if record["tag"] == tag][-1]

    def error(self, *flags: str, data=None) -> str:
        """The one line that a run with such flags ends in."""
        result = self.train("refused", *flags, data=data)
        assert result.code not in (0, None) and not [*self.folder.glob("refused/*")], result.out[-2000:]
        lines = result.err.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("error: "), result.err
        return lines[0]
