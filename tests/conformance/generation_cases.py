"""What generation gives, as JSON: under fairseq 0.12 the fixtures, under this package what to compare with them.

`CASES` maps a name to a function without arguments. The models are those of `generation_models.py`.
"""

import functools

import generation_models
import torch

WORDS = generation_models.dictionary()
EOS, PAD = 2, 1
SOURCES = [[5, 9, 30, 12, 7], [20, 6, 33], [14, 14, 8, 27, 31, 10, 11], [3, 22], [35, 4, 17, 3]]
PREFIX = torch.tensor([[8, 13], [34, PAD], [PAD, PAD], [23, 4], [5, 2]])
CONSTRAINTS = [
    [[9, 31], [15]],
    [],
    [[12]],
    [[5, 5, 5], [5, 6], [20]],
    [[18, 5], [18, 7]],
]
CASES = {}


def sample(sources=SOURCES, left_pad=True):
    from fairseq.data import data_utils

    rows = [torch.tensor([*source, EOS]) for source in sources]
    return {
        "id": torch.arange(len(rows)),
        "net_input": {
            "src_tokens": data_utils.collate_tokens(rows, PAD, left_pad=left_pad),
            "src_lengths": torch.tensor([len(row) for row in rows]),
        },
    }


@functools.cache
def model(kind):
    return generation_models.load(kind)


def plain(hypotheses):
    """Hypotheses of a sentence with rounded numbers; of all but the best, only words and score. Attention as (source
    length, target length) and its sums over the target."""

    def numbers(tensor):
        return [round(x, 5) for x in tensor.flatten().tolist()]

    result = []
    for number, hypothesis in enumerate(hypotheses):
        one = {"tokens": hypothesis["tokens"].tolist(), "score": round(float(hypothesis["score"]), 5)}
        result.append(one)
        if number > 0:
            continue
        one["positional_scores"] = numbers(hypothesis["positional_scores"])
        attention = hypothesis["attention"]
        if attention is not None and attention.numel():
            one["attention"] = [list(attention.shape), numbers(attention.sum(1))]
        alignment = hypothesis["alignment"]
        if alignment is not None and len(alignment):
            one["alignment"] = [[round(float(x), 5) for x in entry] for entry in alignment]
    return result


def generator(kinds=("forward",), search=None, **options):
    from fairseq.sequence_generator import SequenceGenerator

    options.setdefault("beam_size", 4)
    options.setdefault("max_len_a", 2)
    options.setdefault("max_len_b", 5)
    models = [model(kind) for kind in kinds]
    return SequenceGenerator(models, WORDS, search_strategy=search, **options), models


class WordsSoFar(torch.nn.Module):
    """A blocker of repeated n-grams that sees no padding: fairseq 0.12's takes padding for the last words, on a CPU."""

    def __init__(self, blocker):
        super().__init__()
        self.blocker = blocker

    def forward(self, tokens, lprobs, bsz, beam_size, step):
        return self.blocker(tokens[:, : step + 1].contiguous(), lprobs, bsz, beam_size, step)


def generate(kinds=("forward",), search=None, inputs=None, call=None, seed=None, **options):
    made, models = generator(kinds, search, **options)
    if made.repeat_ngram_blocker is not None:
        made.repeat_ngram_blocker = WordsSoFar(made.repeat_ngram_blocker)
    if seed is not None:
        torch.manual_seed(seed)
    return [plain(found) for found in made.generate(models, sample() if inputs is None else inputs, **(call or {}))]


def case(name, **arguments):
    CASES[name] = functools.partial(generate, **arguments)


def searching(name, make, **arguments):
    """A case whose search strategy is made when it runs."""

    def run():
        from fairseq import search

        return generate(search=make(search), **arguments)

    CASES[name] = run


def constrained(name, representation, constraints, **arguments):
    def run():
        from fairseq import search
        from fairseq.token_generation_constraints import pack_constraints

        packed = pack_constraints([[torch.tensor(one) for one in each] for each in constraints])
        strategy = search.LexicallyConstrainedBeamSearch(WORDS, representation)
        return generate(search=strategy, call={"constraints": packed}, **arguments)

    CASES[name] = run


for beam in (1, 2, 4, 5, 12):
    case(f"beam {beam}", beam_size=beam)
case("a beam wider than the vocabulary", beam_size=60, max_len_b=2, max_len_a=0)
for penalty in (0.0, 0.6, 2.0):
    case(f"length penalty {penalty}", len_penalty=penalty, beam_size=5)
case("unnormalized", normalize_scores=False)
case("prenorm model", kinds=("backward",), beam_size=5)
case("ensemble of two", kinds=("forward", "backward"), beam_size=5)
case("ensemble of two with temperature", kinds=("forward", "backward"), temperature=2.0)
case("temperature", temperature=1.7)
case("unknown word penalty", unk_penalty=3.0)
case("unknown word reward", unk_penalty=-2.0)
case("length at most 3", max_len_a=0, max_len_b=3)
case("length at most a of the source", max_len_a=0.5, max_len_b=1)
case("length at most max_len", max_len=4)
case("length at least 7", min_len=7)
case("length at least and at most 4", min_len=4, max_len_a=0, max_len_b=4)
case("length of the source", match_source_len=True)
case("length of the source, beam 1", match_source_len=True, beam_size=1)
case("no repeated pair", no_repeat_ngram_size=2, min_len=9)
case("no repeated triple, unknown words rewarded", no_repeat_ngram_size=3, unk_penalty=-8.0)
case("another end", eos=10)
case("another beginning", call={"bos_token": 9})
case("suppressed words", tokens_to_suppress=("w5", "w10"))
case("strip symbols", symbols_to_strip_from_output={EOS, 14})
case("prefix", call={"prefix_tokens": PREFIX})
case("prefix, beam 1", call={"prefix_tokens": PREFIX}, beam_size=1)
case("prefix and length", call={"prefix_tokens": PREFIX}, min_len=6, max_len_a=0, max_len_b=8)
case("prefix longer than the limit", call={"prefix_tokens": PREFIX}, max_len_a=0, max_len_b=1)
case("prefix as long as the limit", call={"prefix_tokens": PREFIX}, max_len_a=0, max_len_b=2)
case("right-padded source", inputs=sample(left_pad=False))
case("one sentence", inputs=sample(SOURCES[:1]))
case("an empty sentence alone", inputs=sample([[]]))
case("an empty sentence among others", inputs=sample([[5, 6, 7], [], [9]]))
case("language model alone", kinds=("language",), max_len_a=0, max_len_b=10, min_len=3)
case(
    "language model continues",
    kinds=("language",),
    call={"prefix_tokens": torch.tensor([[5, 9], [20, 21]])},
    inputs={"net_input": {"src_tokens": torch.tensor([[5, 9], [20, 21]]), "src_lengths": torch.tensor([2, 2])}},
    max_len_a=0,
    max_len_b=8,
)


def fused(weight, **options):
    return lambda: generate(lm_model=model("language"), lm_weight=weight, **options)


CASES["language model fused"] = fused(0.5)
CASES["language model fused, ensemble"] = fused(0.2, kinds=("forward", "backward"), beam_size=5)

searching("sibling diversity 0.5", lambda search: search.DiverseSiblingsSearch(WORDS, 0.5))
searching("sibling diversity 2, prefix", lambda search: search.DiverseSiblingsSearch(WORDS, 2.0), beam_size=3,
          call={"prefix_tokens": PREFIX})  # fmt: skip
searching("diverse groups of 2", lambda search: search.DiverseBeamSearch(WORDS, 2, 0.5))
searching("diverse groups of 4, strong", lambda search: search.DiverseBeamSearch(WORDS, 4, 3.0))
searching("diverse groups of 3, discounted", lambda search: search.DiverseBeamSearch(WORDS, 3, 1.0, 0.5), beam_size=6)
searching("diverse groups, candidates", lambda search: search.DiverseBeamSearch(WORDS, 2, 1.0, 0.9, 2), beam_size=4)
searching("length in a range", lambda search: search.LengthConstrainedBeamSearch(WORDS, 1.0, 1, 1.0, 2))
searching("length fixed", lambda search: search.LengthConstrainedBeamSearch(WORDS, 0.0, 4, 0.0, 4), beam_size=3)


def allowed(batch, tokens):
    """Words that are even, odd or ... by sentence and position, and the end after four."""
    if len(tokens) > 5:
        return [EOS]
    return [token for token in range(EOS, len(WORDS)) if token % 3 == batch % 3 or token == EOS]


searching("allowed words", lambda search: search.PrefixConstrainedBeamSearch(WORDS, allowed))
searching("allowed words, one sentence", lambda search: search.PrefixConstrainedBeamSearch(WORDS, allowed),
          inputs=sample(SOURCES[2:3]), beam_size=5)  # fmt: skip

for representation in ("ordered", "unordered"):
    constrained(f"{representation} constraints", representation, CONSTRAINTS, beam_size=5)
    constrained(f"{representation} constraints, wide", representation, CONSTRAINTS, beam_size=10, max_len_b=12)
    constrained(f"{representation} constraints, few", representation, [[[9]], [], [], [], [[6], [5]]], beam_size=2)
    constrained(f"{representation}, none given", representation, [[], [], [], [], []])
    constrained(
        f"{representation}, prenorm, at least 6",
        representation,
        CONSTRAINTS,
        kinds=("backward",),
        min_len=6,
    )

searching("best word only", lambda search: search.Sampling(WORDS, sampling_topk=1))
for seed in (1, 2, 3):
    searching(f"sampled, seed {seed}", lambda search: search.Sampling(WORDS), seed=seed, beam_size=3)
    searching(f"sampled of 5, seed {seed}", lambda search: search.Sampling(WORDS, 5), seed=seed, beam_size=3)
    searching(f"sampled of 0.7, seed {seed}", lambda search: search.Sampling(WORDS, -1, 0.7), seed=seed, beam_size=3)
searching("sampled with temperature", lambda search: search.Sampling(WORDS), seed=4, temperature=0.5)
searching("sampled of 0.9, one beam", lambda search: search.Sampling(WORDS, -1, 0.9), seed=5, beam_size=1)
