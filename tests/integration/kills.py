"""Kills steps of the pipeline, and commands, before every change that they make to their files, and does them once more.

What a process leaves that is killed before its k-th change (a file made, renamed or removed, a folder made or removed) is what
its folder holds at that moment: an audit hook copies the folder there, for k = 1, 2, ..., in one run of the step. What a kill
between two changes leaves is what a kill before the second one leaves, but for the length of a file that has not got its name
yet. One kill of each step is a real one, by SIGKILL, and leaves what the copy holds. The clock stands still, so that equal work
gives equal bytes. Run as a script in a process of its own, which does every step once and is forked for all that follows: forks
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
JOURNALS, LOCKS = ".attempts", ".lock"
"""Ending of the journals of attempts: what says that there were several, and is for people."""


class Changes:
    """Hears of the changes below a folder, each before it is made, and does something about it."""

    def __init__(self, folder: Path):
        self.folder, self.number, self.before = str(folder), 0, None
        sys.addaudithook(self._heard)

    def meet(self, before: Callable[[int], object]) -> None:
        """From now on: `before(k)` ahead of the k-th change."""
        self.number, self.before = 0, before

    def _heard(self, event: str, about: tuple) -> None:
        if self.before is None or not self._is_change(event, about):
            return
        before, self.before = self.before, None  # what is done about a change is none
        self.number += 1
        before(self.number)
        self.before = before

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


def every_kill(folder: Path, copies: Path) -> Iterator[tuple[str, int]]:
    """Each step and the number of its kills; AssertionError where a step that was killed ends with other files than one that
    was not. What kills leave is copied to `copies`."""
    changes = Changes(folder)
    for name, work, made in steps(folder):
        work()  # in this process, which then has loaded all that the forks need
        wanted = contents(folder)
        assert all((folder / one).exists() for one in made), f"{name}: does not make {made}"
        remove(folder, made)
        gc.freeze()  # what is not looked at by forks need not be copied for them
        shutil.copytree(folder, copies / "0")
        forked(lambda work=work: (changes.meet(partial(keep, folder, copies)), work()))
        kills = len(list(copies.iterdir())) - 1
        killed = kills // 2 + 1
        replace(folder, copies / "0")
        ended = forked(lambda work=work, last=killed: (changes.meet(partial(kill, last)), work()))
        assert ended == signal.SIGKILL and left(folder) == left(copies / str(killed)), (
            f"{name}: the copies are no kills"
        )
        for k in range(1, kills + 1):
            replace(folder, copies / str(k))
            assert forked(work) == 0
            found = contents(folder)
            other = sorted(path for path in found.keys() | wanted.keys() if found.get(path) != wanted.get(path))
            assert not other, f"{name}, killed before change {k}: {other} differ, are missing or are left over"
        shutil.rmtree(copies)
        yield name, kills


def keep(folder: Path, copies: Path, change: int) -> None:
    """Copy what the folder holds before a change."""
    shutil.copytree(folder, copies / str(change))


def kill(last: int, change: int) -> None:
    """End this process before its last change."""
    if change == last:
        os.kill(os.getpid(), signal.SIGKILL)


def left(folder: Path) -> list[tuple[str, bytes]]:
    """Folder and content of every file. Names of files that have not got theirs yet are a process's own, as is what locks and
    journals tell."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith((JOURNALS, LOCKS))]
    return sorted((str(path.parent.relative_to(folder)), path.read_bytes()) for path in paths)


def replace(folder: Path, copy: Path) -> None:
    """Let the folder be as its copy is."""
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)


if __name__ == "__main__":
    home, copies = Path(sys.argv[1]).resolve() / "home", Path(sys.argv[1]).resolve() / "copies"
    home.mkdir()
    os.environ |= {"CERTFLOW_CACHE": str(home / "cache"), "CERTFLOW_SAVE_SECONDS": "0"}
    sys.path[:0] = sys.argv[2:]
    import gc
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
    for step, number in every_kill(home, copies):
        print(f"{step}: {number}", flush=True)
