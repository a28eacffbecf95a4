"""A scan that could not be integrated is refused before anything moves."""

from types import SimpleNamespace
from typing import Any

import pytest

from danmax_bluesky.config import load_settings
from danmax_bluesky.devices.paths import VisitPaths
from danmax_bluesky.errors import PreflightError
from danmax_bluesky.plans.user import Plans


@pytest.fixture
def plans_of(tmp_path):
    def make(**options) -> Any:
        settings = load_settings(options={"data_root": str(tmp_path), **options})
        rig: Any = SimpleNamespace(with_detectors=lambda names: armed(*names))
        return Plans(rig, settings, VisitPaths(tmp_path, "p", "v", "f"))

    return make


def armed(*names):
    return SimpleNamespace(detectors=tuple(SimpleNamespace(name=name) for name in names))


PLANS = {
    "azint_count": (3, 0.1),
    "azint_scan": ("tom_sam_x", -1, 1, 20, 0.1),
    "azint_adaptive": ("tom_sam_x", -1, 1, 0.1, 50, 0.01, 0.2),
    "mesh": ("tom_sam_x", -1, 1, 2, "tom_sam_y", 0, 1, 2, 0.1),
}


@pytest.mark.parametrize("plan", PLANS)
def test_the_beamline_has_no_geometry_of_its_own(plans_of, plan):
    plans = plans_of(beamline="danmax", recipes=[{"name": "fine"}, {"name": "other", "detector": "orca"}])
    with pytest.raises(PreflightError, match=r"recipe 'fine' of pilatus .*set poni in its \[\[recipes\]\]") as refused:
        next(getattr(plans, plan)(*PLANS[plan]))
    assert len(refused.value.findings) == 1


def test_a_file_that_cannot_be_read_is_told_of_on_the_twin_too(plans_of, tmp_path):
    (tmp_path / "cal.poni").touch()
    recipe = {"poni": str(tmp_path / "cal.poni"), "mask": str(tmp_path / "none.npy"), "flat": str(tmp_path)}
    with pytest.raises(PreflightError) as refused:
        next(plans_of(recipes=[recipe]).azint_count(3, 0.1))
    mask, flat = refused.value.findings
    assert f"mask {tmp_path / 'none.npy'} cannot be read: No such file" in mask
    assert f"flat {tmp_path} cannot be read" in flat


@pytest.mark.parametrize(
    "options",
    [
        {"beamline": "danmax", "formats.integrate": False},
        {"beamline": "danmax", "recipes": []},
        {"beamline": "danmax", "recipes": [{"detector": "orca"}]},
        {"recipes": [{}]},
    ],
)
def test_what_is_not_integrated_needs_no_geometry(plans_of, options):
    plans = plans_of(**options)
    _, said = plans._diffraction((), "azint_count(3, 0.1)", None, None)
    assert [recipe["detector"] for recipe in said["recipes"]] == [
        recipe.detector for recipe in plans._settings.recipes if recipe.detector == "pilatus"
    ]


def test_an_image_inside_a_file_or_of_each_data_file_is_no_fault(plans_of, tmp_path):
    (tmp_path / "a.h5").touch()
    recipe = {"poni": str(tmp_path / "a.h5"), "mask": f"{tmp_path}/a.h5::/entry/mask", "dark": "{folder}/{stem}.tif"}
    plans = plans_of(recipes=[{**recipe, "background": str(tmp_path / "none.h5::/x")}])
    with pytest.raises(PreflightError) as refused:
        next(plans.azint_count(3, 0.1))
    assert "background" in str(refused.value)
    assert "mask" not in str(refused.value)
    assert "dark" not in str(refused.value)
