"""A checked configuration, and what the tables, figures and pages of its experiments depend on."""

from dataclasses import dataclass
from typing import Any

from certflow.config.foreign import foreign_specs
from certflow.config.records import Experiment, KnowledgeRun, OfModel, Run
from certflow.config.stages import StageSpecs
from certflow.data.corruptions.naming import copies_parts
from certflow.kinds.spec import plain, without
from certflow.presets import preset_row
from certflow.report import envelopes
from certflow.report.drawn import TABLE_ALONE
from certflow.report.published import numbers_digest

PICTURES = 3
"""Test images of which pictures are drawn, at each noise level."""


@dataclass(frozen=True)
class Study(StageSpecs):
    """A checked configuration. Entries by name; specs of every stage by the names in its path."""

    def table_spec(self, experiment: str) -> dict[str, Any]:
        """What an experiment's table depends on, besides its certificates."""
        e, own = self.experiments[experiment], self._own_lines_spec(experiment)
        theirs = {result.noise: self.noises[result.noise].sigma for result in e.foreign}
        return plain(
            {
                **own,
                **_published(e),
                "envelope": e.envelope,
                "foreign": foreign_specs(e),
                "remark": self._remark(e, own["norm"]),
                "title": self._title(experiment),
                "attacks": self._attacks(experiment),
                "sigmas": {**own["sigmas"], **theirs},
            }
        )

    def _own_lines_spec(self, experiment: str) -> dict[str, Any]:
        """What the lines of an experiment's own certificates depend on, besides these: not on tables made elsewhere."""
        e = self.experiments[experiment]
        norm = self.norm(e)
        return {
            "radii": e.radii,
            "runs": [self._run_spec(run) for run in self.runs(experiment)],
            "sigmas": {name: self.noises[name].sigma for name in e.noises},
            "published_as": {
                method: {noise: self._published_as(e, method, noise, norm) for noise in e.noises}
                for method in e.methods
            },
            "split": self.images[e.images].split,
            "norm": norm,
        }

    def _attacks(self, name: str) -> list[dict[str, Any]]:
        """Names of every attack table of an experiment or a diagnosis, and what it must have been made from."""
        return [{**_names(run, "attack"), "spec": self.attack_spec(run)} for run in self.attack_runs(name)]

    def _title(self, experiment: str) -> str:
        """The caption of an experiment's table, and of its estimate."""
        return self.experiments[experiment].title or f"Certified accuracy: {experiment}"

    def _remark(self, e: Experiment, norm: str) -> str:
        """The experiment's own remark, and the published envelopes that it asks for, of its kinds of noise and its norm."""
        kinds, asked = {self.noises[name].kind for name in e.noises}, e.envelopes
        published = "" if asked is None else envelopes.sentence(asked.dataset, asked.arch, kinds, norm)
        return " ".join(part for part in (e.remark, published) if part)

    def preview_spec(self, experiment: str) -> dict[str, Any]:
        """What the estimate of an experiment's table depends on, besides the counts. ValueError where none is asked for."""
        e = self.experiments[experiment]
        if e.preview is None:
            raise ValueError(f"experiments.{experiment}: asks for no preview")
        runs = [{**_names(run), "spec": self.counts_spec(run)} for run in self.preview_runs(experiment)]
        return plain(
            {
                "radii": e.radii,
                "n": e.preview.n,
                "alpha": e.preview.alpha,
                "norm": self.norm(e),
                "split": self.images[e.images].split,
                "title": self._title(experiment),
                **self._plot(experiment),
                "runs": runs,
            }
        )

    def corruption_table_spec(self, experiment: str) -> dict[str, Any]:
        """What an experiment's table of corrupted copies depends on, besides the certificates."""
        e, copies = self.experiments[experiment], []
        for run in self.corrupted_runs(experiment):
            _, entry, name = copies_parts(run.images)
            copies.append({**self._run_spec(run), "entry": entry, "corruption": name})
        kind = self.datasets[e.dataset].kind
        entries = {
            entry: {
                "clean": sorted(self.corruptions[entry].clean),
                "averaged": self.corruptions[entry].averaged(),
                "published": self.corruptions[entry].published_as(kind),
            }
            for entry in e.corruptions
        }
        shared = {**self._own_lines_spec(experiment), **_published(e), "title": self._title(experiment)}
        return plain({**shared, "copies": copies, "entries": entries})

    def _run_spec(self, run: Run) -> dict[str, Any]:
        """A run's names, and what its certificate table must have been made from."""
        return {**_names(run, "certificate"), "spec": self.certificate_spec(run)}

    def _published_as(self, e: Experiment, method: str, noise: str, norm: str) -> str:
        """The name under which papers' numbers stand beside a method: its kind, if it is a papers' recipe as it is, for the
        published dataset, for this noise and for radii in this norm."""
        entry = self.methods[method]
        if entry.preset is None or entry.own:
            return ""
        key = self.preset_key(method, e.dataset, noise)
        if e.published is not None and key[0] != e.published.dataset:
            return ""
        return entry.kind if norm in preset_row(entry.preset, *key).norms else ""

    def figure_spec(self, experiment: str) -> dict[str, Any]:
        """What an experiment's figures depend on, besides its certificates."""
        return plain({**without(self.table_spec(experiment), *TABLE_ALONE), **self._plot(experiment)})

    def _plot(self, experiment: str) -> dict[str, Any]:
        """How an experiment's figures look."""
        return {"plot": self.experiments[experiment].plot.model_dump(mode="json")}

    def report_spec(self, experiment: str) -> dict[str, Any]:
        """What an experiment's page depends on: the specs of table and figures, and what each other file on it must have been
        made from.

        `training`: the models' specs, in the order of `trained_runs`. `strip`: that of the pictures of denoised images.
        `corruptions`: that of the table of corrupted copies. `preview`: that of the estimate. None where there is no such
        thing.
        """
        e = self.experiments[experiment]
        return plain(
            {
                **self.table_spec(experiment),
                **self._plot(experiment),
                "training": [self.model_spec(*run.of_model) for run in self.trained_runs(experiment)],
                "strip": self.strip_spec(experiment) if self.denoised_runs(experiment) else None,
                "corruptions": self.corruption_table_spec(experiment) if e.corruptions else None,
                "preview": self.preview_spec(experiment) if e.preview else None,
            }
        )

    def diagnosis_spec(self, diagnosis: str) -> dict[str, Any]:
        """What a diagnosis depends on, besides tables: names and specs of every model's, in the order of `knowledge_runs`, of
        every attack's, and, where it is put beside an experiment, of `compared_runs` with what its own lines depend on."""
        d = self.diagnoses[diagnosis]
        beside = None
        if d.beside is not None:
            models = [self._layers_spec(run) for run in self.compared_runs(diagnosis)]
            beside = {"experiment": d.beside, "models": models, "table": self._own_lines_spec(d.beside)}
        return plain(
            {
                "title": d.title or f"Knowledge continuity: {diagnosis}",
                "remark": d.remark,
                "data": {"dataset": d.dataset, "model": d.model, "images": d.images},
                "models": [self._layers_spec(run) for run in self.knowledge_runs(diagnosis)],
                "attacks": self._attacks(diagnosis),
                "beside": beside,
                "plot": d.plot.model_dump(mode="json"),
            }
        )

    def _layers_spec(self, run: KnowledgeRun) -> dict[str, Any]:
        """A model's names, and what the tables of its layers must have been made from."""
        return {**_names(run), "spec": self.knowledge_spec(run)}

    def strip_spec(self, experiment: str) -> dict[str, Any]:
        """What an experiment's pictures of denoised images depend on, besides its models."""
        e = self.experiments[experiment]
        runs = [
            {"method": run.method, "noise": run.noise, "spec": self.model_spec(*run.of_model)}
            for run in self.denoised_runs(experiment)
        ]
        return plain(
            {"dataset": self.datasets[e.dataset].canonical(), "seed": e.seeds[0], "images": PICTURES, "runs": runs}
        )


def _published(e: Experiment) -> dict[str, Any]:
    """Which published numbers stand beside an experiment's, and the digest of all there are."""
    cell = e.published
    return {
        "published": None if cell is None else cell.model_dump(mode="json"),
        "published_numbers": None if cell is None else numbers_digest(),
    }


def _names(run: OfModel, *more: str) -> dict[str, Any]:
    """The names that a page knows a run by: method, noise, seed, and `more` of its fields."""
    return {key: getattr(run, key) for key in ("method", "noise", "seed", *more)}
