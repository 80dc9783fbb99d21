"""A partial state serves the very job and the very look that it was made in, and nothing else.

A state that was taken over wrongly would not show: its counts are as many as they should be.
"""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import ndtr

from certflow.files.artefact import read_arrays
from certflow.noise import Gaussian
from certflow.noise.streams import Stream
from certflow.sampling import engine, stage
from certflow.sampling.base import Measurement
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.ladder import ladder
from certflow.sampling.resume import Journal
from certflow.sampling.sequential import count_until
from certflow.sampling.stage import Setting, write_measured
from certflow.stats.sequential import look_schedule

NOISE, SHAPE = Gaussian(sigma=0.5), (1, 2, 2)
IMAGES = np.random.default_rng(0).integers(0, 256, (6, *SHAPE), dtype=np.uint8)
INDEX, DRAWS = np.array([0, 2, 5]), np.array([40, 50, 60])


class Killed(Exception):
    pass


def base() -> BaseClassifier:
    torch.manual_seed(3)
    return BaseClassifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)), shape=SHAPE)


def setting(**changes) -> Setting:
    split = SimpleNamespace(labels=np.arange(6), read=lambda index: IMAGES[index], describe=lambda index: f"{index}")
    made = {"base": base(), "split": split, "noise": NOISE, "seed": 4, "parents": {"model": "m"}, "notes": {"fold": 1}}
    return Setting(**{**made, **changes})


def measurement(**changes) -> Measurement:
    made = Measurement("counts", NOISE, Stream.ESTIMATION, DRAWS, selected=np.array([0, 1, 2]))
    return replace(made, **changes)


def counted(path, *, given=None, spec=None, parents=None, index=INDEX, measured=None) -> np.ndarray:
    """The counts that a job writes."""
    given = given or setting()
    given = replace(given, parents=parents or given.parents)
    write_measured(given, spec or {"a": 1}, "shard", index, [measured or measurement()], path)
    return read_arrays(path)[0][(measured or measurement()).name]


def poison(path, monkeypatch) -> np.ndarray:
    """Kill the job of `counted(path)` after it has stored a finished state with counts that it never drew."""
    false = np.array([[40, 0, 0], [0, 50, 0], [0, 0, 60]])

    def measure(self, measurement, index, journal):
        journal.write({"rows": np.int64(150), "counts": false, "seconds": np.zeros(3)})
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Setting, "measure", measure)
        with pytest.raises(Killed):
            counted(path)
    return false


def test_a_state_is_taken_up_by_the_job_that_left_it(tmp_path, monkeypatch):
    false = poison(tmp_path / "a.npz", monkeypatch)
    np.testing.assert_array_equal(counted(tmp_path / "a.npz"), false)


@pytest.mark.parametrize(
    "other",
    [
        {"given": setting(notes={"fold": 2})},
        {"given": setting(notes={})},
        {"spec": {"a": 2}},
        {"parents": {"model": "n"}},
        {"index": np.array([0, 2, 4])},
        {"index": np.array([5, 2, 0])},
        {"measured": measurement(draws=np.array([50, 40, 60]))},
        {"measured": measurement(selected=np.array([0, 1, 1]))},
        {"measured": measurement(selected=None)},
    ],
    ids=["notes", "no notes", "spec", "parents", "images", "order", "draws", "classes", "no classes"],
)
def test_a_state_is_not_taken_up_by_any_other_job(tmp_path, monkeypatch, other):
    """Other notes are another precision or another folding: another function of the same name."""
    poison(tmp_path / "a.npz", monkeypatch)
    np.testing.assert_array_equal(counted(tmp_path / "a.npz", **other), counted(tmp_path / "fresh.npz", **other))


@pytest.mark.parametrize("what", ["device", "versions", "compiler"])
def test_a_state_of_another_machine_or_version_is_not_taken_up(tmp_path, monkeypatch, what):
    poison(tmp_path / "a.npz", monkeypatch)
    fresh = counted(tmp_path / "fresh.npz")
    if what == "device":
        monkeypatch.setattr(stage, "device_name", lambda device: "another device")
    elif what == "versions":
        monkeypatch.setattr("platform.python_version", lambda: "9.9.9")
    else:
        monkeypatch.setattr(BaseClassifier, "versions", {"C compiler": "gcc 99"})
    np.testing.assert_array_equal(counted(tmp_path / "a.npz"), fresh)


def test_states_of_two_measurements_are_kept_apart(tmp_path, monkeypatch):
    """The second law's counts are not those of the noise, though their job is the same and their draws may be."""
    kept = []

    def journal(path, digest, **options):
        kept.append((path.name, digest))
        return Journal(path, digest, **options)

    monkeypatch.setattr(stage, "Journal", journal)
    both = [measurement(), measurement(name="counts_q", stream=Stream.SECOND_DISTRIBUTION)]
    write_measured(setting(), {"a": 1}, "shard", INDEX, both, tmp_path / "a.npz")
    names, digests = zip(*kept, strict=True)
    assert names == ("a.npz.partial", "a.npz.counts_q.partial") and len(set(digests)) == 2


RADII = np.array([0.0, 0.2, 0.4, 0.6])
RULE = ladder(RADII, ndtr(-RADII / NOISE.sigma), look_schedule(20, 600), alpha=0.01, beta=1e-6)


def decided(journal: Journal | None = None):
    options = {"noise": NOISE, "seed": 4, "stream": Stream.ESTIMATION, "quiet": True, "journal": journal}
    return count_until(base(), IMAGES, np.arange(6), np.full(6, 2), RULE, **options)


@pytest.mark.parametrize("kill_at", range(1, 6))
def test_a_kill_between_the_two_writes_counts_no_draw_twice(tmp_path, monkeypatch, kill_at):
    """The state has taken a look's instalment over; the instalment is still there when the job begins again."""
    whole, removed = decided(), 0
    remove = Journal.remove

    def dying(self):
        nonlocal removed
        removed += 1
        if removed == kill_at:
            raise Killed
        remove(self)

    path = tmp_path / "counts.npz.partial"
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "remove", dying)
        with pytest.raises(Killed):
            decided(Journal(path, "job", seconds=0.0))
    assert path.exists() and path.with_name(f"{path.name}.part-of-it").exists()
    again = decided(Journal(path, "job", seconds=0.0))
    for name in ("counts", "drawn", "decided"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
    np.testing.assert_array_equal(again.counts.sum(axis=1), again.drawn)


@pytest.mark.parametrize("kill_at", [1, 2, 5])
def test_an_instalment_that_was_kept_is_found_again_where_the_look_before_it_was_not(tmp_path, monkeypatch, kill_at):
    """The state is stored before the instalment that follows on it: nobody else would know which look it is of."""
    whole, saved = decided(), 0
    write = Journal.write

    def dying(self, arrays):
        nonlocal saved
        write(self, arrays)
        saved += self.path.name.endswith("part-of-it")
        if saved == kill_at:
            raise Killed

    path = tmp_path / "counts.npz.partial"
    monkeypatch.setattr(engine, "CHUNK_ROWS", 8)
    monkeypatch.setattr(engine, "CHUNK_SECONDS", 0.0)
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "due", lambda self: self.path.name.endswith("part-of-it"))
        patched.setattr(Journal, "write", dying)
        with pytest.raises(Killed):
            decided(Journal(path, "job"))
    again = Journal(path, "job", noted=False)
    state = again.read()
    rows = again.instalment(int(state["look"])).read()["rows"]
    assert rows > 0 and (state["look"] == 0 or state["drawn"].max() > 0)
    found = decided(Journal(path, "job"))
    for name in ("counts", "drawn", "decided"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))


def test_every_instalment_of_every_job_has_a_key_of_its_own(tmp_path):
    jobs = [Journal(tmp_path / "a", name) for name in ("one", "two")]
    keys = [job.digest for job in jobs] + [job.instalment(number).digest for job in jobs for number in range(20)]
    assert len(set(keys)) == 42
    assert jobs[0].instalment(3).digest == jobs[0].instalment(3).digest
