"""JSON that is read back: one error for all damage, and checksums."""

import json

import pytest

from dalmax_sk._base.json_files import parse_json, read_json, seal, sealed, unsealed

ENTRIES = {"a": [1, 2.5, float("nan"), None], "ü": {"x": "\u2028", "y": [[], {}]}}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"9" * 5000,
        b"[" * 100_000,
        b"[" * 100 + b"]" * 100,
        b'{"a":' * 500 + b"1" + b"}" * 500,
        b"nul",
    ],
    ids=lambda text: repr(text[:8]),
)
def test_damage_is_a_value_error(tmp_path, text):
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(ValueError, match=r"."):
        read_json(tmp_path / "a.json")


def test_a_seal_is_of_the_values():
    # property: not of the way they are written
    stored = parse_json(seal(json.dumps(ENTRIES)))
    assert stored["crc32"] == sealed(ENTRIES)["crc32"]
    stored = parse_json(json.dumps(stored, indent=1, ensure_ascii=False))
    assert json.dumps(unsealed(stored)) == json.dumps(ENTRIES)
    # files of older versions have none
    assert unsealed({"a": 1}) == {"a": 1}


def test_every_changed_value_is_found(damaged):
    stored = parse_json(seal(json.dumps(ENTRIES)))
    n_found = 0
    for seed in range(100):
        changed = damaged(stored, seed)
        if json.dumps(changed) == json.dumps(stored) or "crc32" not in changed:
            continue
        with pytest.raises(ValueError, match="its checksum differs"):
            unsealed(changed)
        n_found += 1
    assert n_found > 50
