"""The files that each stage reads, by the names in the path of what it makes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from certflow.config import Study
from certflow.data.corruptions.naming import copies_parts
from certflow.data.source import data_root
from certflow.files import results
from certflow.workflow.wildcards import Wildcards, model_key


@dataclass(frozen=True)
class Inputs:
    """The input functions of the rules. `own` marks a file of the user's, which stays where it is when results are moved;
    `here` says where one of the results is moved to."""

    study: Study
    own: Callable[[str], str]
    here: Callable[[str], Path]

    def source_state(self, w: Wildcards) -> str:
        """Changes when the source files do, for datasets whose files have no known checksums.

        Where they cannot be seen now, such as on a disk that is not mounted, it is the state that the data were prepared from.
        """
        spec = self.study.datasets[w.dataset]
        state = spec.source_state(data_root(spec))
        if state is None:  # `output` would name the file, but Snakemake does not compare what depends on it
            last = self.here(results.DATA_STATE.format(dataset=w.dataset))
            return last.read_text(encoding="utf-8") if last.is_file() else ""
        return state

    def corruption_sources(self, w: Wildcards) -> list[str]:
        """The files of one corruption, where it is not computed."""
        return [self.own(str(path)) for path in self.study.corruptions[w.corruptions].files(w.corruption)]

    def copies_manifest(self, w: Wildcards) -> dict[str, str]:
        """The manifest of the corrupted copies that `images` names, if it names any."""
        _, entry, name = copies_parts(w.images)
        if entry is None:
            return {}
        return {"corrupted": results.COPIES.format(dataset=w.dataset, corruptions=entry, corruption=name)}

    def ingredients(self, w: Wildcards) -> dict[str, str | list[str]]:
        """What a model is made from besides the images, by what it is for; roles of `parts` as in `part_roles`."""
        tables: dict[str, str | list[str]] = {
            name: results.VOTES.format(dataset=w.dataset, model=w.model, predictions=entry)
            for name, entry in self.study.tables(w.method, w.dataset, w.noise).items()
        }
        brought = self.study.checkpoint(w.method, w.dataset, w.noise, int(w.seed))
        start = {} if brought is None else {"checkpoint": self.own(brought)}
        return {**tables, **start, "parts": self.part_models(w), "denoiser": self.denoiser_weights(w)}

    def part_roles(self, w: Wildcards) -> list[str]:
        """What the other models that a model is made from are for, in order."""
        return list(self.study.references(*model_key(w)))

    def part_models(self, w: Wildcards) -> list[str]:
        """The models that another one is made from, in the order of their roles."""
        references = self.study.references(*model_key(w))
        return [results.WEIGHTS.format(dataset=w.dataset, **vars(of)) for of in references.values()]

    def denoiser_weights(self, w: Wildcards) -> list[str]:
        """Where the denoiser in a model comes from: its own training, files of the user's, or nothing."""
        name = self.study.own_denoiser(w.dataset, w.method, w.noise)
        if name is None:
            return []
        if self.study.denoisers[name].train is not None:
            return [results.DENOISER.format(dataset=w.dataset, denoiser=name, seed=w.seed)]
        return [self.own(path) for path in self.study.denoisers[name].files()]

    def base_classifier(self, w: Wildcards) -> str:
        """The model whose votes smoothed predictions are."""
        entry = self.study.predictions[w.predictions]
        named = {"method": entry.method, "noise": entry.noise, "seed": entry.seed}
        return results.WEIGHTS.format(dataset=w.dataset, model=w.model, **named)

    def certificates(self, w: Wildcards) -> list[str]:
        """Every certificate table of an experiment."""
        return [results.CERTIFICATE.format(**vars(run)) for run in self.study.runs(w.experiment)]

    def corrupted_certificates(self, w: Wildcards) -> list[str]:
        """Every certificate table of the corrupted copies of an experiment's images."""
        return [results.CERTIFICATE.format(**vars(run)) for run in self.study.corrupted_runs(w.experiment)]

    def attack_tables(self, w: Wildcards) -> list[str]:
        """Every attack table of an experiment."""
        return [results.ATTACKED.format(**vars(run)) for run in self.study.attack_runs(w.experiment)]

    def training_logs(self, w: Wildcards) -> list[str]:
        """The training log of every model of an experiment that was trained here."""
        return [results.TRAINING.format(**vars(run)) for run in self.study.trained_runs(w.experiment)]

    def denoising_models(self, w: Wildcards) -> list[str]:
        """The models of an experiment whose denoised images are shown."""
        return [results.WEIGHTS.format(**vars(run)) for run in self.study.denoised_runs(w.experiment)]

    def denoised_pictures(self, w: Wildcards) -> list[str]:
        """The figure of denoised images, for experiments that have any."""
        pictures = results.DENOISED.format(experiment=w.experiment)
        return [pictures] if self.study.denoised_runs(w.experiment) else []

    def corruption_table(self, w: Wildcards) -> dict[str, str]:
        """The table of corrupted copies, for experiments that have one."""
        path = results.CORRUPTED.format(experiment=w.experiment)
        return {"corruptions": path} if self.study.experiments[w.experiment].corruptions else {}

    def pilot_plans(self, w: Wildcards) -> list[str]:
        """Every plan that an experiment's table is estimated by."""
        return [results.PLAN.format(**vars(run)) for run in self.study.preview_runs(w.experiment)]

    def pilot_counts(self, w: Wildcards) -> list[str]:
        """The counts that were drawn by them."""
        return [results.COUNTED.format(**vars(run)) for run in self.study.preview_runs(w.experiment)]

    def estimate_files(self, w: Wildcards) -> list[str]:
        """Table and figure of the estimate, for experiments that have one."""
        if self.study.experiments[w.experiment].preview is None:
            return []
        return [path.format(experiment=w.experiment) for path in (results.ESTIMATED, results.ESTIMATED_CURVES)]

    def experiment_data(self, w: Wildcards) -> str:
        """The manifest of an experiment's dataset."""
        return results.DATA.format(dataset=self.study.experiments[w.experiment].dataset)

    def foreign(self, w: Wildcards) -> list[str]:
        """Per-image results made elsewhere that an experiment lists.

        A path with braces is left out, since Snakemake would take them for wildcards: `table_spec` holds its content's digest.
        """
        listed = [path for result in self.study.experiments[w.experiment].foreign for path in result.paths]
        return [self.own(path) for path in listed if "{" not in path]

    def volatility_tables(self, w: Wildcards) -> list[str]:
        """Volatility of the layers of every model of a diagnosis."""
        return [results.VOLATILITY.format(**vars(run)) for run in self.study.knowledge_runs(w.diagnosis)]

    def layers_certificates(self, w: Wildcards) -> list[str]:
        """Certificate of the layers of every model of a diagnosis."""
        return [results.LAYERS_CERTIFICATE.format(**vars(run)) for run in self.study.knowledge_runs(w.diagnosis)]

    def diagnosis_attacks(self, w: Wildcards) -> list[str]:
        """Every attack table of a diagnosis."""
        return [results.ATTACKED.format(**vars(run)) for run in self.study.attack_runs(w.diagnosis)]

    def compared_tables(self, w: Wildcards) -> list[str]:
        """Volatility of the layers of every model that a diagnosis is put beside."""
        return [results.VOLATILITY.format(**vars(run)) for run in self.study.compared_runs(w.diagnosis)]

    def compared_certificates(self, w: Wildcards) -> list[str]:
        """Every certificate table of the experiment that a diagnosis is put beside."""
        beside = self.study.diagnoses[w.diagnosis].beside
        runs = [] if beside is None else self.study.runs(beside)
        return [results.CERTIFICATE.format(**vars(run)) for run in runs]

    def pages(self) -> list[str]:
        """The page of each experiment and diagnosis listed under `targets`; table and figures are made for it."""
        diagnosed = self.study.diagnoses
        return [
            results.DIAGNOSIS.format(diagnosis=name) if name in diagnosed else results.REPORT.format(experiment=name)
            for name in self.study.targets
        ]
