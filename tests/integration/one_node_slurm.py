"""A real SLURM of one node for tests: munged, slurmctld and slurmd on loopback, in a private folder; no test in here."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from keeper import GRACE, kept

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")

CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/sock
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherParams=OverMemoryKill
JobAcctGatherFrequency=task=1
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/log/jobcomp.log
MailProg=/bin/true
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_min_interval=100000
DefMemPerCPU=500
ReturnToService=2
MinJobAge=600
KillWait=2
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=16000 State=UNKNOWN Gres=gpu:2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=urgent Nodes={host} PriorityTier=10 MaxTime=INFINITE State=UP
"""
# The default process tracker needs cgroups; OverMemoryKill enforces memory without them. The node pretends to have CPUs and
# memory (config_overrides), so that the same jobs run at the same time on any machine.

GRES = "NodeName={host} Name=gpu File=/dev/null\nNodeName={host} Name=gpu File=/dev/zero\n"  # nothing opens them

SRUN = '#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {srun} "$@"\n'
# The executor plugin clears SLURM_CONF before it calls srun.

SBATCH = """\
#!/bin/sh
if mv {folder}/refuse {folder}/refused 2>/dev/null; then
    echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2
    exit 1
fi
exec {sbatch} "$@"
"""
# Fails once where there is a file `refuse`, as a busy controller makes it fail.


def missing() -> str:
    """Why no cluster can be started here; empty if one can."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=search_path()) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (Debian: slurm-wlm, munge)"
    if os.geteuid() != 0:
        return "the daemons need root"
    return ""


def search_path() -> str:
    """$PATH and the folders of system daemons."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def users_of(folder: Path) -> set[int]:
    """Processes other than this one with `folder` in their command line or environment, at work in it, or with a file of it."""
    return {int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and _uses(p, str(folder))} - {os.getpid()}


def end_users_of(folder: Path) -> None:
    """Kill all that `users_of` finds: the last resort, after the keepers."""
    for process in users_of(folder):
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            pass


def _uses(process: Path, folder: str) -> bool:
    texts, links = [], []
    try:
        texts = [(process / name).read_bytes() for name in ("cmdline", "environ", "maps")]
        links = [os.readlink(link) for link in [process / "cwd", process / "exe", *(process / "fd").iterdir()]]
    except OSError:  # it has ended, or is the kernel's
        pass
    return any(folder.encode() in text for text in texts) or any(folder in link for link in links)


class Cluster:
    """A running one-node cluster of four pretend CPUs with two pretend GPUs."""

    def __init__(self, folder: Path):
        self.folder = folder
        path = os.pathsep.join([str(folder / "bin"), str(Path(sys.executable).parent), search_path()])
        self.environment = {**os.environ, "SLURM_CONF": f"{folder}/slurm.conf", "PATH": path}
        self.daemons: list[subprocess.Popen] = []

    def configure(self) -> None:
        """Write the configuration and the key."""
        for name in ("munge", "state", "spool", "log", "bin"):
            (self.folder / name).mkdir(mode=0o700 if name == "munge" else 0o755)
        key = self.folder / "munge" / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        host = socket.gethostname().split(".")[0]
        (self.folder / "slurm.conf").write_text(CONF.format(ports=free_ports(2), folder=self.folder, host=host))
        (self.folder / "gres.conf").write_text(GRES.format(host=host))
        for name, text in (("srun", SRUN), ("sbatch", SBATCH)):
            wrapper = self.folder / "bin" / name
            wrapper.write_text(text.format(folder=self.folder, **{name: shutil.which(name, path=search_path())}))
            wrapper.chmod(0o755)

    def start(self) -> None:
        """Start the daemons and wait for an idle node; raises RuntimeError with their logs where there is none."""
        munge = self.folder / "munge"
        options = {"key-file": "key", "socket": "sock", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        files = [f"--{option}={munge}/{name}" for option, name in options.items()]
        self._daemon("munged", "--foreground", "--force", "--num-threads=2", *files)
        self._wait(lambda: self._ok("munge", "-n", "--socket", f"{munge}/sock"), "munge")
        self._daemon("slurmctld", "-D", "-c")
        self._daemon("slurmd", "-D")
        self._wait(lambda: self.ask("sinfo", "-h", "-o", "%T").strip() == "idle", "an idle node")

    def stop(self) -> None:
        """End the daemons, last started first, with the jobs that they run, stopped ones too."""
        for daemon in reversed(self.daemons):
            daemon.terminate()
        try:
            for daemon in reversed(self.daemons):
                daemon.wait(GRACE + 50)
        finally:
            end_users_of(self.folder)

    def ask(self, *command: str) -> str:
        """What a SLURM command prints; nothing where it fails."""
        result = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        return result.stdout if result.returncode == 0 else ""

    def refuse_one_submission(self) -> Path:
        """Let the next sbatch fail; the file that is there when it has."""
        (self.folder / "refuse").touch()
        return self.folder / "refused"

    def facts(self, job: str) -> dict[str, str]:
        """What the controller says of a job: JobState, Restarts, PreemptTime, ..."""
        return dict(re.findall(r"(\w+)=(\S*)", self.ask("scontrol", "show", "job", job)))

    def finished(self) -> dict[str, dict[str, str]]:
        """SLURM's own record of finished jobs: number → fields (JobState, Name, Tres, ExitCode, ...)."""
        log = self.folder / "log" / "jobcomp.log"
        lines = log.read_text().splitlines() if log.exists() else []
        fields = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines]
        return {record["JobId"]: record for record in fields}

    def _daemon(self, *command: str) -> None:
        with open(self.folder / "log" / f"{command[0]}.out", "w") as output:
            self.daemons.append(subprocess.Popen(kept(*command), env=self.environment, stdout=output, stderr=output))

    def _ok(self, *command: str) -> bool:
        return subprocess.run(command, env=self.environment, capture_output=True).returncode == 0

    def _wait(self, ready, what: str) -> None:
        for _ in range(1200):
            if ready():
                return
            time.sleep(0.05)
        logs = "\n".join(f"== {path.name}\n{path.read_text()[-3000:]}" for path in (self.folder / "log").iterdir())
        raise RuntimeError(f"no {what} after 60 s\n{logs}")


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@contextmanager
def cluster(folder: Path):
    """A running cluster in `folder` (short absolute path, owned by root); stopped at the end, whatever happens."""
    found = Cluster(folder)
    found.configure()
    try:
        found.start()
        yield found
    finally:
        found.stop()
