"""RoBERTa for interactive use, with a toy byte-pair encoding: lower-case letters in pairs, a space belongs to what
follows."""

import logging
import re
from argparse import Namespace

import pytest
import torch

from fairseq import models
from fairseq.data import Dictionary
from fairseq.errors import CheckpointError, ConfigError, DataError
from fairseq.models.roberta import RobertaHubInterface, RobertaModel, alignment_utils
from fairseq.quantization import quantize_model

SIZE = {"encoder_layers": 1, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 24, "encoder_attention_heads": 4}


class Pairs:
    """'hello you' -> 'he ll o _yo u'."""

    def encode(self, text: str) -> str:
        return " ".join(re.findall(r"_?[^_]{1,2}", text.replace(" ", "_")))

    def decode(self, text: str) -> str:
        return text.replace(" ", "").replace("_", " ")


@pytest.fixture(scope="module")
def dictionary() -> Dictionary:
    result = Dictionary()
    for symbol in ["he", "ll", "o", "_yo", "u", "_a", "bc", "d", "ab", "c", "_he", "_d", ".", "_is", "_bc"]:
        result.add_symbol(symbol)
    result.add_symbol("<mask>")
    return result


@pytest.fixture
def hub(dictionary) -> RobertaHubInterface:
    task = Namespace(source_dictionary=dictionary, max_positions=lambda: 20)
    torch.manual_seed(0)
    model = models.build_model(Namespace(arch="roberta", **SIZE), task)
    model.register_classification_head("topic", num_classes=3)
    result = RobertaHubInterface(Namespace(bpe=None), task, model)
    result.bpe = Pairs()
    return result.eval()


class TestText:
    def test_encode_one_sentence_and_several(self, hub, dictionary):
        symbols = lambda tokens: [dictionary[i] for i in tokens.tolist()]  # noqa: E731
        assert symbols(hub.encode("hello you")) == ["<s>", "he", "ll", "o", "_yo", "u", "</s>"]
        assert symbols(hub.encode("hello", "abc", "abcd")) == (
            ["<s>", "he", "ll", "o", "</s>", "</s>", "ab", "c", "</s>", "</s>", "ab", "<unk>", "</s>"]
        )
        assert symbols(hub.encode("hello", "abc", no_separator=True)) == (
            ["<s>", "he", "ll", "o", "</s>", "ab", "c", "</s>"]
        )

    def test_decode(self, hub):
        assert hub.decode(hub.encode("hello you")) == "hello you"
        assert hub.decode(hub.encode("hello", "abc", "he you")) == ["hello", "abc", "he you"]
        with pytest.raises(ValueError, match="one row"):
            hub.decode(torch.zeros(2, 3))


class TestPredictions:
    def test_features(self, hub):
        tokens = hub.encode("hello you")
        features = hub.extract_features(tokens)
        assert features.shape == (1, 7, 16)
        layers = hub.extract_features(tokens, return_all_hiddens=True)
        assert len(layers) == 2 and torch.equal(layers[-1], features)
        assert hub.extract_features(tokens.expand(3, -1)).shape == (3, 7, 16)
        with pytest.raises(DataError, match="21 tokens do not fit the model's 20 positions"):
            hub.extract_features(torch.full((21,), 5))

    def test_predict(self, hub):
        tokens = hub.encode("hello you")
        logits = hub.predict("topic", tokens, return_logits=True)
        expected, _ = hub.model(tokens.unsqueeze(0), classification_head_name="topic")
        assert torch.equal(logits, expected)
        torch.testing.assert_close(hub.predict("topic", tokens), logits.log_softmax(-1))
        with pytest.raises(ConfigError, match="did you mean 'topic'"):
            hub.predict("topics", tokens)
        hub.register_classification_head("other", num_classes=5, inner_dim=4)
        assert hub.predict("other", tokens).shape == (1, 5)
        assert hub.model.classification_heads["other"].dense.out_features == 4

    def test_predict_at_bits(self, hub):
        model = quantize_model(
            hub.model, "int8", rules=[{"match": "classification_heads.*", "quantize": True, "optional": True}]
        )
        tokens = hub.encode("hello you")
        model.quantization.calibrate(model, [tokens], lambda _, batch: hub.predict("topic", batch))
        found = [hub.predict("topic", tokens, return_logits=True, num_bits=bits) for bits in (None, 8, 3, 0)]
        for logits, bits in zip(found, (None, 8, 3, 0), strict=True):
            expected, _ = model(tokens.unsqueeze(0), classification_head_name="topic", num_bits=bits)
            assert torch.equal(logits, expected)
        assert torch.equal(found[0], found[1]) and not torch.equal(found[1], found[2])

    def test_fill_mask(self, hub, dictionary):
        filled = hub.fill_mask("hello <mask>.", topk=6)
        tokens = torch.tensor([[dictionary.index(s) for s in ("<s>", "he", "ll", "o", "<mask>", ".", "</s>")]])
        scores, _ = hub.model(tokens)
        probabilities, ids = scores[0, 4].softmax(-1).topk(6)
        assert [probability for _, probability, _ in filled] == pytest.approx(probabilities.tolist())
        words = [Pairs().decode(dictionary[i]) for i in ids.tolist()]
        assert [(sentence, word) for sentence, _, word in filled] == [(f"hello{w}.", w) for w in words]
        for wrong in ("hello", "<mask> <mask>"):
            with pytest.raises(ConfigError, match="exactly one <mask>"):
                hub.fill_mask(wrong)

    def test_winograd_needs_its_task(self, hub):
        with pytest.raises(ConfigError, match="Winograd"):
            hub.disambiguate_pronoun("he [she]")

    def test_device(self, hub):
        assert hub.device.type == "cpu"


class TestAlignment:
    def test_words_share_and_collect_tokens(self, hub):
        tokens = hub.encode("hello you")
        alignment = alignment_utils.align_bpe_to_words(hub, tokens, ["hello ", "y", "ou"])
        assert alignment == [[1, 2, 3], [4], [4, 5]]
        features = hub.extract_features(tokens).squeeze(0)
        words = alignment_utils.align_features_to_words(hub, features, alignment)
        assert words.shape == (5, 16)
        torch.testing.assert_close(words.sum(0), features.sum(0), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(words[1], features[1:4].sum(0))
        torch.testing.assert_close(words[2], features[4] / 2)
        assert torch.equal(words[0], features[0]) and torch.equal(words[-1], features[-1])
        with pytest.raises(DataError, match="not the text"):
            alignment_utils.align_bpe_to_words(hub, tokens, ["hello"])

    def test_tokens_that_split_a_character(self):
        spans = alignment_utils.spans_of_tokens(["na", "na\ufffd", "na\u00efv", "na\u00efve"])
        assert spans == [(0, 2), (2, 3), (2, 4), (4, 5)]

    def test_without_spacy(self, hub):
        try:
            import spacy  # noqa: F401
        except ImportError:
            with pytest.raises(ConfigError, match="pip install spacy"):
                hub.extract_features_aligned_to_words("hello you")
        else:
            doc = hub.extract_features_aligned_to_words("hello you")
            assert [token.text for token in doc] == ["<s>", "hello", "you", "</s>"] and doc[1].vector.shape == (16,)


class TestFromPretrained:
    @pytest.fixture
    def folder(self, tmp_path, dictionary, hub):
        data = tmp_path / "data"
        data.mkdir()
        with (data / "dict.txt").open("w") as file:
            file.writelines(f"{symbol} 1\n" for symbol in dictionary.symbols[4:-1])
        cfg = {
            "task": {"_name": "masked_lm", "data": "elsewhere", "tokens_per_sample": 18},
            "model": {"_name": "roberta", **SIZE, "max_positions": 20},
        }
        torch.save({"args": None, "cfg": cfg, "model": hub.model.state_dict()}, tmp_path / "model.pt")
        return tmp_path

    def test_a_folder(self, folder, hub):
        loaded = RobertaModel.from_pretrained(str(folder), data_name_or_path="./data", bpe=None)
        loaded.bpe = Pairs()
        loaded.eval()
        tokens = hub.encode("hello you")
        assert torch.equal(loaded.encode("hello you"), tokens)
        # heads come along without being asked for
        assert torch.equal(loaded.predict("topic", tokens), hub.predict("topic", tokens))
        assert loaded.fill_mask("hello <mask>.") == hub.fill_mask("hello <mask>.")

    def test_settings_replace_those_of_the_checkpoint(self, folder):
        loaded = RobertaModel.from_pretrained(
            str(folder), "model.pt", str(folder / "data"), bpe=None, dropout=0.25, pooler_dropout=0.5
        )
        assert loaded.model.encoder.sentence_encoder.dropout_module.p == 0.25
        assert loaded.model.classification_heads["topic"].dropout.p == 0.5

    def test_what_is_not_there(self, folder, caplog):
        with caplog.at_level(logging.ERROR), pytest.raises(CheckpointError, match="no such folder"):
            RobertaModel.from_pretrained(str(folder / "none"))
        with pytest.raises(CheckpointError, match=r"roberta.base is not on this machine: download http"):
            RobertaModel.from_pretrained("roberta.base")
        with pytest.raises(ConfigError, match="did you mean 'gpt2'"):
            RobertaModel.from_pretrained(str(folder), "model.pt", str(folder / "data"), bpe="gpt")


def test_published_encoding(bpe_dir, tmp_path):
    """With RoBERTa's own files in the model's folder, text becomes the ids that its paper's authors document."""
    for name in ("encoder.json", "vocab.bpe", "dict.txt"):
        (tmp_path / name).symlink_to(bpe_dir / name)
    words = Dictionary.load(str(tmp_path / "dict.txt"))
    words.add_symbol("<mask>")
    model = models.build_model(
        Namespace(arch="roberta", **SIZE), Namespace(source_dictionary=words, max_positions=lambda: 20)
    )
    cfg = {
        "task": {"_name": "masked_lm", "data": "elsewhere"},
        "model": {"_name": "roberta", **SIZE, "max_positions": 20},
    }
    torch.save({"args": None, "cfg": cfg, "model": model.state_dict()}, tmp_path / "model.pt")
    roberta = RobertaModel.from_pretrained(str(tmp_path)).eval()
    assert roberta.encode("Hello world!").tolist() == [0, 31414, 232, 328, 2]
    assert roberta.decode(roberta.encode("Hello world!", "caf\u00e9")) == ["Hello world!", "caf\u00e9"]
    assert len(roberta.fill_mask("The first <mask> counts.", topk=3)) == 3
