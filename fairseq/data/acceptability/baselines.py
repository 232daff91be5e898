"""What a model must beat: the majority class, and a linear model that sees which words occur but not in which order.

>>> from fairseq.data.acceptability.generate import generate
>>> baselines(generate("train", 60), generate("valid", 20))["majority"]
50.0
"""

from collections import Counter

from fairseq.data.acceptability.generate import Sentence


def baselines(train: list[Sentence], valid: list[Sentence]) -> dict[str, float]:
    """Accuracy on `valid`, in percent, of `majority` and `bag_of_words` (logistic regression over word counts)."""
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression

    majority = Counter(sentence.label for sentence in train).most_common(1)[0][0]
    columns: dict[str, int] = {}
    for sentence in train:
        for piece in sentence.pieces.split():
            columns.setdefault(piece, len(columns))

    def counts(sentences: list[Sentence]) -> csr_matrix:
        cells = [
            (row, columns[piece])
            for row, sentence in enumerate(sentences)
            for piece in sentence.pieces.split()
            if piece in columns
        ]
        rows, cols = zip(*cells, strict=True)
        return csr_matrix(([1.0] * len(cells), (rows, cols)), shape=(len(sentences), len(columns)))

    gold = [sentence.label for sentence in valid]
    model = LogisticRegression(max_iter=2000).fit(counts(train), [sentence.label for sentence in train])
    return {
        "majority": 100 * gold.count(majority) / len(gold),
        "bag_of_words": 100 * float(model.score(counts(valid), gold)),
    }
