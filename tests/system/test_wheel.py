"""The wheel alone, in an empty environment, is enough to measure: what a release would be."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_DISTRIBUTIONS = 110
MOST_MEGABYTES = 1200


def run(*words, folder, status=0):
    """What a program says, in an environment that does not know this source tree."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_", "SSL_"))}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


@pytest.mark.campaign
@pytest.mark.timeout(1800)
def test_the_wheel_alone_runs_the_demo_in_an_empty_environment(tmp_path):
    run(sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT), folder=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "empty", with_pip=True)
    python = str(tmp_path / "empty/bin/python")
    run(python, "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), str(wheel), folder=tmp_path)
    listed = run(python, "-m", "pip", "list", "--format=freeze", folder=tmp_path)
    installed = [line for line in listed.splitlines() if "==" in line]
    size = sum(path.lstat().st_size for path in (tmp_path / "empty").rglob("*") if path.is_file()) / 1e6
    assert len(installed) < MOST_DISTRIBUTIONS, installed
    assert size < MOST_MEGABYTES
    said = run(str(tmp_path / "empty/bin/danmax"), "demo", "--quick", folder=tmp_path)
    assert "against the phantom: correlation 0.9" in said
    assert "0 within" not in said
    assert len(list((tmp_path / "danmax-demo/pictures").glob("*.png"))) == 5
    said = run(str(tmp_path / "empty/bin/danmax"), "runs", folder=tmp_path, status=1)
    assert "pip install danmax-bluesky[tiled]" in said
