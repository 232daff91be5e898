"""Text that the project makes itself: English sentences, grammatical or not, to try training without a download.

    from fairseq.data.acceptability import generate
    for sentence in generate("train", 4, seed=1):
        print(sentence.label, sentence.text)

`lexicon` holds the words, `paradigms` the grammar, `generate` makes balanced splits, `binarize` writes a
`sentence_prediction` data folder, `baselines` scores the majority class and a bag of words. The command is
`fairseq-make-acceptability`.
"""

from fairseq.data.acceptability.generate import Sentence, generate
from fairseq.data.acceptability.lexicon import join_pieces, split_words

__all__ = ["Sentence", "generate", "join_pieces", "split_words"]
