"""What the result of each stage depends on, from images to certificates.

Each `*_spec` is whole: it holds what the stage's parents depend on, down to the dataset. A job therefore knows all that each of
its inputs must have been made from, and the reader of an input compares all of it (`Provenance.require`), whatever Snakemake
remembers of how the file came to be.
"""

from dataclasses import dataclass
from typing import Any

from certflow.config.entries import Entries
from certflow.config.records import AttackRun, CountsRun, KnowledgeRun, Run
from certflow.data.corruptions.naming import copies_parts
from certflow.files.contents import contents
from certflow.kinds.spec import plain
from certflow.sampling.base import ENGINE_REVISION


@dataclass(frozen=True)
class StageSpecs(Entries):
    """Adds to the entries a `*_spec` for every stage up to the certificates: of the names in the path of what it makes."""

    def dataset_spec(self, dataset: str) -> dict[str, Any]:
        """What the prepared data depend on."""
        return plain(self.datasets[dataset].canonical())

    def images_spec(self, name: str) -> dict[str, Any]:
        """Which images a name of `image_sets` stands for."""
        images, entry, corruption = copies_parts(name)
        spec = self.images[images].model_dump(mode="json")
        if entry is not None and corruption is not None:
            spec["corruption"] = self.corruptions[entry].of(corruption)
        return plain(spec)

    def corruption_spec(self, dataset: str, entry: str, name: str) -> dict[str, Any]:
        """What corrupted copies depend on, besides the clean images and source files."""
        return plain({"dataset": self.datasets[dataset].canonical(), "corruption": self.corruptions[entry].of(name)})

    def model_spec(self, dataset: str, model: str, method: str, noise: str, seed: int) -> dict[str, Any]:
        """What trained weights depend on, besides the content of the images.

        `tables`: what the tables that the method reads are made from. `fine_tuned`: that training starts from a checkpoint.
        `files`: the content of the user's own files, of those that are there.
        """
        recipe = self.method(method, dataset, noise)
        tables = {
            name: self.predictions_spec(dataset, model, entry)
            for name, entry in self.tables(method, dataset, noise).items()
        }
        files = contents({**self.models[model].brought(), **self.brought(dataset, method, noise, seed)})
        return plain(
            {
                "dataset": self.datasets[dataset].canonical(),
                "model": self.models[model].architecture(),
                "method": recipe.canonical(),
                "noise": self.noises[noise].canonical(),
                "seed": seed,
                **({"tables": tables} if tables else {}),
                **({"fine_tuned": True} if recipe.start_from else {}),
                **({"files": files} if files else {}),
                **self._parts(dataset, model, method, noise, seed),
            }
        )

    def _parts(self, dataset: str, model: str, method: str, noise: str, seed: int) -> dict[str, Any]:
        """`parts`: the specs of what a model is made from, by role; no such key for models made from images alone."""
        references = self.references(dataset, model, method, noise, seed)
        parts = {
            role: self.model_spec(dataset, of.model, of.method, of.noise, of.seed) for role, of in references.items()
        }
        denoiser = self.own_denoiser(dataset, method, noise)
        if denoiser is not None:
            parts["denoiser"] = self.denoisers[denoiser].canonical()
        return {"parts": parts} if parts else {}

    def denoiser_spec(self, dataset: str, denoiser: str, seed: int) -> dict[str, Any]:
        """What the weights of a denoiser that is trained by itself depend on, besides the images."""
        return plain(
            {
                "dataset": self.datasets[dataset].canonical(),
                "denoiser": self.denoisers[denoiser].trained_as(),
                "seed": seed,
            }
        )

    def predictions_spec(self, dataset: str, model: str, predictions: str) -> dict[str, Any]:
        """What smoothed predictions depend on, besides the weights of their base classifier."""
        entry = self.predictions[predictions]
        base = self.sample_spec(dataset, model, entry.method, entry.noise, entry.seed)
        return plain({**base, "predictions": entry.settings()})

    def sample_spec(self, dataset: str, model: str, method: str, noise: str, seed: int) -> dict[str, Any]:
        """What every draw depends on, besides images and number of draws: the model's spec, and how it is evaluated."""
        return plain(
            {
                **self.model_spec(dataset, model, method, noise, seed),
                "model": self.models[model].canonical(),
                "engine": ENGINE_REVISION,
            }
        )

    def attack_spec(self, run: AttackRun) -> dict[str, Any]:
        """What an attack's table depends on, besides the weights."""
        return plain(
            {
                **self.sample_spec(*run.of_model),
                "images": self.images_spec(run.images),
                "attack": self.attacks[run.attack].canonical(),
            }
        )

    def features_spec(self, run: KnowledgeRun) -> dict[str, Any]:
        """What a model's features depend on, besides the weights. How the model is sampled is not part of it."""
        return plain({**self.model_spec(*run.of_model), "features": self.knowledge[run.knowledge].extracted()})

    def knowledge_spec(self, run: KnowledgeRun) -> dict[str, Any]:
        """What the tables of a model's layers depend on: its features, and what is measured of them."""
        return plain({**self.features_spec(run), "measured": self.knowledge[run.knowledge].measured()})

    def presample_spec(self, run: CountsRun) -> dict[str, Any]:
        """What stage-1 counts depend on."""
        return plain(
            {
                **self.sample_spec(*run.of_model),
                "images": self.images_spec(run.images),
                "presample": self.samplers[run.sampler].presample(),
            }
        )

    def counts_spec(self, run: CountsRun) -> dict[str, Any]:
        """What the plan, the shards and the merged counts of stage 2 depend on: stage 1, and the whole sampler."""
        return plain({**self.presample_spec(run), "sampler": self.samplers[run.sampler].canonical()})

    def certificate_spec(self, run: Run) -> dict[str, Any]:
        """What radii depend on: the counts, and the certificate."""
        return plain({**self.counts_spec(run), "certificate": self.certificates[run.certificate].canonical()})
