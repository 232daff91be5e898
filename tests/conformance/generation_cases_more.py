"""More of what generation gives: alignments, scores of given targets, text of hypotheses, steps of constraints.

Imported by `make_generation_fixtures.py` and `test_generation.py` for what it adds to `generation_cases.CASES`.
"""

import random
import tempfile

import generation_models
import torch
from generation_cases import CASES, EOS, PAD, WORDS, model, plain, sample

TARGETS = [[8, 13, 31], [34], [12, 32, 32, 28], [7, 23], [3, 18, 18]]


def with_target():
    from fairseq.data import data_utils

    result = sample()
    rows = [torch.tensor([*target, EOS]) for target in TARGETS]
    result["target"] = data_utils.collate_tokens(rows, PAD)
    result["net_input"]["prev_output_tokens"] = data_utils.collate_tokens(rows, PAD, EOS, move_eos_to_beginning=True)
    return result


def numbers(value):
    """Tensors as lists, rounded."""
    if torch.is_tensor(value):
        return numbers(value.tolist())
    if isinstance(value, (list, tuple, set)):
        return [numbers(item) for item in (sorted(value) if isinstance(value, set) else value)]
    return round(value, 5) if isinstance(value, float) else value


def case(function):
    CASES[function.__name__.replace("_", " ")] = function
    return function


# --- alignments and scores ------------------------------------------------------------------------------------------


def aligned(full_context=False, **options):
    from fairseq.sequence_generator import SequenceGeneratorWithAlignment

    used = model("forward")
    if full_context:
        used = generation_models.load("forward")
        used.full_context_alignment = True
    generator = SequenceGeneratorWithAlignment([used], WORDS, beam_size=3, max_len_a=1, max_len_b=4, **options)
    return [plain(found) for found in generator.generate([used], sample())]


for kind in ("hard", "soft"):
    CASES[f"{kind} alignment"] = lambda kind=kind: aligned(print_alignment=kind)
    CASES[f"{kind} alignment by full context"] = lambda kind=kind: aligned(True, print_alignment=kind)


def scored(kinds=("forward",), more=None, **options):
    from fairseq.sequence_scorer import SequenceScorer

    batch = {**with_target(), **(more or {})}
    found = SequenceScorer(WORDS, **options).generate([model(kind) for kind in kinds], batch)
    return [
        [{name: numbers(value) for name, value in hypothesis.items() if name != "attention"} for hypothesis in each]
        + [numbers(hypothesis["attention"].sum(0)) for hypothesis in each]
        for each in found
    ]


CASES["scores"] = scored
CASES["scores with alignment"] = lambda: scored(compute_alignment=True)
CASES["scores of an ensemble"] = lambda: scored(("forward", "backward"), compute_alignment=True)
CASES["scores, softmax of three words"] = lambda: scored(softmax_batch=3)
CASES["scores from a start"] = lambda: scored(more={"start_indices": torch.tensor([1, 0, 2, 0, 1])})


@case
def settings_of_a_scorer():
    from fairseq.sequence_scorer import SequenceScorer

    made = SequenceScorer(WORDS, eos=9, symbols_to_strip_from_output={5})
    return numbers([made.pad, made.eos, made.softmax_batch, made.compute_alignment, made.symbols_to_strip_from_output])


@case
def settings_of_a_generator():
    from fairseq.sequence_generator import EnsembleModel, SequenceGenerator

    made = SequenceGenerator(
        [model("forward")], WORDS, beam_size=60, max_len=7, eos=9, symbols_to_strip_from_output={5}
    )
    both = EnsembleModel([model("forward"), model("language")])
    return [
        *[made.beam_size, made.max_len, made.eos, made.pad, made.unk, made.vocab_size, made.min_len],
        *[sorted(made.symbols_to_strip_from_output), made.token_indices_to_suppress, made.should_set_src_lengths],
        *[both.max_decoder_positions(), both.has_encoder(), both.has_incremental_states(), both.models_size],
        SequenceGenerator([model("forward")], WORDS).max_len,
    ]


# --- text -----------------------------------------------------------------------------------------------------------


def align_file(text):
    with tempfile.NamedTemporaryFile("w", delete=False) as file:
        file.write(text)
    return file.name


@case
def align_dict():
    from fairseq import utils

    path = align_file("haus house\nhund dog extra\n")
    return [utils.load_align_dict(None), utils.load_align_dict(""), utils.load_align_dict(path)]


@case
def unknown_words_replaced():
    from fairseq import utils

    source, words = "das haus ist tot", {"haus": "house"}
    return [
        utils.replace_unk("the <unk> is <unk>", source, [0, 1, 2, 3], words, "<unk>"),
        utils.replace_unk("the <unk>  is <unk>", source, torch.tensor([0, 1, 2, 4]), words, "<unk>"),
        utils.replace_unk("<unk>", "a b", [2], {}, "<unk>"),
        utils.replace_unk("the  cat", "a b", [0, 1], {}, "<unk>"),
    ]


@case
def predictions_as_text():
    from fairseq import utils
    from fairseq.data import Dictionary

    result = []
    for options in ({}, {"remove_bpe": "@@ "}, {"remove_bpe": "subword_nmt"}, {"extra_symbols_to_ignore": {7}}):
        for words in (None, {"haus": "house"}):
            dictionary = Dictionary()
            for word in ("the", "house", "do@@", "g", "is"):
                dictionary.add_symbol(word)
            found = utils.post_process_prediction(
                torch.tensor([4, 6, 7, 3, 2]), "das haus ist tot x", [0, 1, 2, 1, 4], words, dictionary, **options
            )
            result.append([found[0].tolist(), *found[1:], len(dictionary)])
    return result


@case
def alignments_read():
    from fairseq import utils

    read = utils.parse_alignment("0-1 2-3 4-0\n")
    return [read.tolist(), str(read.dtype), utils.parse_alignment("").tolist()]


@case
def words_of_tokens():
    from fairseq import utils

    rows = ([5, 6, 1, 7, 2], torch.tensor([1, 1, 6, 7, 2]), [])
    return [list(utils.get_token_to_word_mapping(row, [1, 2]).items()) for row in rows]


@case
def alignments_extracted():
    from fairseq import utils

    random = torch.Generator().manual_seed(0)
    result = []
    for source, target in (([1, 5, 6, 7, 2], [8, 9, 10, 2]), ([5, 6, 2, 1, 1], [8, 2, 1, 1]), ([1, 1, 1, 5, 2], [2])):
        attention = torch.softmax(torch.randn(len(target), 5, generator=random), dim=-1)
        pair = torch.tensor(source), torch.tensor(target)
        result.append([extract(attention, *pair, PAD, EOS) for extract in (
            utils.extract_hard_alignment, utils.extract_soft_alignment)])  # fmt: skip
    return result


# --- steps ----------------------------------------------------------------------------------------------------------


def constraint_steps(kind, seed, count=12):
    """What states of random constraints say after each of some words."""
    from fairseq import token_generation_constraints as constraints

    rng = random.Random(seed)
    result = []
    for _ in range(count):
        words = range(4, 4 + rng.choice([3, 4, 6]))
        phrases = [[rng.choice(words) for _ in range(rng.randint(1, 4))] for _ in range(rng.randint(1, 4))]
        packed = constraints.pack_constraints([[torch.tensor(phrase) for phrase in phrases]])[0]
        state = getattr(constraints, kind).create(packed)
        said = [packed.tolist()]
        for _ in range(14):
            state = state.advance(rng.choice(words))
            following = sorted({int(token) for token in state.next_tokens()})
            said.append([str(state), state.bank, state.num_completed, state.finished, state.is_root, following])
        result.append(said)
    return result


for kind in ("OrderedConstraintState", "UnorderedConstraintState"):
    for seed in (1, 2, 3):
        CASES[f"{kind} {seed}"] = lambda kind=kind, seed=seed: constraint_steps(kind, seed)


@case
def trie_of_constraints():
    from fairseq.token_generation_constraints import ConstraintNode

    node = ConstraintNode.create([[5, 5, 5], [5, 6], [20]])
    return [str(node), ConstraintNode.print_graph(node), sorted(node.token_counts().items()), numbers(node.tokens())]


@case
def constraints_packed():
    from fairseq.token_generation_constraints import pack_constraints, unpack_constraints

    packed = pack_constraints([[torch.tensor([4, 5]), torch.tensor([6])], [], [torch.tensor([7, 8, 9])]])
    return [numbers(packed), str(packed.dtype), *(numbers(unpack_constraints(row)) for row in packed)]


def search_steps(make, beam=4, seed=0):
    """Candidates of some steps over random log-probabilities, the first K going on."""
    from fairseq import search
    from fairseq.data import Dictionary

    words = Dictionary()
    for number in range(7):
        words.add_symbol(f"w{number}")
    strategy = make(search, words)
    random = torch.Generator().manual_seed(seed)
    scores, tokens, result = torch.zeros(2, beam, 8), torch.full((2 * beam, 1), EOS), []
    strategy.set_src_lengths(torch.tensor([3, 4]))
    for step in range(5):
        lprobs = torch.log_softmax(2 * torch.randn(2, beam, len(words), generator=random), dim=-1)
        lprobs[:, :, PAD] = -100.0
        if step == 0:
            lprobs = lprobs[:, :1].repeat(1, beam, 1)
        values, chosen, beams = strategy.step(step, lprobs, scores[:, :, :step], tokens, torch.arange(2))
        result.append([numbers(values), chosen.tolist(), beams.tolist()])
        going_on = beams[:, :beam]
        scores = scores.gather(1, going_on.unsqueeze(2).expand(-1, -1, 8))
        scores[:, :, step] = values[:, :beam]
        rows = (going_on + torch.tensor([[0], [beam]])).flatten()
        tokens = torch.cat([tokens[rows], chosen[:, :beam].reshape(-1, 1)], dim=1)
    return result


STRATEGIES = {
    "beam": lambda search, words: search.BeamSearch(words),
    "siblings": lambda search, words: search.DiverseSiblingsSearch(words, 0.7),
    "groups": lambda search, words: search.DiverseBeamSearch(words, 2, 0.6, 0.8),
    "groups of one": lambda search, words: search.DiverseBeamSearch(words, 4, 0.6, 1.0, 2),
    "length": lambda search, words: search.LengthConstrainedBeamSearch(words, 0.5, 1, 0.5, 2),
    "allowed": lambda search, words: search.PrefixConstrainedBeamSearch(
        words, lambda b, t: [2, 4 + b, 5, 6 + len(t) % 3]
    ),
}
for name, make in STRATEGIES.items():
    for beam in (1, 4):
        if name.startswith("groups") and beam == 1:
            continue
        CASES[f"steps of {name}, beam {beam}"] = lambda make=make, beam=beam: search_steps(make, beam)
