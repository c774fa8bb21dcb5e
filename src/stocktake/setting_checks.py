"""Checks of single settings: each raises SettingsError with the name, what was found and what is possible."""

from collections.abc import Sequence

from stocktake.errors import SettingsError

MAX_SEED = 2**31 - 1


def expect(holds: bool, name: str, found: object, wanted: str) -> None:
    """Raise SettingsError unless `holds`; `wanted` ends the sentence 'it must be …'."""
    if not holds:
        raise SettingsError(f"{name} is {found!r}; it must be {wanted}")


def expect_whole(name: str, found: object, lowest: int, highest: int, more: str = "") -> None:
    """Raise SettingsError unless `found` is an int in lowest..highest."""
    is_whole = isinstance(found, int) and not isinstance(found, bool)
    holds = is_whole and lowest <= found <= highest  # type: ignore[operator]
    expect(holds, name, found, f"a whole number in {lowest}..{highest}{more}")


def expect_choice(name: str, found: object, choices: Sequence[str]) -> None:
    """Raise SettingsError unless `found` is one of `choices`."""
    expect(found in choices, name, found, f"one of {', '.join(repr(choice) for choice in choices)}")


def expect_folder_name(name: str, found: str) -> None:
    """Raise SettingsError unless `found` names a folder and not a path."""
    expect(found not in ("", ".", "..") and not set(found) & set("/\\\0"), name, found, "a plain folder name")


def split_devices(device: str) -> list[str]:
    """The ranks that `device` asks for: [''] = the trainer chooses, ['0', '1'] = two GPUs, ['cpu'] …"""
    return [part.strip() for part in device.split(",")]


def expect_devices(device: str) -> None:
    """Raise SettingsError unless `device` is '', 'cpu', a GPU's number, or a list of GPUs or of CPUs."""
    devices = split_devices(device)
    alike = set(devices) == {"cpu"} or (all(map(str.isdigit, devices)) and len(set(devices)) == len(devices))
    expect(alike or devices == [""], "device", device, "'', 'cpu', '0', or a list: '0,1', 'cpu,cpu'")
