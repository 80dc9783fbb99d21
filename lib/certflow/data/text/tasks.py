"""The columns of published tasks on texts, as their files are distributed."""

from typing import Any

ENTAILMENT = ("entailment", "not_entailment")
GLUE = {"train": "train.tsv", "test": "dev.tsv", "format": "tsv"}
"""The labels of GLUE's test files are not published: its development files are the test split here, as in the field."""

TASKS: dict[str, dict[str, Any]] = {
    "cola": {**GLUE, "header": False, "text": 3, "label": 1, "classes": ["0", "1"]},
    "sst2": {**GLUE, "text": "sentence", "label": "label", "classes": ["0", "1"]},
    "mrpc": {
        **GLUE,
        "train": "msr_paraphrase_train.txt",
        "test": "msr_paraphrase_test.txt",
        "text": "#1 String",
        "pair": "#2 String",
        "label": "Quality",
        "classes": ["0", "1"],
    },
    "qqp": {**GLUE, "text": "question1", "pair": "question2", "label": "is_duplicate", "classes": ["0", "1"]},
    "mnli": {
        **GLUE,
        "test": "dev_matched.tsv",
        "text": "sentence1",
        "pair": "sentence2",
        "label": "gold_label",
        "classes": ["entailment", "neutral", "contradiction"],
    },
    "qnli": {**GLUE, "text": "question", "pair": "sentence", "label": "label", "classes": list(ENTAILMENT)},
    "rte": {**GLUE, "text": "sentence1", "pair": "sentence2", "label": "label", "classes": list(ENTAILMENT)},
    "wnli": {**GLUE, "text": "sentence1", "pair": "sentence2", "label": "label", "classes": ["0", "1"]},
    "imdb": {
        "train": "train.csv",
        "test": "test.csv",
        "format": "csv",
        "text": "text",
        "label": "label",
        "classes": ["0", "1"],
    },
    "anli": {
        "train": "train.jsonl",
        "test": "test.jsonl",
        "format": "jsonl",
        "text": "context",
        "pair": "hypothesis",
        "label": "label",
        "classes": ["e", "n", "c"],
    },
}
"""Task → settings of `text_table`. GLUE (Wang et al. 2019), IMDB (Maas et al. 2011), ANLI (Nie et al. 2020)."""
