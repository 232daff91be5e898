"""Small models that refine whole sentences (non-autoregressive, Levenshtein, insertion), and what they must give alike
here and in fairseq 0.12.

Used by make_refinement_fixtures.py (under fairseq 0.12) and by test_refinement.py (here). Weights are drawn by names,
as in family_cases.py.
"""

import argparse
from argparse import Namespace

import family_cases
import numpy as np
import torch

SOURCES = [[5, 9, 30, 12, 7, 8, 19], [20, 6, 33], [14, 8, 27, 11]]
TARGETS = [[8, 13, 21, 4, 17, 17], [22, 31, 9, 17, 5, 6], [16, 3]]
BOS, PAD, EOS, UNK = 0, 1, 2, 3
SIZES = {
    "encoder_embed_dim": 8, "decoder_embed_dim": 8, "encoder_ffn_embed_dim": 12, "decoder_ffn_embed_dim": 12,
    "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
}  # fmt: skip
SEPARATE = {"no_share_discriminator": True, "no_share_maskpredictor": True}
# name -> architecture, settings, noise of the targets
CASES = {
    "nonautoregressive": ("nonautoregressive_transformer", {}, "full_mask"),
    "nonautoregressive copying": (
        "nonautoregressive_transformer",
        {"src_embedding_copy": True, "pred_length_offset": True, "sg_length_pred": True, "length_loss_factor": 0.3},
        "full_mask",
    ),
    "nonautoregressive bert": (
        "nonautoregressive_transformer",
        {
            "apply_bert_init": True,
            "encoder_learned_pos": True,
            "decoder_learned_pos": True,
            "share_all_embeddings": True,
        },
        "no_noise",
    ),
    "iterative": ("iterative_nonautoregressive_transformer", {"train_step": 3}, "full_mask"),
    "iterative sampling": (
        "iterative_nonautoregressive_transformer",
        {"train_step": 2, "dae_ratio": 0.9, "stochastic_approx": True, "pred_length_offset": True},
        "full_mask",
    ),
    "cmlm": ("cmlm_transformer", {}, "random_mask"),
    "cmlm prenorm": (
        "cmlm_transformer",
        {"encoder_normalize_before": True, "decoder_normalize_before": True, "share_all_embeddings": False},
        "random_mask",
    ),
    "levenshtein": ("levenshtein_transformer", {"early_exit": "2,1,2"}, "random_delete"),
    "levenshtein apart": (
        "levenshtein_transformer",
        {**SEPARATE, "early_exit": "1,2,2", "sampling_for_deletion": True, "share_all_embeddings": True},
        "random_delete",
    ),
    "levenshtein one discriminator": (
        "levenshtein_transformer",
        {
            "no_share_discriminator": True,
            "share_discriminator_maskpredictor": True,
            "early_exit": "1,1,2",
            "apply_bert_init": True,
        },
        "random_delete",
    ),
    "insertion": ("insertion_transformer", {}, "random_delete"),
    "crf": ("nacrf_transformer", {"crf_lowrank_approx": 4, "crf_beam_approx": 6}, "full_mask"),
}  # fmt: skip
# settings of the generator, by name
GENERATORS = {
    "one": {"max_iter": 0},
    "usual": {"max_iter": 4},
    "forced": {"adaptive": False, "max_iter": 2, "retain_history": True},
    "lengths": {"beam_size": 3, "max_iter": 3},
    "penalty": {"eos_penalty": 2.0, "max_iter": 3, "max_ratio": 1.5},
}
NOISES = ("random_delete", "random_mask", "no_noise", "full_mask")


def make_task(noise="random_delete"):
    from fairseq.tasks.translation_lev import TranslationLevenshteinConfig, TranslationLevenshteinTask

    if not hasattr(np, "float"):
        np.float = float  # fairseq's random fields use what NumPy has dropped
    words = family_cases.dictionary()
    cfg = TranslationLevenshteinConfig(noise=noise)
    return TranslationLevenshteinTask(cfg, words, words)


def namespace(name):
    from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY

    arch, settings, _ = CASES[name]
    parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS, add_help=False, allow_abbrev=False)
    ARCH_MODEL_REGISTRY[arch].add_args(parser)
    args = parser.parse_args([])
    vars(args).update(arch=arch, left_pad_source=True, label_smoothing=0.1, **family_cases.LENGTHS)
    vars(args).update({**SIZES, **settings})
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
    return ARCH_MODEL_REGISTRY[args.arch].build_model(args, make_task())


def fill(model):
    """Give `model` the weights of the cases; lengths and gaps that it predicts are short."""
    family_cases.fill(model)
    decoder = model.decoder
    with torch.no_grad():
        if hasattr(decoder, "embed_length"):
            first = 125 if decoder.pred_length_offset else 3
            decoder.embed_length.weight[:first] = 0
            decoder.embed_length.weight[first + 8 :] = 0
        if hasattr(decoder, "embed_mask_ins"):
            decoder.embed_mask_ins.weight[0] = 0  # nothing, where no number of words is likelier
            decoder.embed_mask_ins.weight[4:] = 0
    return model


def sample():
    """A batch, as the task's data sets make it."""
    from fairseq.data import data_utils

    targets = [torch.tensor([BOS, *words, EOS]) for words in TARGETS]
    sources = [torch.tensor([BOS, *words, EOS]) for words in SOURCES]
    net_input = {
        "src_tokens": data_utils.collate_tokens(sources, PAD, left_pad=True),
        "src_lengths": torch.tensor([len(row) for row in sources]),
        "prev_output_tokens": data_utils.collate_tokens(targets, PAD, eos_idx=EOS, move_eos_to_beginning=True),
    }
    ntokens = sum(len(row) for row in targets)
    return {
        "id": torch.arange(3), "net_input": net_input, "target": data_utils.collate_tokens(targets, PAD),
        "ntokens": ntokens, "nsentences": 3,
    }  # fmt: skip


def noises():
    """Each kind of noise, three times."""
    result = {}
    for noise in NOISES:
        torch.manual_seed(3)
        np.random.seed(3)
        task = make_task(noise)
        result[noise] = [task.inject_noise(sample()["target"]).tolist() for _ in range(3)]
    return result


def losses(name, updates=5):
    """What a criterion reports in some updates."""
    from fairseq.criterions.nat_loss import LabelSmoothedDualImitationCriterion

    task, model = make_task(CASES[name][2]), fill(build(name)).train()
    criterion = LabelSmoothedDualImitationCriterion(task, 0.1)
    inner = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
    optimizer = Namespace(backward=lambda loss: loss.backward())
    result = []
    torch.manual_seed(5)
    np.random.seed(5)
    for update in range(updates):
        inner.zero_grad()
        loss, sample_size, logged = task.train_step(sample(), model, criterion, optimizer, update)
        inner.step()
        entry = {key: round(float(value), 4) for key, value in logged.items()}
        result.append([round(float(loss.detach()), 4), sample_size, entry])
    result.append(round(float(task.valid_step(sample(), model, criterion)[0]), 4))
    return result


def ranking_model():
    """A translation model that ranks outputs."""
    from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY

    args = Namespace(**SIZES, **family_cases.LENGTHS, left_pad_source=True, dropout=0.0)
    ARCH_CONFIG_REGISTRY["transformer"](args)
    return family_cases.fill(ARCH_MODEL_REGISTRY["transformer"].build_model(args, make_task()))


def hypotheses(models, settings):
    """Words, scores and steps of each hypothesis; the error's name where fairseq fails."""
    from fairseq.iterative_refinement_generator import IterativeRefinementGenerator

    models = models if isinstance(models, list) else [models]
    generator = IterativeRefinementGenerator(family_cases.dictionary(), **settings)
    try:
        found = generator.generate([model.eval() for model in models], sample())
    except (IndexError, AttributeError, TypeError, RuntimeError) as error:
        return type(error).__name__
    return [[described(hypothesis) for hypothesis in each] for each in found]


def described(hypothesis):
    result = {
        "tokens": hypothesis["tokens"].tolist(),
        "score": round(float(hypothesis["score"]), 4),
        "positional": rounded(hypothesis["positional_scores"]),
        "steps": int(hypothesis["steps"]),
        "attention": None if hypothesis["hypo_attn"] is None else rounded(hypothesis["hypo_attn"][:, ::4]),
        "alignment": None if hypothesis["alignment"] is None else hypothesis["alignment"].tolist(),
    }
    if "history" in hypothesis:
        result["history"] = [each["tokens"].tolist() for each in hypothesis["history"]]
    return result


def rounded(tensor):
    return [round(float(number), 4) for number in tensor.detach().flatten().tolist()]


def describe(name):
    """All that is compared of a case, as plain data."""
    model = build(name)
    state = model.state_dict()
    trained = {key for key, parameter in model.named_parameters() if parameter.requires_grad}
    result = {
        # shape, sum, and whether it is a parameter of its own
        "state": {
            key: [list(value.shape), round(float(value.float().sum()), 3), key in trained]
            for key, value in state.items()
            if "_float_tensor" not in key
        },
        "allowed": [model.allow_length_beam, model.allow_ensemble],
        "losses": losses(name),
    }
    model = fill(model)
    with torch.no_grad():
        result["beams"] = {
            key: hypotheses(model, settings)
            for key, settings in GENERATORS.items()
            if model.allow_length_beam or settings.get("beam_size", 1) == 1
        }
        if model.allow_ensemble:
            other = fill(build(name))
            for parameter in other.parameters():
                parameter.mul_(0.5)
            pair = [fill(build(name)), other]
            result["beams"]["ensemble"] = hypotheses(pair, {"max_iter": 2})
    return result
