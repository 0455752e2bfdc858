"""Symbols of IANA's SenML unit registries, primary (RFC 8428, 8798) and secondary (RFC 8798 and later)."""

__all__ = ["UNITS", "mend"]

_PRIMARY = """
    m kg g s A K cd mol Hz rad sr N Pa J W C V F Ohm S Wb T H Cel lm lx Bq Gy Sv kat m2 m3 l m/s m/s2 m3/s l/s
    W/m2 cd/m2 bit bit/s lat lon pH dB dBW Bspl count / % %RH %EL EL 1/s 1/min beat/min beats S/m
    B VA VAs var vars J/m kg/m3 deg NTU
"""
_SECONDARY = """
    ms min h MHz kW kVA kvar Ah Wh kWh varh kvarh kVAh Wh/km KiB GB Mbit/s B/s MB/s mV mA dBm ug/m3 mm/h m/h
    ppm /100 /1000 hPa mm cm km km/h ppb ppt VAh mg/l ug/l g/l
"""
UNITS = frozenset(_PRIMARY.split()) | frozenset(_SECONDARY.split())

# What people write, and what the registry calls it; with a scale where the registry lacks that multiple.
_ALIASES = {
    "°C": "Cel",
    "℃": "Cel",
    "degC": "Cel",
    "C°": "Cel",
    "percent": "%",
    "pct": "%",
    "rpm": "1/min",
    "r/min": "1/min",
    "ohm": "Ohm",
    "Ω": "Ohm",
    "L": "l",
    "sec": "s",
    "hour": "h",
    "kVAr": "kvar",
    "VAr": "var",
    "VAR": "var",
    "kVArh": "kvarh",
    "VArh": "varh",
    "L/s": "l/s",
    "µg/m3": "ug/m3",
    "µg/m³": "ug/m3",
    "m³": "m3",
    "m²": "m2",
    "m/s²": "m/s2",
    "°": "deg",
    "bar": "Pa",
    "mbar": "hPa",
    "kPa": "Pa",
    "MPa": "Pa",
    "kHz": "Hz",
    "kV": "V",
    "kA": "A",
    "MW": "kW",
    "MWh": "kWh",
    "l/min": "l/s",
    "m3/h": "m3/s",
    "m³/h": "m3/s",
}
_SCALES = {
    "bar": "100000",
    "kPa": "1000",
    "MPa": "1000000",
    "kHz": "1000",
    "kV": "1000",
    "kA": "1000",
    "MW": "1000",
    "MWh": "1000",
    "l/min": '"1/60"',
    "m3/h": '"1/3600"',
    "m³/h": '"1/3600"',
}


def mend(written: str) -> tuple[str, str] | None:
    """For a unit outside the registry: the symbol to write and the factor for the scale ("" for 1)."""
    for alias in (written, written.strip()):
        if alias in _ALIASES:
            return _ALIASES[alias], _SCALES.get(alias, "")
    folded = {unit.lower(): unit for unit in sorted(UNITS)}
    near = folded.get(written.strip().lower())
    if near in ("mV", "mA") and written.strip().startswith("M"):  # mega is not milli
        return None
    return (near, "") if near is not None else None
