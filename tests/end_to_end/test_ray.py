"""Sweeps on a real Ray cluster whose nodes are processes of this machine."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from filelock import FileLock

from tests.end_to_end.clusters import TRIALS, alive, assert_uninterrupted, wait_until
from tests.end_to_end.driver import Driver

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.ray]

STORE_BYTES = 80 << 20


@pytest.fixture
def cluster(driver: Driver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head without room for a worker; one cluster at a time, since each takes most of a core to start."""
    # Ray's workers give way to all other processes, if they are not told otherwise: tests beside would hold them up.
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    from ray.cluster_utils import Cluster

    with FileLock(tmp_path_factory.getbasetemp().parent / "ray.lock"):
        head = {"num_cpus": 0, "num_gpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        driver.environment["RAY_ADDRESS"] = cluster.address
        yield cluster
        cluster.shutdown()


def add_node(cluster: Any) -> Any:
    """Adds a node with room for one worker."""
    return cluster.add_node(num_cpus=1, num_gpus=0, object_store_memory=STORE_BYTES)


def actors() -> list[psutil.Process]:
    """The processes of all workers."""
    return [each for each in psutil.process_iter() if "HostedWorker" in " ".join(_command(each))]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_killed_nodes_trial_goes_on_on_another_node_and_a_killed_coordinator_leaves_no_actor(
    cluster: Any, driver: Driver
) -> None:
    first = add_node(cluster)
    process = driver.start(*driver.sweep_arguments(*TRIALS, "--launcher", "ray", "--workers", "1"))
    read = driver.wait_for_line(process, "trial 0", "2 of 5")
    assert "1 worker on ray, 1 CPU core each" in read
    cluster.remove_node(first, allow_graceful=False)
    driver.wait_for_line(process, "trial 0", "died", "node", "going on with a new worker")
    add_node(cluster)
    driver.wait_for_line(process, "trial 1", "started")
    mine = actors()
    assert mine
    status, output = driver.finish(process)
    assert status == 0, output
    wait_until(lambda: not alive(mine))
    assert_uninterrupted(driver)

    process = driver.start(*driver.sweep_arguments(*TRIALS, "--launcher", "ray", "--study", "killed"))
    driver.wait_for_line(process, "trial 0", "1 of 5")
    mine = actors()
    assert mine
    process.kill()
    wait_until(lambda: not alive(mine))


def test_a_cluster_of_its_own_listens_on_loopback_and_ends_with_the_sweep(
    driver: Driver, tmp_path_factory: pytest.TempPathFactory
) -> None:
    driver.environment["RAY_ADDRESS"] = "local"
    with FileLock(tmp_path_factory.getbasetemp().parent / "ray.lock"):
        process = driver.start(*driver.sweep_arguments("--n-trials", "1", "--launcher", "ray", "--workers", "1"))
        driver.wait_for_line(process, "trial 0", "started")
        started = psutil.Process(process.pid).children(recursive=True)
        addresses = {address for each in started for address in listening(each)}
        assert addresses
        assert {address.removeprefix("::ffff:") for address in addresses} == {"127.0.0.1"}
        status, output = driver.finish(process)
        assert status == 0, output
        wait_until(lambda: not alive(started))


def listening(process: psutil.Process) -> list[str]:
    """The addresses at which a process can be called."""
    try:
        return [each.laddr.ip for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    except psutil.NoSuchProcess:
        return []


def test_an_address_where_no_cluster_is_is_refused_in_a_line(driver: Driver) -> None:
    driver.environment["RAY_ADDRESS"] = "ray://127.0.0.1:10001"
    status, output = driver.run(*driver.sweep_arguments("--launcher", "ray"))
    assert status == 2
    assert output.startswith("sweep: RAY_ADDRESS is ray://127.0.0.1:10001, which is Ray's client; allowed: ")
    assert not (driver.folder / "runs").exists()


def test_ray_that_is_not_installed_is_told_with_what_to_install(driver: Driver, tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ModuleNotFoundError('hidden', name='ray')\n")
    driver.environment["PYTHONPATH"] = str(tmp_path)
    status, output = driver.run(*driver.sweep_arguments("--launcher", "ray"))
    assert status == 2
    assert output == "sweep: LAUNCHER=ray needs Ray, which is not installed: pip install 'lora-sweep[ray]'\n"
