"""A Slurm of our own with two nodes on this machine, to try job scripts on. Root or not."""

import contextlib
import getpass
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
MISSING = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
FINISHED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"}

# cred_expire is also how long a requeued job waits for its next start (otherwise two minutes).
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
KillWait=5
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 RealMemory=4000
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 RealMemory=4000
PartitionName=low Nodes=n1,n2 Default=YES PriorityTier=1 GraceTime=30
PartitionName=high Nodes=n1,n2 PriorityTier=10
"""


class Cluster:
    """Commands for a running Slurm; jobs start in `folder`, where their logs go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.configuration = folder / "slurm.conf"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SBATCH"))}
        self.environment = kept | {"SLURM_CONF": str(self.configuration), "PATH": PATH}

    def run(self, *command: object, **environment: object) -> str:
        """Run a command and return what it printed."""
        done = subprocess.run(
            [str(word) for word in command],
            cwd=self.folder,
            env=self.environment | {name: str(value) for name, value in environment.items()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}{done.stdout}"
        return done.stdout

    def submit(self, *words: object, **environment: object) -> str:
        """Submit a batch job and return its number."""
        return self.run("sbatch", "--parsable", *words, **environment).strip()

    def tasks(self, job: str) -> list[dict[str, str]]:
        """Return what Slurm knows of a job: one dictionary for each task of an array."""
        lines = self.run("scontrol", "--oneliner", "show", "job", job).splitlines()
        return [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in lines]

    def ended(self, *jobs: str) -> bool:
        """Return whether all tasks of jobs have ended, well or badly."""
        return all(task["JobState"] in FINISHED for job in jobs for task in self.tasks(job))

    def finish(self, *jobs: str) -> list[dict[str, str]]:
        """Wait until jobs have ended, and return their tasks."""
        self.wait(lambda: self.ended(*jobs), f"jobs {', '.join(jobs)} to end")
        return [task for job in jobs for task in self.tasks(job)]

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
        """Wait for a condition; fail with all logs if it does not come true in time."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited {seconds} s for {what}\n{self.logs()}"
            time.sleep(0.1)

    def stop(self, job: str) -> None:
        """Stop the first step of a job where it is (SIGSTOP), and wait until it has stopped.

        The signal goes by way of the daemons: one that came after the SIGCONT of a preemption
        would keep the step from its SIGTERM until it is killed.
        """
        self.run("scancel", "--signal=STOP", job)
        self.wait(lambda: "T" in self.states(job), f"job {job} to stop")

    def states(self, job: str) -> list[str]:
        """Return the states (R, S, T, ...) of the processes of the first step of a job."""
        marks = {f"SLURM_JOB_ID={job}".encode(), b"SLURM_STEP_ID=0"}
        found = []
        for process in self.processes():
            with contextlib.suppress(OSError):  # gone by now
                folder = Path("/proc") / str(process)
                if marks <= set((folder / "environ").read_bytes().split(b"\0")):
                    found.append((folder / "stat").read_text().rpartition(")")[2].split()[0])
        return found

    def logs(self) -> str:
        """Return the ends of all logs, of daemons and jobs."""
        paths = sorted(self.folder.glob("*.log"))
        return "\n".join(f"== {path.name}\n{path.read_text()[-2000:]}" for path in paths)

    def processes(self) -> list[int]:
        """Return the processes that have this cluster's configuration: daemons, steps and jobs."""
        found = []
        for entry in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):  # of another user, or gone by now
                if f"SLURM_CONF={self.configuration}\0".encode() in entry.read_bytes():
                    found.append(int(entry.parent.name))
        return found


@contextlib.contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """Run munged, slurmctld and two slurmd while the block lasts, all of them in `folder`."""
    cluster = Cluster(folder)
    (folder / "state").mkdir()
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)
    user, host = getpass.getuser(), socket.gethostname().split(".")[0]
    text = CONFIGURATION.format(folder=folder, user=user, host=host, ports=_free_ports(3))
    cluster.configuration.write_text(text)
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        daemons.append(_start(cluster, *_munged(folder)))
        cluster.wait((folder / "munge.socket").exists, "munged")
        daemons.append(_start(cluster, "slurmctld", "-D"))
        daemons += [_start(cluster, "slurmd", "-D", "-N", node) for node in ("n1", "n2")]
        cluster.wait(lambda: _idle(cluster) == 2, "two idle nodes")
        yield cluster
    finally:
        if len(daemons) == 4:
            _cancel_all(cluster)
        for daemon in reversed(daemons):
            _stop(daemon)
        for process in cluster.processes():  # of jobs that could not be cancelled
            os.kill(process, signal.SIGKILL)


def _munged(folder: Path) -> list[str]:
    """Return the command of a munged with its own key and socket."""
    files = {
        "key-file": "munge.key",
        "socket": "munge.socket",
        "pid-file": "munged.pid",
        "log-file": "munged.log",
        "seed-file": "munged.seed",
    }
    options = [f"--{option}={folder / name}" for option, name in files.items()]
    return ["munged", "--foreground", "--force", *options]  # as any user, in any folder


def _start(cluster: Cluster, *command: str) -> subprocess.Popen[bytes]:
    with (cluster.folder / f"{command[0]}.out.log").open("ab") as log:
        return subprocess.Popen(
            [str(shutil.which(command[0], path=PATH)), *command[1:]],
            cwd=cluster.folder,
            env=cluster.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def _idle(cluster: Cluster) -> int:
    """Return how many nodes are idle; 0 while the controller does not answer."""
    try:
        return cluster.run("sinfo", "--Node", "--noheader", "--partition=low").count("idle")
    except AssertionError:
        return 0


def _cancel_all(cluster: Cluster) -> None:
    """End what still runs; a controller that has died must not keep us from stopping the rest."""
    with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
        cluster.run("scancel", f"--user={getpass.getuser()}")
        cluster.wait(lambda: not cluster.run("squeue", "--noheader"), "an empty queue", 20)


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(timeout=10)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
