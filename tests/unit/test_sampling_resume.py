"""The partial counts of a job: stored as they were, cleared of what kills leave behind, refused when damaged."""

import runpy

import numpy as np
import pytest

from certflow.errors import ArtefactError
from certflow.files.artefact import write_arrays
from certflow.files.provenance import Provenance
from certflow.sampling import resume
from certflow.sampling.resume import Journal

COUNTS = np.arange(6, dtype=np.int64).reshape(2, 3)
SECONDS = np.array([0.5, 1.25])


def journal(tmp_path, **options) -> Journal:
    return Journal(tmp_path / "counts.npz.partial", "job", **options)


def test_a_job_begins_without_a_state(tmp_path):
    assert journal(tmp_path).load(2, 3) is None


def test_the_state_comes_back_as_it_was(tmp_path):
    journal(tmp_path, seconds=0.0).save(17, COUNTS, SECONDS)
    rows, counts, seconds = journal(tmp_path).load(2, 3)
    assert rows == 17 and np.array_equal(counts, COUNTS) and np.array_equal(seconds, SECONDS)
    counts += 1  # the engine goes on counting in it
    assert np.array_equal(journal(tmp_path).load(2, 3)[1], COUNTS)


def test_states_are_not_saved_too_often(tmp_path):
    kept = journal(tmp_path, seconds=3600.0)
    kept.save(5, COUNTS, SECONDS)
    assert not kept.path.exists()
    kept.saved_at -= 3601
    kept.save(6, COUNTS, SECONDS)
    kept.save(7, COUNTS, SECONDS)
    assert journal(tmp_path).load(2, 3)[0] == 6


def test_a_save_is_due_half_a_minute_after_the_last_or_as_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setattr(resume.time, "monotonic", lambda: 100.0)
    assert [journal(tmp_path, seconds=30.0, saved_at=at).due() for at in (69.0, 70.0, 71.0)] == [True, True, False]
    for said, seconds in (("", 30), ("0.5", 0.5)):
        monkeypatch.setenv("CERTFLOW_SAVE_SECONDS", said)
        assert runpy.run_path(resume.__file__)["SAVE_SECONDS"] == seconds


def test_what_a_kill_while_saving_leaves_is_removed_and_the_last_state_kept(tmp_path):
    journal(tmp_path, seconds=0.0).save(17, COUNTS, SECONDS)
    (tmp_path / "counts.npz.partial.4711.part").write_bytes(b"half a fi")
    (tmp_path / "other.npz.partial.4711.part").write_bytes(b"of another job")
    assert journal(tmp_path, locked=True).load(2, 3)[0] == 17
    left = {path.name for path in tmp_path.iterdir()} - {"counts.npz.partial.attempts"}
    assert left == {"counts.npz.partial", "other.npz.partial.4711.part"}


@pytest.mark.parametrize("locked", [True, False])
def test_instalments_are_cleared_as_their_journal_is(tmp_path, locked):
    part = tmp_path / "counts.npz.partial.part-of-it.another-node.7.part"
    part.write_bytes(b"half a fi")
    assert journal(tmp_path, locked=locked).instalment(0).read() is None
    assert part.exists() != locked


def test_a_state_of_another_job_is_given_up_and_that_is_said(tmp_path, capsys):
    journal(tmp_path, seconds=0.0).save(17, COUNTS, SECONDS)
    other = Journal(tmp_path / "counts.npz.partial", "b" * 64)
    assert other.load(2, 3) is None and not other.path.exists()
    assert f"{other.path}: belongs to another job (" in capsys.readouterr().err
    assert other.load(2, 3) is None and "another job" not in capsys.readouterr().err


def test_a_damaged_state_is_refused_by_name(tmp_path):
    kept = journal(tmp_path, seconds=0.0)
    kept.save(17, COUNTS, SECONDS)
    kept.path.write_bytes(kept.path.read_bytes()[:-30])
    with pytest.raises(ArtefactError, match=r"counts\.npz\.partial: is damaged .* delete it"):
        journal(tmp_path).load(2, 3)


def test_a_file_that_is_no_state_is_refused(tmp_path):
    write_arrays(journal(tmp_path).path, {"counts": COUNTS}, Provenance(format="counts", spec={"job": "job"}))
    with pytest.raises(ArtefactError, match="is a 'counts' file .* a 'partial counts' file .* is needed"):
        journal(tmp_path).load(2, 3)


def test_a_state_of_other_shape_is_refused(tmp_path):
    journal(tmp_path, seconds=0.0).save(17, COUNTS, SECONDS)
    with pytest.raises(ArtefactError, match="other images or classes"):
        journal(tmp_path).load(3, 3)


def test_a_second_attempt_is_noted_with_what_it_went_on_from_and_the_note_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    journal(tmp_path).load(2, 3)
    journal(tmp_path, seconds=0.0).save(1700, COUNTS, SECONDS)
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    kept = journal(tmp_path)
    kept.load(2, 3)
    kept.remove()
    (left,) = tmp_path.iterdir()
    first, second = left.read_text().splitlines()
    assert "SLURM job 7" in first and first.endswith(": began")
    assert "SLURM job 8" in second and second.endswith(": resumed from draw 1,700")


def test_nothing_is_left_after_success(tmp_path):
    kept = journal(tmp_path, seconds=0.0)
    kept.load(2, 3)
    kept.save(17, COUNTS, SECONDS)
    kept.remove()
    kept.remove()
    assert list(tmp_path.iterdir()) == []


def test_an_instalment_that_a_kill_left_behind_goes_with_the_job(tmp_path):
    kept = journal(tmp_path, seconds=0.0)
    kept.instalment(3).save(17, COUNTS, SECONDS)
    kept.save(17, COUNTS, SECONDS)
    assert len(list(tmp_path.iterdir())) == 2
    kept.remove()
    assert list(tmp_path.iterdir()) == []
