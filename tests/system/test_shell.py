"""A session at the prompt: profiles, words, metadata that stay, errors that say what to do."""

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import bluesky.plan_stubs as bps
import matplotlib.pyplot as plt
import pytest
from bluesky.utils import RunEngineInterrupted
from IPython.core.interactiveshell import InteractiveShell
from rich.console import Console

from danmax_bluesky.errors import DanmaxError, ScanError
from danmax_bluesky.shell import banner, install
from danmax_bluesky.shell.live_display import LiveView
from danmax_bluesky.shell.magics import WORDS, Magics
from danmax_bluesky.testing.scanning import value
from danmax_bluesky.testing.servers import ServerProcess
from danmax_bluesky.tomography.scan import TomoScan

PROFILES = Path(__file__).parents[2] / "profiles"
SMALL = {
    "DANMAX_TWIN__CLOCK": "fast",
    "DANMAX_DETECTORS__ORCA__WIDTH": "96",
    "DANMAX_DETECTORS__ORCA__HEIGHT": "32",
    "DANMAX_DETECTORS__PILATUS__WIDTH": "487",
    "DANMAX_DETECTORS__PILATUS__HEIGHT": "407",
    "DANMAX_CATALOG__KIND": "off",
    "DANMAX_FORMATS__INTEGRATE": "false",
}


@pytest.fixture(scope="module")
def session(session_of):
    return session_of()


@pytest.fixture
def typed(session):
    """A session, and what its words print."""
    console = Console(record=True, width=160, file=io.StringIO())
    return session, Magics(session, console), console


def prompt(profile, tmp_path, lines, **environment):
    """What IPython prints when these lines are typed into a new session of the profile."""
    folder = tmp_path / profile
    shutil.copytree(PROFILES / profile, folder, dirs_exist_ok=True)
    script = tmp_path / "lines.ipy"
    script.write_text("\n".join(lines))
    known = {key: value for key, value in os.environ.items() if not key.startswith("DANMAX_")}
    return subprocess.run(
        [sys.executable, "-m", "IPython", "--profile-dir", str(folder), "--colors=NoColor", str(script)],
        env={**known, **SMALL, "DANMAX_DATA_ROOT": str(tmp_path / "data"), "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def test_start_up_files_have_at_most_twenty_lines():
    files = list(PROFILES.glob("profile_*/startup/*.py"))
    assert len(files) == 2
    for file in files:
        assert len(file.read_text().splitlines()) <= 20
        assert "make_session(" in file.read_text()


def test_the_simulated_profile_measures_and_remembers(tmp_path):
    said = prompt(
        "profile_danmax_sim",
        tmp_path,
        [
            "%mv tom_sam_x 1.5",
            "RE.md['operator'] = 'Ada'",
            "%tomoscan ascanct tom_ry 0 90 60 0.01 --npt-fields 3 --fields-flag 110000 --sample bone",
            "print('FRAMES', session.last_run['segments'][2]['num'], session.last_run['operator'])",
        ],
    )
    assert "FRAMES 61 Ada" in said.stdout, said.stdout + said.stderr
    assert re.search(r"tom_sam_x\W+1\.5\W+mm", said.stdout)
    assert "DanMAX, the simulated beamline" in said.stdout
    again = prompt("profile_danmax_sim", tmp_path, ["print('STILL', RE.md['operator'])", "%ct 0.01"])
    assert "STILL Ada" in again.stdout, again.stdout + again.stderr
    assert re.search(r"orca\W+[\d.]+", again.stdout)


@pytest.mark.real_server
def test_the_beamlines_profile_measures_the_same_on_real_servers(tmp_path):
    pytest.importorskip("tango")
    pytest.importorskip("p4p")
    file = tmp_path / "twin.toml"
    with ServerProcess(["twin", "--write-settings", str(file)], {**os.environ, **SMALL}):
        said = prompt(
            "profile_danmax",
            tmp_path,
            ["%ascanct tom_ry 0 90 60 0.01", "print('FRAMES', session.last_run['segments'][0]['num'])"],
            DANMAX_SETTINGS=str(file),
        )
    assert "FRAMES 61" in said.stdout, said.stdout + said.stderr
    assert "DanMAX, beamline" in said.stdout


def test_the_beamlines_profile_without_addresses_tells_what_is_missing(tmp_path):
    said = prompt("profile_danmax", tmp_path, [])
    assert re.search(r"needs the PV prefix of its PandA \(panda\)", said.stdout + said.stderr)


def test_danmax_shell_knows_the_same_words(tmp_path):
    """As somebody types them, and as `--run` says them."""
    known = {key: value for key, value in os.environ.items() if not key.startswith("DANMAX_")}

    def danmax_shell(*words, typed=""):
        return subprocess.run(
            [sys.executable, "-c", "from danmax_bluesky.cli import main; main()", "shell", *words],
            env={**known, **SMALL, "DANMAX_DATA_ROOT": str(tmp_path / "data"), "COLUMNS": "200"},
            input=typed,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )

    said = danmax_shell(
        typed="%mv tom_sam_x 1.5\nprint('AT', RE.md['visit'], tom_ry.name, callable(tomo_scan))\nexit\n"
    )
    assert re.search(r"tom_sam_x\W+1\.5\W+mm", said.stdout), said.stdout + said.stderr
    assert "AT 2026000001 tom_ry True" in said.stdout
    assert "AT 2026000001" in danmax_shell("--run", "print('AT', RE.md['visit'])").stdout


def test_motors_are_moved_and_shown(typed):
    session, words, console = typed
    words.mv("tom_sam_x 1.5 tom_ry 10")
    words.wm("tom_sam_x")
    words.wa("")
    text = console.export_text()
    assert re.search(r"tom_sam_x\W+1\.5\W+mm\W+-50\W+50", text)
    assert all(name in text for name in session.beamline.motors)


@contextmanager
def ctrl_c_once(session, motor, there):
    """Say Ctrl-C as soon as a motor is `there`."""
    said = threading.Event()

    def look(reading):
        if there(reading[motor.name]["value"]) and not said.is_set():
            said.set()
            os.kill(os.getpid(), signal.SIGINT)

    session.RE.loop.call_soon_threadsafe(motor.subscribe_reading, look)
    try:
        yield
    finally:
        session.RE.loop.call_soon_threadsafe(motor.clear_sub, look)


@pytest.fixture(scope="module")
def slow(session_of):
    return session_of(twin__clock="real", motors__tom_sam_y__velocity=2, motors__tom_sam_y__acceleration_time=0.05)


@pytest.mark.parametrize("how", ["mv", "umv", "mvr", "RE"])
def test_ctrl_c_stops_what_moves_at_once_and_says_where_it_stands(slow, how, caplog):
    motor = slow.beamline.motors["tom_sam_y"]
    words = Magics(slow, Console(file=io.StringIO(), force_terminal=False))
    begin = value(slow, motor.readback)
    move = {
        "RE": lambda: slow.RE(bps.mv(motor, begin + 9)),
        "mvr": lambda: words.mvr("tom_sam_y 9"),
    }.get(how) or (lambda: getattr(words, how)(f"tom_sam_y {begin + 9}"))
    with ctrl_c_once(slow, motor, lambda at: begin + 0.1 < at), pytest.raises(RunEngineInterrupted):
        move()
    assert slow.RE.state == "idle"
    assert not value(slow, motor.moving)
    at = value(slow, motor.readback)
    assert begin + 0.1 < at < begin + 4
    assert f"ended early: tom_sam_y stands at {at:.6g} mm (before: {begin:.6g})" in caplog.text


def test_a_distance_counts_from_where_a_motor_stands_and_not_from_where_it_was_sent(slow):
    motor = slow.beamline.motors["tom_sam_y"]
    words = Magics(slow, Console(file=io.StringIO()))
    begin = value(slow, motor.readback)
    with ctrl_c_once(slow, motor, lambda at: begin + 0.1 < at), pytest.raises(RunEngineInterrupted):
        words.mv(f"tom_sam_y {begin + 9}")
    at = value(slow, motor.readback)
    words.mvr("tom_sam_y -0.25")
    assert value(slow, motor.readback) == pytest.approx(at - 0.25, abs=motor.tolerance)


def test_the_position_is_shown_while_a_motor_moves(slow, capsys):
    motor = slow.beamline.motors["tom_sam_y"]
    at = value(slow, motor.readback)
    Magics(slow, Console(force_terminal=True)).mvr("tom_sam_y -1")
    shown = [float(text) for text in re.findall(r"tom_sam_y: +\d+%.*?(-?[\d.]+)/", capsys.readouterr().out)]
    assert len({position for position in shown if at - 0.95 < position < at - 0.05}) >= 2


@pytest.mark.parametrize(
    ("word", "line", "told"),
    [
        ("mv", "tom_sam_x", "in pairs"),
        ("mvr", "tom_sam_x", "motors and distances in pairs"),
        ("mv", "tom_sam_x left", "'left' is no number"),
        ("mv", "tom_samx 1", "there are tom_ry, tom_sam_x"),
        ("ascan", "tom_sam_x 0 1 1.5 0.1", "no whole number"),
        ("ascan", "tom_sam_x 0 1 0 0.1", "at least 1 interval"),
        ("ascan", "tom_sam_x 0 1 2", "it takes motor, start, end"),
        ("ct", "-1", "more than 0 s"),
        ("tomoscan", "ascanct tom_ry 0 1 2 0.1 7", "7 is too much"),
    ],
)
def test_what_was_mistyped_is_told_before_anything_moves(typed, word, line, told):
    _, words, _ = typed
    with pytest.raises(ScanError, match=told):
        getattr(words, word)(line)


def test_ascanct_takes_nothing_from_a_tomography_and_leaves_nothing_to_the_next(typed):
    session, words, _ = typed
    session.plans.configurator.update({"fields_flag": "110000", "npt_fields": 2, "flats_every": 40, "turns": 3})
    session.plans.configurator.update({"helical_motor": "tom_sam_y", "helical_pitch_mm": 1.0, "latency": 0.1})
    before = session.plans.configurator.scan_parameters()
    try:
        words.ascanct("tom_ry 0 20 20 0.01")
        scan = session.last_run["scan"]
        assert [(segment["name"], segment["num"]) for segment in session.last_run["segments"]] == [("proj", 21)]
        assert scan == TomoScan(
            scan_type="ascanct",
            rot_mot="tom_ry",
            scan_start=0,
            scan_end=20,
            nsteps=20,
            exp_time=0.01,
            fields_flag="000000",
        ).model_dump(mode="json")
        assert session.plans.configurator.scan_parameters() == before
    finally:
        session.plans.configurator.reset()


def test_a_step_scan_takes_a_frame_at_every_position(typed):
    session, words, _ = typed
    documents = []
    token = session.RE.subscribe(lambda name, doc: documents.append((name, doc)))
    words.ascan("tom_sam_x 0 2 2 0.01")
    session.RE.unsubscribe(token)
    baseline = next(doc["uid"] for name, doc in documents if name == "descriptor" and doc["name"] == "baseline")
    events = [doc["data"]["tom_sam_x"] for name, doc in documents if name == "event" and doc["descriptor"] != baseline]
    assert events == pytest.approx([0.0, 1.0, 2.0], abs=1e-3)
    assert documents[0][1]["command"] == "ascan tom_sam_x 0 2 2 0.01"
    assert documents[-1][1]["num_events"] == {"baseline": 2, "primary": 3}


def test_a_scan_around_a_position_ends_where_it_began_and_says_how_it_was_called(typed):
    session, words, _ = typed
    words.mv("tom_sam_x 1")
    words.dscan("tom_sam_x -0.5 0.5 2 0.01 --sample tooth")
    start = session.last_run
    assert (start["plan_name"], start["sample"]["name"]) == ("dscan", "tooth")
    assert start["call"] == {
        "plan": "dscan", "motor": "tom_sam_x", "start": -0.5, "end": 0.5, "nsteps": 2, "exp_time": 0.01,
    }  # fmt: skip
    (row,) = rows_of(session, "tom_sam_x")
    assert row.position == pytest.approx(1.0, abs=1e-3)
    session.RE(session.plans.mv("tom_sam_x", 0.0))


def rows_of(session, *names):
    """What the plan `wm` returns."""
    rows = []

    def plan():
        rows.extend((yield from session.plans.wm(*names)))

    session.RE(plan())
    return rows


def test_a_step_scan_is_tabulated_and_plotted_while_it_goes_on(typed, capsys):
    session, words, _ = typed
    plt.switch_backend("agg")
    token = session.RE.subscribe(LiveView(plots=True))
    words.ascan("tom_sam_x 0 2 4 0.01")
    session.RE.unsubscribe(token)
    table = r"^\|\s+\d \|.*\|\s+(\d\.\d+) \|\s+([\d.]+) \|\s+([\d.]+) \|$"
    rows = re.findall(table, capsys.readouterr().out, re.MULTILINE)
    assert [float(position) for position, *_ in rows] == pytest.approx([0, 0.5, 1, 1.5, 2])
    assert [axes.get_ylabel() for axes in plt.gcf().axes] == ["beam_monitor", "transmitted"]
    assert plt.gcf().axes[-1].get_xlabel() == "tom_sam_x"
    for axes in plt.gcf().axes:
        (curve,) = axes.lines
        assert list(curve.get_xdata()) == pytest.approx([0, 0.5, 1, 1.5, 2])
        assert min(curve.get_ydata()) > 1000
    plt.close("all")


def test_one_exposure_tells_what_is_in_the_frames(typed):
    session, words, console = typed
    words.ct("0.01")
    text = console.export_text()
    assert all(re.search(rf"{detector.name}\W+[\d.]+", text) for detector in session.rig.detectors)


def test_any_plan_is_typed_by_its_name(typed):
    session, words, _ = typed
    words.azint_count("2 0.01 --sample ceria --det pilatus")
    assert session.last_run["command"] == "azint_count 2 0.01 --sample ceria --det pilatus"
    assert (session.last_run["sample"]["name"], session.last_run["segments"][0]["num"]) == ("ceria", 2)
    with pytest.raises(ScanError, match="exp_time missing; it takes num, exp_time; see %danmax"):
        words.azint_count("2")


def test_every_word_is_known_to_the_shell_and_listed(typed):
    session, _, _ = typed
    shell = InteractiveShell()
    before = session.RE.md
    try:
        install(shell, session, Console(file=io.StringIO()))
        assert set(WORDS) <= set(shell.magics_manager.magics["line"])
        assert shell.user_ns["tom_ry"] is session.beamline.motors["tom_ry"]
        complete = next(iter(shell.strdispatchers["complete_command"].s_matches("%mv")))
        assert "tom_sam_x" in complete(None)
        assert [f"%{word}" for word in WORDS] == [text.split()[0] for text in WORDS.values()]
    finally:
        session.RE.md = before


def test_a_pause_and_what_may_follow_is_told_in_a_sentence(typed, capsys):
    session, _, _ = typed
    shell = InteractiveShell()
    before = session.RE.md

    def pause(name, doc):
        threading.Thread(target=session.RE.request_pause, args=(True,)).start()

    try:
        install(shell, session, Console(file=io.StringIO()))
        token = session.RE.subscribe(pause, "event")
        shell.run_cell("%ascan tom_sam_x 0 2 40 0.02")
        session.RE.unsubscribe(token)
        assert session.RE.state == "paused"
        shell.run_cell("%ct")
        shell.run_cell("RE.abort()")
    finally:
        session.RE.md = before
    told = "".join(capsys.readouterr())
    assert "paused: RE.resume() goes on, RE.abort() ends the scan" in told
    assert "error: a scan is paused" in told
    assert "Traceback" not in told
    assert session.RE.state == "idle"


def test_the_banner_says_what_is_connected(typed):
    session, _, _ = typed
    text = banner(session)
    assert all(name in text for name in session.beamline.devices)
    assert "NOT connected" not in text


def test_our_errors_are_one_sentence_at_the_prompt(typed):
    _, words, _ = typed
    with pytest.raises(Exception, match="lies outside its limits") as caught:
        words.mv("tom_sam_x 1000")
    from danmax_bluesky.shell.start import reason_of

    assert isinstance(reason_of(caught.value), DanmaxError)


def test_words_that_are_plans_too_need_no_percent_sign(typed):
    session, _, _ = typed
    shell = InteractiveShell()
    before = session.RE.md
    try:
        install(shell, session, Console(file=io.StringIO()))
        shell.run_cell("mv tom_sam_x 0.75")
        assert value(session, session.beamline.motors["tom_sam_x"].readback) == pytest.approx(0.75, abs=1e-3)
        shell.run_cell("RE(mv('tom_sam_x', 0.25))")
        assert value(session, session.beamline.motors["tom_sam_x"].readback) == pytest.approx(0.25, abs=1e-3)
        assert shell.run_cell("ct = 5").success
        assert shell.run_cell("ct").result == 5
        assert shell.run_cell("tomo_scan").result == session.plans.tomo_scan
    finally:
        session.RE.md = before
