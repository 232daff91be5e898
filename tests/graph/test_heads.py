"""Which head of a model is traced: that of its criterion, else the first, none for a masked language model."""

from types import SimpleNamespace

import pytest

from fairseq.graph.inputs import make_inputs, remember_head
from tests.models import small_roberta


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
