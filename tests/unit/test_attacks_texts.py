"""Words replaced greedily: against a slow loop, within what was asked, and from a stored text to a report's macro-F1."""

import numpy as np
import pytest
import torch
from attacks_examples import attack, target_of
from sklearn.metrics import f1_score

from certflow.attacks import stage
from certflow.attacks.running import attack_images
from certflow.attacks.stage import attack_model
from certflow.attacks.texts import TextVictim, within_share
from certflow.data.base import DataInfo
from certflow.data.kinds.text_table import TextTable
from certflow.data.store import content_digest, prepare
from certflow.data.text.words import SPECIAL
from certflow.errors import NonFiniteError
from certflow.files.artefact import read_table
from certflow.files.provenance import Provenance
from certflow.kinds.registry import kinds, spec_class
from certflow.models import build, save_model
from certflow.models.words import reserve
from certflow.report.attacked import macro_f1, read_attacked

LENGTH, WORDS, CLASSES, TEXTS = 9, 30, 3, 16
NONE = spec_class("noise", "none")()
ARCHITECTURE = spec_class("model", "text_transformer")(width=8, heads=2, depth=1)
KINDS = [kind for kind in kinds("attack") if "tokens" in spec_class("attack", kind).accepts]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    network = build(ARCHITECTURE, DataInfo(CLASSES, (LENGTH,), vocabulary=WORDS)).eval()
    with torch.no_grad():
        network[1].head.weight.mul_(8)
    return network


@pytest.fixture(scope="module")
def texts(model):
    """Texts of one to all tokens, an unknown word and a separator among them, and the classes that the model gives them."""
    x = torch.randint(SPECIAL, WORDS, (TEXTS, LENGTH), generator=torch.Generator().manual_seed(2))
    x[:, 1], x[:, 2] = 1, 2
    x *= torch.arange(LENGTH) < 1 + torch.arange(TEXTS)[:, None] % LENGTH
    with torch.inference_mode():
        return x, model(x).argmax(1).numpy()


def slow(model, x, y, limit, candidates, queries):
    """The attack on one text in plain Python, a text at a time."""

    def look(text):
        logits = model(torch.tensor([text]))[0].double().tolist()
        top = max(logits)
        return top + np.log(sum(np.exp(v - top) for v in logits)) - logits[y], int(np.argmax(logits))

    x, table = x.tolist(), model[1].word_embedding.weight.detach().double().numpy()
    unit = table / np.linalg.norm(table, axis=1, keepdims=True).clip(1e-12)
    current, _ = look(x)
    places = [place for place, token in enumerate(x) if token >= SPECIAL][: queries - 1]
    without = {place: look([0 if i == place else token for i, token in enumerate(x)])[0] for place in places}
    left = queries - 1 - len(places)
    for place in sorted(places, key=lambda place: -without[place]):
        if limit <= 0 or left <= 0:
            break
        others = sorted((t for t in range(SPECIAL, WORDS) if t != x[place]), key=lambda t: -unit[t] @ unit[x[place]])
        tried = [[t if i == place else token for i, token in enumerate(x)] for t in others[: min(candidates, left)]]
        seen = [look(text) for text in tried]
        left -= len(tried)
        best = max(range(len(tried)), key=lambda i: seen[i][0])
        if seen[best][0] > current:
            x, current, limit = tried[best], seen[best][0], limit - 1
            if seen[best][1] != y:
                break
    return x


@pytest.mark.parametrize(("norm", "eps"), [("words", 1.0), ("words", 3.0), ("share", 0.5)])
@pytest.mark.parametrize("queries", [300, 14])
def test_it_is_a_slow_greedy_search(model, texts, norm, eps, queries):
    x, y = texts
    found = attack("substitution", norm=norm, eps=[eps], candidates=4, queries=queries).attempt(
        target_of(model, x, y, np.full(TEXTS, eps), noise=NONE), 0
    )
    with torch.inference_mode():
        for b in range(TEXTS):
            limit = int(eps) if norm == "words" else int(eps * int((x[b] > 0).sum()))
            assert found[b].tolist() == slow(model, x[b], int(y[b]), limit, 4, queries)
    assert not torch.equal(found, x)


@pytest.mark.parametrize("kind", KINDS)
def test_where_there_is_no_other_word_nothing_is_found(kind):
    network = build(ARCHITECTURE, DataInfo(2, (LENGTH,), vocabulary=WORDS)).eval()
    reserve(network, range(SPECIAL + 1, WORDS))
    x = torch.full((2, LENGTH), SPECIAL)
    target = target_of(network, x, np.zeros(2, np.int64), np.full(2, 3.0), noise=NONE)
    assert torch.equal(attack(kind, norm="words", eps=[3.0]).attempt(target, 0), x)


@pytest.mark.parametrize("kind", KINDS)
def test_confidence_hides_no_difference(texts, kind):
    """Two classes, and logits that are larger by a power of two: every comparison has the same outcome."""
    torch.manual_seed(3)
    network = build(ARCHITECTURE, DataInfo(2, (LENGTH,), vocabulary=WORDS)).eval()
    x, found = texts[0], []
    with torch.inference_mode():
        y = network(x).argmax(1)
    for factor in (1.0, 2.0**20):
        with torch.no_grad():
            network[1].head.weight.mul_(factor), network[1].head.bias.mul_(factor)
        target = target_of(network, x, y, np.full(TEXTS, 3.0), noise=NONE)
        with torch.no_grad():
            found.append(attack(kind, norm="words", eps=[3.0]).attempt(target, 0))
    assert torch.equal(*found) and (found[0] != x).any(1).sum() > TEXTS / 2


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_found_depends_on_no_other_text_and_stays_within_its_strength(model, texts, kind):
    (x, y), victim, index = texts, TextVictim(model, 0), np.arange(TEXTS)
    spec, eps = attack(kind), np.linspace(0, 1, TEXTS)
    whole = attack_images(spec, victim, x, y, index, eps)
    assert (whole.norm <= eps).all() and whole.success.any()
    changed = whole.images != x
    assert (whole.images[changed] >= SPECIAL).all() and (x[changed] >= SPECIAL).all()
    rows = np.array([11, 3, 15])
    part = attack_images(spec, victim, x[rows], y[rows], index[rows], eps[rows])
    assert torch.equal(part.images, whole.images[rows])
    assert np.array_equal(part.attacked_predict, whole.attacked_predict[rows])
    with torch.inference_mode():
        assert np.array_equal(model(whole.images).argmax(1).numpy(), whole.attacked_predict)


@pytest.mark.parametrize("kind", KINDS)
def test_strength_0_changes_nothing_and_wrong_texts_are_left_alone(model, texts, kind):
    (x, y), victim, index = texts, TextVictim(model, 0), np.arange(TEXTS)
    for label, eps in ((y, 0.0), ((y + 1) % CLASSES, 1.0)):
        found = attack_images(attack(kind), victim, x, label, index, np.full(TEXTS, eps))
        assert torch.equal(found.images, x) and not found.success.any() and not found.queries.any()
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_outputs_that_are_no_numbers_are_refused_by_the_text(texts):
    class Cracked(torch.nn.Linear):
        def forward(self, x):
            return torch.where(x[:, :1] == int(texts[0][5, 0]), torch.nan, torch.zeros(len(x), CLASSES))

    with pytest.raises(NonFiniteError, match="text 105"):
        TextVictim(Cracked(1, 1), 0).plain_classes(texts[0][5:], np.arange(105, 105 + TEXTS - 5))


def test_a_share_of_words_is_as_many_as_it_says():
    some, words = (
        torch.tensor(side) for side in zip(*((k, n) for n in range(1, 120) for k in range(n + 1)), strict=True)
    )
    share = some.double() / words
    assert (share * words).floor().long().ne(some).any(), "products fall below"
    assert torch.equal(within_share(share, words), some)
    assert torch.equal(within_share((share - 1e-9).clamp(min=0), words), (some - 1).clamp(min=0))
    assert within_share(torch.tensor([0.5], dtype=torch.float64), torch.tensor([0])).tolist() == [0]


def test_shares_are_at_most_1():
    with pytest.raises(ValueError, match="at most 1"):
        attack("substitution", eps=[0.5, 2.0])
    assert attack("substitution", eps=[0.5, 2.0], norm="words").eps == [0.5, 2.0]


def test_macro_f1_is_that_of_scikit_learn():
    label, predict = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 0, 3])
    assert macro_f1(label, predict) == pytest.approx(f1_score(label, predict, average="macro"))
    assert macro_f1(label, np.full(6, -1)) == 0


def test_from_a_stored_text_to_a_reports_accuracy_and_macro_f1(tmp_path, monkeypatch):
    monkeypatch.setenv("CERTFLOW_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    lines = [f"w{a} w{b} w{c}\t{a % 2}\n" for a, b, c in rng.integers(0, 20, (24, 3))]
    for name in ("train", "test"):
        (tmp_path / f"{name}.tsv").write_text("text\tlabel\n" + "".join(lines))
    data = TextTable(root=str(tmp_path), classes=["0", "1"], length=4, vocabulary=1000)  # with numbers that no word has
    prepare(data, tmp_path / "m.json")
    made = {
        "dataset": data.canonical(),
        "method": spec_class("method", "gaussian")().canonical(),
        "noise": NONE.canonical(),
        "seed": 0,
    }
    torch.manual_seed(0)
    network = build(ARCHITECTURE, data.info()).eval()
    record = Provenance(
        format="model",
        spec=made | {"model": ARCHITECTURE.architecture()},
        parents={"data": content_digest(tmp_path / "m.json")},
    )
    save_model(tmp_path / "model.safetensors", network, record)
    strength = attack("substitution", norm="words", eps=[1.0, 3.0])
    images = {"split": "test", "skip": 0, "stride": 2, "max": None}
    spec = made | {"model": ARCHITECTURE.canonical(), "engine": 1, "images": images, "attack": strength.canonical()}
    files = {"manifest": tmp_path / "m.json", "model": tmp_path / "model.safetensors"}
    seen = []
    monkeypatch.setattr(stage, "attack_images", lambda *given: seen.append(attack_images(*given)) or seen[-1])
    attack_model(spec, data, **files, table=tmp_path / "a.tsv", device="cpu")
    assert max(int(found.images.max()) for found in seen) < SPECIAL + 20, "only words of the training split are put in"
    table, _ = read_table(tmp_path / "a.tsv", format="attack", spec=spec)
    assert len(table) == 24 and (table["norm"] <= table["eps"]).all() and table["success"].any()
    run = {"method": "m", "noise": "n", "seed": 0, "attack": "words", "spec": spec}
    ((found,),) = read_attacked([run], [tmp_path / "a.tsv"]).values()
    first = table[table["eps"] == 1.0]
    assert found.norm == "words" and not found.smoothed and found.eps == (0.0, 1.0, 3.0)
    assert found.accuracy[0] == (first["label"] == first["predict"]).mean()
    assert found.macro_f1[1] == pytest.approx(f1_score(first["label"], first["attacked_predict"], average="macro"))
    assert (np.diff(found.accuracy) <= 0).all()
