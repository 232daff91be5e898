"""What models are traced with: the head of their criterion, else the first, none for masked ones; ids they have."""

from types import SimpleNamespace

import pytest

from fairseq.graph import trace
from fairseq.graph.inputs import make_inputs, remember_head
from tests.models import small_roberta
from tests.models.test_transformer import Vocabulary, build


@pytest.mark.parametrize(
    "criterion, head",
    [
        (None, "first"),
        ({"classification_head_name": "second"}, "second"),
        ({"ranking_head_name": "second"}, "second"),
        ({"classification_head_name": "third"}, None),  # one that the model has not
        ({}, None),  # masked_lm
    ],
)
def test_the_head_of_the_criterion(criterion, head) -> None:
    model = small_roberta.build()
    for name in list(model.classification_heads):
        del model.classification_heads[name]
    assert set(make_inputs(model, ())) == {"src_tokens"}
    model.register_classification_head("first", num_classes=2)
    model.register_classification_head("second", num_classes=3)
    if criterion is not None:
        remember_head(model, SimpleNamespace(criterion=SimpleNamespace(**criterion)))
    for texts in ((), ("src_tokens:int64[3,5]",)):
        inputs = make_inputs(model, texts)
        assert inputs.get("classification_head_name") == head and "src_tokens" in inputs
        assert inputs.get("features_only") == (None if head is None else True)


def test_a_decoder_has_a_vocabulary_of_its_own() -> None:
    """Without descriptions, and with them: ids of a side are those of its own table."""
    task = SimpleNamespace(source_dictionary=Vocabulary(40), target_dictionary=Vocabulary(12))
    model = build(task).eval()
    given = make_inputs(model, ())
    assert set(given) == {"src_tokens", "src_lengths", "prev_output_tokens"}
    assert trace(model, given).counts()["placeholder"] == 3
    many = make_inputs(model, [f"{name}:int64[20,30]" for name in ("src_tokens", "prev_output_tokens")])
    assert many["src_tokens"].max() > 12 > many["prev_output_tokens"].max()
