"""A real Slurm on this host: one `slurmctld` and a `slurmd` for each node, in a folder of their own.

Needs root and Debian's `slurm-wlm` (22.05 or newer). Everything lies in one folder that only its owner can enter: configuration, state, spool, logs, the
nodes' GPUs. These are character devices that nothing drives: Slurm hands them out and sets CUDA_VISIBLE_DEVICES as it does for real ones; for plain files it
does not. All daemons listen on 127.0.0.1 only. There is no munge (auth/none): whoever has an account on this host could speak to them while they run.

How long things take here, seen with 22.05 on two cores:
  start 0.1 s, stop 0.1 s, `srun` on three nodes 0.04 s; a batch job starts within 1 s, since the scheduler looks once a second.
  A node whose slurmd is dead is `down` after 9 to 14 s; `declare_down` says it at once. Back 0.1 s after `start_slurmd`.
  A job that was requeued (preempted, or its node failed) waits for 2 minutes more, reason BeginTime; `begin_now` ends that.
  What Slurm does not find it does not end: with `linuxproc` a process whose parents have ended, with `pgid` one in a process group of its own. Real clusters
  mostly have control groups, which no process leaves; they would need more than root in a container. `stop` and `reset` find such processes, kill them, fail.
  A process that ignores SIGTERM gets SIGKILL 2 to 5 s later (KillWait=2).
  Time limits are whole minutes, and slurmctld looks every 30 s, counted from its start. `--time=1 --signal=B:USR1@60` therefore warns 0 to 30 s after the job's
  start, and ends it 60 to 90 s after it. No other lead warns sooner: it comes at the first look from which less than lead + 30 s remain. `scontrol update
  timelimit=1` on a running job, too, works at the next look. A test that wants the signal itself takes `scancel --batch --signal=USR1`: 10 ms.
"""
import os
import random
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from support.isolation import patience

PACKAGE = "slurm-wlm"  # Debian's and Ubuntu's: the daemons and srun, sbatch, squeue
DAEMONS = ("slurmctld", "slurmd")
MARK = "LEPTON_BENCH_TEST_SLURM"  # in the environment of the daemons and of their slurmstepd; the value is the cluster's folder
THEIRS = ("SLURM", "SBATCH_", "SALLOC_", "SQUEUE_", "SINFO_", "SCANCEL_", "SCONTROL_")  # variables of another cluster: tests may themselves run in a job

CONFIGURATION = """\
ClusterName=lepton
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmdUser=root
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/%n.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/%n.log
SlurmctldSyslogDebug=quiet
SlurmdSyslogDebug=quiet
ProctrackType=proctrack/{proctrack}
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
# three nodes say together that they have more cores than the host
SlurmdParameters=config_overrides
GresTypes=gpu
# a node that comes back is used again, whatever it was down for
ReturnToService=2
JobRequeue=1
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
KillWait=2
SlurmdTimeout={down_after}
MessageTimeout=3
# jobs that ended stay visible in `scontrol show job`
MinJobAge=86400
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1
PartitionName=high Nodes=ALL MaxTime=INFINITE PriorityTier=10
"""


def missing() -> str:
    "Why there can be no cluster on this host; empty when there can be one."
    absent = [name for name in (*DAEMONS, "srun", "setpriv") if not which(name)]
    if absent: return f"NO SLURM: {', '.join(absent)} not found (apt install {PACKAGE})"
    if os.geteuid() != 0: return "NO SLURM: its daemons have to start jobs and make devices, so these tests run as root only"
    return ""


def which(name: str) -> str | None: return shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")


class SlurmCluster:
    "Nodes n1, n2, ... with GPUs, and two partitions: `main`, and `high`, whose jobs requeue those of `main`."

    def __init__(self,
                 nodes: int = 3,
                 cpus: int = 2,  # of each node
                 gpus: int = 2,  # of each node
                 down_after: int = 5,  # seconds without an answer of its slurmd until a node is down: then 9 to 14 s pass in all
                 proctrack: str = "linuxproc") -> None:  # how Slurm finds a job's processes: `linuxproc` (children of children) or `pgid` (process groups)
        self.names = [f"n{i + 1}" for i in range(nodes)]
        self.cpus, self.gpus, self.down_after, self.proctrack = cpus, gpus, down_after, proctrack
        self.root = Path()
        self.running: dict[str, subprocess.Popen] = {}  # slurmctld and the nodes' slurmd
        self._claims: list[socket.socket] = []
        self._ports: list[int] = []

    def __enter__(self) -> "SlurmCluster": return self.start()

    def __exit__(self, *_) -> None: self.stop()

    @property
    def configuration(self) -> Path: return self.root/"slurm.conf"

    @property
    def env(self) -> dict[str, str]:
        "All that a client needs to find this cluster."
        return {"SLURM_CONF": str(self.configuration)}

    def start(self, timeout: float = 20.) -> "SlurmCluster":  # seconds until every node is idle
        "Starts the daemons and waits until all nodes are there and idle; what the logs say is part of the error when that fails."
        if why := missing(): raise RuntimeError(why)
        if self.running: raise RuntimeError(f"this cluster runs already, in {self.root}")
        self.root = Path(tempfile.mkdtemp(prefix="slurm-", dir=os.environ.get("LEPTON_BENCH_TEST_PLACE") or "/tmp"))
        try:
            self._claims, self._ports = claim_ports(1 + len(self.names))
            self._write()
            self._daemon("slurmctld", which("slurmctld"), "-D")
            self.wait(lambda: self.command("scontrol", "ping"), timeout)  # a slurmd that meets nobody tries again a second later
            for name in self.names: self._daemon(name, which("slurmd"), "-D", "-N", name)
            self.wait_idle(timeout)
        except BaseException:
            self._end()
            raise
        return self

    def stop(self) -> None:
        "Ends jobs, then daemons, and raises when a process had to be killed. A second time does nothing."
        if not self.running: return
        try:
            if self._alive("slurmctld"): self._cancel()
        finally: left = self._end()
        if left: raise AssertionError(_told(left))

    def reset(self) -> None:
        "Ends all jobs and starts nodes that were killed; raises when a process of a job outlived that."
        if not self._alive("slurmctld"): self.start_slurmctld()
        self._cancel()
        left = {pid: command for n in self.names if self._alive(n) for pid, command in self._of_jobs(n).items()}
        for name in self.names:
            if name not in self.running:
                kill(self.processes(name))
                self.declare_down(name)  # else what it should have cancelled keeps it `completing`
                self.start_slurmd(name)
        kill(left)
        self.wait_idle(3*self.down_after)
        if left: raise AssertionError(_told(left))

    def command(self, *arguments: str | Path, timeout: float = 30., check: bool = True, **options) -> str:  # options: of subprocess.run, e.g. cwd, env
        "Output of a client program, such as `squeue`; RuntimeError with what it said when it failed."
        done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=timeout,
                              **{"env": self.environment(), **options})
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(map(str, arguments))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def environment(self) -> dict[str, str]:
        "The whole environment of a client: ours, without what another cluster has left in it."
        return {**{k: v for k, v in os.environ.items() if not k.startswith(THEIRS)}, **self.env}

    def nodes(self) -> dict[str, str]:
        "State of each node in Slurm's words: `idle`, `mixed`, `allocated`, `completing`, `down`; a `*` behind it says that its slurmd does not answer."
        return dict(line.split() for line in self.command("sinfo", "--noheader", "--Node", "--format=%N %T").splitlines())

    def job(self, job: int | str) -> dict[str, str]:
        "The fields of `scontrol show job`, also of a job that ended."
        return dict(re.findall(r"(\S+?)=(\S*)", self.command("scontrol", "show", "job", "--oneliner", str(job))))

    def submit(self, script: str, *options: str, **more) -> int:
        "Job id of a batch script, given as its text."
        path = self.root/"jobs"/f"{time.monotonic_ns()}.sh"
        path.write_text(script if script.startswith("#!") else f"#!/bin/bash\n{script}\n")
        return int(self.command("sbatch", "--parsable", *options, path, **more).split(";")[0])

    def output(self, job: int) -> str:
        "What a job has written, when it was submitted from the cluster's folder `jobs` without --output."
        path = self.root/"jobs"/f"slurm-{job}.out"
        return path.read_text() if path.exists() else ""

    def wait_idle(self, timeout: float = 20.) -> None:  # seconds
        "Waits until every node whose slurmd runs is registered and idle."
        def idle() -> bool:
            states = self.nodes()
            return all(states.get(n) == "idle" and self._registered(n) for n in self.names if n in self.running)
        try: self.wait(idle, timeout)
        except TimeoutError as e: raise TimeoutError(f"{e}: {self.nodes()}\n{self.command('squeue', check=False)}{self.logs()}") from None

    def wait(self, condition: Callable[[], object], timeout: float = 20.) -> None:  # seconds; more beside other tests
        "Waits until a condition holds; RuntimeError of a client counts as not yet."
        end, problem = time.monotonic() + patience(timeout), ""
        while time.monotonic() < end:
            for name, daemon in self.running.items():
                if daemon.poll() is not None: raise RuntimeError(f"{name} of the test's Slurm ended by itself, exit code {daemon.returncode}\n{self.logs()}")
            try:
                if condition(): return
                problem = ""
            except RuntimeError as e: problem = f" ({e})"
            time.sleep(.02)
        raise TimeoutError(f"not within {patience(timeout):.0f} s{problem}")

    def stop_slurmctld(self) -> None:
        "Ends the controller, which first writes down what it knows (kill -9 loses the last seconds). Jobs go on; clients fail after 2 s."
        self._end_daemon("slurmctld", signal.SIGTERM)

    def start_slurmctld(self, timeout: float = 20.) -> None:  # seconds until it answers
        "Starts the controller again, with the jobs it knew, and waits until it answers."
        self._daemon("slurmctld", which("slurmctld"), "-D")
        self.wait(lambda: self.command("squeue"), timeout)

    def kill_slurmd(self, name: str) -> None:
        "kill -9 on a node's slurmd. Its slurmstepd and the jobs' processes live on, as they do under Slurm."
        self._end_daemon(name, signal.SIGKILL)

    def kill_node(self, name: str) -> None:
        "kill -9 on everything of a node: its slurmd, each slurmstepd and all processes of jobs there, as when its power goes."
        self.kill_slurmd(name)
        self.wait(lambda: not kill(self.processes(name)), 10)

    def declare_down(self, name: str) -> None:
        "Tells the controller that a node is down, instead of waiting until it finds out. A node with a living slurmd is back a moment later."
        self.command("scontrol", "update", f"nodename={name}", "state=down", "reason=declared by a test")

    def begin_now(self, job: int) -> None:
        "Ends the two minutes that a requeued job waits."
        self.command("scontrol", "update", f"jobid={job}", "starttime=now")

    def start_slurmd(self, name: str) -> None:
        "Starts the slurmd of a node again. The node is back a moment later: see `wait_idle`."
        self._daemon(name, which("slurmd"), "-D", "-N", name)

    def processes(self, node: str = "") -> dict[int, str]:  # only of this node; empty: of all, and the daemons
        "Living processes of this cluster, pid -> command line: daemons, slurmstepd, and whatever runs inside a job."
        found = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit(): continue
            try:
                env = dict(entry.partition("=")[::2] for entry in (folder/"environ").read_bytes().decode(errors="replace").split("\0"))
                command = (folder/"cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError: continue  # it ended meanwhile, or is a zombie
            ours = env.get(MARK) == str(self.root)
            in_job = env.get("SLURM_CONF") == str(self.configuration) and "SLURM_JOB_ID" in env
            if not (ours or in_job): continue
            on = env.get("SLURMD_NODENAME") if in_job else env.get(MARK + "_NODE")
            if not node or on == node: found[int(folder.name)] = command
        return found

    def logs(self, lines: int = 30) -> str:  # of each daemon
        "The last lines of every daemon's log."
        parts = []
        for path in sorted((self.root/"log").glob("*")):
            if text := path.read_text(errors="replace").splitlines()[-lines:]: parts.append(f"--- {path.name}\n" + "\n".join(text))
        return "\n".join(parts)

    def _write(self) -> None:
        "The configuration and all that it names."
        for name in ("state", "spool", "log", "dev", "jobs", *(f"spool/{n}" for n in self.names)): (self.root/name).mkdir(mode=0o700)
        host = socket.gethostname().partition(".")[0]
        nodes = "\n".join(f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={self.cpus} Gres=gpu:{self.gpus}"
                          for name, port in zip(self.names, self._ports[1:], strict=True))
        self.configuration.write_text(CONFIGURATION.format(host=host, port=self._ports[0], root=self.root, nodes=nodes,
                                                           down_after=self.down_after, proctrack=self.proctrack))
        for i in range(self.gpus): os.mknod(self.root/"dev"/f"gpu{i}", 0o600 | stat.S_IFCHR, os.makedev(195, i))
        (self.root/"gres.conf").write_text(f"Name=gpu File={self.root}/dev/gpu[0-{self.gpus - 1}]\n")
        (self.root/"cgroup.conf").write_text("CgroupAutomount=no\n")  # else the one in /etc/slurm

    def _daemon(self, name: str, *command: str | None) -> None:
        "Starts a daemon that ends with us; its standard output is part of the logs."
        if name in self.running: raise RuntimeError(f"{command[0]} runs already ({name})")
        env = {**self.environment(), MARK: str(self.root), MARK + "_NODE": name}
        with (self.root/"log"/f"{name}.out").open("ab") as out:
            self.running[name] = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *map(str, command), "-f", str(self.configuration)], cwd=self.root,
                                                  stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, start_new_session=True)

    def _end_daemon(self, name: str, number: signal.Signals) -> None:
        daemon = self.running.pop(name)
        daemon.send_signal(number)
        daemon.wait(10)

    def _alive(self, name: str) -> bool: return name in self.running and self.running[name].poll() is None

    def _registered(self, name: str) -> bool:
        "Whether the slurmd that runs now has reported; slurmctld also calls a node idle that it has not heard of yet."
        found = re.search(r"SlurmdStartTime=(\S+)", self.command("scontrol", "show", "node", "--oneliner", name))
        if not found or found[1] in ("None", "(null)"): return False
        return time.mktime(time.strptime(found[1], "%Y-%m-%dT%H:%M:%S")) >= int(started_at(self.running[name].pid))

    def _cancel(self) -> None:
        "Ends all jobs and waits for their processes, except on nodes whose slurmd is dead: there nobody does it."
        jobs = self.command("squeue", "--noheader", "--states=all", "--format=%A %T", check=False).split()
        live = [job for job, state in zip(jobs[::2], jobs[1::2], strict=True)
                if state in ("PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "STOPPED")]
        if live: self.command("scancel", "--full", "--quiet", *live, check=False)
        end = time.monotonic() + patience(10)
        while time.monotonic() < end and any(self._of_jobs(n) for n in self.names if self._alive(n)):
            if not self.command("squeue", "--noheader", check=False): end = min(end, time.monotonic() + patience(1))  # Slurm believes that all are gone
            time.sleep(.02)

    def _of_jobs(self, node: str) -> dict[int, str]:
        return {pid: command for pid, command in self.processes(node).items() if pid != self.running[node].pid}

    def _end(self) -> dict[int, str]:
        "Ends the daemons; what of the jobs was still alive on nodes that had a slurmd, killed by now. Nothing is left after it."
        with_slurmd = [n for n in self.names if self._alive(n)] if self._alive("slurmctld") else []
        for daemon in self.running.values():
            if daemon.poll() is None: daemon.terminate()
        end, hard = time.monotonic() + patience(5), {}
        for name, daemon in self.running.items():
            try: daemon.wait(max(0., end - time.monotonic()))
            except subprocess.TimeoutExpired:
                hard[daemon.pid] = f"the daemon {name} did not end when asked to"
                daemon.kill()
                daemon.wait(10)
        self.running.clear()
        left = {pid: command for n in with_slurmd for pid, command in self.processes(n).items()}
        end = time.monotonic() + 10
        while kill(self.processes()) and time.monotonic() < end: time.sleep(.02)
        if stubborn := self.processes(): left |= {pid: f"{command} (and not even by kill -9)" for pid, command in stubborn.items()}
        for claim in self._claims: claim.close()
        self._claims = []
        shutil.rmtree(self.root, ignore_errors=True)
        return hard | left


def _told(left: dict[int, str]) -> str:
    return "left by Slurm, now killed:\n  " + "\n  ".join(f"{pid}: {command}" for pid, command in left.items())


def started_at(pid: int) -> float:
    "When a process began, in seconds since the epoch."
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks/os.sysconf("SC_CLK_TCK")


def kill(pids: Iterable[int]) -> bool:
    "kill -9 for each; whether there was one."
    killed = False
    for pid in pids:
        try: os.kill(pid, signal.SIGKILL)
        except ProcessLookupError: continue
        killed = True
    return killed


def claim_ports(count: int) -> tuple[list[socket.socket], list[int]]:
    """Free TCP ports, and what keeps them ours: for each an abstract socket that no second cluster on this host can have, also while
    the port itself is not listened on. Outside the range that the kernel gives to clients."""
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    outside = [port for port in range(10000, 65000) if not low <= port <= high] or list(range(10000, 65000))
    claims: list[socket.socket] = []
    ports: list[int] = []
    for port in random.SystemRandom().sample(outside, min(len(outside), 1000)):
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            claim.bind(f"\0lepton-bench-slurm-{port}")
            with socket.socket() as probe: probe.bind(("", port))
        except OSError:
            claim.close()
            continue
        claims.append(claim)
        ports.append(port)
        if len(ports) == count: return claims, ports
    for claim in claims: claim.close()
    raise RuntimeError(f"no {count} free ports found on this host")
