"""The engine's promises: counts depend on model, image, noise, seed and draw, and on nothing else."""

import errno

import numpy as np
import pytest
import torch

from certflow.errors import CertflowError, ConfigError, NonFiniteError, short_of_memory
from certflow.models.base import Inference
from certflow.models.normalise import Normalise
from certflow.noise import Gaussian, philox
from certflow.noise.base import AdditiveNoise, Key, NoiseSpec
from certflow.noise.streams import Stream
from certflow.sampling import copies, engine
from certflow.sampling.classifier import BaseClassifier, default_batch
from certflow.sampling.engine import count_classes
from certflow.sampling.fast.row_loop import Kept
from certflow.sampling.queue import Queue
from certflow.sampling.resume import Journal

SHAPE = (1, 4, 4)
PLAIN = Inference(precision="float32", fold=False)
NOISE = Gaussian(sigma=0.5)


def network(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(32, 5))


def base(batch: int = 32, module: torch.nn.Module | None = None) -> BaseClassifier:
    return BaseClassifier(module or network(), PLAIN, shape=SHAPE, batch=batch)


def images(count: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *SHAPE), dtype=np.uint8)


def counted(classifier, x, index, draws, stream=Stream.ESTIMATION, seed=3, **options):
    return count_classes(
        classifier,
        x,
        np.asarray(index),
        np.asarray(draws),
        seed=seed,
        stream=stream,
        quiet=True,
        **{"noise": NOISE, **options},
    ).counts


DRAWS = [70, 0, 300, 1, 64, 129]
INDEX = [4, 9, 0, 7, 100_000, 2]


def slowly(x, index, draws, seed=3, stream=Stream.ESTIMATION) -> np.ndarray:
    """The definition, one draw at a time: noise from the law's own function, a plain forward pass, a Python counter."""
    model, counts = network().eval(), np.zeros((len(x), 5), np.int64)
    for slot, (image, position, n) in enumerate(zip(x, index, draws, strict=True)):
        clean = torch.tensor(image).float() / 255
        for draw in range(n):
            noise = NOISE.sample(SHAPE, Key(torch.tensor([position]), torch.tensor([draw]), seed=seed, stream=stream))
            with torch.no_grad():
                counts[slot, int(model(clean[None] + noise).argmax())] += 1
    return counts


def test_counts_are_those_of_the_definition():
    assert np.array_equal(counted(base(), images(), INDEX, DRAWS), slowly(images(), INDEX, DRAWS))


@pytest.mark.parametrize(
    "batch", [8, 13, 64, 71, 1000]
)  # in batches of 71 the first one ends with one row of the next image
def test_counts_do_not_depend_on_the_batch_size(batch):
    assert np.array_equal(counted(base(batch), images(), INDEX, DRAWS), counted(base(), images(), INDEX, DRAWS))


def test_counts_do_not_depend_on_order_or_company():
    whole = counted(base(), images(), INDEX, DRAWS)
    order = np.array([3, 5, 0, 2])
    some = counted(base(), images()[order], np.array(INDEX)[order], np.array(DRAWS)[order])
    assert np.array_equal(some, whole[order])


def test_counts_do_not_depend_on_the_chunk(monkeypatch):
    whole = counted(base(), images(), INDEX, DRAWS)
    monkeypatch.setattr(engine, "CHUNK_ROWS", 50)
    monkeypatch.setattr(engine, "CHUNK_SECONDS", 0.0)
    assert np.array_equal(counted(base(), images(), INDEX, DRAWS), whole)


def test_counts_do_not_depend_on_threads():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = counted(base(), images(), INDEX, DRAWS)
        torch.set_num_threads(2)
        assert np.array_equal(counted(base(), images(), INDEX, DRAWS), one)
    finally:
        torch.set_num_threads(before)


def test_every_draw_is_counted_once_and_padding_never():
    assert list(counted(base(64), images(), INDEX, DRAWS).sum(axis=1)) == DRAWS


def test_stages_and_seeds_never_share_draws():
    found = [
        counted(base(), images(1), [0], [500], stream=stream, seed=seed)
        for stream in (Stream.SELECTION, Stream.ESTIMATION, Stream.PREDICTION)
        for seed in (0, 1)
    ]
    assert len({array.tobytes() for array in found}) == len(found)


def test_floating_point_and_byte_images_agree():
    x = images()
    assert np.array_equal(counted(base(), x.astype(np.float32) / 255, INDEX, DRAWS), counted(base(), x, INDEX, DRAWS))


class Broken(torch.nn.Module):
    """NaN logits whenever the first pixel of the noisy image is large."""

    def forward(self, x):
        logits = torch.stack([x.flatten(1).sum(1), x.flatten(1)[:, 0]], dim=1)
        return torch.where(x[:, 0, 0, :1] > 2.2, torch.nan, logits)


def test_nan_logits_name_image_and_draw():
    x = np.zeros((2, *SHAPE), np.uint8)
    x[1] = 255
    first = NOISE.sample(SHAPE, Key(torch.full((5000,), 8), torch.arange(5000), seed=3, stream=Stream.ESTIMATION))
    draw = int((first[:, 0, 0, 0] + 1 > 2.2).nonzero()[0])
    with pytest.raises(NonFiniteError, match=rf"picture 8: .* at draw {draw};"):
        counted(base(module=Broken()), x, [5, 8], [50, 5000], describe=lambda index: f"picture {index}")


def test_an_infinite_logit_is_refused_too():
    class Infinite(torch.nn.Module):
        def forward(self, x):
            return torch.stack([x.flatten(1).sum(1), torch.full((len(x),), torch.inf)], dim=1)

    with pytest.raises(NonFiniteError, match="NaN or infinite on all of"):
        counted(base(module=Infinite()), images(1), [0], [10])


def test_votes_are_unsure_where_the_two_largest_logits_lie_closer_together_than_the_margin():
    classifier = BaseClassifier(lambda x: x.flatten(1), PLAIN, shape=(1, 1, 2), classes=2, batch=8)
    x = torch.tensor([[0.5, 0.0], [0.0, 0.25], [0.0, 0.125], [torch.nan, 0.0]])[:, None, None, :]
    classes, finite, unsure = classifier.votes(x, 0.25)
    assert classes[:3].tolist() == [0, 1, 1] and finite.tolist() == [True, True, True, False]
    assert unsure[:3].tolist() == [False, False, True] and classifier.votes(x, None)[2] is None


def test_the_lowest_class_wins_ties():
    class Equal(torch.nn.Module):
        def forward(self, x):
            return torch.zeros(len(x), 3)

    assert counted(base(module=Equal()), images(1), [0], [40]).tolist() == [[40, 0, 0]]


@pytest.mark.parametrize(
    ("x", "index", "draws", "message"),
    [
        (np.full((1, *SHAPE), 1.5, np.float32), [0], [5], "image 0: has values outside"),
        (np.full((1, *SHAPE), np.nan, np.float32), [4], [5], "image 4: has values outside"),
        (np.zeros((1, 1, 5, 5), np.uint8), [0], [5], "images must have shape"),
        (
            np.zeros((1, *SHAPE), np.int32),
            [0],
            [5],
            "images must be uint8, or floating point of 16 bits or more, got torch.int32",
        ),
        (np.zeros((2, *SHAPE), np.uint8), [3, 3], [5, 5], "index must hold different positions"),
        (np.zeros((1, *SHAPE), np.uint8), [-1], [5], "index must hold different positions"),
        (np.zeros((1, *SHAPE), np.uint8), [2**32], [5], "index must hold different positions"),
        (np.zeros((1, *SHAPE), np.uint8), [0], [-5], "draws must lie in"),
        (np.zeros((1, *SHAPE), np.uint8), [0], [2**32], "draws must lie in"),
        (np.zeros((2, *SHAPE), np.uint8), [0, 1], [5], "indices and 1 numbers of draws do not belong together"),
        (np.full((1, *SHAPE), -1e-6, np.float32), [7], [5], "image 7: has values outside"),
        (np.zeros(SHAPE, np.uint8), [0], [5], "images must have shape"),
        (np.zeros((2, *SHAPE), np.uint8), [0], [5], "do not belong together"),
    ],
)
def test_bad_input_is_refused(x, index, draws, message):
    with pytest.raises(ValueError, match=message):
        counted(base(), x, index, draws)


def test_the_last_position_and_the_last_draw_can_be_counted():
    x, last = images(1), 2**32 - 1
    whole = counted(base(), np.concatenate([x, x]), [last, 0], [3, 3])
    assert whole.sum() == 6
    assert counted(base(), x, [last], [1], start=np.array([last])).sum() == 1
    for start in ([last + 1], [-1], [last, 0]):
        with pytest.raises(ValueError, match="start must hold one draw number per image"):
            counted(base(), x, [0], [1], start=np.array(start))
    assert counted(base(), np.float32([0, 1]).repeat(8).reshape(1, *SHAPE), [0], [2]).sum() == 2, "0 and 1 are pixels"


class Stubborn(torch.nn.Dropout):
    """A layer that ignores eval()."""

    def train(self, mode=True):
        return super().train(True)


def test_a_module_that_stays_in_training_mode_is_refused():
    with pytest.raises(ValueError, match="stay in training mode"):
        base(module=torch.nn.Sequential(torch.nn.Flatten(), Stubborn(), torch.nn.Linear(16, 3)))


def test_a_model_whose_rows_depend_on_each_other_is_refused():
    mixing = torch.nn.Sequential(torch.nn.BatchNorm2d(1, track_running_stats=False), *network())
    with pytest.raises(ValueError, match="rows are not independent: 0"):
        base(module=mixing)


def test_a_module_that_looks_at_the_whole_batch_is_refused():
    class Centring(torch.nn.Module):
        def forward(self, x):
            y = x - x.mean(0, keepdim=True)
            return torch.stack([y.flatten(1).sum(1), -y.flatten(1).sum(1)], dim=1)

    with pytest.raises(ValueError, match="change with the other images of its batch"):
        base(module=Centring())


def test_the_number_of_logits_is_checked():
    with pytest.raises(ValueError, match="returns 5 logits, the data have 10 classes"):
        BaseClassifier(network(), PLAIN, shape=SHAPE, classes=10, batch=8)


def test_the_users_module_is_left_alone():
    module = network().train()
    before = [p.clone() for p in module.parameters()]
    counted(base(module=module), images(1), [0], [20])
    assert module.training and all(p.requires_grad for p in module.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


@pytest.mark.parametrize("seed", [-1, 2**64, 0.5, True])
def test_impossible_seeds_are_refused(seed):
    with pytest.raises(ValueError, match="seed must be a whole number"):
        counted(base(), images(1), [0], [5], seed=seed)
    assert counted(base(), images(1), [0], [5], seed=2**64 - 1).sum() == 5


def test_tiny_batches_are_padded_to_rows_that_take_the_same_kernels():
    assert base(1).batch == 8
    assert np.array_equal(counted(base(1), images(), INDEX, DRAWS), counted(base(), images(), INDEX, DRAWS))


@pytest.mark.parametrize(
    ("shape", "cpu", "gpu"),
    [
        ((1, 32, 32), 256, 4096),
        ((1, 1, 1025), 32, 2048),
        ((3, 32, 32), 32, 2048),
        ((1, 1, 4096), 32, 2048),
        ((1, 1, 4097), 32, 256),
        ((3, 64, 64), 32, 256),
    ],
)
def test_batches_are_small_on_a_cpu_and_large_on_a_gpu(shape, cpu, gpu):
    assert default_batch(torch.device("cpu"), shape) == cpu and default_batch(torch.device("cuda"), shape) == gpu


class Hungry(torch.nn.Module):
    """Has memory for so many rows and no more."""

    def __init__(self, rows: int, short=torch.OutOfMemoryError):
        super().__init__()
        self.inner, self.rows, self.short = network(), rows, short

    def forward(self, x):
        if len(x) > self.rows:
            raise self.short
        return self.inner(x)


def cannot_allocate() -> RuntimeError:
    """torch's own error where the machine's memory, not a GPU's, does not suffice."""
    with pytest.raises(RuntimeError) as found:
        torch.empty(2**60, dtype=torch.uint8)
    return found.value


SHORT = {"GPU": torch.OutOfMemoryError(), "torch": cannot_allocate(), "Python": MemoryError()}


@pytest.mark.parametrize("short", SHORT)
@pytest.mark.parametrize(("rows", "batch"), [(20, 16), (8, 8)])
def test_too_little_memory_means_smaller_batches_and_the_same_counts(rows, batch, short, capsys):
    classifier = base(64, Hungry(rows, SHORT[short]))
    assert np.array_equal(counted(classifier, images(), INDEX, DRAWS), counted(base(), images(), INDEX, DRAWS))
    assert classifier.batch == batch
    assert f"going on with batches of {batch}" in capsys.readouterr().err


@pytest.mark.parametrize("short", SHORT)
def test_too_little_memory_for_any_batch_is_an_error(short):
    with pytest.raises(type(SHORT[short])) as found:
        base(64, Hungry(4, SHORT[short]))
    assert short_of_memory(found.value)
    classifier = base(64, Hungry(8, SHORT[short]))
    classifier.network.rows = 4
    with pytest.raises(type(SHORT[short])):
        counted(classifier, images(), INDEX, DRAWS)


def test_other_errors_of_a_model_are_no_shortage():
    others = [RuntimeError("size mismatch"), CertflowError("out of memory"), OSError(errno.ENOENT, "gone")]
    others.append(RuntimeError("could not create a memory"))  # what oneDNN says of a layout that it cannot describe
    assert not any(map(short_of_memory, others))
    assert short_of_memory(OSError(errno.ENOMEM, "Cannot allocate memory"))


@pytest.mark.parametrize("short", SHORT)
def test_too_little_memory_does_not_change_how_a_model_is_prepared(short, monkeypatch):
    """With a step left out last bits differ: the shortage is an error, not another function."""

    def fails(*arguments):
        raise SHORT[short]

    monkeypatch.setattr("certflow.sampling.fast.steps.fold", fails)
    with pytest.raises(type(SHORT[short])):
        BaseClassifier(network(), Inference(), shape=SHAPE)


@pytest.mark.parametrize(("device", "emptied"), [("cpu", 0), ("cuda", 3)])
def test_memory_is_given_back_to_the_device_where_it_was_short(device, emptied, monkeypatch):
    given, classifier = [], base(64, Hungry(8))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: given.append(1))
    work = engine._Work(classifier, None, None, None, Kept())
    monkeypatch.setattr(work, "count", lambda row, stop: classifier.network(torch.zeros(classifier.batch, *SHAPE)))
    classifier.device = torch.device(device)
    assert work.by_graph == (device == "cuda"), "batches are repeated on fixed memory where that gains something"
    assert [work.tried(0, 9) is None for _ in range(4)] == [True, True, True, False] and len(given) == emptied


def test_chunks_grow_up_to_five_seconds_in_whole_batches():
    pace = engine._Pace()
    assert pace.stop(0, 10**6, 32) == 1024 and pace.stop(64, 10**6, 5000) == 5064 and pace.stop(90, 95, 32) == 95
    for seconds, rows in ((0.0, 2000), (2.5, 4000), (4.0, 5000), (10.0, 2500), (50.0, 250), (1e9, 1)):
        pace.took(seconds)
        assert pace.rows == rows, "never more than twice as many, and as few as take five seconds"
    assert pace.stop(0, 10**6, 32) == 32


class Bar:
    """A stand-in for a progress bar, which keeps what it hears."""

    def __init__(self, *told, **more):
        self.told, self.done = (told, more), more["initial"]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def update(self, units):
        self.done += units


def test_progress_is_shown_of_all_rows_from_where_the_job_goes_on(tmp_path, monkeypatch):
    class Half(Journal):
        def load(self, *shape):
            return 300, np.zeros(shape, np.int64), np.zeros(shape[0])

        def save(self, *state):
            pass

    bars = []
    monkeypatch.setattr(engine, "progress", lambda *told, **more: bars.append(Bar(*told, **more)) or bars[-1])
    told = {
        "noise": NOISE,
        "seed": 3,
        "stream": 1,
        "journal": Half(tmp_path / "counts", "job"),
        "description": "stage 2",
    }
    count_classes(base(), images(), np.array(INDEX), np.array(DRAWS), **told)
    assert bars[0].told == ((564, "draw", "stage 2"), {"initial": 300, "quiet": False}) and bars[0].done == 564


def test_rows_are_shared_out_to_the_images_they_belong_to():
    queue = Queue.checked([5, 6, 7, 8], [4, 2, 0, 10], None, None)
    assert queue.share(3, 8).tolist() == [0.2, 0.4, 0.0, 0.4]


def test_no_images_give_no_counts():
    assert counted(base(), images()[:0], [], []).shape == (0, 5)


def test_seconds_are_shared_out_by_draws(monkeypatch):
    monkeypatch.setattr(engine, "CHUNK_ROWS", 10_000)
    draws = np.array(DRAWS) * 10  # one chunk
    found = count_classes(base(), images(), np.array(INDEX), draws, noise=NOISE, seed=0, stream=1, quiet=True)
    assert found.seconds[1] == 0 and (found.seconds[draws > 0] > 0).all()
    assert np.allclose(found.seconds / found.seconds.sum(), draws / draws.sum())


def test_compiling_without_a_compiler_is_refused_by_name(monkeypatch):
    monkeypatch.setattr("certflow.sampling.fast.steps.shutil.which", lambda name: None)
    with pytest.raises(ConfigError, match=r"inference\.compile: needs a C\+\+ compiler"):
        BaseClassifier(network(), Inference(precision="float32", compile=True), shape=SHAPE)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precisions_give_nearly_the_same_counts(precision):
    draws = np.full(6, 400)
    exact = counted(base(), images(), INDEX, draws)
    rounded = BaseClassifier(network(), Inference(precision=precision), shape=SHAPE, batch=32)
    assert rounded.describe()["precision"] == precision
    found = counted(rounded, images(), INDEX, draws)
    assert np.abs(found - exact).sum() / 2 < 0.03 * draws.sum()


@pytest.mark.parametrize(
    "device, compiled, wanted", [("cuda", True, ["cuda"]), ("cuda", False, []), ("cpu", True, []), ("cpu", False, [])]
)
def test_noise_is_compiled_on_a_gpu_and_with_the_network_alone(device, compiled, wanted, monkeypatch):
    made, classifier = [], base()
    monkeypatch.setattr(copies, "Compiled", lambda function, device: made.append(device.type))
    monkeypatch.setattr(BaseClassifier, "compiled", compiled)
    classifier.device = torch.device(device)
    copies.copies_of(classifier, NOISE, seed=3, stream=1, arithmetic="float", parameter=True)
    assert made == wanted


def test_counting_in_instalments_is_counting_at_once():
    first = np.minimum(DRAWS, [0, 0, 123, 1, 64, 100])
    whole = counted(base(), images(), INDEX, DRAWS)
    parts = [
        counted(base(16), images(), INDEX, part, start=start)
        for part, start in ((first, None), (np.array(DRAWS) - first, first))
    ]
    assert np.array_equal(parts[0] + parts[1], whole)
    with pytest.raises(ValueError, match="start must hold"):
        counted(base(), images(), INDEX, DRAWS, start=np.array([0]))


def test_a_parameter_of_the_law_reaches_every_row_of_its_image():
    class Shifted(AdditiveNoise):
        """Noise that is the parameter itself, in every coordinate."""

        kind: str = "shifted"
        sigma: float = 0.0

        def sample(self, shape, key):
            seen.append(torch.stack([key.image.double(), key.parameter]).T)
            return key.parameter.float()[:, None, None, None].expand(-1, *shape).clone()

    seen: list[torch.Tensor] = []
    draws, parameter, index = np.array([300, 5, 200]), np.array([0.5, 0.25, 0.75]), np.array([8, 1, 5])
    count_classes(
        base(),
        images(3),
        index,
        draws,
        parameter=parameter,
        noise=Shifted(),
        seed=0,
        stream=Stream.ESTIMATION,
        quiet=True,
    )
    rows, numbers = torch.unique(torch.cat(seen), dim=0, return_counts=True)
    wanted = sorted(zip(index.tolist(), parameter.tolist(), draws.tolist(), strict=True))
    assert [(int(i), float(p), int(c)) for (i, p), c in zip(rows, numbers, strict=True)] == wanted


class Split(NoiseSpec):
    """Not a sum: every pixel becomes 0 or 1, the latter where it exceeds a uniform threshold."""

    kind: str = "split"
    sigma: float = 0.0

    def copies(self, x, key):
        values = philox.uniforms(x[0].numel(), key)
        return (x > values.view(x.shape)).float()


def test_copies_that_are_not_a_sum_are_made_of_the_image_itself():
    """The shift of the folded normalisation is subtracted from the copies; from the image, another law would be drawn."""
    torch.manual_seed(1)
    normalised = torch.nn.Sequential(Normalise([0.3], [0.2]), network())
    x, model = images(3), normalised.eval()
    folded = BaseClassifier(normalised, Inference(), shape=SHAPE, batch=32)
    assert folded.shift is not None
    options = {"noise": Split(), "seed": 3, "stream": Stream.ESTIMATION, "quiet": True}
    found = count_classes(folded, x, np.array([4, 9, 0]), np.array([70, 1, 200]), **options).counts
    wanted = np.zeros_like(found)
    for slot, (position, n) in enumerate([(4, 70), (9, 1), (0, 200)]):
        clean = (torch.tensor(x[slot]).float() / 255)[None].expand(n, *SHAPE)
        key = Key(torch.full((n,), position), torch.arange(n), seed=3, stream=Stream.ESTIMATION)
        with torch.no_grad():
            wanted[slot] = np.bincount(model(Split().copies(clean, key)).argmax(1), minlength=5)
    assert np.array_equal(found, wanted) and (found > 0).sum() > 3


def test_a_law_that_is_not_a_sum_has_exact_arithmetic_only_where_the_engine_knows_how(monkeypatch):
    with pytest.raises(ValueError, match="noise of kind split has no exact form"):
        counted(base(), images(), INDEX, DRAWS, noise=Split(), arithmetic="exact")
    monkeypatch.setattr(Split, "exact_problems", lambda noise: [])
    with pytest.raises(ValueError, match="copies under noise of kind split are not whole grey levels"):
        counted(base(), images(), INDEX, DRAWS, noise=Split(), arithmetic="exact")
