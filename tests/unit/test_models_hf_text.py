"""Classifiers of texts of transformers: the library's own logits by the data's tokens, and every misfit refused by its name."""

import json

import pytest
import torch
from pydantic import ValidationError

from certflow.attacks.texts import words_of
from certflow.data.base import DataInfo
from certflow.data.kinds.text_table import TextTable
from certflow.data.text.pretrained import SHIFT, Pretrained
from certflow.errors import ArtefactError, DataError
from certflow.models import build, words
from certflow.models.assemble import skeleton
from certflow.models.hf_folder import misfits
from certflow.models.hidden import hidden_layers
from certflow.models.kinds.hf_text import HfText

SMALL = HfText.example["settings"]
LENGTH, WORDS = 8, 40
INFO = DataInfo(classes=3, shape=(LENGTH,), vocabulary=WORDS + SHIFT)
IDS = torch.randint(5, WORDS, (3, LENGTH), generator=torch.Generator().manual_seed(0))
COUNTS = torch.arange(LENGTH) < torch.tensor([[8], [5], [1]])
X = (IDS + SHIFT) * COUNTS


def told(folder, **more):
    """A folder that says what it is, with weights that nobody looks at."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(
        json.dumps({"model_type": "bert", "num_labels": 3, "vocab_size": WORDS, **more})
    )
    (folder / "model.safetensors").write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, None),
        ({"num_labels": 2}, "has 2 labels, the texts have 3 classes"),
        ({"vocab_size": 99}, "knows 99 tokens, the data have 40; use `tokenizer: pretrained`"),
        ({"max_position_embeddings": 4}, "takes texts of 4 tokens, the data have 8"),
        ({"is_encoder_decoder": True}, "writes texts"),
        ({"architectures": ["GPT2ForCausalLM"]}, "writes texts"),
        ({"auto_map": {"AutoModel": "theirs.py"}}, "comes with code of its own"),
    ],
)
def test_what_does_not_fit_is_found_in_the_settings(tmp_path, more, message):
    found = misfits(told(tmp_path / "model", **more), INFO, stored=True)
    assert found == [] if message is None else message in found[0]


def test_an_encoder_alone_needs_no_labels(tmp_path):
    assert misfits(told(tmp_path / "model", num_labels=2), INFO, stored=False) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"settings": {"vocab_size": 4}}, "vocab_size is not a setting"), ({"normalise": "none"}, "not normalised")],
)
def test_entries_that_cannot_be_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        HfText(network="bert", **fields)


def saved(folder, architecture, **more):
    """A classifier as transformers stores it, and the classifier."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(architecture, **{**SMALL, "vocab_size": WORDS, "num_labels": 3, **more})
    network = transformers.AutoModelForSequenceClassification.from_config(config).eval()
    network.save_pretrained(folder)
    return network


@pytest.mark.parametrize(("architecture", "padding"), [("bert", 0), ("roberta", 1)])
def test_its_logits_are_the_library_s_whatever_it_pads_with(tmp_path, architecture, padding):
    theirs = saved(tmp_path / "model", architecture)
    network = build(HfText(weights=str(tmp_path / "model")), INFO).eval()
    with torch.inference_mode():
        wanted = theirs(input_ids=IDS.where(COUNTS, padding), attention_mask=COUNTS.long()).logits
        torch.testing.assert_close(network(X), wanted, rtol=1e-4, atol=1e-5)
        again = skeleton(HfText(weights=str(tmp_path / "model")), INFO).eval()
        again.load_state_dict(network.state_dict())
        assert torch.equal(again(X), network(X))


def test_an_encoder_gets_a_new_layer_on_the_mean_of_its_words(tmp_path):
    theirs = saved(tmp_path / "whole", "bert").bert
    theirs.save_pretrained(tmp_path / "model")
    network = build(HfText(weights=str(tmp_path / "model"), head="mean"), INFO).eval()
    with torch.inference_mode():
        found = theirs(input_ids=IDS * COUNTS, attention_mask=COUNTS.long()).last_hidden_state
        mean = torch.stack([row[:count].mean(0) for row, count in zip(found, COUNTS.sum(1), strict=True)])
        torch.testing.assert_close(network(X), network[1].head(mean), rtol=1e-4, atol=1e-5)
    assert hidden_layers(network, X[:1]) == [
        f"1.network.{name}" for name in ("embeddings", "encoder.layer.0", "encoder.layer.1")
    ]
    torch.nn.functional.cross_entropy(network(X), torch.arange(3)).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    with pytest.raises(ArtefactError, match="its weights do not fit the classifier: lacks classifier.*`head: mean`"):
        build(HfText(weights=str(tmp_path / "model")), INFO)


def test_vectors_of_words_are_read_and_replaced_by_the_data_s_tokens(tmp_path):
    theirs = saved(tmp_path / "model", "bert")
    network = build(HfText(weights=str(tmp_path / "model")), INFO).eval()
    table = theirs.get_input_embeddings().weight
    torch.testing.assert_close(words.vectors(network, X)[0], table[IDS[0]])
    with torch.inference_mode(), words.replaced(network, words.vectors(network, X)[[0, 0, 0]]):
        assert torch.allclose(network(X[[0, 0, 0]]), network(X[[0]]), atol=1e-5)


def tokenizer(folder):
    """A tokenizer of a few words with BERT's marks, as the library stores it."""
    tokenizers = pytest.importorskip("tokenizers")
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    made = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: n for n, word in enumerate([*marks, "good", "film"])}, unk_token="[UNK]")
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.add_special_tokens(marks)
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.enable_padding(length=20)
    folder.mkdir(exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    return folder


def test_a_pretrained_tokenizer_counts_from_one_and_keeps_its_marks(tmp_path):
    folder = tokenizer(tmp_path / "model")
    encoder = Pretrained(folder)
    assert encoder.encode("good film x", None, 9) == [3, 5, 6, 2, 4]
    assert encoder.encode("good good good", None, 4) == [3, 5, 5, 4]
    for split in ("train", "test"):
        (tmp_path / f"{split}.tsv").write_text("text\tlabel\ngood film\t1\nfilm\t0\n")
    settings = {"root": str(tmp_path), "classes": ["0", "1"], "tokenizer": "pretrained", "length": 6}
    data = TextTable(pretrained=str(folder), vocabulary=6, **settings)
    assert data.read("train", tmp_path).images.tolist() == [[3, 5, 6, 4, 0, 0], [3, 6, 4, 0, 0, 0]]
    assert data.info().vocabulary == 7 and "pretrained" not in data.canonical()
    saved(folder, "bert", vocab_size=6, num_labels=2)
    network = build(HfText(weights=str(folder)), data.info())
    assert words_of(network, torch.tensor([[3, 5, 6, 4, 0, 0]])).tolist() == [[False, True, True, False, False, False]]


def test_a_tokenizer_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="tokenizer.json: not found"):
        Pretrained(tmp_path)
    pytest.importorskip("tokenizers")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match="is not a tokenizer"):
        Pretrained(tmp_path)
