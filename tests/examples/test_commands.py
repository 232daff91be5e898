"""Commands of the examples' READMEs parse, and commands that read a checkpoint take one of a plugin by --user-dir."""

import re
import shlex
import sys

import pytest
from plugins import EXAMPLES, PluginRuns, plugin

from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf


@pytest.mark.parametrize("name", ["tabular", "vision"])
def test_commands_of_the_readme(name, monkeypatch):
    monkeypatch.chdir(EXAMPLES.parent)
    blocks = re.findall(r"```bash\n(.*?)```", (EXAMPLES / name / "README.md").read_text(), re.DOTALL)
    commands = [shlex.split(line) for line in "".join(blocks).replace("\\\n", " ").splitlines()]
    parsers = {"fairseq-train": options.get_training_parser, "fairseq-validate": options.get_validation_parser}
    with plugin(name):
        parsed = 0
        for command, *words in commands:
            if command in parsers:
                args = options.parse_args_and_arch(parsers[command](), words)
                assert convert_namespace_to_omegaconf(args).task._name.endswith("_classification")
                parsed += 1
            elif command == "python":
                assert (EXAMPLES.parent / words[0]).is_file()
            elif command == "fairseq-hydra-train":
                folder = words[words.index("--config-dir") + 1]
                assert (EXAMPLES.parent / folder / f"{words[words.index('--config-name') + 1]}.yaml").is_file()
        assert parsed >= 2


def test_checkpoints_of_plugins(tmp_path, monkeypatch, capsys):
    from fairseq_cli import graph, quant_report, quantize_checkpoint

    data = tmp_path / "table.csv"
    data.write_text("".join(f"{i % 7},{i % 5},{i % 3},{i % 2}\n" for i in range(60)))
    with plugin("tabular") as folder:
        flags = ["--user-dir", str(folder), "--task", "tabular_classification", "--arch", "jsc_toy", "--max-epoch", "1"]
        runs = PluginRuns(tmp_path, monkeypatch, capsys, data, *flags, "--num-features", "3", "--num-classes", "2")
        runs.trained("run")
    checkpoint = tmp_path / "run" / "checkpoint_last.pt"
    told = ["--user-dir", str(EXAMPLES / "tabular")]
    quantize = ["--quantization", "int8", "--data", data]
    commands = [
        (graph, ["params", checkpoint, "--input", "features:float32[4,3]"], "layers.8"),
        (quant_report, [checkpoint, *quantize], "layers.8.weight"),
        (quantize_checkpoint, [checkpoint, *quantize, "--out", tmp_path / "int8.pt"], "packed weights: 3 of 8 bits"),
    ]
    for module, words, expected in commands:
        refused = runs.call(module.cli_main, words)
        assert refused.code and "unknown task 'tabular_classification'" in refused.err
        assert "tabular" not in sys.modules
        with plugin("tabular", imported=False):
            result = runs.call(module.cli_main, [*words, *told])
        assert result.code == 0 and expected in result.out, result.err
