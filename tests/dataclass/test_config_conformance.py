"""Keys, types, defaults and flags are those that a running fairseq 0.12 reported; every difference is listed here."""

import dataclasses
import enum
import json
import typing
from pathlib import Path

import pytest

from fairseq import options
from fairseq.component_flags import add_flags_of_component
from fairseq.dataclass import catalog, schema
from fairseq.dataclass.initialize import compose
from fairseq.dataclass.utils import convert_namespace_to_omegaconf, to_container

FIXTURES = Path(__file__).parent / "fixtures"
ORACLE = json.loads((FIXTURES / "configs.json").read_text())
FLAGS = json.loads((FIXTURES / "flags.json").read_text())
COMPOSED = json.loads((FIXTURES / "composed.json").read_text())
COMMANDS = json.loads((FIXTURES / "commands.json").read_text())

# keys of ours that fairseq does not have
ADDED = {
    "composite": {"lr"},  # what groups without one take
    "multilingual_language_modeling": {"use_plasma_view", "plasma_path"},  # as language_modeling
    "common": {"compile", "count_bitops", "point_errors_interval"},
    "common_eval": {"integer_weights"},
    "optimization": {"dense_embedding_gradients", "trainable"},
    "masked_lm": {"bpe"},
    "distributed_training": {"pp_codec_bwd", "pp_codec_fwd", "pp_report", "pp_schedule"},
}

# types of ours that are not fairseq's
OTHER_TYPES = {
    # the list of tokenizers is that of the installed sacrebleu, which says itself what it knows
    ("scoring", "sacrebleu", "sacrebleu_tokenizer"): "str",
    ("scoring", "wer", "wer_tokenizer"): "str",
    # hooks of our own more
    ("distributed_training", "ddp_comm_hook"): "choice(bf16,fp16,int8_ef,lowrank,none,topk_ef)",
    # two activations more
    ("model", "transformer_lm", "activation_fn"): (
        "choice(gelu,gelu_accurate,gelu_fast,linear,relu,relu_squared,swish,tanh)"
    ),
}

# defaults of ours that are not fairseq's, where they follow keys that do not exist
OTHER_DEFAULTS = {
    # fairseq names fields that its common group does not have
    ("task", "multilingual_language_modeling", "train_subset"): "${dataset.train_subset}",
    ("task", "multilingual_language_modeling", "valid_subset"): "${dataset.valid_subset}",
    ("task", "multilingual_denoising", "train_subset"): "${dataset.train_subset}",
    ("task", "multilingual_denoising", "valid_subset"): "${dataset.valid_subset}",
}

# values that fairseq reports from the machine it runs on
MACHINE = {"distributed_world_size", "distributed_num_procs", "nprocs_per_node", "device_id"}


def kind(annotation) -> str:
    parts = [part for part in typing.get_args(annotation) if part is not type(None)]
    origin = typing.get_origin(annotation)
    if origin is typing.Union:
        return kind(parts[0]) + "?"
    if origin is not None:
        return f"{origin.__name__}[{','.join(kind(part) for part in parts)}]"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return "choice(" + ",".join(sorted(str(choice.value) for choice in annotation)) + ")"
    return getattr(annotation, "__name__", str(annotation))


def plain(value):
    if isinstance(value, enum.Enum):
        return value.value
    return [plain(part) for part in value] if isinstance(value, (list, tuple)) else value


def describe(dataclass) -> dict:
    fields = schema.keys_of(dataclass)
    return {key: [kind(field.type), plain(schema.default_of(field))] for key, field in fields.items()}


def test_root_has_fairseqs_groups_in_its_order_under_its_class_names():
    ours = [field.name for field in dataclasses.fields(schema.FairseqConfig)]
    assert [name for name in ours if name in ORACLE["order"]] == ORACLE["order"]
    assert {name: dc.__name__ for name, dc in schema.GROUPS.items() if name in ORACLE["classes"]} == ORACLE["classes"]


@pytest.mark.parametrize("group", ORACLE["groups"])
def test_group_equals_fairseqs(group):
    ours, theirs = describe(schema.GROUPS[group]), ORACLE["groups"][group]
    assert set(ours) - set(theirs) == ADDED.get(group, set())
    for key, described in theirs.items():
        if key in MACHINE:
            assert ours[key][0] == described[0]
        else:
            assert ours[key] == [OTHER_TYPES.get((group, key), described[0]), *described[1:]], key


SHARED = [
    (slot, name)
    for slot in catalog.BUILTINS
    for name in ORACLE["components"].get(slot, {})
    if name in catalog.BUILTINS[slot]
]


@pytest.mark.parametrize("slot,name", SHARED)
def test_component_equals_fairseqs(slot, name):
    theirs = {key: list(described) for key, described in ORACLE["components"][slot][name].items()}
    for key in theirs:
        theirs[key][0] = OTHER_TYPES.get((slot, name, key), theirs[key][0])
        theirs[key][1] = OTHER_DEFAULTS.get((slot, name, key), theirs[key][1])
    ours = describe(catalog.group(slot)[name])
    assert {key: ours[key] for key in ours if key not in ADDED.get(name, ())} == theirs


def test_the_components_that_fine_tuning_needs_are_compared():
    assert {("task", "sentence_prediction"), ("optimizer", "adam"), ("lr_scheduler", "polynomial_decay")} <= set(SHARED)


@pytest.mark.parametrize("arch", ORACLE["architectures"])
def test_roberta_sizes_equal_fairseqs_architectures(arch):
    ours = {key: plain(schema.default_of(field)) for key, field in schema.keys_of(catalog.group("model")[arch]).items()}
    for key, value in ORACLE["architectures"][arch].items():
        if key == "max_source_positions":  # follows max_positions, which is 512 where no task says otherwise
            assert compose(overrides=[f"model={arch}"], check=False).model[key] == value
        else:
            assert ours[key] == value, key


# flags that we have and fairseq's parser of the same name does not
ADDED_FLAGS = {
    *("compile", "dense_embedding_gradients", "trainable", "point_errors_interval", "count_bitops"),
    *(
        "quantization",
        "num_bits",
        "num_grad_bits",
        "eval_bits",
        "quantization_rules",
        "quantization_pattern",
        "quantization_keep_last",
        "full_precision_updates",
        "full_precision_epochs",
        "quantization_compute",
    ),
    *("precision_schedule", "min_bits", "precision_cycles", "precision_schedule_options"),
    *("rounding_seed", "no_fused_rounding", "integer_weights"),
    *("pp_codec_bwd", "pp_codec_fwd", "pp_report", "pp_schedule"),
}


@pytest.mark.parametrize("command", sorted(set(FLAGS) - {"roberta"}))
def test_each_flag_of_fairseq_is_accepted(command):
    parser = getattr(options, f"get_{command}_parser")()
    ours = {action.dest: sorted(action.option_strings) for action in parser._actions}
    for name, flags in FLAGS[command].items():
        assert ours.get(name) == flags, name
    assert set(ours) - set(FLAGS[command]) <= ADDED_FLAGS


def test_each_model_flag_of_roberta_is_accepted():
    parser = options.get_training_parser()
    add_flags_of_component(parser, "model", "roberta", lenient=False)
    assert set(FLAGS["roberta"]) <= {flag for action in parser._actions for flag in action.option_strings}


@pytest.mark.parametrize("name", COMPOSED)
def test_fairseqs_yaml_composes_to_the_values_that_fairseq_composes(name):
    ours = to_container(compose(name, FIXTURES / "fairseq_yaml", ["task.data=???"], check=False))
    for group, theirs in COMPOSED[name].items():
        if isinstance(theirs, str) and theirs != "???":
            assert ours[group]["_name"] == theirs  # `criterion: masked_lm`
            continue
        for key, value in (theirs or {}).items() if isinstance(theirs, dict) else ():
            if key in MACHINE or key == "_name" or str(value).startswith("${"):
                continue
            assert ours[group][key] == value, f"{group}.{key}"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_line_becomes_the_config_that_it_becomes_in_fairseq(name):
    words, theirs = COMMANDS[name]["words"], COMMANDS[name]["config"]
    args = options.parse_args_and_arch(options.get_training_parser(), words.split())
    ours = to_container(convert_namespace_to_omegaconf(args))
    for group in ours:
        if not isinstance(ours[group], dict) or theirs.get(group) is None:
            continue
        for key, value in ours[group].items():
            if key in MACHINE or key == "_name" or key not in theirs[group]:
                continue
            other = theirs[group][key]
            if isinstance(other, str) and isinstance(value, (int, float)):  # fairseq leaves some flags as text
                other = type(value)(other)
            assert value == other, f"{group}.{key}"
    assert ours["model"]["_name"] == theirs["model"]["_name"]
