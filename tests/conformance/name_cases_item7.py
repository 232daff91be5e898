"""Cases: what was found to differ when users' code ran on both - datasets, flags, configs, models."""

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass, field
from typing import List, Optional

import numpy as np
from name_case_tools import Pairs, case, dictionary, items, plain, raised, task_of, tiny_transformer


def pairs(**options):
    from fairseq.data import LanguagePairDataset

    words = dictionary()
    source, target = Pairs(items(1, 6)), Pairs(items(2, 6))
    return LanguagePairDataset(
        source, np.array(source.sizes), words, target, np.array(target.sizes), words, shuffle=False, **options
    )


# ---- TransformEosDataset


def eos_dataset(base=None, **changes):
    from fairseq.data import TransformEosDataset

    return TransformEosDataset(pairs() if base is None else base, eos=2, **changes)


def without_eos():
    return eos_dataset(remove_eos_from_src=True, remove_eos_from_tgt=True)


def described(dataset):
    batch = dataset.collater([dataset[i] for i in range(4)])
    return plain(
        {
            "item": dataset[1],
            "batch": batch,
            "tokens": [dataset.num_tokens(i) for i in range(4)],
            "sizes": [dataset.size(i) for i in range(4)],
            "order": dataset.ordered_indices(),
            "length": len(dataset),
            "prefetch": dataset.supports_prefetch,
        }
    )


@case
def eos_removed_from_source():
    return described(eos_dataset(remove_eos_from_src=True))


@case
def eos_removed_from_target():
    return described(eos_dataset(remove_eos_from_tgt=True))


@case
def eos_removed_from_both():
    return described(without_eos())


@case
def eos_appended_to_source():
    class NoEos(Pairs):
        pass

    from fairseq.data import LanguagePairDataset

    words = dictionary()
    source = NoEos([s[:-1] for s in items(1, 6)])
    base = LanguagePairDataset(source, np.array(source.sizes), words, shuffle=False)
    return described(eos_dataset(base, append_eos_to_src=True, has_target=False))


@case
def eos_appended_to_both():
    from fairseq.data import LanguagePairDataset

    words = dictionary()
    source, target = Pairs([s[:-1] for s in items(1, 6)]), Pairs([s[:-1] for s in items(2, 6)])
    base = LanguagePairDataset(
        source, np.array(source.sizes), words, target, np.array(target.sizes), words, shuffle=False
    )
    return described(eos_dataset(base, append_eos_to_src=True, append_eos_to_tgt=True))


@case
def eos_unchanged_items():
    dataset = eos_dataset(remove_eos_from_src=True)
    return plain([dataset[i] for i in range(3)])


@case
def eos_contradictions():
    dataset = eos_dataset(append_eos_to_src=True)
    return [
        raised(lambda: eos_dataset(append_eos_to_src=True, remove_eos_from_src=True)),
        raised(lambda: eos_dataset(append_eos_to_tgt=True, remove_eos_from_tgt=True)),
        raised(lambda: dataset.collater([dataset[0]])),
    ]


# ---- retained dropout


def retained(**options):
    from fairseq.models.transformer import TransformerModel

    model = TransformerModel.build_model(tiny_transformer(dropout=0.3, attention_dropout=0.2), task_of())
    model.eval()
    model.make_generation_fast_(**options)
    return sorted(
        f"{name} {module.module_name}"
        for name, module in model.named_modules()
        if getattr(module, "apply_during_inference", False)
    )


@case
def dropout_retained_everywhere():
    return retained(retain_dropout=True)


@case
def dropout_retained_nowhere():
    return retained(retain_dropout=False, retain_dropout_modules=["TransformerEncoder"])


@case
def dropout_retained_in_encoder():
    return retained(retain_dropout=True, retain_dropout_modules=["TransformerEncoder"])


@case
def dropout_retained_in_decoder():
    return retained(retain_dropout=True, retain_dropout_modules=["TransformerDecoder"])


@case
def dropout_retained_in_layers():
    return retained(retain_dropout=True, retain_dropout_modules=["TransformerEncoderLayer", "TransformerDecoderLayer"])


@case
def dropout_retained_in_attention():
    return retained(retain_dropout=True, retain_dropout_modules=["MultiheadAttention"])


@case
def dropout_names_of_modules():
    from fairseq.models.transformer import transformer_decoder, transformer_encoder

    return [
        transformer_encoder.module_name_fordropout("TransformerEncoderBase"),
        transformer_encoder.module_name_fordropout("Mine"),
        transformer_decoder.module_name_fordropout("TransformerDecoderBase"),
        transformer_decoder.module_name_fordropout("Mine"),
    ]


# ---- configs from namespaces


@case
def config_keeps_none():
    from fairseq.models.transformer import TransformerConfig

    config = TransformerConfig.from_namespace(Namespace(encoder_embed_dim=None, decoder_layers=None, dropout=None))
    return [config.encoder.embed_dim, config.decoder.layers, config.dropout, config.decoder.embed_dim]


@case
def config_derives_decoder_widths():
    from fairseq.models.transformer import TransformerConfig

    out = []
    for given in (
        {},
        {"encoder_embed_dim": 32},
        {"decoder_embed_dim": 32, "decoder_input_dim": 16, "decoder_output_dim": 16},
        {"decoder_embed_dim": 32, "decoder_input_dim": None, "decoder_output_dim": 32},
        {"encoder_embed_dim": None, "decoder_embed_dim": None},
    ):
        config = TransformerConfig.from_namespace(Namespace(**given))
        out.append(
            [config.encoder.embed_dim, config.decoder.embed_dim, config.decoder.input_dim, config.decoder.output_dim]
        )
    return out


@case
def config_of_sections():
    from fairseq.models.transformer import TransformerConfig

    config = TransformerConfig.from_namespace(Namespace(encoder_layers=3, quant_noise_pq=0.1))
    return [
        config.encoder.layers,
        config.encoder_layers,
        config.quant_noise.pq,
        config.quant_noise_pq,
    ]


@case
def config_passes_through():
    from fairseq.models.transformer import TransformerConfig

    config = TransformerConfig()
    return [TransformerConfig.from_namespace(config) is config, TransformerConfig.from_namespace(None) is None]


@case
def config_name_parser():
    import re

    from fairseq.models.transformer import transformer_config

    return [
        re.match(transformer_config._NAME_PARSER, name) is not None
        for name in ("encoder_embed_dim", "decoder_layers", "quant_noise_pq_block_size", "dropout", "encoder")
    ]


# ---- flags of dataclasses


def parsed(instance, words=(), **options):
    from fairseq.dataclass.utils import gen_parser_from_dataclass

    parser = ArgumentParser(allow_abbrev=False)
    gen_parser_from_dataclass(parser, instance, **options)
    return plain(vars(parser.parse_args(list(words))))


def layers_config():
    from fairseq.dataclass import FairseqDataclass

    @dataclass
    class Side(FairseqDataclass):
        layers: int = field(default=6, metadata={"help": "layers"})
        embed_dim: int = field(default=16, metadata={"help": "width"})
        learned: bool = field(default=False, metadata={"help": "learned"})

    @dataclass
    class Model(FairseqDataclass):
        encoder: Side = field(default_factory=Side)
        decoder: Side = field(default_factory=Side)
        dropout: float = field(default=0.1, metadata={"help": "dropout"})

    return Model


@case
def flags_of_nested_dataclasses():
    return parsed(
        layers_config()(), ["--encoder-layers", "3", "--decoder-embed-dim", "4", "--decoder-learned"], with_prefix=""
    )


@case
def flags_of_nested_dataclasses_without_defaults():
    return parsed(layers_config()(), ["--encoder-layers", "3"], delete_default=True, with_prefix="")


@case
def flags_of_nested_dataclasses_without_prefix():
    return parsed(layers_config()(), ["--layers", "3", "--learned"])


@case
def flags_with_prefix():
    return parsed(layers_config()(), ["--teacher-dropout", "0.5"], with_prefix="--teacher")


@case
def flags_of_kinds():
    from fairseq.dataclass import ChoiceEnum, FairseqDataclass

    @dataclass
    class Mine(FairseqDataclass):
        rates: List[float] = field(default_factory=lambda: [0.25], metadata={"help": "rates"})
        names: Optional[str] = field(default=None, metadata={"help": "names"})
        kind: ChoiceEnum(["a", "b"]) = field(default="a", metadata={"help": "kind"})
        on: bool = field(default=True, metadata={"help": "on"})
        post: Optional[str] = field(
            default=None, metadata={"help": "post", "argparse_const": "x", "argparse_alias": "--p"}
        )
        number: Optional[int] = field(default=None, metadata={"help": "number"})

    return [
        parsed(Mine()),
        parsed(Mine(), ["--rates", "[1, 2]", "--names", "n", "--kind", "b", "--on", "--p", "--number", "3"]),
        parsed(Mine(), ["--rates", "0.1,0.2", "--post", "y"]),
        raised(lambda: parsed(Mine(), ["--kind", "c"])) is not None,
    ]


@case
def flags_of_hashable_config():
    from fairseq.dataclass import FairseqDataclass

    @dataclass(unsafe_hash=True)
    class Mine(FairseqDataclass):
        width: int = field(default=3, metadata={"help": "width"})
        name: str = field(default="n", metadata={"help": "name"})

    return [parsed(Mine(), ["--width", "5"]), hash(Mine()) == hash(Mine()), Mine() == Mine(), len({Mine(), Mine()})]


# ---- from flags to a config


def training_config(dataclass_fields, words=(), **namespace):
    """The optimizer's node of a command line with a component of the user's, registered under a new name."""
    from fairseq import options
    from fairseq.dataclass import FairseqDataclass
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf
    from fairseq.optim import OPTIMIZER_REGISTRY, FairseqOptimizer, register_optimizer

    name = f"mine_{len(OPTIMIZER_REGISTRY)}"
    config = dataclass(type("MineConfig", (FairseqDataclass,), dataclass_fields))

    @register_optimizer(name, dataclass=config)
    class Mine(FairseqOptimizer):
        pass

    Mine.__name__ = name
    parser = options.get_training_parser("masked_lm")
    args = options.parse_args_and_arch(
        parser, ["x", "--task", "masked_lm", "--arch", "roberta_base", "--optimizer", name, *words]
    )
    for key, value in namespace.items():
        setattr(args, key, value)
    node = convert_namespace_to_omegaconf(args).optimizer
    return plain({key: node[key] for key in node if key != "_name"})


def followed_fields():
    from omegaconf import II

    return {
        "__annotations__": {"seed": int, "rate": List[float], "own": float},
        "seed": II("common.seed"),
        "rate": II("optimization.lr"),
        "own": field(default=0.5, metadata={"help": "own"}),
    }


@case
def interpolated_default_follows_the_flag():
    return training_config(followed_fields(), ["--seed", "9", "--lr", "0.1,0.2"])


@case
def interpolated_default_follows_the_default():
    return training_config(followed_fields())


@case
def interpolated_default_gives_way_to_its_own_flag():
    return training_config(followed_fields(), ["--lr", "0.5", "--own", "0.25"])


def number_fields():
    return {
        "__annotations__": {"count": int, "share": float, "on": bool, "maybe": Optional[int]},
        "count": field(default=4, metadata={"help": "count"}),
        "share": field(default=0.5, metadata={"help": "share"}),
        "on": field(default=False, metadata={"help": "on"}),
        "maybe": field(default=None, metadata={"help": "maybe"}),
    }


@case
def config_of_bool_for_int():
    return [
        training_config(number_fields(), count=True),
        training_config(number_fields(), count=False, maybe=True),
        training_config(number_fields(), share=1),
        training_config(number_fields(), on=1),
    ]


@case
def config_merged_with_parent():
    from omegaconf import OmegaConf

    from fairseq.dataclass import FairseqDataclass
    from fairseq.dataclass.utils import merge_with_parent

    Mine = dataclass(type("Mine", (FairseqDataclass,), number_fields()))
    merged = merge_with_parent(Mine(), OmegaConf.create({"count": 7, "on": True}))
    return [
        type(merged.count).__name__,
        merged.count,
        merged.on,
        merged.share,
        raised(lambda: merge_with_parent(Mine(), OmegaConf.create({"count": True}))) is not None,
        raised(lambda: merge_with_parent(Mine(), OmegaConf.create({"cuont": 3}))) is not None,
        plain(merge_with_parent(Mine(), OmegaConf.create({"cuont": 3}), remove_missing=True)),
    ]


@case
def config_with_hashable_dataclass():
    from omegaconf import OmegaConf

    from fairseq.dataclass import FairseqDataclass
    from fairseq.dataclass.utils import merge_with_parent

    @dataclass(unsafe_hash=True)
    class Mine(FairseqDataclass):
        width: int = field(default=3, metadata={"help": "width"})

    merged = merge_with_parent(Mine(), OmegaConf.create({"width": 8}))
    return [
        merged.width,
        Mine(width=2)._get_default("width"),
        Mine()._get_help("width"),
        hash(Mine(1)) != hash(Mine(2)),
    ]
