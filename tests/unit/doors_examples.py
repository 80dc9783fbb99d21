"""A trained model of the digits in files of every kind, for the tests of the doors; no test in here."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from stage_examples import DIGITS, MODEL, Home

from certflow.data.source import data_root
from certflow.files.tensorfile import read_tensors
from certflow.models import build, save_model

NOISE = "gaussian:0.5"
CODE = """
import torch

from certflow.models import load_checkpoint

calls = []


def build():
    calls.append(1)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))


def number():
    return 3


def broken():
    return 1 / 0


def called_with(images):
    return images


module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
"""


def trained(folder: Path) -> Home:
    """A folder as the pipeline leaves it, with a model that has learned something, and the same weights as `w.pth`."""
    home = Home(folder).prepared()
    data = DIGITS.read("train", data_root(DIGITS))
    x, y = torch.from_numpy(data.images).float() / 255, torch.from_numpy(data.labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build(MODEL, DIGITS.info()).train()
        optimiser = torch.optim.Adam(network.parameters(), 2e-3)
        for _ in range(60):
            rows = torch.randint(0, len(y), (128,))
            noisy = x[rows] + 0.5 * torch.randn_like(x[rows])
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(network(noisy), y[rows]).backward()
            optimiser.step()
    record = read_tensors(home.given["model"])[1]
    save_model(home.given["model"], network.eval(), record)
    torch.save({"state_dict": network[1].state_dict()}, folder / "w.pth")
    return home


def with_images(folder: Path, count: int = 12) -> Path:
    """The first test images as an array, with labels, and as PNG files in folders by class."""
    split = DIGITS.read("test", data_root(DIGITS))
    images, labels = split.read(np.arange(count)), split.labels[:count]
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)
    rows = "\n".join(f"{index},{label}" for index, label in enumerate(labels))
    (folder / "labels.csv").write_text(f"idx,label\n{rows}\n")
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        for place in (folder / "by_class" / str(label), folder / "flat"):
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0]).save(place / f"{index:02d}.png")
    (folder / "own_models.py").write_text(CODE)
    return folder
