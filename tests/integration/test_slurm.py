"""The workflow on a real SLURM: results equal those of a local run, whatever happened to the jobs on the way."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from holds import Holds
from keeper import kept
from one_node_slurm import Cluster, cluster, end_users_of, missing, users_of

from certflow.files.artefact import read_arrays

ROOT = Path(__file__).resolve().parents[2]
TABLE = "results/tables/tiny.tsv"
RUN = "digits/tiny/one/gauss-0.25/seed0"
SHARDS = Path(f"results/sample/{RUN}/tiny/tiny/shards")
TIMED = ["time", "seconds"]
WANTED = os.environ.get("TEST_SLURM", "")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(WANTED == "later", reason="runs in `make test-slurm`"),
    pytest.mark.skipif(bool(missing()) and WANTED != "now", reason=f"no SLURM here: {missing()}"),
]

OVERLAY = {
    "samplers": {"tiny": {"n": 6_000}},
    "certificates": {"loose": {"kind": "neyman_pearson", "sampler": "tiny", "alpha": 0.01}},
    "experiments": {"tiny": {"methods": ["one"], "certificates": ["tiny", "loose"]}},
}


def profile(first: str = "False", shards: int = 3) -> dict:
    """The shipped profile with the site's lines edited, impatient. first: which attempts to sample ask for too little."""
    settings = yaml.safe_load((ROOT / "profiles" / "slurm" / "config.yaml").read_text())
    settings["default-resources"] = {**settings["default-resources"], "slurm_partition": "main"}
    del settings["default-resources"]["slurm_account"], settings["set-threads"]
    needs = {"train_model": 1500, "presample_counts": 1500, "prepare_data": 1000, "certify_radii": 500}
    settings["set-resources"] = {
        **{rule: {"mem": f"{mem}MB"} for rule, mem in needs.items()},
        "sample_counts": {
            "mem_mb": f"150 if {first} else 2000"
        },  # an expression in `mem` is lost on the way to the job
    }
    groups = {"prepare_data": "start", "train_model": "start", "presample_counts": "start"}
    settings["groups"] = {**settings["groups"], **groups}
    settings["group-components"] = {**settings["group-components"], "certify": 2}
    impatient = {"latency-wait": 5, "slurm-status-command": "squeue", "slurm-init-seconds-before-status-checks": 4}
    return {**settings, **impatient, "set-scatter": {"shards": shards}}


def start(folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.Popen:
    """Snakemake at work in `folder`, under a keeper; its output goes to `folder/output`."""
    folder.mkdir(exist_ok=True)
    (folder / "overlay.yaml").write_text(yaml.safe_dump(OVERLAY))
    overlays = [str(ROOT / "tests" / "tiny.yaml"), str(folder / "overlay.yaml")]
    command = [sys.executable, "-m", "snakemake", "--directory", str(folder), *arguments, "--configfile", *overlays]
    environment = {**(environment or os.environ), "CERTFLOW_DEVICE": "cpu", "CERTFLOW_SAVE_SECONDS": "0"}
    with open(folder / "output", "w") as output:
        command = kept(*command, "--", TABLE)
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)


def end(process: subprocess.Popen, folder: Path) -> None:
    """Wait until snakemake has succeeded."""
    assert process.wait(600) == 0, story(folder)


def story(folder: Path) -> str:
    """All that snakemake and the failed jobs said."""
    logs = [folder / "output", *sorted((folder / "results/logs").rglob("*.log"))]
    return "\n".join(f"== {path}\n{path.read_text()}" for path in logs)


@dataclass
class Attempt:
    """One line of a job's journal."""

    pid: int
    job: str
    device: str
    begun: str


def attempts(folder: Path, shard: int, shards: int = 3) -> list[Attempt]:
    """The attempts of one shard's job as its journal tells them."""
    path = Path(f"{state(folder, shard, shards)}.attempts")
    lines = path.read_text().splitlines() if path.exists() else []
    found = [re.search(r"process (\d+) on \S+ \(SLURM job (\d+), GPU (\S+)\): (.*)", line) for line in lines]
    return [Attempt(int(m[1]), m[2], m[3], m[4]) for m in found if m]


def state(folder: Path, shard: int, shards: int = 3) -> Path:
    """Where the job of a shard keeps partial counts."""
    return folder / SHARDS / f"{shard}-of-{shards}.npz.partial"


def wait_for(ready: Callable[[], Any], folder: Path, process: subprocess.Popen | None = None) -> None:
    """Wait until it is so; an error with the whole story after ten minutes, or when the `process` to do it has ended."""
    for _ in range(12_000):
        if ready():
            return
        if process is not None and process.poll() is not None:
            raise AssertionError(f"snakemake has ended\n{story(folder)}")
        time.sleep(0.05)
    raise AssertionError(f"not within ten minutes\n{story(folder)}")


def disturb(found: "Outcome", process: subprocess.Popen) -> None:
    """Cancel the job of shard 2, and let that of shard 3 run into its time limit, both in the middle of their work."""
    folder, slurm = found.remote, found.slurm
    for shard in (2, 3):
        wait_for(lambda: found.holds.stopped(state(folder, shard)), folder, process)  # noqa: B023
    cancelled, late = (attempts(folder, shard)[0].job for shard in (2, 3))
    slurm.ask("scancel", cancelled)
    soon = (datetime.now() + timedelta(seconds=1)).isoformat(timespec="seconds")
    slurm.ask("scontrol", "update", f"JobId={late}", f"EndTime={soon}")  # enforced within 30 s


@dataclass
class Outcome:
    """Folders of the runs, and SLURM's record of the jobs."""

    local: Path
    remote: Path
    slurm: Cluster
    holds: Holds
    processes: list[subprocess.Popen]

    @property
    def jobs(self) -> dict[str, dict[str, str]]:
        return self.slurm.finished()

    def start(self, folder: Path, name: str, *flags: str, **choices: Any) -> subprocess.Popen:
        """A run through SLURM in `folder`, under the profile `name`, which is made with `choices`."""
        written = folder.parent / name / "config.yaml"
        written.parent.mkdir(exist_ok=True)
        written.write_text(yaml.safe_dump(profile(**choices)))
        options = ("--profile", str(written.parent), *flags)
        environment = {**self.slurm.environment, **self.holds.environment}
        self.processes.append(start(folder, *options, environment=environment))
        return self.processes[-1]

    def unsampled(self, name: str) -> Path:
        """A new folder with the finished run, but for what comes after its plan of draws."""
        folder = self.remote.with_name(name)
        shutil.copytree(self.remote, folder)
        for part in ("sample", "certificates", "tables", "logs/sample_counts"):
            shutil.rmtree(folder / "results" / part)
        return folder

    def caught(self, folder: Path, shards: int, name: str, *flags: str) -> tuple[subprocess.Popen, list[str]]:
        """A run of which all sampling jobs have stopped in the middle, and the numbers of these jobs."""
        states = [state(folder, number + 1, shards) for number in range(shards)]
        for path in states:
            self.holds.ask(path)
        process = self.start(folder, name, *flags, shards=shards)
        wait_for(lambda: all(self.holds.stopped(path) for path in states), folder, process)
        return process, [attempts(folder, number + 1, shards)[-1].job for number in range(shards)]


@pytest.fixture(scope="module")
def outcome():
    """The experiment run locally in one shard, and through SLURM in three, of which each fails once, in its own way."""
    assert not missing(), missing()
    with own_folder() as folder, cluster(folder / "cluster") as slurm:
        found = Outcome(folder / "local", folder / "remote", slurm, Holds(folder / "holds"), [])
        with ending(found.processes):
            found.holds.ask(state(found.remote, 1), where="SLURM_MEM_PER_NODE=150")  # until it is killed for its memory
            for shard in (2, 3):
                found.holds.ask(state(found.remote, shard))
            starved = "attempt == 1 and wildcards.scatteritem.startswith('1-')"
            remote = found.start(found.remote, "profile", first=starved)
            found.processes.append(local := start(found.local, "--cores", "1"))
            disturb(found, remote)
            end(remote, found.remote)
            end(local, found.local)
            yield found


@contextmanager
def own_folder() -> Iterator[Path]:
    """A new folder with `cluster/` in it; in the end it is gone, and with it all processes that have to do with it."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp")).resolve()  # short: sockets' paths have a limit
    try:
        (folder / "cluster").mkdir()
        yield folder
    finally:
        end_users_of(folder)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def ending(processes: list[subprocess.Popen]) -> Iterator[None]:
    """In the end, no process of the list runs, nor any that it has started."""
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGUSR1)
        for process in processes:
            process.wait(60)


def ran_as(outcome: Outcome, rule: str) -> set[str]:
    """SLURM's numbers of the jobs in which a rule's last attempts ran, as their logs say."""
    logs = list((outcome.remote / "results/logs" / rule).rglob("*.log"))
    assert logs, rule
    found = [re.search(r"SLURM job (\d+)", path.read_text()) for path in logs]
    return {match[1] if match else "none" for match in found}


@pytest.mark.parametrize("rule", ["prepare_data", "train_model", "presample_counts", "sample_counts", "certify_radii"])
def test_slurm_itself_says_that_the_jobs_ran(outcome, rule):
    for job in ran_as(outcome, rule):
        assert outcome.jobs[job]["JobState"] == "COMPLETED", outcome.jobs


@pytest.mark.parametrize("rule", ["plan_draws", "merge_counts", "write_table"])
def test_work_of_seconds_stays_out_of_the_queue(outcome, rule):
    assert ran_as(outcome, rule) == {"none"}


def test_shards_are_jobs_of_their_own_and_certificates_share_one(outcome):
    assert len(ran_as(outcome, "sample_counts")) == 3
    assert len(ran_as(outcome, "certify_radii")) == 1
    assert len(list((outcome.remote / "results/logs/certify_radii").rglob("*.log"))) == 2


def test_counts_are_those_of_the_local_run(outcome):
    name = f"results/sample/{RUN}/tiny/tiny.npz"
    remote, local = (read_arrays(folder / name)[0] for folder in (outcome.remote, outcome.local))
    assert remote["counts"].sum() == 30 * 6_000
    assert np.array_equal(remote["counts"], local["counts"]) and np.array_equal(remote["idx"], local["idx"])


def untimed(path: Path) -> tuple[list[list[str]], int]:
    """The cells of a table line by line without those below `s/image` (TSV: `seconds_per_image`), and how many these were."""
    separator = {".tsv": "\t", ".md": "|", ".tex": "&"}[path.suffix]
    lines, clocks, dropped = [], set(), 0
    for line in path.read_text().splitlines():
        cells = [cell.strip() for cell in line.split(separator)]
        named = {i for i, cell in enumerate(cells) if cell == "s/image" or cell.startswith("seconds_per_image")}
        clocks = named or (set() if not line or "tabular" in line else clocks)
        lines.append([cell for i, cell in enumerate(cells) if i not in clocks])
        dropped += len(cells) - len(lines[-1])
    return lines, dropped


@pytest.mark.parametrize("ending", ["tsv", "tex", "md"])
def test_the_papers_table_is_the_local_one_but_for_the_seconds_per_image(outcome, ending):
    name = Path(TABLE).with_suffix(f".{ending}")
    (remote, dropped), (local, _) = untimed(outcome.remote / name), untimed(outcome.local / name)
    assert remote == local and dropped >= 2


@pytest.mark.parametrize("certificate", ["tiny", "loose"])
def test_certificates_differ_in_times_only(outcome, certificate):
    name = f"results/certificates/{RUN}/tiny/tiny/{certificate}.tsv"
    remote, local = (pd.read_csv(folder / name, sep="\t", dtype=str) for folder in (outcome.remote, outcome.local))
    assert set(TIMED) < set(local.columns)
    pd.testing.assert_frame_equal(remote.drop(columns=TIMED), local.drop(columns=TIMED))


@pytest.mark.parametrize(("shard", "state"), [(2, "CANCELLED"), (3, "TIMEOUT")])
def test_a_job_that_is_ended_goes_on_from_its_last_chunk(outcome, shard, state):
    first, second = attempts(outcome.remote, shard)
    assert (first.begun, outcome.jobs[first.job]["JobState"]) == ("began", state)
    assert outcome.jobs[second.job]["JobState"] == "COMPLETED"
    assert int(re.fullmatch(r"resumed from draw ([\d,]+)", second.begun)[1].replace(",", "")) >= 1000


def test_a_job_killed_for_its_memory_is_tried_again_with_more(outcome):
    small = [job for job in outcome.jobs.values() if "mem=150M" in job["Tres"]]
    assert [job["JobState"] for job in small] == ["FAILED"]
    (log,) = (outcome.remote / "results/logs/sample_counts").rglob("1-of-3.log")
    again = outcome.jobs[re.search(r"SLURM job (\d+)", log.read_text())[1]]
    assert again["JobState"] == "COMPLETED" and "mem=2000M" in again["Tres"]


def test_two_jobs_at_once_get_different_gpus(outcome):
    assert {attempts(outcome.remote, shard)[0].device for shard in (2, 3)} == {"0", "1"}


def test_the_logs_of_failed_attempts_lie_where_the_profile_says(outcome):
    logs = list((outcome.remote / "results/logs/slurm").rglob("*.log"))
    failed = {number for number, job in outcome.jobs.items() if job["JobState"] != "COMPLETED"}
    assert len(failed) == 3 and failed <= {path.stem for path in logs}


def same_table(folder: Path, outcome: Outcome) -> bool:
    return untimed(folder / TABLE)[0] == untimed(outcome.local / TABLE)[0]


def test_what_jobs_finish_after_snakemake_was_killed_is_kept(outcome):
    folder = outcome.unsampled("killed")
    process, _ = outcome.caught(folder, 2, "calm")
    process.send_signal(signal.SIGUSR1)
    process.wait()
    states = [state(folder, number, 2) for number in (1, 2)]
    shards = [path.with_suffix("") for path in states]
    assert not any(path.exists() for path in shards)
    for path in states:
        outcome.holds.release(path)
    wait_for(lambda: all(path.exists() for path in shards) and not outcome.slurm.ask("squeue", "-h"), folder)
    made = [path.stat().st_mtime_ns for path in shards]
    end(outcome.start(folder, "calm", "--unlock", shards=2), folder)
    end(outcome.start(folder, "calm", shards=2), folder)
    assert [path.stat().st_mtime_ns for path in shards] == made
    assert same_table(folder, outcome)


def test_requeued_and_preempted_jobs_and_a_refused_submission_cost_no_result(outcome):
    folder, slurm = outcome.unsampled("requeued"), outcome.slurm
    refused = slurm.refuse_one_submission()
    process, (requeued, preempted) = outcome.caught(folder, 2, "calm")
    assert refused.exists()
    slurm.ask("scontrol", "requeue", requeued)
    wait_for(lambda: slurm.facts(requeued)["JobState"] == "PENDING", folder)
    slurm.ask("sbatch", "-p", "urgent", "--gpus=2", "--mem=100", "-o", "/dev/null", "--wrap", "true")
    wait_for(lambda: outcome.jobs.get(preempted, {}).get("JobState") == "PREEMPTED", folder)
    for shard, job in ((1, requeued), (2, preempted)):
        wait_for(lambda: goes_on(slurm, job, folder, shard), folder, process)  # noqa: B023
    end(process, folder)
    for shard, job in ((1, requeued), (2, preempted)):
        first, *_, last = attempts(folder, shard, 2)
        assert (first.job, last.job) == (job, job) and last.begun.startswith("resumed from draw")
        assert outcome.jobs[job]["JobState"] == "COMPLETED"
    assert same_table(folder, outcome)


def goes_on(slurm: Cluster, job: str, folder: Path, shard: int) -> bool:
    """Whether a requeued job works again; asks SLURM, which would wait for two minutes, to start it now."""
    slurm.ask("scontrol", "update", f"JobId={job}", "StartTime=now")
    return len(attempts(folder, shard, 2)) > 1


def test_a_requeued_job_leaves_its_shard_to_the_job_that_has_taken_it_over(outcome):
    folder, slurm = outcome.unsampled("twice"), outcome.slurm
    process, (first,) = outcome.caught(folder, 1, "single")
    process.send_signal(signal.SIGUSR1)
    process.wait()
    slurm.ask("scontrol", "requeuehold", first)
    wait_for(lambda: slurm.facts(first)["JobState"] == "PENDING", folder)
    end(outcome.start(folder, "single", "--unlock", shards=1), folder)
    process, (second,) = outcome.caught(folder, 1, "single")
    assert second != first
    slurm.ask("scontrol", "release", first)
    slurm.ask("scontrol", "update", f"JobId={first}", "StartTime=now")
    wait_for(lambda: slurm.facts(first)["JobState"] == "FAILED", folder, process)
    (log,) = (folder / "results/logs/sample_counts").rglob("1-of-1.log")
    assert re.search(rf"sampling is under way by process \d+ on \S+ \(SLURM job {second}\b", log.read_text())
    outcome.holds.release(state(folder, 1, 1))
    end(process, folder)
    assert [attempt.job for attempt in attempts(folder, 1, 1)] == [first, second]
    assert same_table(folder, outcome)


@pytest.mark.skipif(bool(missing()), reason=f"no SLURM here: {missing()}")
def test_a_failure_in_the_middle_leaves_no_process_behind():
    with (
        pytest.raises(RuntimeError, match="in the middle"),
        own_folder() as folder,
        cluster(folder / "cluster") as slurm,
    ):
        stopped = folder / "stopped"
        slurm.ask(
            "sbatch", "--mem=100", "-o", "/dev/null", "--wrap", f"setsid sleep 1000 & touch {stopped}; kill -STOP $$"
        )
        wait_for(stopped.exists, folder)
        assert len(users_of(folder)) > 6  # the daemons and their keepers, and what belongs to the job
        raise RuntimeError("in the middle")
    assert not users_of(folder)
