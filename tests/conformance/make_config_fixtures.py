"""Ask a running fairseq 0.12 for its configuration, as data: keys, types, defaults, flags, composed configs.

    PYTHON_WITH_FAIRSEQ tests/conformance/make_config_fixtures.py

writes `configs.json`, `flags.json`, `composed.json` and `commands.json` into tests/dataclass/fixtures. Help texts are
not recorded.
"""

import argparse
import dataclasses
import enum
import json
import subprocess
import sys
import typing
from pathlib import Path

from omegaconf import OmegaConf

import fairseq.data.encoders
import fairseq.optim.lr_scheduler  # noqa: F401
from fairseq import models, options, registry, tasks
from fairseq.dataclass import configs
from fairseq.dataclass.utils import convert_namespace_to_omegaconf

HERE = Path(__file__).resolve().parent.parent / "dataclass" / "fixtures"
COMMANDS = {
    "rte": "RTE-bin --task sentence_prediction --arch roberta_large --criterion sentence_prediction --num-classes 2 "
    "--init-token 0 --separator-token 2 --optimizer adam --adam-betas (0.9,0.98) --lr 1e-5,5e-6 --max-sentences 16 "
    "--lr-scheduler polynomial_decay --total-num-update 2036 --warmup-updates 122 --max-epoch 10 --save-async "
    "--find-unused-parameters --memory-efficient-fp16 --update-freq 4 --dropout 0.2 --max-positions 256",
    "masked_lm": "wiki-bin --task masked_lm --arch roberta_base --criterion masked_lm --tokens-per-sample 512 "
    "--sample-break-mode complete --optimizer adam --lr-scheduler inverse_sqrt --max-tokens 2048 --seed 5 --nval 3 "
    "--ddp-backend no_c10d --encoder-layers 2 --encoder-normalize-before",
}


def plain(value):
    if isinstance(value, enum.Enum):
        return value.value
    return [plain(part) for part in value] if isinstance(value, (list, tuple)) else value


def kind(annotation) -> str:
    """A type as a short text: `int`, `list[float]`, `int?` for an optional one, `choice(a,b)`."""
    parts = [part for part in typing.get_args(annotation) if part is not type(None)]
    origin = typing.get_origin(annotation)
    if origin is typing.Union:
        return kind(parts[0]) + "?"
    if origin is not None:
        return f"{origin.__name__}[{','.join(kind(part) for part in parts)}]"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return "choice(" + ",".join(sorted(str(choice.value) for choice in annotation)) + ")"
    return getattr(annotation, "__name__", str(annotation))


def describe(dataclass) -> dict:
    result = {}
    for field in dataclasses.fields(dataclass):
        default = field.default if field.default is not dataclasses.MISSING else field.default_factory()
        if field.name != "_name":
            result[field.name] = [kind(field.type), plain(default)]
    return result


def describe_flags(parser) -> dict:
    return {a.dest: sorted(a.option_strings) for a in parser._actions if a.dest != "help"}


def arch_defaults(arch: str) -> dict:
    args = argparse.Namespace()
    models.ARCH_CONFIG_REGISTRY[arch](args)
    return vars(args)


def model_flags(arch: str) -> list:
    parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS, add_help=False)
    models.ARCH_MODEL_REGISTRY[arch].add_args(parser)
    return sorted(option for action in parser._actions for option in action.option_strings)


def composed(name: str, words: list) -> dict:
    command = [str(Path(sys.executable).with_name("fairseq-hydra-train")), "--config-dir", str(HERE / "fairseq_yaml")]
    output = subprocess.run([*command, "--config-name", name, "--cfg", "job", *words], capture_output=True, text=True)
    return OmegaConf.to_container(OmegaConf.create(output.stdout), resolve=False)


def parsed(words: str) -> dict:
    args = options.parse_args_and_arch(options.get_training_parser(), words.split())
    cfg = convert_namespace_to_omegaconf(args)
    result = {}
    for key in cfg:
        node = cfg[key]
        if isinstance(node, argparse.Namespace):
            result[key] = {name: plain(value) for name, value in vars(node).items()}
        else:
            result[key] = (
                OmegaConf.to_container(node, resolve=True, enum_to_str=True) if OmegaConf.is_config(node) else node
            )
    return result


def write(name: str, content) -> None:
    (HERE / name).write_text(json.dumps(content, indent=1, sort_keys=True, default=str) + "\n")


def main() -> None:
    groups = {f.name: f.type for f in dataclasses.fields(configs.FairseqConfig) if dataclasses.is_dataclass(f.type)}
    tables = {"model": models.MODEL_DATACLASS_REGISTRY, "task": tasks.TASK_DATACLASS_REGISTRY}
    tables.update({slot: entry["dataclass_registry"] for slot, entry in registry.REGISTRIES.items()})
    write(
        "configs.json",
        {
            "order": [f.name for f in dataclasses.fields(configs.FairseqConfig)],
            "groups": {name: describe(dataclass) for name, dataclass in groups.items()},
            "classes": {name: dataclass.__name__ for name, dataclass in groups.items()},
            "components": {
                slot: {name: describe(dc) for name, dc in table.items() if dataclasses.is_dataclass(dc)}
                for slot, table in tables.items()
            },
            "architectures": {
                arch: arch_defaults(arch)
                for arch in ("roberta", "roberta_base", "roberta_large", "roberta_prenorm", "xlm")
            },
        },
    )
    parsers = ("training", "validation", "preprocessing", "generation", "interactive_generation", "eval_lm")
    flags = {name: describe_flags(getattr(options, f"get_{name}_parser")()) for name in parsers}
    write("flags.json", {**flags, "roberta": model_flags("roberta")})
    names = sorted(path.stem for path in (HERE / "fairseq_yaml").glob("*.yaml"))
    write("composed.json", {name: composed(name, []) for name in names})
    write("commands.json", {name: {"words": words, "config": parsed(words)} for name, words in COMMANDS.items()})


if __name__ == "__main__":
    main()
