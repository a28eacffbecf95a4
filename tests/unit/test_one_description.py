"""Scans, recipes and reconstructions are described once: a new option is one edit, and stands everywhere."""

import ast
import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from danmax_bluesky.config import RecipeSettings
from danmax_bluesky.options import options_of
from danmax_bluesky.scattering.geometry import geometry_of_poni
from danmax_bluesky.scattering.recipe import Recipe
from danmax_bluesky.testing.generated import ROOT, generated_files
from danmax_bluesky.testing.powder import SMALL, small_poni
from danmax_bluesky.tomography.reference import type_source
from danmax_bluesky.tomography.scan import WAY, TomoScan
from danmax_bluesky.tomography.tori import ReconstructionSettings

SOURCE = Path(__file__).parents[2] / "src/danmax_bluesky/tomography/scan.py"
ANCHOR = "    helical: Annotated["
EDIT = """    wobble_deg: Annotated[float, About(ANGLES, "deg", only_for=("ascan",))] = Field(
        default=0.25, ge=0, le=3, description="amplitude of a wobble"
    )
"""
EDITED = """
import importlib.util, inspect, json, sys

class Edited:
    # Finds a copy of a module, with one edit, in the place of the module.
    def find_spec(self, name, path, target=None):
        return importlib.util.spec_from_file_location(name, sys.argv[2]) if name == sys.argv[1] else None

sys.meta_path.insert(0, Edited())
"""
LOOK = """
from danmax_bluesky.cli.tomoscan import command
from danmax_bluesky.devices.configurator import Configurator, ConfiguratorStore, make_configurator, metadata_of
from danmax_bluesky.devices.configurator_store import BY_NAME
from danmax_bluesky.plans.signature import options_of_plan
from danmax_bluesky.plans.user import Plans
from danmax_bluesky.shell.queue import _annotation
from danmax_bluesky.shell.words import parse
from danmax_bluesky.tomography.parameters import scan_arguments, values_of
from danmax_bluesky.tomography.reference import scan_keywords, scan_page
from danmax_bluesky.tomography.scan import TomoScan

parameter = BY_NAME["wobble_deg"]
(queued,) = [option for option in options_of_plan(Plans.tomo_scan) if option.name == "wobble_deg"]
(typed,) = [param for param in command.params if param.name == "wobble_deg"]
remembered = {known.name: known.default for known in BY_NAME.values() if not known.record} | {"wobble_deg": 2.0}
scan = {"scan_type": "ascan", "nsteps": 3, "exp_time": 0.1}
seen = {
    "signature": str(inspect.signature(Plans.tomo_scan).parameters["wobble_deg"]),
    "annotation": str(Plans.tomo_scan.__annotations__["wobble_deg"]),
    "docstring": "wobble_deg: amplitude of a wobble (degrees; 0 to 3; for ascan)." in inspect.getdoc(Plans.tomo_scan),
    "command line": [typed.opts, typed.help],
    "prompt": parse("ascan --wobble-deg 1.5")[1],
    "configurator": [parameter.default, parameter.units, parameter.low, parameter.high, parameter.description],
    "signal": metadata_of(parameter),
    "queue": _annotation(queued, {}, False),
    "page": [line for line in scan_page().splitlines() if "wobble" in line],
    "keywords": "wobble_deg: float" in scan_keywords(),
    "remembered": scan_arguments(remembered, scan)["wobble_deg"],
    "not for others": "wobble_deg" in scan_arguments(remembered, {**scan, "scan_type": "ascanct"}),
    "held": values_of(TomoScan(**scan, wobble_deg=1.0))["wobble_deg"],
}
if importlib.util.find_spec("tango"):
    from danmax_bluesky.devices.tango.configurator_server import _attribute_of

    attribute = _attribute_of(parameter, None, None)
    made = vars(attribute)["_kwargs"]
    seen["attribute"] = [made["name"], made["unit"], made["max_value"]]
print(json.dumps(seen))
"""


def look(module, source, anchor, edit, program, folder):
    """What a program sees once one field was added to the description in a module."""
    text = source.read_text(encoding="utf-8")
    assert text.count(anchor) == 1
    edited = folder / source.name
    edited.write_text(text.replace(anchor, edit + anchor), encoding="utf-8")
    words = [sys.executable, "-c", EDITED + program, module, edited]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_option_that_is_added_in_one_place_is_known_everywhere(tmp_path):
    seen = look("danmax_bluesky.tomography.scan", SOURCE, ANCHOR, EDIT, LOOK, tmp_path)
    assert seen.pop("attribute", ["wobble_deg", "deg", 3.0]) == ["wobble_deg", "deg", 3.0]
    assert seen == {
        "signature": "wobble_deg: float | None = None",
        "annotation": "float | None",
        "docstring": True,
        "command line": [["--wobble-deg"], "amplitude of a wobble (degrees; 0 to 3; for ascan)"],
        "prompt": {"wobble_deg": 1.5},
        "configurator": [0.25, "deg", 0, 3, "amplitude of a wobble"],
        "signal": {"units": "deg", "limits": {"control": {"low": 0.0, "high": 3.0}}},
        "queue": {
            "annotation": "typing.Optional[float]",
            "description": "amplitude of a wobble (degrees; 0 to 3; for ascan)",
            "min": 0,
            "max": 3,
        },
        "page": ["| `wobble_deg` | `--wobble-deg` | 0 to 3 deg | 0.25 | amplitude of a wobble; for ascan |"],
        "keywords": True,
        "remembered": 2.0,
        "not for others": False,
        "held": 1.0,
    }


RECIPE_SOURCE = SOURCE.parents[1] / "config/recipes.py"
RECIPE_ANCHOR = "    solid_angle: Annotated["
RECIPE_EDIT = """    sharpness: Annotated[float, About(CORRECTIONS, word="sharp")] = Field(
        default=0.5, ge=0, description="of the rings"
    )
"""
LOOK_FOR_RECIPE = """
from danmax_bluesky.cli.azint import command
from danmax_bluesky.cli.recipe_options import recipe_changes
from danmax_bluesky.config import load_settings
from danmax_bluesky.pipelines.recipes import recipe_settings
from danmax_bluesky.testing.generated import recipe_table

(typed,) = [param for param in command.params if param.name == "sharpness"]
settings = load_settings(options={"recipes": [{"sharpness": 2}]})
print(json.dumps({
    "command line": [typed.opts, typed.help],
    "changes": recipe_changes({"sharpness": 1.5, "unit": None, "sectors": ()}),
    "page": [line for line in recipe_table().splitlines() if "sharpness" in line],
    "settings": settings.recipes[0].sharpness,
    "of a run": recipe_settings({"sharpness": 3}).sharpness,
}))
"""


def test_a_key_of_a_recipe_that_is_added_in_one_place_is_known_everywhere(tmp_path):
    module = "danmax_bluesky.config.recipes"
    assert look(module, RECIPE_SOURCE, RECIPE_ANCHOR, RECIPE_EDIT, LOOK_FOR_RECIPE, tmp_path) == {
        "command line": [["--sharp"], "of the rings (0 or more)"],
        "changes": {"sharpness": 1.5},
        "page": ["| `sharpness` | `--sharp` | 0.5 | of the rings (0 or more) |"],
        "settings": 2.0,
        "of a run": 3.0,
    }


def test_the_numbers_follow_from_the_description_and_are_recorded():
    geometry = geometry_of_poni(small_poni(), SMALL)
    recipe, settings = Recipe(geometry), RecipeSettings()
    keys = {field.name: field.name.removesuffix("_deg") for field in fields(Recipe)}
    shared = {name: key for name, key in keys.items() if key in RecipeSettings.model_fields and key != "lower_limit"}
    assert len(shared) > 15
    assert {key: getattr(recipe, name) for name, key in shared.items()} == {
        key: getattr(settings, key) for key in shared.values()
    }
    images = {"geometry", "mask", "dark", "flat", "dark_variance", "background"}
    assert set(keys.values()) - images <= recipe.parameters().keys()


@pytest.mark.parametrize("model", [RecipeSettings, ReconstructionSettings])
def test_every_key_of_a_recipe_and_of_a_reconstruction_is_described(model):
    for option in options_of(model):
        assert option.about.group, option.name
        assert option.help, option.name


@pytest.mark.parametrize("name", generated_files())
def test_what_is_made_from_a_description_is_up_to_date(name):
    assert (ROOT / name).read_text(encoding="utf-8") == generated_files()[name], "write it again with `make generated`"


def test_the_parameters_that_are_given_by_position_have_the_types_of_the_description():
    """They stand in the source for type checkers, since a signature can name them there alone."""
    source = (SOURCE.parents[1] / "plans/user_tomography.py").read_text(encoding="utf-8")
    (plan,) = [node for node in ast.walk(ast.parse(source)) if getattr(node, "name", "") == "tomo_scan"]
    typed = {item.arg: ast.unparse(item.annotation) for item in plan.args.args[1:]}
    described = {option.name: type_source(option) for option in options_of(TomoScan) if option.about.group == WAY}
    described["scan_type"] = "ScanType"
    assert typed == {name: f"{kind} | None" for name, kind in described.items()}


def test_every_option_has_a_group_a_sentence_and_every_duration_or_angle_a_unit():
    for option in options_of(TomoScan):
        assert option.about.group, option.name
        assert option.help, option.name
        assert not option.help.endswith("."), option.name
        if option.name.endswith("_deg") or "exp_time" in option.name:
            assert option.about.unit in ("deg", "s"), option.name
