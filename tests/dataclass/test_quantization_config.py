"""The group `quantization`: presets as files, dotted fields, flags, and one line for every mistake."""

import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from fairseq import options
from fairseq.dataclass.compose.loader import PACKAGED
from fairseq.dataclass.initialize import compose
from fairseq.dataclass.utils import convert_namespace_to_omegaconf, to_container
from fairseq.errors import ConfigError
from fairseq.quantization import PRESETS, read_config

NAMES = (
    *("none", "int16", "int8", "int4", "cpt", "cpt_3_8", "cpt_4_8", "cpt_8_16", "ffn4_mha16", "ffn16_mha4"),
    *("fp8", "mxfp8", "mxfp6", "mxfp4", "nvfp4", "w8", "w4", "w2", "ternary", "binary", "w8a8"),
    *("binary_bwn", "binary_irnet", "binary_bit", "quest_w4a4", "quest_w1a1", "bitnet_158", "nvfp4_recipe"),
    *("paretoq_1", "paretoq_t", "paretoq_2", "paretoq_3", "paretoq_4"),
)
RULE = {"match": "*.fc1.*", "bits": 4}


def composed(*words: str):
    return read_config(to_container(compose(overrides=words, check=False).quantization))


def flagged(*flags: str):
    words = ["data", "--task", "sentence_prediction", "--arch", "roberta_base", "--optimizer", "adam", *flags]
    args = options.parse_args_and_arch(options.get_training_parser(), words)
    return read_config(to_container(convert_namespace_to_omegaconf(args).quantization))


@pytest.mark.parametrize("name", NAMES)
def test_each_preset_is_a_file_and_a_flag(name):
    assert composed(f"quantization={name}") == flagged("--quantization", name) == read_config(name)


def test_files_are_the_presets():
    assert {file.stem for file in (PACKAGED / "quantization").glob("*.yaml")} == set(NAMES) == {*PRESETS}


def test_fields_by_dots_and_by_flags():
    dotted = composed(
        "quantization=cpt_4_8",
        "quantization.num_bits=6",
        "quantization.num_grad_bits=16",
        "quantization.eval_bits=5",
        "quantization.schedule.num_cycles=8",
        "quantization.schedule.min_bits=3",
        "quantization.rules=[{match: '*.fc1.*', bits: 4}]",
        "quantization.seed=7",
    )
    flags = flagged(
        *("--quantization", "cpt_4_8", "--num-bits", "6", "--num-grad-bits", "16", "--eval-bits", "5"),
        *("--precision-cycles", "8", "--min-bits", "3", "--quantization-rules", "[{match: '*.fc1.*', bits: 4}]"),
        *("--rounding-seed", "7"),
    )
    expected = read_config(
        "cpt_4_8",
        num_bits=6,
        num_grad_bits=16,
        eval_bits=5,
        schedule={"num_cycles": 8, "min_bits": 3},
        rules=[RULE],
        seed=7,
    )
    assert dotted == flags == expected
    assert (dotted.schedule.name, dotted.schedule.num_cycles, dotted.schedule.min_bits) == ("CR", 8, 3)


def test_options_of_a_schedule():
    config = composed("quantization=cpt_4_8", "quantization.schedule={name: plateau, options: {patience: 3}}")
    assert config.schedule.options == {"patience": 3}
    flags = ("--precision-schedule", "plateau", "--precision-schedule-options", "{'patience': 3}")
    assert flagged("--quantization", "cpt_4_8", *flags) == config


def test_rules_in_a_file_and_a_preset_in_its_defaults_list(tmp_path):
    (tmp_path / "run.yaml").write_text(
        "defaults:\n  - quantization: int8\nquantization:\n  num_bits: 6\n  rules:\n"
        "    - {match: '*.fc1.*', bits: 4}\n    - match: 're:.*q_proj.*'\n      quantize: false\n"
    )
    rules = [RULE, {"match": "re:.*q_proj.*", "quantize": False}]
    cfg = compose("run", tmp_path, check=False)
    assert read_config(to_container(cfg.quantization)) == read_config("int8", num_bits=6, rules=rules)
    off = compose("run", tmp_path, ["quantization=none"], check=False)
    assert read_config(to_container(off.quantization)) == read_config("none")


def test_a_preset_of_ones_own(tmp_path):
    (tmp_path / "run.yaml").write_text("common: {seed: 1}\n")
    (tmp_path / "quantization").mkdir()
    (tmp_path / "quantization" / "mine.yaml").write_text("preset: int8\nnum_grad_bits: 16\n")
    cfg = compose("run", tmp_path, ["quantization=mine"], check=False)
    assert read_config(to_container(cfg.quantization)) == read_config("int8", num_grad_bits=16)


@pytest.mark.parametrize(
    "words, message",
    [
        (["quantization=int9"], "unknown quantization 'int9'; did you mean 'int8'?"),
        (["quantization=int8", "quantization.num_bit=4"], "unknown key 'num_bit' in quantization; .*'num_bits'"),
        (["quantization.schedule.num_cycle=4"], "unknown key 'num_cycle' in quantization.schedule; .*'num_cycles'"),
        (["quantization=int8", "quantization.num_bits=four"], "quantization.num_bits must be an integer, not 'four'"),
        (
            ["quantization=int8", "quantization.num_bits=-8"],
            "quantization.num_bits must be at least 1, not -8",
        ),
        (["quantization=int8", "quantization.num_grad_bits=-1"], "num_grad_bits must be at least 0, not -1"),
        (["quantization=cpt_4_8", "quantization.num_bits=3"], "lower bound 4 lies above the upper bound num_bits 3"),
        (["quantization=int8", "quantization.schedule.num_cycles=4"], "no effect: the schedule is constant"),
        (["quantization.num_bits=4"], "quantization.num_bits=4 has no effect with preset none; choose a preset"),
        (["quantization.rules=[{match: x}]"], "quantization.rules=1 has no effect with preset none"),
        (
            ["quantization=int8", "quantization.rules=[{match: '*', bit: 4}]"],
            "unknown field 'bit' in quantization rule",
        ),
    ],
)
def test_mistakes(words, message):
    with pytest.raises(ConfigError, match=message) as raised:
        composed(*words)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("flags", [["--num-bits", "four"], ["--quantization-rules", "{match: x}"]])
def test_mistakes_in_flags(flags):
    with pytest.raises(ConfigError, match=f"{flags[0]}: must be "):
        flagged("--quantization", "int8", *flags)


def test_reading_the_group_needs_no_torch():
    code = (
        "import sys; from fairseq.dataclass.initialize import compose; from fairseq.quantization import read_config; "
        "c = compose(overrides=['quantization=cpt_4_8'], check=False); read_config(c.quantization); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_config_node_does_as_well_as_a_mapping():
    assert read_config(OmegaConf.create({"preset": "int8", "rules": [RULE]})) == read_config("int8", rules=[RULE])
