"""What stands still beside the twin's scans: energies, gap, slits, under the names of the snapshot."""

from danmax_bluesky.config import Settings


def surroundings(settings: Settings) -> dict[str, float]:
    """Name in the snapshot -> its value, in the units that the settings give it."""
    energy_ev = 1000.0 * settings.source.energy_kev
    known = {
        "hdcm_energy": energy_ev,
        "mlm_energy": energy_ev,
        "Pilatus energy": energy_ev,
        "Pilatus threshold": energy_ev / 2,
        "IVU_R3_304_GAP": 6.5,
        "ea_xrf_z": 100.0,
        "ea_mm_z": 300.0,
    }
    blades = {f"ea_slit{number}_{side}": 0.5 for number in (1, 2) for side in ("top", "bottom", "in", "out")}
    return {name: (known | blades).get(name, 0.0) for name in settings.snapshot}
