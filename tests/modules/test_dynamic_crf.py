"""The random field over neighbouring words against sums and maxima over all sentences; the numbers of `EXPECTED` are
those of fairseq 0.12 for the same seed."""

import itertools

import pytest
import torch

from fairseq.modules.dynamic_crf_layer import DynamicCRF

WORDS, LENGTHS = 7, (5, 3)
EXPECTED = {7: [-13.3614, -9.9437], 3: [-10.1894, -8.0697]}


@pytest.fixture
def case():
    torch.manual_seed(0)
    field = DynamicCRF(WORDS, 3, WORDS)
    emissions, targets = torch.randn(2, 5, WORDS), torch.randint(0, WORDS, (2, 5))
    masks = torch.tensor([[True] * length + [False] * (5 - length) for length in LENGTHS])
    return field, emissions, targets, masks


def score(field, emissions, words):
    transitions = field.E1.weight @ field.E2.weight.T
    steps = [emissions[0, words[0]]]
    steps += [emissions[i, b] + transitions[a, b] for i, (a, b) in enumerate(itertools.pairwise(words), start=1)]
    return torch.stack(steps)


@torch.no_grad()
def test_all_words_give_exact_probabilities_and_sentences(case):
    field, emissions, targets, masks = case
    log_probs = field(emissions, targets, masks)
    steps, words = field.forward_decoder(emissions, masks)
    for row, length in enumerate(LENGTHS):
        sentences = list(itertools.product(range(WORDS), repeat=length))
        scores = torch.stack([score(field, emissions[row], sentence).sum() for sentence in sentences])
        right = score(field, emissions[row], targets[row, :length].tolist()).sum()
        torch.testing.assert_close(log_probs[row], right - scores.logsumexp(0))
        best = sentences[int(scores.argmax())]
        assert tuple(words[row, :length].tolist()) == best
        torch.testing.assert_close(steps[row, :length], score(field, emissions[row], best))
        assert not steps[row, length:].any()


@torch.no_grad()
@pytest.mark.parametrize("beam", EXPECTED)
def test_few_words_give_fairseqs_numbers(beam, case):
    field, emissions, targets, masks = case
    assert field(emissions, targets, masks, beam=beam).tolist() == pytest.approx(EXPECTED[beam], abs=1e-4)
