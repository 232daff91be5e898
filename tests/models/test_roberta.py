"""RoBERTa against fairseq 0.12's numbers (fixtures by tests/conformance/make_model_fixtures.py), and what its forward
pass does and leaves out."""

from argparse import Namespace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from small_roberta import build, task

from fairseq import models
from fairseq.errors import ConfigError
from fairseq.models.roberta import RobertaModel
from fairseq.modules import FairseqDropout, MatMul

FIXTURES = Path(__file__).parent / "fixtures"
CASES = ["base", "prenorm", "untied", "sinusoidal"]


def read(case: str) -> dict:
    return torch.load(FIXTURES / f"roberta_{case}.pt", weights_only=True)


def oracle_model(expected: dict) -> RobertaModel:
    torch.manual_seed(expected["seed"])
    model = models.build_model(Namespace(**expected["args"]), task(expected["vocabulary"]))
    model.register_classification_head("head", num_classes=3)
    return model


def loss(model: RobertaModel, expected: dict) -> torch.Tensor:
    logits = model(expected["tokens"], classification_head_name="head")[0]
    return logits.pow(2).sum() + model(expected["tokens"], masked_tokens=expected["masked"])[0].pow(2).mean()


def check_gradients(model: RobertaModel, expected: dict) -> None:
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert list(gradients) == list(expected)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], atol=2e-6, rtol=2e-6, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("case", CASES)
class TestSameAsFairseq:
    def test_initial_weights_and_names(self, case):
        expected = read(case)
        model = oracle_model(expected)
        assert [name for name, _ in model.named_parameters()] == expected["parameters"]
        state = model.state_dict()
        assert list(state) == list(expected["weights"])
        for name, value in state.items():
            torch.testing.assert_close(value, expected["weights"][name], atol=1e-6, rtol=1e-6)

    def test_outputs_and_gradients(self, case):
        expected = read(case)
        model = oracle_model(expected)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        assert not model.load_state_dict(expected["weights"], strict=True).missing_keys
        model.eval()
        tokens = expected["tokens"]
        close = {"atol": 1e-6, "rtol": 1e-6}
        torch.testing.assert_close(model(tokens, classification_head_name="head")[0], expected["logits"], **close)
        torch.testing.assert_close(model(tokens)[0], expected["lm"], **close)
        torch.testing.assert_close(model(tokens, masked_tokens=expected["masked"])[0], expected["mlm"], **close)
        features, extra = model(tokens, features_only=True, return_all_hiddens=True)
        torch.testing.assert_close(torch.stack(extra["inner_states"]), expected["states"], **close)
        assert features.shape == (3, 6, 16)

        for module in model.modules():
            if isinstance(module, FairseqDropout):
                module.p = 0.0
        loss(model.train(), expected).backward()
        check_gradients(model, expected["grads"])

    def test_dropout_stands_in_the_same_places(self, case, monkeypatch):
        """With torch's own dropout and one seed, training gives the oracle's numbers, too."""
        expected = read(case)
        torch.manual_seed(expected["dropout_seed"])
        if not torch.equal(F.dropout(torch.ones(100), 0.1), expected["dropout_probe"]):
            pytest.skip("torch draws other dropout masks on this machine than where the fixture was written")
        monkeypatch.setattr(
            "fairseq.modules.fairseq_dropout.dropout", lambda x, p, inplace: F.dropout(x, p, True, inplace)
        )
        model = oracle_model(expected)
        model.load_state_dict(expected["weights"])
        torch.manual_seed(expected["dropout_seed"])
        logits = model(expected["tokens"], classification_head_name="head")[0]
        torch.testing.assert_close(logits, expected["train_logits"], atol=1e-6, rtol=1e-6)
        torch.manual_seed(expected["dropout_seed"])
        loss(model, expected).backward()
        check_gradients(model, expected["train_grads"])


class TestForward:
    def test_a_head_without_a_number_of_classes_is_refused(self):
        with pytest.raises(ConfigError, match="classification head 'head': num_classes must be given"):
            build().register_classification_head("head")

    def test_features_only_leaves_out_the_language_model_head(self):
        model = build().eval()
        calls = []
        model.encoder.lm_head.register_forward_hook(lambda *args: calls.append(1))
        tokens = torch.tensor([[0, 5, 6, 2]])
        model(tokens, features_only=True)
        model.register_classification_head("a", num_classes=2)
        model(tokens, classification_head_name="a")
        assert calls == []
        model(tokens)
        assert calls == [1]

    def test_padding_does_not_change_a_sentence(self):
        model = build().eval()
        alone, _ = model(torch.tensor([[0, 5, 6, 2]]), features_only=True)
        padded, _ = model(torch.tensor([[0, 5, 6, 2, 1, 1], [0, 5, 6, 7, 8, 2]]), features_only=True)
        torch.testing.assert_close(padded[:1, :4], alone, atol=1e-6, rtol=1e-5)

    def test_encoder_output(self):
        encoder = build().encoder.sentence_encoder
        tokens = torch.tensor([[0, 5, 6, 2], [0, 5, 2, 1]])
        out = encoder(tokens, return_all_hiddens=True)
        shapes = {name: [None if t is None else tuple(t.shape) for t in items] for name, items in out.items()}
        assert shapes == {
            "encoder_out": [(4, 2, 16)],
            "encoder_padding_mask": [(2, 4)],
            "encoder_embedding": [(2, 4, 16)],
            "encoder_states": [(4, 2, 16)] * 3,
            "fc_results": [None, None],
            "src_tokens": [],
            "src_lengths": [(2, 1)],
        }
        assert out["src_lengths"][0].tolist() == [[4], [3]]
        swapped = encoder.reorder_encoder_out(out, torch.tensor([1, 0]))
        assert torch.equal(swapped["encoder_out"][0][:, 0], out["encoder_out"][0][:, 1])
        assert torch.equal(swapped["encoder_padding_mask"][0][1], out["encoder_padding_mask"][0][0])

    def test_unknown_head(self):
        model = build()
        model.register_classification_head("sentiment", num_classes=2)
        with pytest.raises(ConfigError, match="did you mean 'sentiment'"):
            model(torch.tensor([[0, 5, 2]]), classification_head_name="sentimnt")

    def test_normalized_probs(self):
        model = build()
        output = (torch.randn(2, 3).to(torch.bfloat16), None)
        log_probs = model.get_normalized_probs(output, log_probs=True)
        assert log_probs.dtype == torch.float32
        torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(2))
        torch.testing.assert_close(model.get_normalized_probs(output, log_probs=False), log_probs.exp())

    @pytest.mark.parametrize("offload", [False, True])
    def test_checkpointed_activations_give_the_same_gradients(self, offload):
        tokens = torch.tensor([[0, 5, 6, 2], [0, 5, 2, 1]])
        results = []
        for options in ({}, {"checkpoint_activations": True, "offload_activations": offload}):
            model = build(**options)
            torch.manual_seed(1)
            model(tokens)[0].square().sum().backward()
            results.append([p.grad for p in model.parameters()])
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b)

    def test_masked_positions_only(self):
        model = build().eval()
        tokens = torch.tensor([[0, 5, 6, 2], [0, 5, 2, 1]])
        mask = torch.tensor([[False, True, False, False], [False, True, True, False]])
        torch.testing.assert_close(model(tokens, masked_tokens=mask)[0], model(tokens)[0][mask])

    def test_the_two_products_of_attention_have_paths(self):
        paths = {name for name, module in build().named_modules() if isinstance(module, MatMul)}
        layers = "encoder.sentence_encoder.layers"
        assert paths == {f"{layers}.{n}.self_attn.{m}" for n in (0, 1) for m in ("qk_matmul", "pv_matmul")}


class TestFrozenBackbone:
    def test_no_work_below_the_first_trainable_layer(self):
        """With only the head trainable, no operation of the encoder is recorded for backward."""
        model = build()
        model.register_classification_head("head", num_classes=2)
        for name, parameter in model.named_parameters():
            parameter.requires_grad = name.startswith("classification_heads.")
        recorded = []
        for name, module in model.encoder.named_modules():

            def hook(module, args, output, name=name):
                if torch.is_tensor(output) and output.requires_grad:
                    recorded.append(name)

            module.register_forward_hook(hook)
        logits, _ = model(torch.tensor([[0, 5, 6, 2], [0, 5, 2, 1]]), classification_head_name="head")
        logits.sum().backward()
        assert recorded == []
        assert {name for name, p in model.named_parameters() if p.grad is not None} == {
            f"classification_heads.head.{layer}.{kind}"
            for layer in ("dense", "out_proj")
            for kind in ("weight", "bias")
        }

    def test_upper_layers_trainable(self):
        model = build()
        for name, parameter in model.named_parameters():
            parameter.requires_grad = ".layers.1." in name
        states = model(torch.tensor([[0, 5, 6, 2]]), features_only=True, return_all_hiddens=True)[1]["inner_states"]
        assert [state.requires_grad for state in states] == [False, False, True]
