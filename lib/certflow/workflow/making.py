"""Which rule makes the model of a method: by what the model is, and by which part of it learns."""

from certflow.config import Study
from certflow.kinds.registry import spec_class

RULES: dict[tuple[bool, str | None], str] = {
    (False, "classifier"): "train_model",
    (False, None): "import_model",
    (True, "denoiser"): "train_denoised",
    (True, "classifier"): "finetune_denoised",
    (True, None): "compose_denoised",
}
"""(whether a denoiser stands before the classifier, which part learns) → rule."""


def rule_of(study: Study, method: str) -> str:
    """The rule that makes a method's models."""
    entry = study.methods[method]
    kind = spec_class("method", entry.kind)
    return RULES[kind.composed, kind.learning(entry.own)]


def made_by(study: Study, rule: str) -> list[str]:
    """Names of the methods whose models this rule makes."""
    return [name for name in study.methods if rule_of(study, name) == rule]
