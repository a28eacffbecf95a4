"""The notebooks run from top to bottom, and show what their text says."""

import base64
import io
from pathlib import Path

import matplotlib.image
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"

pytestmark = pytest.mark.slow

# what must be true of the variables of the first notebook, besides what its cells print
FIRST_STEPS = """
assert transmission.shape == (64, 256) and 0.9 < np.nanmedian(transmission[:, :20]) < 1.1
assert np.nanmedian(transmission[:, 118:138]) < 0.8
assert len(theta_deg) == 361 and abs(theta_deg[180] - 90) < 0.01
assert correlation > 0.95, correlation
assert patterns.intensity.shape[0] == 5
assert len(found) >= 15 and worst < 0.01, (len(found), worst)
spread = (patterns.intensity - np.nanmean(patterns.intensity, axis=0)) / patterns.sigma
assert 0.7 < np.nanmean(spread**2) / (1 - 1 / 5) < 1.4, np.nanmean(spread**2)
assert tomography.start["sample"]["name"] == "phantom" and powder.start["sample"]["name"] == "CeO2"
assert tomography.validate() and powder.validate()
assert session.catalog_service.folder.outcomes() and not session.guards[-1].failures
"""


def test_the_first_steps_lead_from_a_session_to_a_pattern(tmp_path):
    notebook = nbformat.read(NOTEBOOKS / "first_steps.ipynb", as_version=4)
    notebook.cells.insert(-2, nbformat.v4.new_code_cell(FIRST_STEPS))
    executed = NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in executed.cells if cell.cell_type == "code" for output in cell.outputs]
    said = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "Traceback" not in said
    assert "361 projections from " in said
    shown = "".join(output.data.get("text/plain", "") for output in outputs if "data" in output)
    assert "BlueskyRun" in shown
    assert "361, 64, 256" in shown
    pictures = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 4
    for picture in pictures:
        pixels = matplotlib.image.imread(io.BytesIO(base64.b64decode(picture)))
        assert min(pixels.shape[:2]) > 200
        assert len(np.unique(pixels[..., 0])) > 50
    visit = tmp_path / "danmax-demo" / "first-steps" / "20260000" / "2026000001"
    assert "| 0002 |" in (visit / "process" / "scan_log.md").read_text()


BEAMTIME = """
assert list(scans) == [1, 2, 3]
assert [scan.status for scan in scans.values()] == ["complete"] * 3
assert scans[1].title == "timescan 9 0.1 0.0" and scans[2].title == "ascan tom_sam_x -1.0 1.0 8 0.05"
assert scans[3].title == "mesh tom_sam_x -0.4 0.4 8 tom_sam_y 0.0 0.2 4 0.05"
assert frames.shape == (10, 407, 487)
assert len(lines) >= 3
assert len(before) == 45 and abs(np.mean(behind / before) - 0.6) < 0.01
assert picture.shape == (5, 9) and np.isfinite(picture).all()
assert np.std(picture) < 0.1 * np.mean(picture), "the calibrant is the same everywhere"
first = scans[1].patterns()
assert np.allclose(intensity, first.intensity[0][np.isfinite(first.intensity[0])])
assert abs(angle[np.argmax(intensity)] - lines).min() < 0.1
"""


def test_a_beamtime_leads_from_masters_and_titles_to_a_map_and_texts(tmp_path):
    notebook = nbformat.read(NOTEBOOKS / "beamtime.ipynb", as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(BEAMTIME))
    executed = NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in executed.cells if cell.cell_type == "code" for output in cell.outputs]
    said = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "Traceback" not in said
    assert "3  CeO2 in a capillary  complete  mesh tom_sam_x -0.4 0.4 8 tom_sam_y 0.0 0.2 4 0.05" in said
    assert "45 frames; the sample lets 60% of the beam through" in said
    pictures = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 3
    for number, picture in enumerate(pictures):
        (tmp_path / f"picture_{number}.png").write_bytes(base64.b64decode(picture))
        pixels = matplotlib.image.imread(io.BytesIO(base64.b64decode(picture)))
        assert min(pixels.shape[:2]) > 200
        assert len(np.unique(pixels[..., 0])) > 50


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_is_kept_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell for cell in code if cell.outputs or cell.execution_count] == []
