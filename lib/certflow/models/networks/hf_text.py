"""Classifiers of texts of the transformers library, whose input is tokens and whose output is logits alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from certflow.data.base import DataInfo
from certflow.data.items import PADDING
from certflow.data.text.pretrained import SHIFT
from certflow.models import words
from certflow.models.hf_folder import require_fitting, special_numbers
from certflow.models.networks.hf import building, loaded, unloaded

LIKE_BERT = 0.02
"""Standard deviation of a new layer's weights."""


class TextLogits(nn.Module):
    """An encoder of transformers as a function from tokens to logits.

    Its table of words has a row more at the front, for padding, so that it is read by the data's tokens (`SHIFT`). The network
    gets vectors and a mask: some encoders number places by comparing tokens with their own padding.
    """

    def __init__(self, network: Any, head: nn.Linear | None, special: frozenset[int]):
        super().__init__()
        table = network.get_input_embeddings().weight.detach()
        shifted = nn.Embedding(len(table) + SHIFT, table.shape[1], padding_idx=PADDING)
        with torch.no_grad():
            shifted.weight.copy_(torch.cat([torch.zeros_like(table[:SHIFT]), table]))
        network.set_input_embeddings(shifted)
        self.network, self.head = network, head
        self.special_tokens = frozenset({PADDING, *(number + SHIFT for number in special)})
        self.layer_names = [f"network.{name}" for name in _layers(network)]

    @property
    def word_embedding(self) -> nn.Embedding:
        """The vectors of words, before anything else is added."""
        network: Any = self.network
        return network.get_input_embeddings()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.network(inputs_embeds=self.word_embedding(x), attention_mask=words.seen(x).long())
        if self.head is None:
            return out.logits
        return self.head(words.mean(out.last_hidden_state, x != PADDING))


def _layers(network: nn.Module) -> list[str]:
    """Names of the encoder's layers in order: the longest list of modules, after the embedding where that has a name."""
    lists = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.ModuleList)]
    if not lists:
        return []
    name, layers = max(lists, key=lambda item: len(item[1]))
    root = name.partition(".encoder")[0] if ".encoder" in name else ""
    before = f"{root}.embeddings" if root else "embeddings"
    known = dict(network.named_modules())
    return [*([before] if before in known else []), *(f"{name}.{number}" for number in range(len(layers)))]


def create(architecture: str, info: DataInfo, settings: Mapping[str, Any], head: str) -> TextLogits:
    """A classifier with fresh weights; ValueError where transformers knows no such architecture or settings."""
    from transformers import AutoConfig

    sizes = {"vocab_size": info.words - SHIFT, "num_labels": info.classes}
    with building(architecture, "texts"):
        config = AutoConfig.for_model(architecture, **sizes, **settings)
        return _finished(_auto(head).from_config(config), info, head, frozenset())


def load(path: str | Path, info: DataInfo, head: str) -> TextLogits:
    """The model in a folder with its weights, float32; `ArtefactError` for one that does not fit, key by key."""
    require_fitting(path, info, stored=head == "stored")
    return _finished(loaded(_auto(head), path), info, head, special_numbers(path))


def empty(path: str | Path, info: DataInfo, head: str) -> TextLogits:
    """The same network for weights that are about to be loaded."""
    require_fitting(path, info, stored=head == "stored")
    return _finished(unloaded(_auto(head), path), info, head, special_numbers(path))


def _auto(head: str) -> Any:
    """The class of transformers that reads a classifier, or an encoder alone."""
    from transformers import AutoModel, AutoModelForSequenceClassification

    return AutoModelForSequenceClassification if head == "stored" else AutoModel


def _finished(network: Any, info: DataInfo, head: str, special: frozenset[int]) -> TextLogits:
    """With a new layer behind it, if asked for, and without the pooler that this layer does not read."""
    if head == "stored":
        return TextLogits(network, None, special)
    if getattr(network, "pooler", None) is not None:
        network.pooler = None
    last = nn.Linear(network.config.hidden_size, info.classes)
    nn.init.normal_(last.weight, std=LIKE_BERT)
    nn.init.zeros_(last.bias)
    return TextLogits(network, last, special)
