"""What generation does beyond the cases of fairseq 0.12: kept states, shared sources, precision, errors."""

import math

import pytest
import torch
from torch import nn

from fairseq.data import Dictionary
from fairseq.errors import ConfigError, GenerationError
from fairseq.generation.ensemble import EnsembleModel
from fairseq.models import FairseqEncoder, FairseqEncoderDecoderModel, FairseqIncrementalDecoder
from fairseq.models.transformer import TransformerDecoder
from fairseq.modules import MultiheadAttention
from fairseq.ngram_repeat_block import NGramRepeatBlock
from fairseq.quantization import PRESETS, quantize_model
from fairseq.search import DiverseBeamSearch, LexicallyConstrainedBeamSearch, PrefixConstrainedBeamSearch
from fairseq.sequence_generator import SequenceGenerator, SequenceGeneratorWithAlignment
from fairseq.token_generation_constraints import pack_constraints
from tests.conformance import generation_models

WORDS = generation_models.dictionary()
SOURCES = torch.tensor([[5, 9, 30, 12, 7, 2], [1, 1, 20, 6, 33, 2], [14, 14, 27, 31, 10, 2]])
SAMPLE = {"net_input": {"src_tokens": SOURCES, "src_lengths": torch.tensor([6, 4, 6])}}


def generate(model, sample=SAMPLE, call=None, **options):
    options = {"beam_size": 4, "max_len_b": 12, **options}
    return SequenceGenerator([model], WORDS, **options).generate([model], sample, **(call or {}))


def assert_same(found, expected, atol=1e-5):
    for sentence, other in zip(found, expected, strict=True):
        for a, b in zip(sentence, other, strict=True):
            assert a["tokens"].tolist() == b["tokens"].tolist()
            torch.testing.assert_close(a["positional_scores"], b["positional_scores"], atol=atol, rtol=1e-4)
            torch.testing.assert_close(a["attention"], b["attention"], atol=atol, rtol=1e-4)


# --- kept states ----------------------------------------------------------------------------------------------------


class Recorder(nn.Module):
    def __init__(self, calls, result=None):
        super().__init__()
        self.calls, self.result = calls, result

    def reorder_incremental_state(self, state, order):
        self.calls.append(("part", order.tolist(), sorted(state)))
        return self.result


class Encoder(FairseqEncoder):
    def forward(self, src_tokens, src_lengths=None):
        return {"rows": src_tokens}

    def reorder_encoder_out(self, encoder_out, new_order):
        return {"rows": encoder_out["rows"][new_order]}


class Decoder(FairseqIncrementalDecoder):
    """Scores depend on how often a row was kept and on its source, both of which the decoder looks after itself."""

    def __init__(self, dictionary, calls, result=None):
        super().__init__(dictionary)
        self.calls = calls
        self.part, self.other = Recorder(calls, result), Recorder(calls)
        torch.manual_seed(0)
        self.scores = nn.Embedding(len(dictionary), len(dictionary))

    def forward(self, prev_output_tokens, encoder_out=None, incremental_state=None, **kwargs):
        assert encoder_out["rows"].size(0) == prev_output_tokens.size(0)
        newest = self.scores(prev_output_tokens[:, -1:])
        if incremental_state is not None:
            seen = self.get_incremental_state(incremental_state, "seen") or {"sum": torch.zeros_like(newest)}
            newest = seen["sum"] = seen["sum"] + newest
            self.set_incremental_state(incremental_state, "seen", seen)
        else:
            newest = self.scores(prev_output_tokens).sum(1, keepdim=True)
        return newest, {"attn": [None]}

    def reorder_incremental_state(self, incremental_state, new_order):
        self.calls.append(("decoder", new_order.tolist(), len(incremental_state)))
        seen = self.get_incremental_state(incremental_state, "seen")
        self.set_incremental_state(incremental_state, "seen", {"sum": seen["sum"][new_order]})


def plugin(calls, result=None):
    dictionary = Dictionary()
    for number in range(8):
        dictionary.add_symbol(f"w{number}")
    return FairseqEncoderDecoderModel(Encoder(dictionary), Decoder(dictionary, calls, result)), dictionary


def test_a_decoder_and_its_parts_are_reordered():
    """The calls that fairseq 0.12 makes; a state that a part returns is what later parts get."""
    calls = []
    model, _ = plugin(calls, result={"new": {}})
    model.decoder(torch.tensor([[2], [2]]), {"rows": torch.zeros(2, 1)}, state := {})
    model.decoder.reorder_incremental_state_scripting(state, torch.tensor([1, 0]))
    key = next(iter(state))
    assert calls == [("decoder", [1, 0], 1), ("part", [1, 0], [key]), ("part", [1, 0], ["new"])]


def test_kept_states_follow_the_beam():
    model, dictionary = plugin([])
    sample = {"net_input": {"src_tokens": torch.tensor([[5, 6, 2], [7, 8, 2]]), "src_lengths": torch.tensor([3, 3])}}
    generator = SequenceGenerator([model], dictionary, beam_size=4, max_len_b=6)
    kept = generator.generate([model], sample)
    generator.model.has_incremental = False
    whole = generator.generate([model], sample)
    assert_same(kept, whole)
    assert len({tuple(hypothesis["tokens"].tolist()) for hypothesis in kept[0]}) == 4


@pytest.mark.parametrize("kind", generation_models.KINDS)
def test_incremental_decoding_equals_the_whole(kind):
    model = generation_models.load(kind)
    kept = generate(model)
    generator = SequenceGenerator([model], WORDS, beam_size=4, max_len_b=12)
    generator.model.has_incremental = False
    assert_same(kept, generator.generate([model], SAMPLE))


def test_a_source_is_not_copied_for_each_hypothesis(monkeypatch):
    model = generation_models.load("forward")
    rows, plain = [], MultiheadAttention._attend

    def counted(self, operands):
        rows.append(operands.k.size(0))
        return plain(self, operands)

    monkeypatch.setattr(MultiheadAttention, "_attend", counted)
    shared = generate(model)
    decoder = rows[model.encoder.num_layers :]
    assert decoder[:4] == [3 * 4 * 2, 3 * 2] * 2  # heads of 12 hypotheses for their own words, of 3 sources
    monkeypatch.setattr(TransformerDecoder, "shares_source", lambda self: False)
    assert_same(shared, generate(model))


def test_a_subclass_gets_a_row_for_each_hypothesis():
    class Plugin(TransformerDecoder):
        def extract_features(self, prev_output_tokens, encoder_out=None, **kwargs):
            assert encoder_out["encoder_out"][0].size(1) == prev_output_tokens.size(0)
            return super().extract_features(prev_output_tokens, encoder_out=encoder_out, **kwargs)

    model = generation_models.load("forward")
    expected = generate(model)
    model.decoder.__class__ = Plugin
    assert_same(generate(model), expected)


def test_states_put_aside_stay_as_they_are():
    """Two continuations of one state do not write into each other's keys."""
    model = generation_models.load("language")
    tokens = torch.tensor([[2, 5, 6, 7], [2, 8, 9, 10]])
    other = torch.tensor([[2, 5, 11, 12], [2, 8, 13, 14]])
    with torch.no_grad():
        state = {}
        for length in (1, 2):
            model.decoder(tokens[:, :length], incremental_state=state)
        branch = {key: dict(value) for key, value in state.items()}
        for length in (3, 4):
            a = model.decoder(tokens[:, :length], incremental_state=state)[0]
            b = model.decoder(other[:, :length], incremental_state=branch)[0]
        torch.testing.assert_close(a[:, 0], model(tokens)[0][:, -1], atol=2e-6, rtol=1e-5)
        torch.testing.assert_close(b[:, 0], model(other)[0][:, -1], atol=2e-6, rtol=1e-5)


# --- precision ------------------------------------------------------------------------------------------------------


def quantized(preset, **options):
    model = quantize_model(generation_models.load("forward"), preset, **options)
    batch = {**SAMPLE["net_input"], "prev_output_tokens": SOURCES.roll(1, dims=1)}
    model.quantization.calibrate(model, [batch])
    return model


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "none"])
def test_every_preset_generates(preset):
    for sentence in generate(quantized(preset)):
        assert len(sentence) == 4
        assert all(hypothesis["positional_scores"].isfinite().all() for hypothesis in sentence)


def test_generation_runs_at_eval_bits():
    eight = generate(quantized("int8", num_bits=8))
    four = generate(quantized("int8", num_bits=4))
    trained_at_four = generate(quantized("int8", num_bits=4, eval_bits=8))
    assert_same(trained_at_four, eight, atol=0)
    assert four[0][0]["score"] != eight[0][0]["score"]


def test_eight_bits_are_close_to_full_precision():
    best = [sentence[0] for sentence in generate(generation_models.load("forward"))]
    for hypothesis, other in zip(generate(quantized("int8")), best, strict=True):
        assert hypothesis[0]["tokens"].tolist() == other["tokens"].tolist()
        torch.testing.assert_close(hypothesis[0]["score"], other["score"], atol=0.1, rtol=0)


# --- sentences of a batch -------------------------------------------------------------------------------------------


def test_groups_differ_from_those_of_their_own_sentence():
    """The numbers that the data set gives to sentences, and the others in the batch, change no hypothesis."""
    model = generation_models.load("forward")

    def found(rows, numbers):
        net_input = {name: tensor[rows] for name, tensor in SAMPLE["net_input"].items()}
        search = DiverseBeamSearch(WORDS, num_groups=2, diversity_strength=1.0)
        return generate(model, {"id": torch.tensor(numbers), "net_input": net_input}, search_strategy=search)

    together = found([0, 1, 2], [2, 0, 1])
    assert_same(together, [found([row], [7 - row])[0] for row in range(3)])


# --- errors and limits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, message",
    [
        ({"beam_size": 0}, "at least one hypothesis"),
        ({"temperature": 0.0}, "--temperature must be greater than 0"),
        ({"min_len": 20}, "min_len cannot be larger than max_len"),
        ({"tokens_to_suppress": ["nothing"]}, "'nothing' is to be suppressed but is not in the dictionary"),
    ],
)
def test_settings_that_cannot_be_used(options, message):
    with pytest.raises(ConfigError, match=message):
        generate(generation_models.load("forward"), **options)


def test_a_beam_wider_than_the_vocabulary():
    """All words but padding, as in fairseq 0.12: as many hypotheses, each once."""
    model = generation_models.load("forward")
    found = generate(model, beam_size=10 * len(WORDS), max_len_b=2)
    assert_same(found, generate(model, beam_size=len(WORDS) - 1, max_len_b=2))
    for sentence in found:
        assert 1 < len(sentence) <= len(WORDS) - 1
        assert len({tuple(hypothesis["tokens"].tolist()) for hypothesis in sentence}) == len(sentence)


def test_scores_that_are_not_numbers_are_an_error():
    model = generation_models.load("forward")
    model.decoder.output_projection.register_forward_hook(lambda module, args, out: out.fill_(math.nan))
    with pytest.raises(GenerationError, match="scores for word 1 are NaN"):
        generate(model)


def test_one_hypothesis_without_numbers_is_dropped():
    """As in fairseq 0.12: what follows NaN has no probability."""
    model = generation_models.load("forward")

    def damage(module, args, out):
        if out.size(0) == 12 and out.dim() == 3:
            out[1] = math.nan

    model.decoder.output_projection.register_forward_hook(damage)
    found = generate(model)
    assert all(hypothesis["positional_scores"].isfinite().all() for each in found for hypothesis in each)


def test_constraints():
    model = generation_models.load("forward")
    packed = pack_constraints([[torch.tensor([9, 31, 7, 8])]] * 3)
    with pytest.raises(NotImplementedError, match="Target-side constraints were provided"):
        generate(model, call={"constraints": packed})
    search = LexicallyConstrainedBeamSearch(WORDS, "ordered")
    with pytest.raises(GenerationError, match="can end within 3 words"):
        generate(model, call={"constraints": packed}, search_strategy=search, max_len_b=3)
    with pytest.raises(ConfigError, match="ordered or unordered"):
        LexicallyConstrainedBeamSearch(WORDS, "sorted")


def test_nothing_allowed_gives_no_hypothesis():
    search = PrefixConstrainedBeamSearch(WORDS, lambda sentence, words: [])
    assert generate(generation_models.load("forward"), search_strategy=search) == [[], [], []]


def test_no_sentences():
    empty = {"net_input": {"src_tokens": SOURCES[:0], "src_lengths": torch.zeros(0, dtype=torch.long)}}
    assert generate(generation_models.load("forward"), empty) == []


def test_alignments_need_attention():
    model = generation_models.load("language")
    generator = SequenceGeneratorWithAlignment([model], WORDS, beam_size=2, max_len_b=5)
    with pytest.raises(ConfigError, match="attends to the source"):
        generator.generate([model], SAMPLE)
    with pytest.raises(ConfigError, match="hard or soft"):
        SequenceGeneratorWithAlignment([model], WORDS, print_alignment="firm")


@pytest.mark.parametrize("size", [1, 2, 3])
def test_no_ngram_twice(size):
    found = generate(generation_models.load("forward"), no_repeat_ngram_size=size, min_len=8)
    for words in (hypothesis["tokens"].tolist() for sentence in found for hypothesis in sentence):
        ngrams = [tuple(words[start : start + size]) for start in range(len(words) - size + 1)]
        assert len(words) >= 9 and len(set(ngrams)) == len(ngrams)


def test_padding_behind_the_words_does_not_count():
    tokens = torch.tensor([[2, 5, 6, 5, 1, 1], [2, 7, 7, 7, 1, 1]])
    lprobs = NGramRepeatBlock(2)(tokens, torch.zeros(2, 10), bsz=1, beam_size=2, step=3)
    assert lprobs.isinf().nonzero().tolist() == [[0, 6], [1, 7]]


def test_batches_one_by_one():
    model = generation_models.load("forward")
    batch = {"id": torch.tensor([7, 8, 9]), "target": SOURCES, **SAMPLE}
    generator = SequenceGenerator([model], WORDS, beam_size=2, max_len_b=6)
    found = list(generator.generate_batched_itr([batch, {}]))
    assert [number for number, *_ in found] == [7, 8, 9]
    assert found[1][1].tolist() == found[1][2].tolist() == [20, 6, 33, 2] and len(found[1][3]) == 2


def test_an_ensemble_of_ones_own_reorders_sources():
    class Own(EnsembleModel):
        rows = []

        def reorder_encoder_out(self, encoder_outs, new_order):
            self.rows.append(new_order.numel())
            return super().reorder_encoder_out(encoder_outs, new_order)

    model = generation_models.load("forward")
    generator = SequenceGenerator(Own([model]), WORDS, beam_size=4, max_len_b=12)
    assert_same(generator.generate([], SAMPLE), generate(model))
    assert Own.rows[0] == 12 and len(Own.rows) > 3


def test_an_ensemble_is_as_long_as_its_shortest():
    models = [generation_models.load("forward"), generation_models.load("language")]
    models[1].decoder.max_target_positions = 9
    assert EnsembleModel(models).max_decoder_positions() == 9
