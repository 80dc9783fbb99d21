"""What the result of each rule depends on (`params.spec`), by the names in the path of what it makes."""

from dataclasses import dataclass
from typing import Any

from certflow.config import Study
from certflow.config.records import AttackRun, KnowledgeRun, Run
from certflow.workflow.wildcards import Wildcards, counts_run, model_key


@dataclass(frozen=True)
class Specs:
    """The params functions of the rules."""

    study: Study

    def dataset(self, w: Wildcards) -> dict[str, Any]:
        return self.study.dataset_spec(w.dataset)

    def corruption(self, w: Wildcards) -> dict[str, Any]:
        return self.study.corruption_spec(w.dataset, w.corruptions, w.corruption)

    def model(self, w: Wildcards) -> dict[str, Any]:
        return self.study.model_spec(*model_key(w))

    def denoiser(self, w: Wildcards) -> dict[str, Any]:
        return self.study.denoiser_spec(w.dataset, w.denoiser, int(w.seed))

    def predictions(self, w: Wildcards) -> dict[str, Any]:
        return self.study.predictions_spec(w.dataset, w.model, w.predictions)

    def presample(self, w: Wildcards) -> dict[str, Any]:
        return self.study.presample_spec(counts_run(w))

    def counts(self, w: Wildcards) -> dict[str, Any]:
        return self.study.counts_spec(counts_run(w))

    def certificate(self, w: Wildcards) -> dict[str, Any]:
        return self.study.certificate_spec(Run(*model_key(w), w.images, w.sampler, w.certificate))

    def attack(self, w: Wildcards) -> dict[str, Any]:
        return self.study.attack_spec(AttackRun(*model_key(w), w.images, w.attack))

    def table(self, w: Wildcards) -> dict[str, Any]:
        return self.study.table_spec(w.experiment)

    def corruption_table(self, w: Wildcards) -> dict[str, Any]:
        return self.study.corruption_table_spec(w.experiment)

    def estimate(self, w: Wildcards) -> dict[str, Any]:
        return self.study.preview_spec(w.experiment)

    def figure(self, w: Wildcards) -> dict[str, Any]:
        return self.study.figure_spec(w.experiment)

    def report(self, w: Wildcards) -> dict[str, Any]:
        return self.study.report_spec(w.experiment)

    def features(self, w: Wildcards) -> dict[str, Any]:
        return self.study.features_spec(KnowledgeRun(*model_key(w), w.knowledge))

    def knowledge(self, w: Wildcards) -> dict[str, Any]:
        return self.study.knowledge_spec(KnowledgeRun(*model_key(w), w.knowledge))

    def diagnosis(self, w: Wildcards) -> dict[str, Any]:
        return self.study.diagnosis_spec(w.diagnosis)

    def strip(self, w: Wildcards) -> dict[str, Any]:
        return self.study.strip_spec(w.experiment)
