"""What stands still beside the twin's scans: energies, gap, slits, under the names of the snapshot."""

from danmax_bluesky.config import Settings


def surroundings(settings: Settings) -> dict[str, float]:
    """Name in the snapshot -> its value, in the units that the settings give it."""
    energy_ev = 1000.0 * settings.source.energy_kev
    distances_m = [detector.distance_m for detector in settings.detectors.values() if detector.kind == "counting"]
    usual = {
        "hdcm_energy": energy_ev,
        "mlm_energy": energy_ev,
        "Pilatus energy": energy_ev,
        "Pilatus threshold": energy_ev / 2,
        "IVU_R3_304_GAP": 6.5,
        "ea_ppm3_1": 1000.0 * distances_m[0] if distances_m else 0.0,  # of the large detector, as it stands in the beam
        "ea_xrf_z": 100.0,
        "ea_mm_z": -30.0,
        "lakeshore_tempC": 22.0,
        "cryo_temp": 295.15,
    }
    blades = {f"ea_slit{number}_{side}": 0.5 for number in (1, 2) for side in ("top", "bottom", "in", "out")}
    return {name: (usual | blades).get(name, 0.0) for name in settings.snapshot}
