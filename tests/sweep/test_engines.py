"""What may be asked of the launchers that have an engine start their workers, and what is told when it cannot be."""

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from sweep.asked import asked_slots
from sweep.devices import Slot
from sweep.errors import SweepError, WorkerDied
from sweep.launchers import engine, ray, slurm
from sweep.launchers.base import Grounds
from sweep.launchers.engine import Premises, read_settings
from sweep.launchers.registry import LAUNCHERS
from sweep.options import SweepOptions
from trials.failure import FailureClass
from trials.protocol import Arrived, Place, WorkerSetup

SETUP = WorkerSetup("", "", "sft", 64, None, 16, 0, "auto", None, 0, False, Path())
NODES = [{"CPU": 4.0, "memory": 10e9}, {"CPU": 1.0, "memory": 2e9}]


def asked(launcher: str, *settings: str, workers: int | None = 2, gpus: str = "cpu", each: int = 1) -> list[Slot]:
    """The slots of such a sweep."""
    options = SweepOptions(
        space="sft_lora", launcher=launcher, launcher_options=settings, workers=workers, gpus=gpus, gpus_per_trial=each
    )
    return asked_slots(options)


@pytest.fixture
def jobs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with submitit and sbatch."""
    monkeypatch.setattr(slurm, "needed", lambda module, launcher, what: None)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")


def cluster(monkeypatch: pytest.MonkeyPatch, *nodes: dict[str, float]) -> None:
    """A Ray cluster of such nodes."""

    class Nodes:
        def nodes(self) -> list[dict[str, object]]:
            return [{"Alive": True, "Resources": node} for node in nodes] + [{"Alive": False, "Resources": {"GPU": 8}}]

    monkeypatch.setattr(ray, "connect", Nodes)


def test_a_launcher_that_is_not_there_is_refused_with_those_that_are() -> None:
    assert list(LAUNCHERS) == ["local", "ray", "slurm"]
    with pytest.raises(SweepError, match="LAUNCHER is 'kubernetes'; allowed: local, ray, slurm"):
        asked("kubernetes")


def test_what_is_an_engines_is_refused_on_this_machine_alone() -> None:
    with pytest.raises(SweepError, match="WORKERS is 2, but LAUNCHER=local"):
        asked("local")
    with pytest.raises(SweepError, match="LAUNCHER_OPTIONS has 'time=4'; allowed with LAUNCHER=local: none"):
        asked("local", "time=4", workers=None)
    with pytest.raises(SweepError, match="WORKERS is 0; allowed: a whole number of at least 1"):
        asked("ray", workers=0)


@pytest.mark.parametrize("option", ["partition", "partition=", "=gpu", "nodes=3", ""])
def test_an_option_that_is_none_is_refused_with_those_that_are(option: str) -> None:
    with pytest.raises(SweepError, match=r"LAUNCHER_OPTIONS has .*; allowed with LAUNCHER=slurm: cluster=…, partition"):
        read_settings("slurm", [option], slurm.SETTINGS)


def test_the_last_of_two_values_counts() -> None:
    assert read_settings("ray", ["cpus=2", "cpus = 3"], ray.SETTINGS) == {"cpus": "3"}


def test_a_job_is_a_worker_with_the_gpus_of_a_trial(jobs_here: None) -> None:
    slots = asked("slurm", "cpus=4", gpus="", each=2)
    assert [(slot.gpus, slot.threads, slot.label) for slot in slots] == [((0, 1), 4, "slurm, 2 GPUs each")] * 2
    assert [slot.gpus for slot in asked("slurm")] == [(), ()]
    assert len({slot.device for slot in slots}) == 2


@pytest.mark.parametrize(
    ("settings", "changes", "said"),
    [
        ((), {"workers": None}, "needs WORKERS=n"),
        ((), {"gpus": "0,1"}, "GPUS is '0,1', but Slurm chooses"),
        ((), {"each": 2}, "GPUS_PER_TRIAL is 2, but this sweep runs on the CPU"),
        (("cluster=debug",), {}, "cluster=debug; allowed: slurm, local"),
        (("time=soon",), {}, "time=soon; allowed: minutes"),
        (("time=0",), {}, "time=0; allowed: a minute or more"),
        (("cpus=none",), {}, "cpus=none; allowed: a whole number"),
        (("notice=-1",), {}, "notice=-1; allowed: a whole number"),
    ],
)
def test_what_no_job_can_be_is_refused(
    settings: tuple[str, ...], changes: dict[str, object], said: str, jobs_here: None
) -> None:
    with pytest.raises(SweepError, match=said):
        asked("slurm", *settings, **changes)  # type: ignore[arg-type]


def test_a_machine_without_slurm_is_told_so(monkeypatch: pytest.MonkeyPatch, jobs_here: None) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SweepError, match="sbatch, which this machine does not have"):
        asked("slurm")
    assert len(asked("slurm", "cluster=local")) == 2


@pytest.mark.parametrize(
    ("word", "minutes"),
    [("90", 90), ("04:00:00", 240), ("30:00", 30), ("0:30", 1), ("1-0", 1440), ("2-12:30", 3630), ("1-00:00:01", 1441)],
)
def test_a_time_limit_is_read_as_slurm_reads_it(word: str, minutes: int) -> None:
    assert slurm.minutes(word) == minutes


def test_a_job_is_asked_for_what_was_given_and_never_starts_again_by_itself() -> None:
    settings = read_settings("slurm", ["partition=gpu", "mem=64G", "notice=60"], slurm.SETTINGS)
    assert slurm.job_parameters(settings, 2) == {
        "name": "lora-sweep",
        "timeout_min": 240,
        "cpus_per_task": 2,
        "gpus_per_node": 2,
        "slurm_partition": "gpu",
        "slurm_mem": "64G",
        "slurm_signal_delay_s": 60,
        "slurm_additional_parameters": {"no-requeue": True},
    }
    assert "gpus_per_node" not in slurm.job_parameters(settings, 0)


def test_submitit_takes_every_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submitit = pytest.importorskip("submitit")
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda cls: 2))  # as where Slurm is
    every = [f"{name}=1" for name in slurm.SETTINGS if name not in ("cluster", "host")]
    parameters = slurm.job_parameters(read_settings("slurm", every, slurm.SETTINGS), 1)
    executor = submitit.SlurmExecutor(folder=tmp_path)
    plain = executor._convert_parameters({name: value for name, value in parameters.items() if name[:6] != "slurm_"})
    executor._internal_update_parameters(
        **plain, **{name[6:]: value for name, value in parameters.items() if name[:6] == "slurm_"}
    )
    text = executor._make_submission_file_text("a command", "1")
    for line in ("time=1", "partition=1", "gpus-per-node=1", "signal=USR2@1", "no-requeue"):
        assert f"#SBATCH --{line}\n" in text


def test_the_address_at_which_jobs_call(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = dict(slurm.SETTINGS)
    assert slurm.host(settings | {"host": "10.0.0.7"}) == "10.0.0.7"
    assert slurm.host(settings | {"cluster": "local"}) == "127.0.0.1"
    monkeypatch.setattr(socket, "getfqdn", lambda: "login1")
    monkeypatch.setattr(socket, "gethostbyname", lambda name: "10.0.0.8")
    assert slurm.host(settings) == "10.0.0.8"
    monkeypatch.setattr(socket, "gethostbyname", lambda name: "127.0.1.1")
    with pytest.raises(
        SweepError, match=r"login1 stands for 127\.0\.1\.1, which workers cannot call; say .*host=ADDRESS"
    ):
        slurm.host(settings)


def test_a_ray_cluster_has_as_many_workers_as_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster(monkeypatch, *NODES)
    slots = asked("ray", workers=None, gpus="")
    # Three have memory on the first node, and on the second there is a core.
    assert [(slot.gpus, slot.machine, slot.label) for slot in slots] == [
        ((), machine, "ray, 1 CPU core each") for machine in (0, 0, 0, 1)
    ]
    assert len(asked("ray", workers=7, gpus="")) == 7
    assert [slot.machine for slot in asked("ray", "cpus=2", workers=None)] == [0, 0]


def test_a_ray_clusters_gpus_are_counted_by_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster(monkeypatch, {"CPU": 8.0, "GPU": 3.0}, {"CPU": 8.0, "GPU": 2.0}, {"CPU": 8.0})
    assert len(asked("ray", workers=None, gpus="")) == 5
    assert [slot.gpus for slot in asked("ray", workers=None, gpus="", each=2)] == [(0, 1), (0, 1)]
    assert all(not slot.gpus for slot in asked("ray", workers=None))
    with pytest.raises(SweepError, match="GPUS_PER_TRIAL is 4, but no node of the Ray cluster has more than 3 GPUs"):
        asked("ray", workers=None, gpus="", each=4)
    with pytest.raises(SweepError, match="GPUS is '0', but Ray chooses"):
        asked("ray", gpus="0")


def test_a_ray_cluster_without_room_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster(monkeypatch, {"memory": 1e9})
    with pytest.raises(SweepError, match="no node of the Ray cluster has 1 CPU core for a worker"):
        asked("ray", workers=None)
    assert len(asked("ray", workers=2)) == 2, "an autoscaler may make room"


class Job:
    """One of submitit's that has ended."""

    job_id = "7"

    def __init__(self, folder: Path, state: str, error: Exception | None) -> None:
        self._state, self._error = state, error
        self.paths = SimpleNamespace(result_pickle=folder / "result")

    def done(self) -> bool:
        return True

    def get_info(self, mode: str) -> dict[str, str]:
        return {"State": self._state}

    def exception(self) -> Exception | None:
        return self._error

    def stdout(self) -> str:
        return "its last words"

    stderr = stdout


@pytest.mark.parametrize(
    ("state", "returned", "error", "failure", "orderly"),
    [
        ("PREEMPTED", False, None, FailureClass.PREEMPTED, False),
        ("CANCELLED by 0", False, None, FailureClass.PREEMPTED, False),
        ("NODE_FAIL", False, None, FailureClass.PREEMPTED, False),
        ("FAILED", False, None, FailureClass.UNKNOWN, False),
        ("FAILED", True, RuntimeError("broken"), FailureClass.UNKNOWN, False),
        ("COMPLETED", True, None, FailureClass.UNKNOWN, True),
    ],
)
def test_the_end_of_a_job_has_its_class(
    state: str,
    returned: bool,
    error: Exception | None,
    failure: FailureClass,
    orderly: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slurm, "PENDING_SECONDS", 0.01)
    if returned:
        (tmp_path / "result").touch()
    worker = slurm.SlurmWorker(Job(tmp_path, state, error), SETUP, lambda arrived: None, here=False)
    with pytest.raises(WorkerDied) as died:
        worker.ready()
    assert (died.value.failure, died.value.orderly) == (failure, orderly)
    assert "its last words" in died.value.detail


class RayError(Exception):
    """What Ray's errors have in common."""


class Died(RayError):
    """Of an actor that is dead."""


class Unavailable(RayError):
    """Of one that cannot be reached."""


class Actor:
    """One that is lost, of which Ray says one thing after the other."""

    def __init__(self, said: list[RayError]) -> None:
        self.tell = self.answers = self.__ray_ready__ = self
        self._said = said

    def options(self, **_: object) -> "Actor":
        return self

    def remote(self, *_: object) -> "Actor":
        return self

    def __iter__(self) -> Iterator[object]:
        yield self.get()

    def get(self) -> object:
        raise self._said.pop(0) if len(self._said) > 1 else self._said[0]


NODE = Died("The actor died unexpectedly.\nThe actor died because its node has died. Node Id: 1f.")
PROCESS = Died("The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR.")
AWAY = Unavailable("The actor is unavailable: Socket closed.")


@pytest.mark.parametrize(
    ("said", "failure"),
    [
        ([NODE], FailureClass.PREEMPTED),
        ([AWAY, AWAY, NODE], FailureClass.PREEMPTED),
        ([PROCESS], FailureClass.UNKNOWN),
        ([AWAY, PROCESS], FailureClass.UNKNOWN),
        ([AWAY], FailureClass.UNKNOWN),
    ],
)
def test_the_end_of_an_actor_has_its_class(
    said: list[RayError], failure: FailureClass, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "ASK_SECONDS", 0.01)
    monkeypatch.setattr(ray, "CERTAIN_SECONDS", 0.1 if said == [AWAY] else 60.0)
    errors = SimpleNamespace(RayError=RayError, ActorDiedError=Died, ActorUnavailableError=Unavailable)
    hosted = SimpleNamespace(remote=lambda place, number: Actor(list(said)))
    fake = SimpleNamespace(
        exceptions=errors, remote=lambda **_: lambda actor: hosted, get=lambda reference, timeout: reference.get()
    )
    worker = ray.RayWorker(fake, 3, Slot((), 1), SETUP, Place(Path(), Path(), 0, 1), lambda arrived: None)
    with pytest.raises(WorkerDied, match="ray worker 3 died") as died:
        worker.ready()
    assert (died.value.failure, died.value.orderly) == (failure, False)


def test_a_machine_that_does_not_see_output_is_told_of_once(tmp_path: Path) -> None:
    said = list[str]()
    premises = Premises(Grounds(tmp_path / "runs" / "study", said.append))
    place = premises.place(Slot((), 3, engine="ray"))
    assert place.sign.exists()
    assert (place.folder, place.gpus, place.threads) == (Path.cwd(), 0, 3)
    for machine, shares in (("a", True), ("b", False), ("b", False)):
        premises.arrived(Arrived(0, machine, shares))
    (line,) = said
    assert line.startswith(f"OUTPUT ({tmp_path / 'runs'}) is not shared with b: ")
    premises.close()
    assert not (tmp_path / "runs").exists(), "nothing else was in it"


def test_an_output_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SweepError, match="OUTPUT cannot be written: Not a directory"):
        Premises(Grounds(tmp_path / "file" / "study", print))


def test_a_module_that_an_extra_lacks_itself_is_not_taken_for_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_installed.py").write_text("import surely_not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="surely_not_there"):
        engine.needed("half_installed", "ray", "it")
    with pytest.raises(
        SweepError, match=r"LAUNCHER=ray needs it, which is not installed: pip install 'lora-sweep\[ray\]'"
    ):
        engine.needed("surely_not_there", "ray", "it")


def test_a_hosted_worker_settles_before_anything_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trials import hosted

    for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "CUDA_DEVICE_ORDER"):
        monkeypatch.setenv(name, "before")
    monkeypatch.setattr(hosted, "quiet_libraries", lambda: None)
    monkeypatch.chdir("/")
    sign = tmp_path / "sign"
    arrived = hosted.settle(Place(tmp_path, sign, gpus=0, threads=3), 5)
    assert (arrived.number, arrived.shares, Path.cwd()) == (5, False, tmp_path)
    assert (os.environ["CUDA_VISIBLE_DEVICES"], os.environ["OMP_NUM_THREADS"]) == ("", "3")
    sign.touch()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6")
    assert hosted.settle(Place(tmp_path / "not there", sign, gpus=1, threads=0), 5).shares
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "6", "what the engine gave"
