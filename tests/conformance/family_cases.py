"""Small models of every family, and what they must give alike here and in fairseq 0.12.

Used by make_family_fixtures.py (under fairseq 0.12) and by test_families.py (here). Weights are drawn from NumPy's
legacy generator by the names of a state dict's keys, so that no weights are kept in fixtures.
"""

import argparse
import hashlib
from argparse import Namespace

import numpy as np
import torch

WORDS = 30
SOURCES = [[5, 9, 30, 12, 7], [20, 6, 33], [14, 8, 27]]
TARGETS = [[8, 13, 21, 4], [22, 31, 9, 17, 5, 6], [16, 3]]
EOS, PAD = 2, 1
LENGTHS = {"max_source_positions": 40, "max_target_positions": 40, "tokens_per_sample": 40}
FCONV = {
    "encoder_embed_dim": 6, "decoder_embed_dim": 6, "decoder_out_embed_dim": 5,
    "encoder_layers": "[(8, 3)] * 2 + [(12, 4, 2)]", "decoder_layers": "[(8, 3), (12, 2), (12, 1, 0)]",
}  # fmt: skip
LSTM = {
    "encoder_embed_dim": 6, "encoder_hidden_size": 8, "encoder_layers": 2, "decoder_embed_dim": 6,
    "decoder_hidden_size": 8, "decoder_layers": 2, "decoder_out_embed_dim": 6,
}  # fmt: skip
LSTM_LM = {"decoder_embed_dim": 6, "decoder_hidden_size": 8, "decoder_layers": 2, "decoder_out_embed_dim": 5}
LIGHTCONV = {
    "encoder_embed_dim": 8, "encoder_ffn_embed_dim": 12, "encoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_layers": 2, "decoder_attention_heads": 2, "encoder_kernel_size_list": [3, 5],
    "decoder_kernel_size_list": [3],
}  # fmt: skip
LIGHTCONV_LM = {
    "decoder_embed_dim": 8, "decoder_ffn_embed_dim": 12, "decoder_layers": 2, "decoder_attention_heads": 2,
    "decoder_kernel_size_list": [3, 1],
}  # fmt: skip
ALIGN = {
    "encoder_embed_dim": 8, "decoder_embed_dim": 8, "encoder_ffn_embed_dim": 12, "decoder_ffn_embed_dim": 12,
    "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "alignment_layer": 0, "full_context_alignment": False,
}  # fmt: skip
# name -> architecture, settings
CASES = {
    "transformer_align": ("transformer_align", ALIGN),
    "transformer_align full": ("transformer_align", {**ALIGN, "full_context_alignment": True, "alignment_heads": 2}),
    "fconv": ("fconv", FCONV),
    "fconv shared": (
        "fconv",
        {
            **FCONV,
            "decoder_attention": "[True, False, True]",
            "decoder_out_embed_dim": 6,
            "share_input_output_embed": True,
        },
    ),
    "fconv_lm": ("fconv_lm", {"decoder_embed_dim": 6, "decoder_layers": "[(8, 3), (12, 4)]"}),
    "fconv_lm adaptive": (
        "fconv_lm",
        {"decoder_embed_dim": 8, "decoder_layers": "[(16, 3), (16, 4, 0)]", "adaptive_softmax_cutoff": "10,20"},
    ),
    "lightconv": ("lightconv", LIGHTCONV),
    "lightconv lightweight": (
        "lightconv",
        {
            **LIGHTCONV,
            "encoder_conv_type": "lightweight",
            "decoder_conv_type": "lightweight",
            "encoder_glu": False,
            "decoder_glu": False,
            "encoder_conv_dim": 12,
            "decoder_conv_dim": 4,
            "encoder_normalize_before": True,
            "decoder_normalize_before": True,
            "share_all_embeddings": True,
            "weight_softmax": False,
        },
    ),
    "lightconv adaptive": (
        "lightconv_iwslt_de_en",
        {
            **LIGHTCONV,
            "adaptive_softmax_cutoff": "10,20",
            "encoder_learned_pos": True,
            "decoder_learned_pos": True,
            "decoder_embed_dim": 8,
            "adaptive_softmax_factor": 2,
            "tie_adaptive_weights": False,
            "tie_adaptive_proj": False,
        },
    ),
    "lightconv_lm": ("lightconv_lm", {**LIGHTCONV_LM, "share_decoder_input_output_embed": True}),
    "lightconv_lm adaptive": (
        "lightconv_lm",
        {
            **LIGHTCONV_LM,
            "adaptive_input": True,
            "adaptive_input_cutoff": "10,20",
            "adaptive_input_factor": 2,
            "adaptive_softmax_cutoff": "10,20",
            "adaptive_softmax_factor": 2,
            "tie_adaptive_weights": True,
            "tie_adaptive_proj": True,
        },
    ),
    "lstm": ("lstm", {**LSTM, "encoder_bidirectional": True}),
    "lstm plain": (
        "lstm",
        {**LSTM, "decoder_attention": "False", "share_all_embeddings": True, "encoder_freeze_embed": True},
    ),
    "lstm adaptive": (
        "lstm",
        {**LSTM, "decoder_hidden_size": 16, "decoder_out_embed_dim": 16, "adaptive_softmax_cutoff": "10,20"},
    ),
    "lstm_lm": ("lstm_lm", LSTM_LM),
    "lstm_lm residuals": (
        "lstm_lm",
        {**LSTM_LM, "decoder_out_embed_dim": 6, "residuals": True, "share_decoder_input_output_embed": True},
    ),
}


def dictionary():
    from fairseq.data import Dictionary

    words = Dictionary()
    for number in range(WORDS):
        words.add_symbol(f"w{number}")
    return words


def task():
    words = dictionary()
    return Namespace(
        source_dictionary=words, target_dictionary=words, src_dict=words, tgt_dict=words, dictionary=words,
        output_dictionary=words,
        cfg=Namespace(left_pad_source=True, left_pad_target=False),
    )  # fmt: skip


def parsed(arch, **given):
    """The namespace of an architecture, without flags but those `given`."""
    from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY

    parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS, add_help=False, allow_abbrev=False)
    ARCH_MODEL_REGISTRY[arch].add_args(parser)
    args = parser.parse_args([])
    vars(args).update(given)
    ARCH_CONFIG_REGISTRY[arch](args)
    return args


def followers(arch):
    """Which settings of an architecture follow which number."""
    usual, found = vars(parsed(arch)), {}
    for key, value in usual.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or key.endswith("_layers"):
            continue
        other = vars(parsed(arch, **{key: 7 if isinstance(value, int) and value else 0.77}))
        changed = sorted(name for name in usual if name != key and usual[name] != other[name])
        if changed:
            found[key] = changed
    return found


def flags(arch):
    """The flags of an architecture."""
    from fairseq.models import ARCH_MODEL_REGISTRY

    parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS, add_help=False, allow_abbrev=False)
    ARCH_MODEL_REGISTRY[arch].add_args(parser)
    return sorted(option for action in parser._actions for option in action.option_strings)


def namespace(name):
    from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY

    arch, settings = CASES[name]
    parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS, add_help=False, allow_abbrev=False)
    ARCH_MODEL_REGISTRY[arch].add_args(parser)
    args = parser.parse_args([])
    vars(args).update(arch=arch, left_pad_source=True, **LENGTHS)
    args.criterion = "adaptive_loss" if "adaptive_softmax_cutoff" in settings else "cross_entropy"
    vars(args).update(settings)
    ARCH_CONFIG_REGISTRY[arch](args)
    for key in vars(args):
        if "dropout" in key:
            setattr(args, key, 0.0)
    return args


def build(name):
    """The model of a case as it is initialized."""
    from fairseq.models import ARCH_MODEL_REGISTRY

    torch.manual_seed(1)
    args = namespace(name)
    return ARCH_MODEL_REGISTRY[args.arch].build_model(args, task())


def fill(model):
    """Give `model` the weights of the cases."""
    done = set()
    for key, value in model.state_dict().items():
        if not value.is_floating_point() or key.endswith(("version", "_float_tensor")) or value.data_ptr() in done:
            continue
        if value.numel():
            done.add(value.data_ptr())
        draw = np.random.RandomState(int(hashlib.md5(key.encode()).hexdigest()[:7], 16))
        numbers = draw.randn(*value.shape) * (0.4 if value.dim() > 1 else 0.1)
        if "norm" in key and key.endswith("weight"):
            numbers = 1 + numbers
        if key.endswith("weight_g"):
            numbers = abs(numbers) + 0.5
        with torch.no_grad():
            value.copy_(torch.tensor(numbers, dtype=torch.float32))
            if key.endswith(("embed_tokens.weight", "embed_positions.weight")):
                value[PAD] = 0
    return model


def is_language_model(model):
    return not hasattr(model, "encoder")


def sample(model):
    """A batch, as a data set makes it."""
    from fairseq.data import data_utils

    targets = [torch.tensor([*words, EOS]) for words in TARGETS]
    target = data_utils.collate_tokens(targets, PAD)
    previous = data_utils.collate_tokens(targets, PAD, eos_idx=EOS, move_eos_to_beginning=True)
    sources = [torch.tensor([*words, EOS]) for words in SOURCES]
    if is_language_model(model):
        net_input = {"src_tokens": previous, "src_lengths": torch.tensor([len(row) for row in targets])}
    else:
        net_input = {
            "src_tokens": data_utils.collate_tokens(sources, PAD, left_pad=True),
            "src_lengths": torch.tensor([len(row) for row in sources]),
            "prev_output_tokens": previous,
        }
    ntokens = sum(len(row) for row in targets)
    result = {"id": torch.arange(3), "net_input": net_input, "target": target, "ntokens": ntokens, "nsentences": 3}
    if hasattr(model, "alignment_layer"):
        result["alignments"] = torch.tensor([[0, 1], [3, 2], [2, 8], [4, 9], [5, 9]])
        result["align_weights"] = torch.tensor([1.0, 1.0, 1.0, 0.5, 0.5])
    return result


def criterion_of(model):
    from fairseq.criterions.adaptive_loss import AdaptiveLoss
    from fairseq.criterions.cross_entropy import CrossEntropyCriterion

    if hasattr(model, "alignment_layer"):
        from fairseq.criterions.label_smoothed_cross_entropy_with_alignment import (
            LabelSmoothedCrossEntropyCriterionWithAlignment,
        )

        return LabelSmoothedCrossEntropyCriterionWithAlignment(task(), False, 0.1, 0.5)
    adaptive = getattr(model.decoder, "adaptive_softmax", None) is not None
    return (AdaptiveLoss if adaptive else CrossEntropyCriterion)(task(), False)


def losses(model, updates=5):
    """Losses of some updates."""
    criterion = criterion_of(model.train())
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
    result = []
    for _ in range(updates):
        optimizer.zero_grad()
        loss, _, _ = criterion(model, sample(model))
        loss = loss.sum()
        loss.backward()
        optimizer.step()
        result.append(round(float(loss.detach()), 4))
    return result


def hypotheses(model, beam):
    """Words and score of each hypothesis."""
    from fairseq.sequence_generator import SequenceGenerator

    batch = sample(model)
    settings = {"beam_size": beam, "max_len_a": 0, "max_len_b": 8}
    prefix = {}
    if is_language_model(model):
        words = torch.tensor([[EOS, 5], [EOS, 9], [EOS, 20]])
        batch["net_input"] = {"src_tokens": words, "src_lengths": torch.tensor([2, 2, 2])}
        prefix = {"prefix_tokens": words[:, 1:], "bos_token": EOS}
        settings["max_len_b"] = 10
    else:
        batch["net_input"].pop("prev_output_tokens")
    generator = SequenceGenerator([model.eval()], dictionary(), **settings)
    found = generator.generate([model], batch, **prefix)
    return [
        [[hypothesis["tokens"].tolist(), round(float(hypothesis["score"]), 4)] for hypothesis in each] for each in found
    ]


def numbers(tensor):
    return [round(float(number), 6) for number in tensor.detach().flatten().tolist()]


def describe(name):
    """All that is compared of a case, as plain data."""
    model = build(name)
    state = {key: value.float() for key, value in model.state_dict().items()}
    # adaptive softmaxes and inputs draw their weights in another order here
    other = ("adaptive_softmax", "embeddings.", "_float_tensor", "conv_bias")  # the last two: by chance in fairseq
    result = {
        "initial": {k: round(float(v.sum()), 4) for k, v in state.items() if not any(part in k for part in other)}
    }
    result["shapes"] = {key: list(value.shape) for key, value in model.state_dict().items()}
    result["parameters"] = [key for key, parameter in model.named_parameters() if parameter.requires_grad]
    batch = sample(fill(model).eval())
    with torch.no_grad():
        output = model(**batch["net_input"])
        lprobs = model.get_normalized_probs(output, log_probs=True)
    result["lprobs"] = numbers(lprobs[:, :, 4::6])
    extra = output[1]
    attention = extra if torch.is_tensor(extra) else (extra or {}).get("attn") if isinstance(extra, dict) else None
    attention = attention[0] if isinstance(attention, (list, tuple)) else attention
    result["attention"] = None if attention is None else numbers(attention)
    result["beams"] = {str(beam): hypotheses(model, beam) for beam in (1, 5)}
    result["max_positions"] = str(model.max_positions())
    result["losses"] = losses(fill(build(name)))
    return result


def architectures():
    """The names that are compared: those of the models of the cases, with all their sizes."""
    from fairseq.models import ARCH_MODEL_INV_REGISTRY, ARCH_MODEL_NAME_REGISTRY

    models = dict.fromkeys(ARCH_MODEL_NAME_REGISTRY[arch] for arch, _ in CASES.values())
    return [arch for model in models for arch in ARCH_MODEL_INV_REGISTRY[model]]


def plain(value):
    return list(map(plain, value)) if isinstance(value, (list, tuple)) else value
