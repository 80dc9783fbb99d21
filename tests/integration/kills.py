"""Kills steps of the pipeline, and commands, at every change that they make to their files, and does them once more.

A step runs in a fork, and an audit hook ends it by SIGKILL just before its k-th change (a file made, renamed or removed, a
folder made or removed), for k = 1, 2, ... until it ends by itself: what a kill between two changes leaves is what a kill
before the second one leaves, but for the length of a file that has not got its name yet. The clock stands still, so that equal
work gives equal bytes. Run as a script in a process of its own, which does every step once and is forked for its kills: forks
start with all modules loaded, and without threads. No test in here.
"""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "os.link", "os.symlink")
JOURNALS = ".attempts"
"""Ending of the journals of attempts: what says that there were several, and is for people."""


class Killer:
    """Counts the changes below a folder, and ends the process before one of them."""

    def __init__(self, folder: Path):
        self.folder, self.last, self.changes = str(folder), None, 0
        sys.addaudithook(self._heard)

    def within(self, last: int | None) -> None:
        """From now on: end the process before change number `last`, if it gets there."""
        self.last, self.changes = last, 0

    def _heard(self, event: str, about: tuple) -> None:
        if self.last is None or not self._is_change(event, about):
            return
        self.changes += 1
        if self.changes == self.last:
            os.kill(os.getpid(), signal.SIGKILL)

    def _is_change(self, event: str, about: tuple) -> bool:
        if event not in ("open", *CHANGES) or not isinstance(about[0], str | os.PathLike):
            return False
        if not os.path.abspath(about[0]).startswith(self.folder):
            return False
        return event != "open" or (about[2] & os.O_CREAT and not os.path.exists(about[0]))


def child(work: Callable[[], object]) -> int:
    """Begin the work in a process of its own, which ends with 0, or with 1 where the work fails; its number."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def forked(work: Callable[[], object]) -> int:
    """The work in a process of its own: 0, or the number of the signal that ended it; RuntimeError where it failed."""
    code = os.waitstatus_to_exitcode(os.waitpid(child(work), 0)[1])
    if code > 0:
        raise RuntimeError("a step failed; the lines before this one say how")
    return -code


def steps(folder: Path) -> Iterator[tuple[str, Callable[[], object], list[str]]]:
    """Name, work, and what the work makes: files or folders below `folder`."""
    home = Home(folder)
    manifest, model = home.given["manifest"], home.given["model"]
    yield "prepare", lambda: prepare(DIGITS, manifest), ["digits.json", "cache"]

    method = spec_class("method", "gaussian")(epochs=1, batch=512, schedule="one_cycle")
    spec = {**without(home.spec, "engine"), "method": method.canonical(), "model": MODEL.architecture()}
    outputs = Outputs(folder / "trained/model.safetensors", folder / "trained/training.tsv")
    yield (
        "train",
        lambda: make_model(spec, DIGITS, method, manifest=manifest, outputs=outputs, device="cpu"),
        ["trained"],
    )

    home.prepared()
    sampler, certificate = certificate_of("neyman_pearson")
    first, plan, counts, table = (folder / name for name in ("first.npz", "plan.tsv", "counts.npz", "table.tsv"))
    yield "presample", partial(home.presample, sampler, first), ["first.npz"]
    yield "plan", partial(home.plan, sampler, first, plan), ["plan.tsv", "plan.json"]
    yield "sample and merge", partial(home.sample, plan, counts), ["counts.npz", "counts.1-of-1.npz"]
    yield "certify", partial(home.certify, certificate, plan, counts, table), ["table.tsv", "table.json"]

    sampler, _ = certificate_of("sequential")
    looked = home.plan(sampler, home.presample(sampler, folder / "looked/first.npz"), folder / "looked/plan.tsv")
    made = ["looked/counts.npz", "looked/counts.1-of-1.npz"]
    yield "sample until decided", partial(home.sample, looked, folder / made[0]), made

    with_images(folder)
    given = ["--model", str(model), "--images", str(folder / "images.npy"), "--noise", "gaussian:0.5", "--quiet"]
    command = ["certify", *given, "--n0", "20", "--n", "300", "--out", str(folder / "command/table.tsv")]
    yield "certflow certify", partial(main, command), ["command"]
    yield (
        "certflow export",
        partial(main, ["export", "--model", str(model), "--out", str(folder / "bundle")]),
        ["bundle"],
    )


def contents(folder: Path) -> dict[str, object]:
    """Every file below a folder but journals of attempts. Of a model its tensors and facts: its record may say that it was
    resumed."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(JOURNALS)]
    return {str(p.relative_to(folder)): read_header(p)[1] if is_ours(p) else p.read_bytes() for p in sorted(paths)}


def remove(folder: Path, made: list[str]) -> None:
    for path in (folder / name for name in made):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def every_kill(folder: Path) -> Iterator[tuple[str, int]]:
    """Each step and the number of its kills; AssertionError where a step that was killed ends with other files than one that
    was not."""
    killer = Killer(folder)
    for name, work, made in steps(folder):
        work()  # in this process, which then has loaded all that the forks need
        wanted, kills = contents(folder), 0
        assert all((folder / one).exists() for one in made), f"{name}: does not make {made}"
        while True:
            remove(folder, made)
            killed = forked(lambda work=work, last=kills + 1: (killer.within(last), work()))
            if not killed:
                break
            kills += 1
            forked(work)
            found = contents(folder)
            other = sorted(path for path in found.keys() | wanted.keys() if found.get(path) != wanted.get(path))
            assert not other, f"{name}, killed before change {kills}: {other} differ, are missing or are left over"
        yield name, kills


if __name__ == "__main__":
    home = Path(sys.argv[1]).resolve()
    os.environ |= {"CERTFLOW_CACHE": str(home / "cache"), "CERTFLOW_SAVE_SECONDS": "0"}
    sys.path[:0] = sys.argv[2:]
    import shutil
    from functools import partial

    import torch
    from doors_examples import with_images
    from stage_examples import DIGITS, MODEL, Home, certificate_of

    from certflow.data.store import prepare
    from certflow.doors.cli import main
    from certflow.kinds.registry import spec_class
    from certflow.kinds.spec import without
    from certflow.models.header import is_ours, read_header
    from certflow.sampling import engine
    from certflow.training import run
    from certflow.training.stage import Outputs, make_model

    torch.set_num_threads(1)
    time.monotonic = lambda: 1e9  # later than whatever was read of the true clock
    engine.CHUNK_ROWS, run.EPOCH_SECONDS = 500, 0.0
    for step, number in every_kill(home):
        print(f"{step}: {number}", flush=True)
