"""What a GPU runs, on the CPU: batches as the same operations on the same memory, noted once and repeated."""

import math

import numpy as np
import pytest
import torch
from tape import recorder, taped

from certflow.errors import NonFiniteError
from certflow.machine import replay
from certflow.models.base import Inference
from certflow.noise import Gaussian, GeneralizedGaussian, steps
from certflow.noise.base import Key
from certflow.noise.fast import native
from certflow.noise.streams import Stream
from certflow.noise.truncated import Truncated
from certflow.sampling import engine
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.engine import count_classes
from certflow.sampling.fast import row_loop
from certflow.sampling.sequential import count_until

SHAPE = (1, 4, 4)
INDEX, DRAWS = np.array([4, 9, 0, 7, 100_000, 2]), np.array([70, 0, 300, 1, 64, 129])


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(32, 5))


def base(batch: int = 32, module: torch.nn.Module | None = None) -> BaseClassifier:
    return BaseClassifier(module or network(), Inference(precision="float32", fold=False), shape=SHAPE, batch=batch)


def images(count: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *SHAPE), dtype=np.uint8)


def counted(classifier=None, draws=DRAWS, noise=None, x=None, **options) -> np.ndarray:
    options = {"seed": 3, "stream": Stream.ESTIMATION, "quiet": True} | options
    x = images() if x is None else x
    return count_classes(classifier or base(), x, INDEX, draws, noise=noise or Gaussian(sigma=0.5), **options).counts


@pytest.fixture
def recordings(monkeypatch) -> list:
    """The engine repeats recorded work, as on a GPU. What it recorded, one item for each recording."""
    made = []

    def record(work):
        made.append(taped(work))
        return made[-1]

    monkeypatch.setattr(native, "_library", lambda: None)  # on a GPU noise comes from torch's operations
    monkeypatch.setattr(steps, "_looked_up", steps._searched)
    monkeypatch.setattr(engine._Work, "by_graph", True)
    monkeypatch.setattr(row_loop, "Recorder", lambda device: recorder(record))
    return made


PARAMETER = np.array([0.9, 0.5, 0.7, 0.8, 0.99, 0.6])
LAWS = {
    "gaussian": {"noise": Gaussian(sigma=0.5)},
    "exact": {"noise": Gaussian(sigma=0.5), "arithmetic": "exact"},
    "generalised": {"noise": GeneralizedGaussian(k=3, sigma=0.5)},
    "truncated": {"noise": Truncated(k=3, sigma=0.5), "parameter": PARAMETER},
}


@pytest.mark.parametrize("law", LAWS)
def test_repeated_work_counts_what_the_plain_loop_counts(law, request):
    plain = counted(**LAWS[law])
    recordings = request.getfixturevalue("recordings")
    assert np.array_equal(counted(**LAWS[law]), plain)
    assert len(recordings) == 1
    assert np.array_equal(plain.sum(axis=1), DRAWS)


@pytest.mark.parametrize(("slots", "chunk"), [(16, 50), (2, 10_000), (1, 10_000), (3, 64)])
def test_few_images_at_a_time_and_short_chunks_change_nothing(slots, chunk, monkeypatch, request):
    plain = counted()
    recordings = request.getfixturevalue("recordings")
    monkeypatch.setattr(row_loop, "slots_of", lambda dim: slots)
    monkeypatch.setattr(engine, "CHUNK_ROWS", chunk)
    monkeypatch.setattr(engine, "CHUNK_SECONDS", 0.0)
    assert np.array_equal(counted(), plain)
    assert len(recordings) == 1  # one graph serves all chunks


def test_counting_goes_on_from_a_draw(recordings):
    first = np.minimum(DRAWS, [0, 0, 123, 1, 64, 100])
    assert np.array_equal(counted(draws=first) + counted(draws=DRAWS - first, start=first), counted())


def test_a_folded_network_reads_its_shift_from_fixed_memory(recordings, monkeypatch):
    from certflow.models.normalise import Normalise

    normalised = torch.nn.Sequential(Normalise([0.4], [0.25]), *network())
    classifier = BaseClassifier(normalised, Inference(precision="float32"), shape=SHAPE, batch=32)
    assert classifier.shift is not None
    repeated = counted(classifier), counted(classifier, arithmetic="exact")
    monkeypatch.setattr(engine._Work, "by_graph", False)
    assert np.array_equal(repeated[0], counted(classifier))
    assert np.array_equal(repeated[1], counted(classifier, arithmetic="exact"))


def test_a_bad_logit_is_named_and_padding_never_is(recordings):
    class Broken(torch.nn.Module):
        def forward(self, x):
            return torch.where(x[:, 0, 0, :1] > 2.2, torch.nan, torch.stack([x.flatten(1).sum(1)] * 2, dim=1))

    noise = Gaussian(sigma=0.5)
    x = np.zeros((6, *SHAPE), np.uint8)
    x[2] = 255
    first = noise.sample(SHAPE, Key(torch.zeros(5000, dtype=torch.int64), torch.arange(5000), seed=3, stream=1))
    draw = int((first[:, 0, 0, 0] + 1 > 2.2).nonzero()[0])
    draws = np.array([0, 0, 5000, 0, 0, 0])
    with pytest.raises(NonFiniteError, match=rf"image 0: .* at draw {draw};"):
        counted(base(module=Broken()), draws, x=x)
    draws[2] = draw  # the bad draw is the next one, and the last batch repeats the one before
    assert counted(base(module=Broken()), draws, x=x)[2].sum() == draw


class Hungry(torch.nn.Module):
    """Has memory for so many rows and no more, from the call on that `left` counts down to."""

    left: float = math.inf

    def __init__(self, rows: int):
        super().__init__()
        self.inner, self.rows = network(), rows

    def forward(self, x):
        Hungry.left -= 1
        if len(x) > self.rows and Hungry.left < 0:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.inner(x)


@pytest.fixture
def hungry(monkeypatch):
    """`hungry(after)`: memory is short after so many more calls; until then it suffices, while the classifier is checked."""
    monkeypatch.setattr(Hungry, "left", math.inf)
    return lambda after: monkeypatch.setattr(Hungry, "left", after)


@pytest.mark.parametrize("after", [0, 2, 3])  # in the first batch, later, while recording
def test_too_little_memory_means_smaller_batches_a_new_graph_and_the_same_counts(after, recordings, capsys, hungry):
    plain = counted()
    recordings.clear()
    classifier = base(64, Hungry(20))
    hungry(after)
    assert np.array_equal(counted(classifier), plain)
    assert classifier.batch == 16 and len(recordings) == 1
    assert capsys.readouterr().err.count("out of memory: going on") == 2


def test_memory_is_given_back_before_it_is_asked_for_again(recordings, monkeypatch, hungry):
    """The traceback of an error holds the activations of the batch that failed, a graph those of all."""
    import gc
    import weakref

    alive = []

    class Watched(Hungry):
        def forward(self, x):
            if Hungry.left < math.inf:
                activations = torch.zeros(len(x))
                alive.append(weakref.ref(activations))
            return super().forward(x)

    def halved(self):
        assert [ref() for ref in alive] == [None] * len(alive) and alive
        return halve(self)

    halve = BaseClassifier.halve_batch
    monkeypatch.setattr(BaseClassifier, "halve_batch", halved)
    classifier = base(64, Watched(20))
    hungry(0)
    gc.disable()
    try:
        counted(classifier)
    finally:
        gc.enable()


def test_work_that_cannot_be_recorded_goes_on_as_it_is(recordings, capsys):
    class Reading(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()

        def forward(self, x):
            return self.inner(x) * (1.0 if x.abs().max().item() >= 0 else 2.0)

    assert np.array_equal(counted(base(module=Reading())), counted(base()))
    assert "no CUDA graph of this work" in capsys.readouterr().err


def test_few_batches_are_not_worth_a_recording(recordings):
    counted(draws=np.minimum(DRAWS, 15))
    assert recordings == []


class TwoLooks:
    looks = np.array([150, 400])

    def judge(self, look, k, decided):
        return np.where(k > 40, 1.0, decided), k % 2 == 0


def test_a_graph_serves_all_looks_of_a_sequential_test(request):
    def run():
        options = {"noise": Gaussian(sigma=0.5), "seed": 3, "stream": Stream.ESTIMATION, "quiet": True}
        return count_until(base(), images(), INDEX, np.zeros(6, np.int64), TwoLooks(), **options)

    plain = run()
    recordings = request.getfixturevalue("recordings")
    found = run()
    assert len(recordings) == 1 and set(found.drawn) == {150, 400}
    assert np.array_equal(found.counts, plain.counts)


def test_images_held_at_a_time_fill_a_bounded_memory():
    for dim in (64, 784, 3072, 150_528, 10**9):
        assert 16 <= row_loop.slots_of(dim) <= row_loop.MOST_SLOTS
    assert row_loop.slots_of(150_528) * 4 * 150_528 <= row_loop.SLOT_BYTES == 2**26
    assert [row_loop.slots_of(dim) for dim in (3072, 150_528, 10**9)] == [4096, 111, 16]


def test_work_is_done_once_for_every_call_whether_repeated_or_not():
    total = torch.zeros((), dtype=torch.int64)

    def work():
        total.add_(1)

    for record in (None, taped):
        total.zero_()
        repeated = replay.Replayed(work, recorder(record))
        with repeated.recorder.streamed():
            for _ in range(10):
                repeated()
        assert int(total) == 10
    assert replay.Recorder(torch.device("cpu")).record is None


def test_a_recording_that_fails_for_another_reason_is_an_error():
    def record(work):
        raise TypeError("a mistake")

    repeated = replay.Replayed(lambda: None, recorder(record))
    with pytest.raises(TypeError, match="a mistake"):
        for _ in range(10):
            repeated()


def test_all_work_on_a_device_shares_one_stream(monkeypatch):
    made = []
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: made.append(device) or object())
    replay._stream.cache_clear()
    try:
        first, second, other = (replay.Recorder(torch.device("cuda", number)) for number in (0, 0, 1))
        assert first.stream is second.stream is not other.stream and len(made) == 2
        assert first.record is not None
        monkeypatch.setenv("CERTFLOW_GRAPHS", "0")
        assert replay.Recorder(torch.device("cuda", 0)).record is None
    finally:
        replay._stream.cache_clear()
