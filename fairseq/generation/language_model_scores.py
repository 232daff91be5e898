"""How well language models predict a text: loss by token or by word, and what each word costs.

    stats = eval_lm(models, task.source_dictionary, batches)         # {"loss": 6.41, "perplexity": 85.1}, in base 2

    loss = - sum over tokens of log2 p(token | tokens before it) / number of tokens, or of words

With `post_process` (subword_nmt, or another marker) pieces that a marker joins are one word. Lines of words and their
statistics are fairseq's, logged as `fairseq_cli.eval_lm`; their probabilities are natural logarithms.
"""

import logging
import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Optional

import torch

from fairseq import utils
from fairseq.errors import DataError
from fairseq.logging.meters import StopwatchMeter
from fairseq.sequence_scorer import SequenceScorer

logger = logging.getLogger("fairseq_cli.eval_lm")
LOG_2 = math.log(2)
PROBABILITIES = 2**26  # computed at once, 256 MB


class WordStat:
    """Sums over the occurrences of a word.

    >>> stat = WordStat("the", is_bpe=False)
    >>> stat.add(-0.5, -1.0)
    >>> stat.add(-1.5, None)
    >>> str(stat).split("\\t")
    ['the', '2', '-2.0', 'False', '-1.0', '1']
    """

    def __init__(self, word: str, is_bpe: bool):
        self.word, self.is_bpe = word, is_bpe
        self.log_prob = 0.0
        self.next_word_prob = 0.0
        self.count = 0
        self.missing_next_words = 0

    def add(self, log_prob: float, next_word_prob: Optional[float]) -> None:
        """One occurrence.

        Args:
            log_prob: its own, of all pieces.
            next_word_prob: that of the word behind it, None at the end of an example.
        """
        self.log_prob += log_prob
        self.count += 1
        if next_word_prob is None:
            self.missing_next_words += 1
        else:
            self.next_word_prob += next_word_prob

    def __str__(self) -> str:
        known = self.count - self.missing_next_words
        return f"{self.word}\t{self.count}\t{self.log_prob}\t{self.is_bpe}\t{self.next_word_prob}\t{known}"


class Word(NamedTuple):
    """A word of a text, its log-probability, whether it consists of pieces, whether its last piece is there."""

    text: str
    log_prob: float
    is_bpe: bool
    is_whole: bool = True


def continued_tokens(dictionary: Any, post_process: Optional[str]) -> tuple[frozenset[int], int]:
    """Ids of the pieces that the next one continues, and the length of their marker.

    Raises:
        DataError: a kind of pieces that does not mark them at their end.
    """
    if post_process is None:
        return frozenset(), 0
    if post_process == "sentencepiece":
        raise DataError("--remove-bpe sentencepiece: its pieces are not joined in scores; leave it out")
    marker = ("@@" if post_process == "subword_nmt" else post_process).rstrip()
    return frozenset(i for i in range(len(dictionary)) if dictionary[i].endswith(marker)), len(marker)


def words_of(
    tokens: list[int], scores: list[float], dictionary: Any, continued: frozenset[int], marker_length: int
) -> Iterator[Word]:
    """Words from tokens and their log-probabilities; one that the end of the example cuts off is not whole."""
    text, log_prob, is_bpe = "", 0.0, False
    for token, score in zip(tokens, scores, strict=True):
        log_prob += score
        text += dictionary[token]
        if token in continued:
            text, is_bpe = text[:-marker_length], True
            continue
        yield Word(text, log_prob, is_bpe)
        text, log_prob, is_bpe = "", 0.0, False
    if text:
        yield Word(text, log_prob, is_bpe, is_whole=False)


def eval_lm(
    models: list[Any],
    source_dictionary: Any,
    batch_iterator: Iterable[Any],
    post_process: Optional[str] = None,
    output_word_probs: bool = False,
    output_word_stats: bool = False,
    target_dictionary: Optional[Any] = None,
    softmax_batch: int = 0,
    remove_bos_token: bool = False,
    device: Optional[torch.device] = None,
) -> dict[str, float]:
    """Score a text.

    Args:
        models: an ensemble, whose probabilities are averaged.
        source_dictionary: names the tokens.
        batch_iterator: batches with targets, as `task.eval_lm_dataloader` gives them.
        post_process: count words instead of pieces; see the head of this file.
        output_word_probs, output_word_stats: log what each word costs.
        target_dictionary: of the targets; default: the same.
        softmax_batch: compute the probabilities of so many tokens at once, or of fewer, where they would take much
            memory; 0 for as many as that.
        remove_bos_token: leave out a first `<s>`.
        device: where to compute; default: where the first model is.

    Returns:
        loss in base 2, and perplexity.

    Raises:
        DataError: nothing to score, or scores that are no numbers.
    """
    target_dictionary = source_dictionary if target_dictionary is None else target_dictionary
    device = next(models[0].parameters()).device if device is None else device
    timer = StopwatchMeter()
    most = max(PROBABILITIES // len(target_dictionary), 1)
    scorer = SequenceScorer(target_dictionary, min(softmax_batch or most, most))
    continued, marker_length = continued_tokens(source_dictionary, post_process)
    total, count = 0.0, 0
    stats: dict[str, WordStat] = {}
    for sample in batch_iterator:
        if "net_input" not in sample:
            continue
        sample = utils.move_to_device(sample, device)
        timer.start()
        hypotheses = scorer.generate(models, sample)
        timer.stop(sample["ntokens"])
        for sample_id, (hypothesis, *_) in zip(sample["id"].tolist(), hypotheses, strict=True):
            tokens, scores = hypothesis["tokens"].tolist(), hypothesis["positional_scores"].tolist()
            if remove_bos_token:
                tokens, scores = tokens[1:], scores[1:]
            tokens, scores = _finite(tokens, scores, target_dictionary)
            total += math.fsum(scores)
            count += len(tokens) - sum(token in continued for token in tokens[:-1])
            if not output_word_probs and not output_word_stats:
                continue
            words = [*words_of(tokens, scores, source_dictionary, continued, marker_length)]
            if output_word_stats:
                for word, following in zip(words, [*words[1:], None], strict=True):
                    if not word.is_whole:
                        continue
                    stat = stats.setdefault(word.text, WordStat(word.text, word.is_bpe))
                    stat.add(word.log_prob, None if following is None else following.log_prob)
            if output_word_probs:
                line = "\t".join(f"{word.text} [{word.log_prob:2f}]" for word in words if word.is_whole)
                logger.info(f"{sample_id} {line}")
    if count == 0:
        raise DataError("there is nothing to score: no example has a token to predict")
    loss = -total / count / LOG_2
    if math.isnan(loss):
        raise DataError("the model's scores are not numbers (NaN): its weights or its data are damaged")
    logger.info(
        f"Evaluated {timer.n:,} tokens in {timer.sum:.1f}s ({1.0 / timer.avg if timer.avg > 0 else 0:.2f} tokens/s)"
    )
    for stat in sorted(stats.values(), key=lambda stat: -stat.count):
        logger.info(stat)
    return {"loss": loss, "perplexity": 2**loss}


def _finite(tokens: list[int], scores: list[float], dictionary: Any) -> tuple[list[int], list[float]]:
    """Tokens and scores without those of probability zero, which would hide what all others cost."""
    infinite = [token for token, score in zip(tokens, scores, strict=True) if math.isinf(score)]
    if not infinite:
        return tokens, scores
    logger.info(f"skipping tokens with infinite scores: {' '.join(dictionary[token] for token in infinite)}")
    kept = [(token, score) for token, score in zip(tokens, scores, strict=True) if not math.isinf(score)]
    return [token for token, _ in kept], [score for _, score in kept]
