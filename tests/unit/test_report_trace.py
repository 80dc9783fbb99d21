"""What a model learnt from, besides images, stands in the chain behind each number."""

import numpy as np
import pytest
from report_samples import certificate_table, provenance

from certflow.files.artefact import write_arrays, write_table
from certflow.files.intact import file_digest
from certflow.files.provenance import Provenance
from certflow.models.header import identity
from certflow.report.lines import read_line
from certflow.report.trace import chain_paths, trace


@pytest.fixture
def table(tmp_path):
    """A certificate table with a model behind it that learnt from smoothed predictions and started from a checkpoint."""
    save_file = pytest.importorskip("safetensors.numpy").save_file
    from certflow.files.tensorheader import to_metadata

    results = tmp_path / "results"
    predictions = Provenance("predictions", {"predictions": {"n": 40}})
    write_arrays(results / "predictions/digits/small/quick.npz", {"counts": np.zeros((2, 2))}, predictions)
    write_arrays(
        results / "predictions/digits/small/other.npz", {"counts": np.zeros((2, 2))}, Provenance("predictions", {})
    )
    (tmp_path / "start.pth").write_text("weights")
    parents = {"predictions": predictions.digest, "start": file_digest(tmp_path / "start.pth")}
    notes = {"start": {"checkpoint": str(tmp_path / "start.pth")}}
    path = results / "certificates/digits/small/catrs/gauss-0.25/seed0/all/cohen/np.tsv"
    made = Provenance("model", {}, parents=parents, notes=notes)
    shown = provenance(0.25)
    record = Provenance("certificate", shown.spec, notes=shown.notes, parents={"model": identity(made, "f" * 64)})
    write_table(path, certificate_table(20, 0.25), record)
    model = chain_paths(path)["train"]
    model.parent.mkdir(parents=True)
    save_file({"w": np.zeros(2, np.float32)}, model, metadata=to_metadata(made, "f" * 64))
    return path


def steps(table) -> dict:
    (entry,) = read_line("catrs", "gauss-0.25", 0.25, "np", {0: table}).seeds
    return {step.what: step for step in trace(entry)}


def test_predictions_and_checkpoint_are_found_by_their_digests(table):
    found = steps(table)
    assert (
        found["model"].state
        == found["smoothed predictions"].state
        == found["checkpoint started from"].state
        == "as used"
    )
    assert found["smoothed predictions"].path.endswith("predictions/digits/small/quick.npz")
    assert found["smoothed predictions"].spec == {"predictions": {"n": 40}}


def test_remade_predictions_and_checkpoints_are_marked(table):
    folder = table.parents[8].parent
    write_arrays(
        folder / "results/predictions/digits/small/quick.npz",
        {"counts": np.zeros((2, 2))},
        Provenance("predictions", {"n": 1}),
    )
    (folder / "start.pth").write_text("other weights")
    found = steps(table)
    assert found["smoothed predictions"].state == "not here" and len(found["smoothed predictions"].digest) == 64
    assert found["checkpoint started from"].state == "changed since"
    (folder / "start.pth").unlink()
    assert steps(table)["checkpoint started from"].state == "not here"
    (folder / "start.pth").mkdir()
    assert steps(table)["checkpoint started from"].state == "not here"
