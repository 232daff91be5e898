"""What language models do, as JSON: under fairseq 0.12 the fixtures, under this package what to compare with them.

Only names that both have are used. `CASES` maps a name to a function without arguments.
"""

from argparse import Namespace
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from data_case_tools import plain

if not hasattr(np, "compat"):  # fairseq 0.12 still asks NumPy for Python 2's long
    np.compat = SimpleNamespace(long=int)

CASES = {}
WORDS = ["the", "quick", "brown", "fox", "jumps", "~", "über", "a" * 60]


def case(function):
    CASES[function.__name__] = function
    return function


def filled(module, seed=0):
    """The module with weights from NumPy's legacy generator, whose stream is the same everywhere."""
    draw = np.random.RandomState(seed)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.is_floating_point() and "version" not in name and "_float_tensor" not in name:
                value.copy_(torch.from_numpy(draw.randn(*value.shape)) * 0.3)
                if name.endswith("embed_tokens.weight") or name.endswith("embeddings.0.0.weight"):
                    value[1] = 0  # padding
    return module


def tensor(*shape, seed=1):
    return torch.from_numpy(np.random.RandomState(seed).randn(*shape)).float()


def dictionary(words=WORDS):
    from fairseq.data import Dictionary

    result = Dictionary()
    for word in words:
        result.add_symbol(word)
    return result


def grads(*modules):
    return [{name: p.grad for name, p in module.named_parameters()} for module in modules]


IDS = torch.tensor([[1, 1, 2, 3, 4], [9, 15, 8, 19, 7], [13, 5, 18, 11, 6]])


def adaptive(width, tied, tie_proj, ids=IDS):
    from fairseq.modules import AdaptiveInput, AdaptiveSoftmax

    embed = filled(AdaptiveInput(20, 1, width, 2.0, 16, [8, 14]))
    softmax = AdaptiveSoftmax(
        20, 16, [8, 14, 20], 0.0, factor=2.0, adaptive_inputs=embed if tied else None, tie_proj=tie_proj
    )
    filled(softmax, seed=3)
    features = tensor(3, 5, 16).requires_grad_()
    scores, targets = softmax(features, ids)
    losses = [F.cross_entropy(s, t, reduction="sum") for s, t in zip(scores, targets) if s is not None]  # noqa: B905
    vectors = embed(IDS)
    (sum(losses) + vectors.pow(2).sum()).backward()
    log_probs = softmax.get_log_prob(features, None)
    of_targets = softmax.get_log_prob(features, ids).gather(-1, ids.unsqueeze(-1))
    return plain(
        {
            "keys": [list(embed.state_dict()), list(softmax.state_dict())],
            "vectors": vectors,
            "scores": scores,
            "targets": targets,
            "log_probs": log_probs,
            "of_targets": of_targets,
            "grads": [features.grad, *grads(embed, softmax)],
        }
    )


@case
def adaptive_softmax_alone():
    return adaptive(8, False, False)


@case
def adaptive_softmax_tied():
    return adaptive(8, True, False)


@case
def adaptive_softmax_tied_with_projections():
    return adaptive(8, True, True)


@case
def adaptive_softmax_of_one_width():
    return adaptive(16, True, True)


@case
def adaptive_softmax_without_rare_words():
    return adaptive(8, True, True, ids=IDS % 8)


def characters(filters, highway_layers, max_char_len):
    from fairseq.modules import CharacterTokenEmbedder

    embed = filled(CharacterTokenEmbedder(dictionary(), filters, 4, 6, highway_layers, max_char_len))
    vectors = embed(torch.tensor([[0, 1, 2, 3, 4], [5, 6, 9, 10, 11], [4, 4, 1, 2, 11]]))
    vectors.pow(2).sum().backward()
    return plain({"keys": list(embed.state_dict()), "vectors": vectors, "grads": grads(embed)})


@case
def character_embeddings():
    return characters([(1, 4), (2, 5), (3, 2)], 2, 50)


@case
def character_embeddings_of_few_characters():
    return characters([(1, 4), (2, 5)], 0, 4)


# -- model and task ----------------------------------------------------------------------------------------------------

TINY = dict(
    decoder_layers=2, decoder_embed_dim=16, decoder_input_dim=16, decoder_output_dim=16, decoder_ffn_embed_dim=24,
    decoder_attention_heads=2, dropout=0.0, attention_dropout=0.0, tokens_per_sample=32,
)  # fmt: skip
MODELS = {
    "post_norm": {},
    "tied": dict(share_decoder_input_output_embed=True, decoder_normalize_before=True, activation_fn="gelu"),
    "learned_positions": dict(decoder_learned_pos=True, layernorm_embedding=True, no_scale_embedding=True),
    "other_widths": dict(decoder_input_dim=8, decoder_output_dim=12, decoder_normalize_before=True),
    "adaptive_softmax": dict(adaptive_softmax_cutoff="10,20", adaptive_softmax_factor=2.0),
    "adaptive": dict(
        adaptive_input=True, adaptive_input_cutoff="10,20", adaptive_softmax_cutoff="10,20", tie_adaptive_weights=True,
        tie_adaptive_proj=True, adaptive_softmax_factor=2.0, adaptive_input_factor=2.0, decoder_normalize_before=True,
        no_decoder_final_norm=True,
    ),
    "characters": dict(
        character_embeddings=True, character_filters="[(1, 4), (2, 5)]", character_embedding_dim=4,
        char_embedder_highway_layers=1,
    ),
    "no_positions": dict(no_token_positional_embeddings=True),
    "normformer": dict(
        scale_fc=True, scale_attn=True, scale_heads=True, scale_resids=True, decoder_normalize_before=True,
    ),
}  # fmt: skip


def build(name, words=tuple(f"w{i}" for i in range(30)), **settings):
    """A language model of `MODELS`, and its dictionary."""
    from fairseq.models.transformer_lm import TransformerLanguageModel, TransformerLanguageModelConfig

    config = TransformerLanguageModelConfig(**{**TINY, **MODELS[name], **settings})
    config.add_bos_token, config.tpu, config.max_target_positions = False, False, None
    d = dictionary(words)
    task = SimpleNamespace(source_dictionary=d, target_dictionary=d)
    return filled(TransformerLanguageModel.build_model(config, task)), d


TOKENS = torch.tensor([[2, 5, 9, 30, 21, 14], [2, 33, 12, 4, 1, 1]])


def of_model(name):
    model, _ = build(name)
    model.eval()
    output = model(TOKENS)
    with torch.no_grad():  # which fairseq 0.12 changes in place
        log_probs = model.get_normalized_probs(output, log_probs=True)
    (output[0] * tensor(*output[0].shape)).sum().backward()
    state = {}
    steps = [model.decoder(TOKENS[:1, : n + 1], incremental_state=state)[0].reshape(-1) for n in range(TOKENS.size(1))]
    return plain(
        {
            "keys": {key: list(value.shape) for key, value in model.state_dict().items()},
            "parameters": [name for name, _ in model.named_parameters()],
            "output": output[0],
            "log_probs": log_probs,
            "steps": steps,
            "max_positions": model.max_positions(),
            "supported_targets": list(model.supported_targets),
            "gradient_norms": {name: p.grad.norm() for name, p in model.named_parameters() if p.grad is not None},
        }
    )


for _name in MODELS:
    CASES[f"model_{_name}"] = lambda name=_name: of_model(name)


@case
def sizes():
    """What each architecture fills in, and what it leaves as it is."""
    from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_INV_REGISTRY
    from fairseq.models.transformer_lm import base_lm_architecture

    found = {}
    for arch in ARCH_MODEL_INV_REGISTRY["transformer_lm"]:
        args = Namespace(decoder_attention_heads=3)
        ARCH_CONFIG_REGISTRY[arch](args)
        found[arch] = vars(args) if arch != "transformer_lm" else {}
    old = [
        {}, {"no_tie_adaptive_proj": False}, {"no_tie_adaptive_proj": True}, {"decoder_final_norm": True},
        {"decoder_final_norm": False}, {"decoder_embed_dim": 7, "decoder_input_dim": 9}, {"offload_activations": True},
    ]  # fmt: skip
    for number, given in enumerate(old):
        args = Namespace(**given)
        base_lm_architecture(args)
        found[f"old {number}"] = vars(args)
    return plain(found)


def task(**settings):
    from fairseq.tasks.language_modeling import LanguageModelingConfig, LanguageModelingTask

    followed = dict(
        seed=1, batch_size=4, batch_size_valid=2, dataset_impl=None, data_buffer_size=0, tpu=False,
        use_plasma_view=False, plasma_path="",
    )  # fmt: skip
    config = LanguageModelingConfig(**{**followed, **settings})
    d = dictionary([f"w{i}" for i in range(30)])
    return LanguageModelingTask(config, d)


def sentences():
    draw = np.random.RandomState(0)
    lengths = [3, 1, 2, 7, 9, 1, 1, 1, 5, 12, 2]
    return [torch.tensor([*draw.randint(4, 34, size=n), 2]) for n in lengths]


@case
def inference_dataset():
    found = []
    for bos in (False, True):
        items = sentences()
        dataset = task(add_bos_token=bos).build_dataset_for_inference(items, [len(item) for item in items])
        batch = dataset.collater([dataset[0], dataset[3], dataset[1]])
        found.append([batch["net_input"], batch["target"], batch["id"], [dataset.size(i) for i in range(4)]])
    return plain(found)


@case
def context_windows():
    from fairseq.data import ListDataset, LMContextWindowDataset, MonolingualDataset, TokenBlockDataset

    items, found = sentences(), []
    d = dictionary([f"w{i}" for i in range(30)])
    for mode, size, window, bos in (
        ("eos", 20, 4, False), ("none", 6, 4, False), ("none", 6, 9, False), ("complete", 9, 5, False),
        ("none", 6, 4, True), ("eos", 20, 3, True),
    ):  # fmt: skip
        sizes = [len(item) for item in items]
        blocks = TokenBlockDataset(
            ListDataset(items, sizes), np.array(sizes), size, pad=1, eos=2, break_mode=mode, include_targets=True
        )
        text = MonolingualDataset(blocks, blocks.sizes, d, d, targets=["future"], add_bos_token=bos)
        dataset = LMContextWindowDataset(text, size, window, 1)
        for indices in ([0, 1, 2], [3], [4, 5]):
            batch = dataset.collater([dataset[i] for i in indices])
            found.append([batch["net_input"], batch["target"], batch["start_indices"], batch["ntokens"]])
        found.append([dataset.ordered_indices(), dataset.num_tokens(1), dataset.size(1), len(dataset)])
    return plain(found)


@case
def adaptive_loss():
    """Loss, sample size and what is logged, of a batch, by token and by sentence."""
    from fairseq.criterions.adaptive_loss import AdaptiveLoss

    model, d = build("adaptive")
    model.eval()
    found = []
    for target in (TOKENS.roll(-1, 1), TOKENS.roll(-1, 1) % 10, torch.full_like(TOKENS, 11)):  # 11: 1 in its tail
        sample = {"net_input": {"src_tokens": TOKENS}, "target": target, "ntokens": 9}
        for sentence_avg in (False, True):
            criterion = AdaptiveLoss(SimpleNamespace(target_dictionary=d), sentence_avg)
            loss, sample_size, logged = criterion(model, sample)
            logged["loss"] = logged["loss"].reshape(1)  # ours is a scalar
            found.append([loss.reshape(1), sample_size, logged])
    return plain(found)


def generated(name, bos, **settings):
    """Continuations of three sentences, and the scores that the sentences themselves have."""
    from fairseq.sequence_generator import SequenceGenerator
    from fairseq.sequence_scorer import SequenceScorer

    model, d = build(name)
    model.eval()
    lm_task = task(add_bos_token=bos)
    lm_task.dictionary = lm_task.output_dictionary = d
    items = [torch.tensor(each) for each in ([5, 9, 2], [30, 21, 14, 2], [7, 2])]
    found = []
    for item in items:  # one at a time: prefixes of one batch have one length
        dataset = lm_task.build_dataset_for_inference([item], [len(item)])
        sample = dataset.collater([dataset[0]])
        generator = SequenceGenerator([model], d, max_len_b=6, **settings)
        for hypothesis in lm_task.inference_step(generator, [model], sample)[0]:
            found.append([hypothesis[key] for key in ("tokens", "score", "positional_scores")])
        for batch in (1, 100):
            scorer = SequenceScorer(d, softmax_batch=batch)
            (hypothesis,) = scorer.generate([model], sample)[0]
            found.append([hypothesis[key] for key in ("tokens", "score", "positional_scores")])
    return plain(found)


@case
def continuations():
    return generated("tied", False, beam_size=3)


@case
def continuations_under_an_adaptive_softmax():
    return generated("adaptive", False, beam_size=2, len_penalty=0.6)


@case
def continuations_after_bos():
    return generated("learned_positions", True, beam_size=1)
