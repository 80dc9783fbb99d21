"""Encoders and classifiers of texts of the transformers library (`huggingface/transformers`)."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import model_validator

from certflow.data.base import DataInfo
from certflow.kinds.registry import register
from certflow.models.hf_model import TransformersModel

if TYPE_CHECKING:
    import torch


@register("hf_text")
class HfText(TransformersModel):
    """A sequence classifier as transformers' `save_pretrained` stores it, or an encoder with a new linear layer behind it.

    Encoders only (BERT, RoBERTa, ELECTRA and similar ones): models that generate text are refused. The data's tokenizer must
    be the encoder's own (`tokenizer: pretrained`). Weights are read from safetensors, and no code that comes with a model is
    run.
    """

    kind: Literal["hf_text"] = "hf_text"
    revision: ClassVar[int] = 2
    accepts: ClassVar[frozenset[str]] = frozenset({"tokens"})
    example: ClassVar[dict[str, Any]] = {
        "network": "bert",
        "settings": {
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 32,
        },
    }
    natural: ClassVar[tuple[int, ...]] = (24,)
    words: ClassVar[int] = 500
    said_by_data: ClassVar[frozenset[str]] = TransformersModel.said_by_data | {"vocab_size"}
    read: ClassVar[tuple[str, ...]] = ("config.json", "model.safetensors", "tokenizer.json")

    head: Literal["stored", "mean"] = "stored"
    """`stored`: the classifier's own. `mean`: a new linear layer on the mean of the words' vectors, for folders that hold an
    encoder alone; it must be trained."""

    @model_validator(mode="after")
    def _as_it_is(self) -> Self:
        if self.normalise != "dataset":
            raise ValueError("normalise: texts are not normalised; leave it out")
        return self

    @property
    def own_layer(self) -> bool:
        return self.head == "stored"

    def backbone(self, info: DataInfo) -> "torch.nn.Module":
        return self._network(info, "load")

    def skeleton(self, info: DataInfo) -> "torch.nn.Module":
        return self._network(info, "empty")

    def _network(self, info: DataInfo, how: str) -> "torch.nn.Module":
        from certflow.models.networks import hf_text

        if self.network is not None:
            return hf_text.create(self.network, info, self.settings, self.head)
        return getattr(hf_text, how)(self._folder(), info, self.head)
