"""Encoders and tokenizers of other libraries; values are fairseq 0.12's. Skipped where a library is not installed."""

import sys

import pytest

from fairseq import options
from fairseq.data import encoders
from fairseq.data.encoders.byte_utils import byte_decode, byte_encode, smart_byte_decode
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.errors import ConfigError, DataError

CODES = "#version: 0.2\nh e\nl l\nhe ll\nhell o</w>\nw o\n"
PACKAGES = {
    "sentencepiece": ("bpe", {"sentencepiece_model": "x"}, "sentencepiece"),
    "byte_bpe": ("bpe", {"sentencepiece_model_path": "x"}, "sentencepiece"),
    "subword_nmt": ("bpe", {"bpe_codes": "codes"}, "subword_nmt"),
    "fastbpe": ("bpe", {"bpe_codes": "codes"}, "subword_nmt"),
    "moses": ("tokenizer", {}, "sacremoses"),
    "nltk": ("tokenizer", {}, "nltk"),
}


def built(group, name, **settings):
    build = encoders.build_bpe if group == "bpe" else encoders.build_tokenizer
    return build({"_name": name, **settings})


@pytest.mark.parametrize("name", PACKAGES)
def test_what_to_install_is_said(name, monkeypatch, tmp_path):
    group, settings, module = PACKAGES[name]
    (tmp_path / "codes").write_text(CODES)
    monkeypatch.chdir(tmp_path)
    for known in [known for known in sys.modules if known.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, known)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"^{group}={name} needs the package [a-z-]+: pip install"):
        built(group, name, **settings)


@pytest.mark.parametrize(
    ("text", "encoded"), [("Hello  wörld\t日本", "Hello wÃ¶rld æƗ¥æƜ¬"), ("\x00\x7f x", "Āſ x"), ("", "")]
)
def test_bytes(text, encoded):
    assert byte_encode(text) == encoded
    assert byte_decode(encoded) == " ".join(text.split(" ")) or byte_decode(encoded) == " ".join(text.split())
    encoder = built("bpe", "bytes")
    assert encoder.encode(text) == " ".join(encoded.replace(" ", "▁"))
    assert encoder.decode(encoder.encode(text)) == byte_decode(encoded)


def test_broken_bytes_are_left_out():
    whole = byte_encode("日本語é")
    for damaged, left in (
        (whole[:4] + whole[5:], "日語é"),
        (whole[1:], "本語é"),
        (whole[:-1], "日本語"),
        (whole, "日本語é"),
    ):
        assert smart_byte_decode(damaged) == left
    assert byte_decode(whole[1:]) == ""


def test_moses():
    pytest.importorskip("sacremoses")
    moses = built("tokenizer", "moses")
    text = 'Hello, world\'s (e-mail) & "x"!'
    assert moses.encode(text) == "Hello , world &apos;s ( e @-@ mail ) &amp; &quot; x &quot; !"
    assert moses.decode(moses.encode(text)) == text
    plain = built(
        "tokenizer", "moses", source_lang="de", target_lang="fr", moses_no_dash_splits=True, moses_no_escape=True
    )
    assert plain.encode('Hallo, z.B. die (E-Mail) & "x"!') == 'Hallo , z.B. die ( E-Mail ) & " x " !'
    assert plain.decode('l\' ami , ( e-mail ) & " x " !') == 'l\'ami, (e-mail) & "x" !'


def test_subword_nmt_and_fastbpe(tmp_path):
    pytest.importorskip("subword_nmt")
    (tmp_path / "codes").write_text(CODES)
    (tmp_path / "counted").write_text("".join(f"{line} 7\n" for line in CODES.splitlines()[1:]))
    marked = built("bpe", "subword_nmt", bpe_codes=str(tmp_path / "codes"), bpe_separator="~~")
    assert marked.encode("hello world") == "hello wo~~ r~~ l~~ d"
    assert marked.decode("hello wo~~ r~~ l~~ d") == "hello world"
    for name, file in (("subword_nmt", "codes"), ("fastbpe", "counted")):
        assert built("bpe", name, bpe_codes=str(tmp_path / file)).encode("hello world") == "hello wo@@ r@@ l@@ d"
    (tmp_path / "bad").write_text("#version: 0.2\na b c d\n")
    with pytest.raises(DataError, match="is no file of merges"):
        built("bpe", "subword_nmt", bpe_codes=str(tmp_path / "bad"))


def test_missing_merges():
    with pytest.raises(DataError, match="cannot read bpe_codes nope"):
        built("bpe", "subword_nmt", bpe_codes="nope")


def test_sentencepiece(tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    lines = ["hello world this is a small text", "another hello world sentence", "this is another small world"] * 40
    (tmp_path / "text").write_text("\n".join(lines))
    sentencepiece.SentencePieceTrainer.Train(
        input=str(tmp_path / "text"), model_prefix=str(tmp_path / "sp"), vocab_size=40, hard_vocab_limit=False
    )
    pieces = built("bpe", "sentencepiece", sentencepiece_model=str(tmp_path / "sp.model"))
    text = pieces.encode("hello small zworld")
    assert text.split()[0] == "▁" and pieces.decode(text) == "hello small zworld"
    assert [pieces.is_beginning_of_word(piece) for piece in ("▁he", "he", "<unk>", "▁")] == [True, False, True, True]
    settings = {"sentencepiece_model": str(tmp_path / "sp.model"), "sentencepiece_enable_sampling": True}
    sampled = built("bpe", "sentencepiece", **settings, sentencepiece_alpha=0.1)
    assert len({sampled.encode("hello small world") for _ in range(20)}) > 1
    with pytest.raises(DataError, match="there is no model"):
        built("bpe", "sentencepiece", sentencepiece_model="nope")


def test_the_languages_of_moses_are_those_of_the_task():
    def languages(*words):
        args = options.parse_args_and_arch(options.get_generation_parser(), ["bin", "--tokenizer", "moses", *words])
        cfg = convert_namespace_to_omegaconf(args)
        return cfg.task.source_lang, cfg.task.target_lang, cfg.tokenizer.source_lang, cfg.tokenizer.target_lang

    assert languages() == (None, None, "en", "en")
    assert languages("--source-lang", "de", "-t", "fr") == languages("-s", "de", "-t", "fr") == ("de", "fr") * 2
