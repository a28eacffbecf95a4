"""Files of patterns in the hands of other programs: the application definitions themselves, silx, nexpy, GSAS-II."""

import ast
import importlib
import importlib.util
import json
import re
import warnings
import xml.etree.ElementTree as ET
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from danmax_bluesky.formats.nxazint import Column
from danmax_bluesky.pipelines.rebin import rebin_file
from danmax_bluesky.pipelines.scan_integration import integrate_scan
from danmax_bluesky.pipelines.worker_messages import ScanInfo
from danmax_bluesky.storage.patterns import read_patterns
from danmax_bluesky.testing.powder import SMALL, ring_frames, small_poni
from danmax_bluesky.testing.validators import nexusformat_counts, pynxtools_remarks

SHAPE = SMALL
FRAMES = 6
NXDL = "{http://definition.nexusformat.org/nxdl/3.1}"
UNSEEN = re.compile(r"(/\S+)/@unitsValidationProblem\.MissingRequiredAttributeNone")
UNITS = {"NX_ANGLE": ("degree", "radian"), "NX_PER_LENGTH": ("1/angstrom", "1/nm")}
PONI = small_poni(rot1=0.0)
KINDS = {
    "pattern": {"unit": "2th_deg"},
    "cake": {"unit": "2th_deg", "azimuth_bins": 8},
    "sectors": {"unit": "2th_deg", "sectors": [(0, 20), (90, 120)], "cake_only": True},
    "q": {"unit": "q_A^-1", "error_model": "none"},
    "monitored": {"unit": "q_nm^-1", "monitor": "i0"},
}


@pytest.fixture(scope="module")
def detector_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("azint") / "frames.h5"
    filters = hdf5plugin.Bitshuffle(cname="lz4")
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=ring_frames(SHAPE, FRAMES), chunks=(1, *SHAPE), **filters)
    return path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def made(detector_file, tmp_path_factory):
    """Makes a file of patterns of each kind, once."""
    poni = detector_file.with_name("cal.poni")
    poni.write_text(PONI)
    columns = {"i0": np.linspace(1, 2, FRAMES), "cryo": np.linspace(90, 100, FRAMES)}
    described = {"i0": Column("<f8", "counts"), "cryo": Column("<f8", "K")}
    info = ScanInfo(scan={"sample_name": "ceria", "scan_id": 3}, columns=described)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
        files = {}
        for kind, settings in KINDS.items():
            recipe = {"poni": str(poni), "radial_bins": 40, **settings}
            output = detector_file.with_name(f"{kind}_integrated.h5")
            files[kind] = integrate_scan(detector_file, recipe, output, info=info, columns=columns).output
    return files


def need(name):
    """Import a program's package, or skip the test and say which."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"{name} is not installed; `pip install {name.split('.')[0]}`")


def definition(name) -> ET.Element:
    """The application definition, as NeXus wrote it."""
    found = importlib.util.find_spec("pynxtools")
    if found is None or found.origin is None:
        pytest.skip("the definitions of NeXus come with pynxtools; `pip install pynxtools`")
    return ET.parse(Path(found.origin).parent / "definitions" / "applications" / f"{name}.nxdl.xml").getroot()


def complaints(described, node, sizes) -> list[str]:
    """What a group lacks, or has otherwise than the definition says."""
    found: list[str] = []
    for child in described:
        if child.tag == f"{NXDL}attribute":
            found += _attribute(child, node)
        elif child.tag in (f"{NXDL}field", f"{NXDL}group"):
            place = _place(child, node)
            if place is not None:
                found += _inside(child, place, sizes)
            elif child.get("optional") != "true":
                found.append(f"{node.name} has no {child.get('name') or child.get('type')}")
    return found


def _place(child, node):
    if child.get("name"):
        return node.get(child.get("name"))
    classes = {name: group.attrs.get("NX_class") for name, group in node.items() if isinstance(group, h5py.Group)}
    fitting = [name for name, kind in classes.items() if kind == child.get("type")]
    assert len(fitting) < 2, f"{fitting} are all {child.get('type')}"
    return node[fitting[0]] if fitting else None


def _inside(child, place, sizes) -> list[str]:
    found = []
    if child.tag == f"{NXDL}field":
        kinds = {"NX_BOOLEAN": "b", "NX_NUMBER": "iuf", "NX_FLOAT": "f", "NX_CHAR": "O", "NX_DATE_TIME": "O"}
        if place.dtype.kind not in kinds[child.get("type", "NX_CHAR")]:
            found.append(f"{place.name} is {place.dtype}, not {child.get('type')}")
        dims = child.findall(f"{NXDL}dimensions/{NXDL}dim")
        if dims and len(dims) != place.ndim:
            found.append(f"{place.name} has {place.ndim} dimensions, not {len(dims)}")
        for dim, size in zip(dims, place.shape, strict=True):
            if sizes.setdefault(dim.get("value"), size) != size:
                found.append(f"{place.name} has {size} for {dim.get('value')}")
        allowed = [item.get("value") for item in child.findall(f"{NXDL}enumeration/{NXDL}item")]
        if allowed and place.asstr()[()] not in allowed:
            found.append(f"{place.name} is {place.asstr()[()]}")
        if child.get("units") and place.attrs.get("units") != child.get("units"):
            found.append(f"{place.name} is in {place.attrs.get('units')}, not {child.get('units')}")
    return found + complaints(child, place, sizes)


def _attribute(child, node) -> list[str]:
    name = child.get("name")
    if name not in node.attrs:
        return [] if child.get("optional") == "true" else [f"{node.name} has no attribute {name}"]
    value = node.attrs[name]
    told = str([str(part) for part in value]) if isinstance(value, np.ndarray) else str(value)
    items = [item.get("value") for item in child.findall(f"{NXDL}enumeration/{NXDL}item")]
    allowed = [spelling for item in items for spelling in UNITS.get(item, (item,))]
    return [] if not allowed or told in allowed else [f"{node.name}@{name} is {told}, not one of {allowed}"]


def entries(file) -> list[h5py.Group]:
    """Every entry and subentry that says which definition it follows."""
    groups = [file["entry"], *(node for node in file["entry"].values() if isinstance(node, h5py.Group))]
    return [group for group in groups if "definition" in group]


@pytest.mark.parametrize("kind", KINDS)
def test_every_entry_is_what_its_definition_says(made, kind):
    with h5py.File(made[kind]) as file:
        found = entries(file)
        assert len(found) == (2 if kind == "cake" else 1)
        for entry in found:
            described = definition(entry["definition"].asstr()[()]).find(f"{NXDL}group")
            sizes = {}
            assert complaints(described, entry, sizes) == []
            assert sizes["nImg"] == FRAMES
            assert sizes["nRadEdge"] == sizes["nRad"] + 1 == 41
            assert sizes.get("nEtaEdge", 1) == (9 if sizes.get("nEta") == 8 else 1)


def test_a_file_that_lacks_something_is_found_out(made, tmp_path):
    """The check above can fail."""
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(made["pattern"].read_bytes())
    with h5py.File(damaged, "r+") as file:
        del file["entry/reduction/program"]
        file["entry/data"].attrs["interpretation"] = "image"
        described = definition("NXazint1d").find(f"{NXDL}group")
        assert complaints(described, file["entry"], {}) == [
            "/entry/reduction has no program",
            "/entry/data@interpretation is image, not one of ['spectrum']",
        ]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_nexusformat_finds_every_entry_valid(made, kind):
    need("nexusformat.nexus")
    assert nexusformat_counts(made[kind]) == (0, 0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_pynxtools_misses_nothing_but_units_that_are_there(made, kind):
    need("pynxtools")
    remarks = pynxtools_remarks(made[kind])
    assert remarks
    with h5py.File(made[kind]) as file:
        for remark in remarks:
            missed = UNSEEN.fullmatch(remark)
            assert missed, remark
            assert file[missed[1]].attrs["units"]


@pytest.mark.filterwarnings("ignore")
def test_pynxtools_sees_units_in_no_file_where_a_definition_has_them_as_attribute(made, tmp_path, monkeypatch):
    """The remark is about the validator: it passes over whatever is called `units`, and asks for it afterwards."""
    need("pynxtools")
    literal = tmp_path / "literal.h5"
    with h5py.File(literal, "w") as file:
        as_defined(definition("NXazint1d"), file)
    assert {UNSEEN.fullmatch(remark)[1] for remark in pynxtools_remarks(literal)} == {
        "/entry/data/I",
        "/entry/data/radial_axis",
    }
    visitor = need("pynxtools.dataconverter.validation").ValidationVisitor
    monkeypatch.setattr(visitor, "_SKIP_ATTRS", visitor._SKIP_ATTRS - {"units"})
    assert pynxtools_remarks(literal) == set()
    # The definition lists kinds of units where a unit goes, such as NX_ANGLE; a file has a unit of that kind.
    kinds = {remark for remark in pynxtools_remarks(made["pattern"]) if "@unitsValidationProblem.InvalidEnum" in remark}
    assert pynxtools_remarks(made["pattern"]) == kinds
    assert {remark.split("/@")[0] for remark in kinds} == {"/entry/data/radial_axis", "/entry/data/radial_axis_edges"}


def as_defined(described, node) -> None:
    """Fill a group or a field with what a definition requires, in the definition's own words."""
    for child in described:
        if child.get("optional") == "true":
            continue
        items = [item.get("value") for item in child.findall(f"{NXDL}enumeration/{NXDL}item")]
        name = child.get("name") or child.get("type", "")[2:]
        if child.tag == f"{NXDL}attribute":
            node.attrs[name] = ast.literal_eval(items[0]) if items[0].startswith("[") else items[0]
        elif child.tag == f"{NXDL}group":
            node.create_group(name).attrs["NX_class"] = child.get("type")
            as_defined(child, node[name])
        elif child.tag == f"{NXDL}field":
            known = {"type": "Synchrotron X-ray Source", "probe": "x-ray"}  # enumerated by NXsource
            words = {"NX_CHAR": items[0] if items else known.get(name, "any"), "NX_DATE_TIME": "2026-01-01T00:00:00Z"}
            numbers = {
                "NX_BOOLEAN": True,
                "NX_FLOAT": 1.0,
                "NX_NUMBER": np.zeros((2,) * len(child.findall(".//*[@index]"))),
            }
            node[name] = (words | numbers)[child.get("type", "NX_CHAR")]
            if child.get("units"):
                node[name].attrs["units"] = child.get("units")
            as_defined(child, node[name])


@pytest.mark.parametrize("kind", KINDS)
def test_a_joined_file_is_of_the_same_kind(made, kind, tmp_path):
    with h5py.File(rebin_file(made[kind], tmp_path / "joined.h5", 4, 5)) as file:
        for entry in entries(file):
            sizes = {}
            described = definition(entry["definition"].asstr()[()]).find(f"{NXDL}group")
            assert complaints(described, entry, sizes) == []
            assert (sizes["nImg"], sizes["nRad"]) == (2, 8)
            assert list(file["entry/frames/joined_frames"]) == [4, 2]
            assert len(file["entry/integrals/I0"]) == 2
    if kind in ("pattern", "cake", "sectors"):
        assert len(gsas_patterns(tmp_path / "joined.h5")) == 2 * {"pattern": 1, "cake": 8, "sectors": 2}[kind]


def test_sums_of_sums_are_sums_also_where_a_monitor_divided(made, tmp_path):
    source = read_patterns(made["monitored"])
    assert source.monitor == pytest.approx(np.linspace(1, 2, FRAMES))
    twos = rebin_file(made["monitored"], tmp_path / "twos.h5", 2)
    found = [
        read_patterns(rebin_file(*pair))
        for pair in (
            (made["monitored"], tmp_path / "all.h5", FRAMES),
            (twos, tmp_path / "all_of_twos.h5", FRAMES // 2),
        )
    ]
    counts = source.intensity * source.frame_norms()
    for joined in found:
        weight = source.frame_norms().sum(axis=0)
        assert joined.intensity[0] == pytest.approx(np.nansum(counts, axis=0) / weight, rel=1e-5, nan_ok=True)
        of_each = (source.sigma * source.frame_norms()) ** 2
        variance = np.where(counts == 0, 0.0, of_each)  # a frame with no count in a bin adds no variance to the sum
        sigma = np.sqrt(np.nansum(variance, axis=0)) / weight
        assert joined.sigma[0] == pytest.approx(sigma, rel=1e-5, nan_ok=True)
        assert joined.frame_norms()[0] == pytest.approx(weight, rel=1e-5)
        assert joined.columns["joined_frames"].tolist() == [FRAMES]
        assert joined.columns["cryo"] == pytest.approx([95.0])


@pytest.mark.parametrize("kind", KINDS)
def test_silx_plots_the_patterns_by_default(made, kind):
    need("silx")
    silx_io, nxdata = importlib.import_module("silx.io"), importlib.import_module("silx.io.nxdata")
    with silx_io.open(str(made[kind])) as file:
        default = nxdata.get_default(file)
        assert default is not None
        assert default.is_valid
        assert default.signal_name == "intensity"
        assert default.axes_names[-1] == {"2": "2theta", "q": "q"}[KINDS[kind]["unit"][0]]
        assert (default.errors is None) == (kind == "q")
        assert default.interpretation == ("image" if kind == "sectors" else "spectrum")


@pytest.mark.parametrize("kind", ["pattern", "cake"])
def test_nexpy_plots_the_patterns_by_default(made, kind):
    nexus = need("nexusformat.nexus")
    root = nexus.nxload(made[kind])
    plotted = root.plottable_data
    assert plotted.is_plottable()
    assert plotted.nxsignal.shape == plotted.nxerrors.shape == (FRAMES, 40)
    assert plotted.nxaxes[-1].nxname == "radial_axis"


def gsas_patterns(path) -> list[dict]:
    """The powder patterns as GSAS-II finds them.

    Source: GSASII/imports/G2pwd_HDF5.py of GSAS-II, 2025. The entry is the first NXentry of the file; one with
    subentries and no definition stands for its second subentry where nobody is there to choose, and each of them is
    asked for its definition. Below the entry the LAST group of a class, as they lie in the file, is taken for it; the
    unit must be "2th", and the axis degrees. A cake is read row by row, so many to a frame as `azimuth_bins` says,
    after as many were offered as `azimuthal_axis` has. Numbers and texts are scalars; the type of a number must have
    "float" or "int" in its name. Weights are 1/σ², and 0 where σ is 0 or no number. What has a value for each frame,
    anywhere below one of the groups that are looked at, follows the patterns.
    """
    with h5py.File(path) as file:
        entry = next(group for group in file.values() if group.attrs.get("NX_class") == "NXentry")
        if "definition" not in entry:
            subentries = [group for group in entry.values() if group.attrs.get("NX_class") == "NXsubentry"]
            assert all(group["definition"][()].decode() in ("NXazint1d", "NXazint2d") for group in subentries)
            entry = subentries[1]
        classes = {}

        def walk(group):
            classes[group.attrs.get("NX_class")] = group
            for name in group:
                node = group[name]
                if isinstance(node, h5py.Group):
                    walk(node)

        walk(entry)
        looked_at = ("NXdata", "NXparameters", "NXmonochromator", "NXinstrument", "NXsample", "NXsource")
        data, given, mono, instrument, sample, source = (classes[name] for name in looked_at)
        numbers = {"wavelength": mono["wavelength"], "polarization": given["polarization_factor"]}
        texts = {"sample": sample["name"], "instrument": instrument["name"], "source": source["name"]}
        assert all(node.shape == () and "float" in str(node.dtype) for node in numbers.values())
        assert all(node.shape == () for node in (*texts.values(), given["unit"]))
        assert given["unit"][()].decode() == "2th"
        number = 1
        if entry["definition"][()].decode() == "NXazint2d":
            assert "int" in str(given["azimuth_bins"].dtype)
            number = int(given["azimuth_bins"][()])
            assert number == len(data["azimuthal_axis"])
        count = len(data["I"])
        followed = {}

        def follow(group):
            for name, node in group.items():
                if isinstance(node, h5py.Group):
                    follow(node)
                elif node.shape == (count,):
                    followed[name] = node[...]

        for name in looked_at:
            follow(classes[name])
        kept = {name: float(node[()]) for name, node in numbers.items()}
        kept |= {name: node[()].decode() for name, node in texts.items()}
        found = []
        for row in range(count * number):
            frame, azimuth = divmod(row, number)
            at = (frame, azimuth) if data["I"].ndim == 3 else (frame,)
            sigma = data["I_errors"][at]
            with np.errstate(divide="ignore", invalid="ignore"):
                weight = np.where(sigma == 0, 0, np.nan_to_num(1 / sigma**2))
            temperature = {name: values[frame] for name, values in followed.items()}
            found.append({"x": data["radial_axis"][...], "y": data["I"][at], "w": weight, **kept, **temperature})
            if number > 1:
                found[-1]["azimuth"] = float(data["azimuthal_axis"][azimuth])
        return found


@pytest.mark.parametrize(("kind", "rows"), [("pattern", 1), ("cake", 8), ("sectors", 2)])
def test_gsas_finds_every_pattern_with_what_it_needs(made, kind, rows):
    found = gsas_patterns(made[kind])
    assert len(found) == rows * FRAMES
    stored = read_patterns(made[kind], "azint2d" if kind == "cake" else None)
    for place, one in enumerate(found):
        expected = stored.intensity.reshape(-1, 40)[place]
        assert np.array_equal(one["y"], expected, equal_nan=True)
        assert one["x"] == pytest.approx(stored.radial_axis)
        assert one["w"][np.isnan(expected)] == pytest.approx(0)
        assert (one["wavelength"], one["polarization"]) == pytest.approx((0.35, 0.999997))
        assert (one["sample"], one["instrument"]) == ("ceria", "DanMAX")
        assert one["source"]
        assert one["cryo_temperature"] == pytest.approx(90 + 2 * (place // rows))


def test_an_axis_in_q_is_not_taken_for_degrees(made):
    with h5py.File(made["q"]) as file:
        assert file["entry/reduction/input/unit"].asstr()[()] == "q"
        assert file["entry/reduction/input/pyfai_unit"].asstr()[()] == "q_A^-1"
        assert json.loads(file["entry/reduction/input/settings"].asstr()[()])["unit"] == "q_A^-1"
