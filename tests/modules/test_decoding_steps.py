"""Decoding steps by one kernel on caches: the same as the ordinary way, which takes over wherever something else is
asked for."""

import copy
import itertools

import pytest
import torch

from fairseq.incremental_decoding_utils import OwnStates
from fairseq.modules import MultiheadAttention, TransformerDecoderLayer, transformer_layer_base
from fairseq.modules.attention import caches, steps
from fairseq.quantization import quantize_model
from fairseq.quantization.kernels import step_attention
from fairseq.sequence_generator import SequenceGenerator
from tests.conformance import generation_models

WORDS = generation_models.dictionary()
SOURCES = torch.tensor([[5, 9, 30, 12, 7, 2], [1, 1, 20, 6, 33, 2], [14, 14, 27, 31, 10, 2]])
SAMPLE = {"net_input": {"src_tokens": SOURCES, "src_lengths": torch.tensor([6, 4, 6])}}
C, H, N = 12, 2, 6

pytestmark = pytest.mark.skipif(not step_attention.is_available(), reason="no C++ compiler")


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """Narrow models take the kernel, too."""
    monkeypatch.setattr(steps, "MIN_CHANNELS", 1)


def counted(monkeypatch, module, name):
    calls, plain = [], getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args, **kwargs: calls.append(1) or plain(*args, **kwargs))
    return calls


def generate(models, **options):
    return SequenceGenerator(models, WORDS, **{"beam_size": 4, "max_len_b": 12, **options}).generate(models, SAMPLE)


def assert_same(found, expected):
    for sentence, other in zip(found, expected, strict=True):
        for a, b in zip(sentence, other, strict=True):
            assert a["tokens"].tolist() == b["tokens"].tolist()
            torch.testing.assert_close(a["positional_scores"], b["positional_scores"], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(a["attention"], b["attention"], atol=1e-5, rtol=1e-4)


# --- generation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", [["forward"], ["backward"], ["language"], ["forward", "backward"]])
def test_hypotheses_are_those_of_the_ordinary_way(kinds, monkeypatch):
    models = [generation_models.load(kind) for kind in kinds]
    calls = counted(monkeypatch, step_attention, "attend")
    found = generate(models)
    layers = sum(len(model.decoder.layers) for model in models)
    assert len(calls) >= layers and len(calls) % layers == 0
    ordinary = len(calls)
    monkeypatch.setattr(steps, "MIN_CHANNELS", 10**6)
    assert_same(found, generate(models))
    assert len(calls) == ordinary


def test_parts_that_are_modified_are_called(monkeypatch):
    """A hook on a product, and a class of one's own, see every step."""
    model = generation_models.load("forward")
    expected = generate([model])
    calls = counted(monkeypatch, step_attention, "attend")
    seen = []
    handles = [
        module.qk_matmul.register_forward_hook(lambda *_: seen.append(1))
        for layer in model.decoder.layers
        for module in (layer.self_attn, layer.encoder_attn)
    ]
    assert_same(generate([model]), expected)
    assert seen and not calls
    for handle in handles:
        handle.remove()

    class Own(MultiheadAttention):
        pass

    for layer in model.decoder.layers:
        layer.self_attn.__class__ = Own
    assert_same(generate([model]), expected)
    assert len(calls) > 0  # attention to the source


def test_a_decoder_that_reorders_itself_gets_ordinary_states():
    model = generation_models.load("forward")
    expected = generate([model])
    kept = []

    class Own(type(model.decoder)):
        def reorder_incremental_state_scripting(self, incremental_state, new_order):
            kept.append({name: sorted(entry) for name, entry in incremental_state.items()})
            return super().reorder_incremental_state_scripting(incremental_state, new_order)

    model.decoder.__class__ = Own
    assert_same(generate([model]), expected)
    assert kept and all("prev_key" in entry for entry in kept[0].values())


@pytest.mark.parametrize("kind", ["forward", "backward", "language"])
def test_residual_and_norm_in_one_pass(kind, monkeypatch):
    """Norms behind a block and its residual connection, where no gradient is wanted; not where a layer scales them."""
    model = generation_models.load(kind)
    expected = generate([model])
    monkeypatch.setattr("fairseq.native.norm.MIN_KERNEL_ELEMENTS", 1)
    calls = counted(monkeypatch, transformer_layer_base, "add_and_normalize")
    assert_same(generate([model]), expected)
    assert bool(calls) is (kind != "backward")  # whose norms stand in front
    calls.clear()

    class Own(TransformerDecoderLayer):
        def residual_connection(self, x, residual):
            return 0.5 * residual + x

    for layer in model.decoder.layers:
        layer.__class__ = Own
    encoder_layers = len(model.encoder.layers) if hasattr(model, "encoder") else 0
    assert generate([model])[0][0]["score"] != expected[0][0]["score"]
    assert len(calls) == (2 * encoder_layers if kind == "forward" else 0)


# --- one module -----------------------------------------------------------------------------------------------------


def attention(**options):
    torch.manual_seed(3)
    return MultiheadAttention(C, H, **{"self_attention": True, **options}).eval()


def run(module, xs, state, orders=None):
    """Results of steps (1, N, C); `orders` before each but the first."""
    found = []
    with torch.no_grad():
        for number, x in enumerate(xs):
            if number and orders is not None:
                module.reorder_incremental_state(state, orders[number - 1])
            found.append(module(x, x, x, incremental_state=state, need_weights=True))
    return found


def case(count=5):
    torch.manual_seed(4)
    rows = [N, N, 4, 4, 2][:count]
    orders = [torch.randint(0, before, (after,)) for before, after in itertools.pairwise(rows)]
    return [torch.randn(1, size, C) for size in rows], orders


def entry(state):
    return next(iter(state.values()))


def test_orders_and_fewer_rows():
    module, (xs, orders) = attention(), case()
    state = OwnStates()
    found, expected = run(module, xs, state, orders), run(module, xs, {}, orders)
    assert isinstance(entry(state), caches.StepCache)
    for (y, p), (z, q) in zip(found, expected, strict=True):
        torch.testing.assert_close(y, z, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(p, q, atol=1e-6, rtol=1e-5)


def test_who_asks_for_the_state_gets_the_ordinary_one():
    module, (xs, orders) = attention(), case()
    state, plain = OwnStates(), {}
    run(module, xs[:3], state, orders)
    run(module, xs[:3], plain, orders)
    kept = module.get_incremental_state(state, "attn_state")
    for name, tensor in module.get_incremental_state(plain, "attn_state").items():
        if tensor is not None:
            torch.testing.assert_close(kept[name], tensor)
    with torch.no_grad():  # and goes on from it
        y, z = (module(xs[3], xs[3], xs[3], incremental_state=each)[0] for each in (state, plain))
    torch.testing.assert_close(y, z)


def test_states_put_aside_stay_as_they_are():
    module, (xs, orders) = attention(), case(2)
    state = OwnStates()
    run(module, xs, state, orders)
    aside, deep = OwnStates(state), copy.deepcopy(state)
    again = OwnStates(state)
    other = torch.randn(1, N, C)
    with torch.no_grad():
        module(other, other, other, incremental_state=state)
        module.reorder_incremental_state(state, torch.zeros(N, dtype=torch.long))
        results = [module(xs[0], xs[0], xs[0], incremental_state=each)[0] for each in (aside, deep, again)]
    assert all(torch.equal(result, results[0]) for result in results)


def test_a_mask_among_earlier_words_goes_the_ordinary_way():
    module, (xs, _) = attention(), case(2)
    state, plain = OwnStates(), {}
    run(module, xs[:1], state), run(module, xs[:1], plain)
    mask = torch.tensor([[True]] + [[False]] * (N - 1))
    with torch.no_grad():
        y, z = (
            module(xs[1], xs[1], xs[1], key_padding_mask=mask, incremental_state=each)[0] for each in (state, plain)
        )
    torch.testing.assert_close(y, z)
    assert isinstance(entry(state), dict)


def quantized(**options):
    module = attention()
    parent = torch.nn.ModuleDict({"self_attn": module})
    parent.forward = lambda x: module(x, x, x)[0]
    model = quantize_model(parent, "int8", compute="integer", **options)
    model.quantization.calibrate(model, [torch.randn(9, N, C)])
    return model["self_attn"]


def test_codes_of_keys_are_those_of_the_products(monkeypatch):
    module, (xs, orders) = quantized(), case()
    calls = counted(monkeypatch, step_attention, "attend")
    state = OwnStates()
    found, expected = run(module, xs, state, orders), run(module, xs, {}, orders)
    assert len(calls) == 5 and entry(state).keys[0].dtype == torch.uint8
    for (y, p), (z, q) in zip(found, expected, strict=True):
        torch.testing.assert_close(p, q, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(y, z, atol=0.02, rtol=0)  # a tie may be rounded the other way


def test_not_a_number_goes_the_ordinary_way():
    module, (xs, orders) = quantized(), case(3)
    xs[1][0, 2] = torch.nan
    found, expected = run(module, xs, OwnStates(), orders), run(module, xs, {}, orders)
    for (y, _), (z, _) in zip(found, expected, strict=True):
        torch.testing.assert_close(y, z, atol=0.02, rtol=0, equal_nan=True)


# --- the kernel -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("depth", [3, 16, 40, 72])
def test_codes_of_heads_are_within_half_a_step(depth, bits):
    torch.manual_seed(5)
    x = torch.randn(4, 3, depth) * torch.tensor([1e-3, 1.0, 1e3]).view(1, 3, 1)
    x[0, 0] = 7.0
    back = step_attention.decode_heads(step_attention.encode_heads(x, bits), bits, depth)
    step = (x.amax(-1, keepdim=True) - x.amin(-1, keepdim=True)) / (2**bits - 1)
    assert ((back - x).abs() <= step * 0.5001 + x.abs() * 1e-6).all()
    assert back[0, 0].equal(x[0, 0])


@pytest.mark.parametrize("bits", [None, 8, 4])
@pytest.mark.parametrize("depth", [3, 16, 40, 136])
def test_the_kernel_is_attention(depth, bits):
    torch.manual_seed(6)
    steps_, rows, queries = 5, 4, 7
    k, v = torch.randn(steps_, rows, H, depth), torch.randn(steps_, rows, H, depth)
    q, places = torch.randn(queries, H * depth), torch.randint(0, rows, (queries, steps_), dtype=torch.int32)
    hidden = torch.zeros(rows, steps_, dtype=torch.bool)
    hidden[1, 2:], hidden[2] = True, True  # of the last, all are
    slabs = [list(x) for x in (k, v)]
    if bits is not None:
        slabs = [[step_attention.encode_heads(x, bits) for x in each] for each in slabs]
        k, v = (torch.stack([step_attention.decode_heads(x, bits, depth) for x in each]) for each in slabs)
    kept = step_attention.StepKeys(*slabs, places, hidden, bits)
    y, probs = step_attention.attend(q, kept, H, 0.3, need_probs=True)
    read_k, read_v = (x[torch.arange(steps_), places.long()] for x in (k, v))
    scores = torch.einsum("nhd,nthd->hnt", q.view(queries, H, depth) * 0.3, read_k)
    expected = (scores - 1.7e38 * hidden[places[:, 0].long()]).softmax(-1)
    torch.testing.assert_close(probs, expected, atol=1e-5, rtol=1e-4)
    context = torch.einsum("hnt,nthd->nhd", expected, read_v).flatten(1)
    torch.testing.assert_close(y, context, atol=1e-4, rtol=1e-4)
