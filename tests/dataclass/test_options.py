"""fairseq's flags: both passes, aliases, what one flag implies, mistakes, and the config that comes of it."""

import subprocess
import sys
from argparse import Namespace

import pytest

from fairseq import options
from fairseq.dataclass import catalog, schema
from fairseq.dataclass.flags import Parser, gen_parser_from_dataclass
from fairseq.dataclass.initialize import check_complete
from fairseq.dataclass.models import RobertaConfig
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.errors import ConfigError

TRAIN = "RTE-bin --task sentence_prediction --arch roberta_base --criterion sentence_prediction --optimizer adam"


def parse(words: str, **settings):
    return options.parse_args_and_arch(options.get_training_parser(), words.split(), **settings)


def config(words: str):
    return convert_namespace_to_omegaconf(parse(words))


def test_flags_of_the_chosen_components_exist_and_others_do_not():
    args = parse(f"{TRAIN} --num-classes 2 --adam-eps 1e-6 --lr-scheduler polynomial_decay --power 2 --dropout 0.2")
    assert (args.data, args.num_classes, args.adam_eps, args.power, args.dropout) == ("RTE-bin", 2, 1e-6, 2.0, 0.2)
    with pytest.raises(ConfigError, match="unknown flag --momentum"):
        parse(f"{TRAIN} --momentum 0.9")
    assert parse(TRAIN.replace("adam", "sgd") + " --momentum 0.9").momentum == 0.9


@pytest.mark.parametrize(
    "flag,group,key,value",
    [
        ("--max-sentences 16", "dataset", "batch_size", 16),
        ("--max-sentences-valid 8", "dataset", "batch_size_valid", 8),
        ("--combine-val", "dataset", "combine_valid_subsets", True),
        ("--nval 3", "dataset", "max_valid_steps", 3),
        ("--save-async", "checkpoint", "write_checkpoints_asynchronously", True),
        ("--local_rank 2", "distributed_training", "device_id", 2),
        ("--lr 1e-5", "optimization", "lr", [1e-5]),
        ("--lr 1e-5,1e-6", "optimization", "lr", [1e-5, 1e-6]),
        ("--lr [1e-5,1e-6]", "optimization", "lr", [1e-5, 1e-6]),
        ("--update-freq 4", "optimization", "update_freq", [4]),
        ("--update-freq 4,2", "optimization", "update_freq", [4, 2]),
        (
            "--trainable classification_heads.*,*.bias",
            "optimization",
            "trainable",
            ["classification_heads.*", "*.bias"],
        ),
        ("--max-positions 64", "model", "max_positions", 64),
        ("--max-positions 64", "task", "max_positions", 64),
        ("--seed 5", "task", "seed", 5),
        ("--encoder-normalize-before", "model", "encoder_normalize_before", True),
        ("--layernorm-embedding", "model", "layernorm_embedding", True),
        ("--log-format json", "common", "log_format", "json"),
        ("--adam-betas (0.9,0.98)", "optimizer", "adam_betas", "(0.9,0.98)"),
        ("--memory-efficient-fp16", "common", "fp16", True),
        ("--memory-efficient-bf16", "common", "bf16", True),
        ("--lr-scheduler tri_stage --phase-ratio (0.1,0.4,0.5)", "lr_scheduler", "phase_ratio", [0.1, 0.4, 0.5]),
    ],
)
def test_flag_to_config(flag, group, key, value):
    assert config(f"{TRAIN} {flag}")[group][key] == value


def test_bf16_means_bf16():
    cfg = config(f"{TRAIN} --bf16")
    assert cfg.common.bf16 and not cfg.common.tpu and not cfg.common.fp16
    with pytest.raises(ConfigError, match="--fp16 and --bf16 exclude each other"):
        parse(f"{TRAIN} --fp16 --bf16")


def test_validation_sizes_follow_the_training_ones():
    args = parse(f"{TRAIN} --batch-size 16 --max-tokens 4400")
    assert args.batch_size_valid == 16 and args.max_tokens_valid == 4400
    assert parse(f"{TRAIN} --batch-size 16 --batch-size-valid 2").batch_size_valid == 2


def test_named_sizes_of_a_model():
    assert config(TRAIN.replace("roberta_base", "roberta_large")).model.encoder_layers == 24
    assert config(TRAIN.replace("roberta_base", "roberta_large") + " --encoder-layers 3").model.encoder_layers == 3


def test_without_a_seed():
    assert parse(TRAIN).seed == 1


@pytest.mark.parametrize(
    "words,line",
    [
        (f"{TRAIN} --max-epochs 3", "unknown flag --max-epochs; did you mean --max-epoch?"),
        (f"{TRAIN} --dropuot 0.3", "unknown flag --dropuot; did you mean --dropout?"),
        (f"{TRAIN} --dropuot=0.3", "unknown flag --dropuot; did you mean --dropout?"),
        (f"{TRAIN} more", "do not know what 'more' is for"),
        (f"{TRAIN} --lr often", "argument --lr: must be a list of numbers, not 'often'"),
        (f"{TRAIN} --lr __import__('os')", "argument --lr: must be a list of numbers, not \"__import__('os')\""),
        (f"{TRAIN} --update-freq 1.5", "argument --update-freq: must be a list of integers, not '1.5'"),
        (f"{TRAIN} --max-epoch x", "argument --max-epoch: must be an integer, not 'x'"),
        ("d --arch robreta_base --task masked_lm", "unknown model 'robreta_base'; did you mean 'roberta_base'?"),
        ("d --arch roberta_base --task sentence_predict", "unknown task 'sentence_predict'; did you mean"),
        (f"{TRAIN} --lr-scheduler polynomial", "unknown lr scheduler 'polynomial'; did you mean 'polynomial_decay'?"),
        ("--task masked_lm d", "no model is chosen; give --arch NAME: "),
        (f"{TRAIN} --user-dir nowhere", "--user-dir nowhere: no such folder"),
    ],
)
def test_mistakes(words, line):
    with pytest.raises(ConfigError) as error:
        parse(words)
    assert str(error.value).startswith(line) and "\n" not in str(error.value)


def test_what_training_lacks_is_said_in_flags():
    with pytest.raises(ConfigError, match=r"no optimizer is chosen; give --optimizer NAME: .*adam"):
        check_complete(config(TRAIN.replace("--optimizer adam", "")), flags=True)
    with pytest.raises(ConfigError, match=r"task\.data is missing .* give it as the first argument"):
        check_complete(config(TRAIN.replace("RTE-bin ", "")), flags=True)


def test_known_flags_and_the_rest():
    args, rest = parse(f"{TRAIN} --mine 3", parse_known=True)
    assert args.data == "RTE-bin" and rest == ["--mine", "3"]


def test_only_what_was_given():
    words = "RTE-bin --path m.pt --task masked_lm --batch-size 3 --log-interval 100 --quiet"
    args = options.parse_args_and_arch(options.get_validation_parser(), words.split(" "), suppress_defaults=True)
    assert vars(args) == {
        "data": "RTE-bin", "path": "m.pt", "task": "masked_lm", "batch_size": 3, "log_interval": 100, "quiet": True,
    }  # fmt: skip


def test_remove_bpe_with_and_without_a_value():
    parser = options.get_validation_parser()
    assert parser.parse_args(["--remove-bpe"]).post_process == "subword_nmt"
    assert parser.parse_args(["--remove-bpe", "sentencepiece"]).post_process == "sentencepiece"


def test_modified_parser():
    def add(parser):
        if not any(action.dest == "extra" for action in parser._actions):
            parser.add_argument("--extra", type=int)

    assert parse(f"{TRAIN} --extra 4", modify_parser=add).extra == 4


def test_get_args():
    args = options.get_args("d", "masked_lm", "roberta_base", encoder_layers=2)
    assert (args.data, args.task, args.arch, args.encoder_layers) == ("d", "masked_lm", "roberta_base", 2)
    assert convert_namespace_to_omegaconf(args).model.encoder_layers == 2


def test_preprocessing_flags():
    words = "-s input0 --only-source --trainpref t --validpref v,w --destdir bin --workers 4 --srcdict dict.txt"
    args = options.get_preprocessing_parser().parse_args(words.split(" "))
    assert (args.source_lang, args.only_source, args.validpref, args.workers) == ("input0", True, "v,w", 4)
    assert (args.padding_factor, args.dataset_impl, args.nwordssrc, args.task) == (8, "mmap", -1, "translation")


def test_a_prefix_for_a_second_copy_of_flags():
    parser = Parser()
    gen_parser_from_dataclass(parser, RobertaConfig(), with_prefix="teacher")
    assert parser.parse_args(["--teacher-dropout", "0.5"]).teacher_dropout == 0.5


def test_every_component_has_flags_that_lead_back_to_its_defaults():
    for slot in ("criterion", "optimizer", "lr_scheduler"):
        for name in catalog.BUILTINS[slot]:
            words = [f"--{slot.replace('_', '-')}", name]
            if (slot, name) == ("lr_scheduler", "triangular"):
                words += ["--max-lr", "1"]
            args = options.parse_args_and_arch(options.get_training_parser(), [*TRAIN.split(), *words])
            node = convert_namespace_to_omegaconf(args)[slot]
            assert node._name == name
            for key, field in schema.keys_of(catalog.group(slot)[name]).items():
                default = schema.default_of(field)
                if not isinstance(default, str) and default is not None:
                    assert node[key] == (list(default) if isinstance(default, tuple) else default), f"{name}.{key}"


def test_help_lists_the_flags_of_the_chosen_components_quickly(capsys):
    with pytest.raises(SystemExit) as end:
        parse("-h --arch roberta --optimizer adam")
    text = capsys.readouterr().out
    assert end.value.code == 0
    for flag in ("--max-epoch", "--encoder-layers", "--adam-betas", "--fp16", "--save-dir"):
        assert flag in text
    assert "(default: 12)" in text
    code = (
        "import sys; from fairseq import options\n"
        "try: options.parse_args_and_arch(options.get_training_parser(), ['--help'])\n"
        "finally: assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_namespace_of_an_old_checkpoint():
    """Flat flags without any parser, with names that are gone."""
    args = Namespace(task="masked_lm", arch="roberta_base", criterion="masked_lm", optimizer="adam", data="d", lr=[0.1],
                     max_sentences=8, adam_betas="(0.9, 0.98)", raw_text=False, encoder_layers=3)  # fmt: skip
    cfg = convert_namespace_to_omegaconf(args)
    assert cfg.optimizer.adam_betas == "(0.9, 0.98)" and cfg.model.encoder_layers == 3 and cfg.optimization.lr == [0.1]
