"""Cases: iterators that end too soon, small functions of `fairseq.utils`, flags of architectures of users' own."""

import math
from argparse import Namespace

import torch
from name_case_tools import case, items, plain, raised, seeded, task_of, tiny_transformer
from torch import nn


@case
def iterator_that_is_too_short():
    from fairseq.data.iterators import CountingIterator

    def take():
        return list(CountingIterator(iter([1, 2]), start=0, total=4))

    def skip():
        return CountingIterator(iter([1, 2]), start=0, total=4).skip(3)

    enough = CountingIterator(iter([1, 2, 3]), start=0, total=2)
    return [raised(take), raised(skip), list(enough), enough.n, enough.has_next()]


@case
def iterator_that_starts_late():
    from fairseq.data.iterators import CountingIterator

    iterator = CountingIterator([1, 2, 3, 4], start=2)
    return [iterator.n, len(iterator), next(iterator), iterator.n, iterator.has_next(), list(iterator), iterator.n]


@case
def iterator_cut_short():
    from fairseq.data.iterators import CountingIterator

    iterator = CountingIterator(range(10))
    iterator.skip(2)
    iterator.take(5)
    return [list(iterator), len(iterator), iterator.n]


@case
def perplexities():
    from fairseq import utils

    return plain([utils.get_perplexity(loss) for loss in (0.0, 1.0, 3.3219, 10.5)] + [utils.get_perplexity(None)])


@case
def perplexities_of_other_bases():
    from fairseq import utils

    return plain([utils.get_perplexity(2.0, round=4, base=math.e), utils.get_perplexity(torch.tensor(1.5))])


@case
def padding_turned_around():
    from fairseq import utils

    left = torch.tensor([[1, 1, 5, 6], [7, 8, 9, 4]])
    right = utils.convert_padding_direction(left, 1, left_to_right=True)
    return plain([right, utils.convert_padding_direction(right, 1, right_to_left=True)])


@case
def tightest_positions():
    from fairseq import utils

    return plain(
        [
            utils.resolve_max_positions((512, 300), (400, 512), None),
            utils.resolve_max_positions(512, (300, 600)),
            utils.resolve_max_positions(512, 300, None),
        ]
    )


@case
def gradients_clipped():
    from fairseq import utils

    out = []
    for limit in (0.0, 0.5, 100.0):
        weights = [nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2, 2))]
        for number, weight in enumerate(weights):
            weight.grad = torch.full_like(weight, 1.5 + number)
        out.append([utils.clip_grad_norm_(weights, limit), [weight.grad for weight in weights]])
    return plain(out)


@case
def tensors_of_one_number():
    from fairseq import utils

    return plain([utils.item(torch.tensor(3.5)), utils.item(4), utils.strip_pad(torch.tensor([1, 5, 1, 6]), 1)])


@case
def infinities_and_positions():
    from fairseq import utils

    tokens = torch.tensor([[5, 6, 7, 1], [5, 1, 1, 1]])
    filled = utils.fill_with_neg_inf(torch.zeros(2, 2).half())
    return plain([utils.make_positions(tokens, 1), bool(torch.isinf(filled).all()), str(filled.dtype)])


@case
def softmaxes_in_fp32():
    from fairseq import utils

    scores = torch.tensor([[1.0, 2.0, -1.0]])
    half = utils.softmax(scores.half(), dim=-1)
    return plain([utils.softmax(scores, dim=-1), utils.log_softmax(scores, dim=-1), str(half.dtype)])


@case
def norms_of_many_tensors():
    from fairseq import utils

    tensors = [torch.arange(4.0), torch.ones(3, 2), torch.tensor([2.0])]
    return plain([utils.multi_tensor_total_norm(tensors), utils.new_arange(torch.zeros(2, 3))])


@case
def texts_as_values():
    from fairseq import utils

    return plain(
        [
            [utils.eval_bool(text) for text in (None, "True")],
            utils.eval_str_list("1,2", type=int),
            utils.eval_str_list([0.5]),
            utils.eval_str_list(3),
            utils.csv_str_list("a,b"),
            utils.split_paths("a:b"),
        ]
    )


@case
def samples_changed_inside():
    from fairseq import utils

    sample = {"a": torch.ones(2), "b": [torch.zeros(1), (torch.ones(1), "x")], "n": 3}
    return plain(utils.apply_to_sample(lambda tensor: tensor + 1, sample))


@case
def evaluation_for_a_while():
    from fairseq import utils

    layer = nn.Dropout(0.5)
    with utils.model_eval(layer):
        inside = layer.training
    return [inside, layer.training, utils.has_parameters(layer), utils.has_parameters(nn.Linear(1, 1))]


@case
def settings_overwritten_by_name():
    from omegaconf import OmegaConf

    from fairseq.dataclass.utils import overwrite_args_by_name

    cfg = OmegaConf.create({"model": {"dropout": 0.1, "layers": 3}, "task": {"data": "x", "layers": 1}, "seed": 1})
    overwrite_args_by_name(cfg, {"dropout": 0.5, "seed": 7, "task": {"data": "y"}})
    return plain(cfg)


@case
def flags_of_an_architecture_of_ones_own():
    from fairseq import options
    from fairseq.models import register_model, register_model_architecture
    from fairseq.models.transformer import TransformerModel, base_architecture

    seen = []

    @register_model("case_transformer")
    class Mine(TransformerModel):
        @classmethod
        def build_model(cls, args, task):
            seen.append(args)
            return super().build_model(args, task)

    @register_model_architecture("case_transformer", "case_transformer_small")
    def small(args):
        args.encoder_layers = getattr(args, "encoder_layers", 1)
        args.decoder_layers = getattr(args, "decoder_layers", 1)
        args.encoder_embed_dim = getattr(args, "encoder_embed_dim", 8)
        args.encoder_attention_heads = getattr(args, "encoder_attention_heads", 2)
        args.decoder_attention_heads = getattr(args, "decoder_attention_heads", 2)
        base_architecture(args)

    words = ["x", "--task", "masked_lm", "--arch", "case_transformer_small", "--max-tokens", "99", "--lr", "0.1"]
    args = options.parse_args_and_arch(options.get_training_parser(), [*words, "--encoder-ffn-embed-dim", "16"])
    model = Mine.build_model(args, task_of())
    names = ("max_tokens", "lr", "seed", "arch", "encoder_ffn_embed_dim", "encoder_layers", "dropout", "update_freq")
    return plain([seen[0] is args, {name: getattr(model.args, name) for name in names}])


@case
def flags_that_a_model_fills_in():
    from fairseq.models.transformer import TransformerModel

    model = TransformerModel.build_model(tiny_transformer(), task_of())
    names = (
        *("activation_fn", "adaptive_input", "attention_dropout", "checkpoint_activations", "decoder_input_dim"),
        *(
            "decoder_output_dim",
            "encoder_learned_pos",
            "layernorm_embedding",
            "no_scale_embedding",
        ),
        *("quant_noise_pq", "quant_noise_pq_block_size", "share_all_embeddings", "tie_adaptive_weights"),
    )
    values = {name: getattr(model.args, name) for name in names}
    return {name: float(value) if type(value) in (int, float) else value for name, value in values.items()}


@case
def models_copied_and_pickled():
    import copy
    import pickle

    from fairseq.models.transformer import TransformerModel

    model = seeded(TransformerModel.build_model(tiny_transformer(), task_of()), 0.3).eval()
    inputs = (torch.tensor([[4, 5, 2]]), torch.tensor([3]), torch.tensor([[2, 6]]))
    outputs = [each(*inputs)[0] for each in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model)))]
    return plain(outputs)


@case
def tokens_collated():
    from fairseq.data import data_utils

    sequences = items(4, 3)
    return plain(
        [
            data_utils.collate_tokens(sequences, 1, left_pad=True),
            data_utils.collate_tokens(sequences, 1, 2, move_eos_to_beginning=True),
            data_utils.collate_tokens(sequences, 1, pad_to_length=12, pad_to_multiple=8),
            data_utils.lengths_to_mask(torch.tensor([1, 3])),
            data_utils.lengths_to_padding_mask(torch.tensor([1, 3])),
        ]
    )


@case
def attributes_read_safely():
    from omegaconf import OmegaConf

    from fairseq import utils

    out = []
    for each in (Namespace(a=1, b=None), OmegaConf.create({"a": 1, "b": None})):
        out.append([utils.safe_getattr(each, name, 5) for name in "abc"])
        out.append([utils.safe_hasattr(each, name) for name in "abc"])
    return out
