"""The results file of ``budget_curve``: JSON lines, written by one process.

The first line is the header: the format, and the description of the experiment. A line
``"kind": "session"`` precedes the lines that one call added and lists its strategies
and seeds. All other lines are rounds::

    {"strategy": "badge", "split": 0, "seed": 3, "round": 1, "n_labeled": 120,
     "fit_seconds": …, "query_seconds": …, "score_seconds": …, "peak_bytes": …,
     "scores": {"accuracy": …}, "queried": [rows of X], "n_records": 21,
     "settings": hash of the strategy's parameters, "crc32": checksum of the line}

A line whose checksum differs is damaged, and left out; files of older versions have no
checksums.

``n_records`` is the number of rounds of the run that the record belongs to: a run is
finished if that many are there. The rounds of a run are added together, when it ends.
"""

import json
import os
import shutil
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import pandas as pd
from filelock import Timeout

from dalmax_sk._base.files import (
    file_lock,
    open_regular,
    release_and_remove,
    replacing,
    writing,
)
from dalmax_sk._base.json_files import MALFORMED, parse_json, sealed, unsealed
from dalmax_sk._base.words import listed
from dalmax_sk.evaluation.runs.curves_table import COSTS, KEY, PREFIX
from dalmax_sk.evaluation.runs.run import Run, short_hash

__all__ = ["ResultsFile", "Stored", "read_frame", "records_frame"]

FORMAT = 1
_KIND = "results of dalmax_sk.evaluation.budget_curve"
_NUMBERS = ("n_labeled", "fit_seconds", "query_seconds", "score_seconds")
_INTS = ("split", "seed", "round", "n_records")

Key = tuple[str, int, int]  # strategy, split, seed


class Stored:
    """The content of a results file.

    Attributes
    ----------
    header : dict
        The first line.
    sessions : list of dict
        One for each call that added to the file.
    runs : dict
        Finished runs: {(strategy, split, seed): records by round}.
    is_tidy : bool
        Whether every line is intact and belongs to a finished run.
    """

    def __init__(self, path: Path) -> None:
        with open_regular(path) as file:
            lines = file.read().split(b"\n")
        self.header = _read_header(path, lines[0])
        self.sessions: list[dict[str, Any]] = []
        has_end = lines[-1] == b""
        if has_end:
            lines.pop()
        broken = []
        rounds: dict[Key, dict[int, dict[str, Any]]] = {}
        for number, line in enumerate(lines[1:], start=2):
            try:
                entry = _parsed(line)
            except MALFORMED:
                broken.append(number)
                continue
            if entry.get("kind") == "session":
                self.sessions.append(entry)
            else:
                key = (entry["strategy"], entry["split"], entry["seed"])
                rounds.setdefault(key, {})[entry["round"]] = entry
        self.runs = {
            key: [of_run[number] for number in sorted(of_run)]
            for key, of_run in rounds.items()
            if _is_whole(of_run)
        }
        self.is_tidy = has_end and not broken and len(self.runs) == len(rounds)
        if broken:
            lost = [
                f"{key[0]} (split {key[1]}, seed {key[2]})"
                for key in rounds
                if key not in self.runs
            ]
            warnings.warn(
                f"{path}: lines {listed(sorted(broken))} are broken and left out; the "
                f"other records are kept. Runs that are not complete: {listed(lost)}.",
                UserWarning,
                stacklevel=4,
            )


def _read_header(path: Path, line: bytes) -> dict[str, Any]:
    try:
        header = parse_json(line)
        kind, version = header["kind"], header["format"]
    except MALFORMED as error:
        raise ValueError(
            f"{path} is no results file of budget_curve: its first line is not the "
            "header of one. The file is left as it is; choose another results=."
        ) from error
    if kind != _KIND or version != FORMAT:
        raise ValueError(
            f"{path} holds {kind!r} in format {version!r}; this version of dalmax_sk "
            f"reads {_KIND!r} in format {FORMAT}. The file is left as it is; choose "
            "another results=."
        )
    return header  # compared with the experiment at hand, entry by entry


def _parsed(line: bytes) -> dict[str, Any]:
    """Return a record or session; some error if the line is not a whole one."""
    entry = unsealed(parse_json(line))
    if entry.get("kind") == "session":
        good = isinstance(entry["strategies"], dict) and isinstance(
            entry["seeds"], list
        )
    else:
        good = (
            isinstance(entry["strategy"], str)
            and isinstance(entry["settings"], str)
            and all(type(entry[name]) is int for name in _INTS)
            and all(type(entry[name]) in (int, float) for name in _NUMBERS)
            and type(entry["peak_bytes"]) in (int, type(None))
            and all(
                type(value) in (int, float, type(None))
                for value in entry["scores"].values()
            )
            and len(entry["queried"]) <= entry["n_labeled"]
            and all(type(row) is int for row in entry["queried"])
        )
    if not good:
        raise ValueError("entries are missing or of another type")
    return entry


def _is_whole(rounds: Mapping[int, Mapping[str, Any]]) -> bool:
    sizes = {record["n_records"] for record in rounds.values()}
    return sizes == {len(rounds)} and set(rounds) == set(range(len(rounds)))


# ----------------------------------------------------------------------------- writing


class ResultsFile:
    """The results file of one experiment, open for adding runs to it.

    Parameters
    ----------
    path : path-like
        The file; its folder must exist.
    experiment : dict
        What tells the experiment from others, in JSON's values; a file with another
        header is refused. The entry ``"versions"`` may differ.
    """

    def __init__(
        self, path: str | os.PathLike[str], experiment: Mapping[str, Any]
    ) -> None:
        self.path = Path(path)
        self._experiment = json.loads(json.dumps(experiment))
        # states of runs that have begun; and the lock
        self._folder = self.path.with_name(f"{self.path.name}.runs")
        self._lock = file_lock(self._folder / "lock")
        self._file: IO[bytes] | None = None
        self._runs: dict[Key, list[dict[str, Any]]] = {}

    def open(self, strategies: Mapping[str, Mapping[str, str]]) -> None:
        """Lock the file, check its content, and open it for writing.

        Parameters
        ----------
        strategies : dict
            {name: description} of those that will be run.

        Raises
        ------
        ValueError
            If the file is foreign or of another experiment, or another process is at
            work on it. It is left as it is then.
        """
        if self.path.is_dir():
            raise ValueError(
                f"results={os.fspath(self.path)!r} is a folder; give the name of a "
                "file in it, such as results.jsonl."
            )
        if not self.path.parent.is_dir():
            raise ValueError(
                f"results={os.fspath(self.path)!r}: there is no folder "
                f"{self.path.parent}; make it first."
            )
        try:
            self._lock.acquire()
        except Timeout as error:
            raise ValueError(
                f"Another process is at work on {self.path}. Wait for it, or choose "
                "another results=."
            ) from error
        try:
            self._begin(strategies)
        except BaseException:
            self.close()
            raise

    def _begin(self, strategies: Mapping[str, Mapping[str, str]]) -> None:
        header = {"kind": _KIND, "format": FORMAT, **self._experiment}
        sessions: list[dict[str, Any]] = []
        is_tidy = False
        if self.path.exists() and self.path.stat().st_size:
            stored = Stored(self.path)
            self._check_same(stored, strategies)
            header, sessions, is_tidy = stored.header, stored.sessions, stored.is_tidy
            self._runs = stored.runs
        if not is_tidy:
            records = [record for of_run in self._runs.values() for record in of_run]
            with replacing(self.path) as part:
                part.write_bytes(_lines([header, *sessions, *records]))
        self._file = open(self.path, "ab")

    def _check_same(
        self, stored: Stored, strategies: Mapping[str, Mapping[str, str]]
    ) -> None:
        before, now = _flat(stored.header), _flat(self._experiment)
        names = [name for name in before | now if name not in ("kind", "format")]
        different = [name for name in names if before.get(name) != now.get(name)]
        other_versions = [name for name in different if name.startswith("versions: ")]
        problems = [
            f"{name} was {before.get(name)}, now {now.get(name)}"
            for name in different
            if name not in other_versions
        ]
        described = {
            k: v for part in stored.sessions for k, v in part["strategies"].items()
        }
        for name in dict.fromkeys(name for name, _, _ in stored.runs):
            records = next(of for key, of in stored.runs.items() if key[0] == name)
            wanted = strategies.get(name)
            if wanted is not None and records[0]["settings"] != short_hash(wanted):
                problems.append(
                    f"strategy {name!r} was {described.get(name)}, now {wanted}"
                )
        if problems:
            raise ValueError(
                f"{self.path} holds another experiment: "
                + "; ".join(problems)
                + ". Go on with the same data and settings (a splitter that shuffles "
                "needs a random_state), or choose another results=."
            )
        if other_versions:
            warnings.warn(
                f"{self.path} was begun with other versions, so last digits may "
                "differ: "
                + ", ".join(
                    f"{name[10:]} {before.get(name)} → {now.get(name)}"
                    for name in other_versions
                ),
                UserWarning,
                stacklevel=5,
            )

    def finished(self, runs: Iterable[Run]) -> dict[Run, list[dict[str, Any]]]:
        """Return the records of those runs that are done; remove their states."""
        done = {run: self._runs[run.key] for run in runs if run.key in self._runs}
        for run in done:  # killed between the two, the state outlived its run
            self._remove_state(run)
        return done

    def begin_session(
        self, strategies: Mapping[str, Mapping[str, str]], seeds: Sequence[int]
    ) -> None:
        """Write the line of a session: strategies and seeds that will be added."""
        self._append(
            [
                {
                    "kind": "session",
                    "started": datetime.now(UTC).isoformat(timespec="seconds"),
                    "strategies": strategies,
                    "seeds": list(seeds),
                }
            ]
        )

    def add(self, run: Run, records: Sequence[Mapping[str, Any]]) -> None:
        """Add the rounds of a run that is done, and remove its state."""
        self._append(records)
        self._remove_state(run)

    def _remove_state(self, run: Run) -> None:
        if (folder := self.state_folder(run)).exists():
            shutil.rmtree(folder)

    def state_folder(self, run: Run) -> Path:
        """Return the folder that holds a run's state until it ends."""
        # the state of another experiment is never looked at
        own = {k: v for k, v in self._experiment.items() if k != "versions"}
        return self._folder / short_hash([*run.key, run.settings, short_hash(own)])

    def _append(self, entries: Sequence[Mapping[str, Any]]) -> None:
        assert self._file is not None
        with writing(self.path):
            # one write: another process that reads sees whole runs, or nearly always
            self._file.write(_lines(entries))
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let other processes in; remove the folder of states if none is left."""
        file, self._file = self._file, None
        try:
            # on a full disk it tries once more to write
            with writing(self.path), nullcontext() if file is None else file:
                pass
        finally:
            if set(self._folder.iterdir()) - {Path(self._lock.lock_file)}:
                self._lock.release()
            else:
                release_and_remove(self._lock)
                with suppress(OSError):  # not empty: another process has just begun
                    self._folder.rmdir()


# ----------------------------------------------------------------------------- reading


def read_frame(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Return the finished runs of a results file as the table of curves."""
    stored = Stored(Path(path))
    if not stored.runs:
        raise ValueError(f"{path} holds no finished run yet.")
    listed_names = [name for part in stored.sessions for name in part["strategies"]]
    order = list(dict.fromkeys([*listed_names, *(name for name, _, _ in stored.runs)]))
    runs = sorted(stored.runs, key=lambda key: order.index(key[0]))
    return records_frame([record for key in runs for record in stored.runs[key]])


def records_frame(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return records as the table of curves; None where nothing was measured."""
    return pd.DataFrame(
        [
            {name: record[name] for name in (*KEY, "n_labeled", *COSTS)}
            | {f"{PREFIX}{name}": value for name, value in record["scores"].items()}
            for record in records
        ]
    )


def _lines(entries: Sequence[Mapping[str, Any]]) -> bytes:
    stored = [
        entry if entry.get("kind") == _KIND else sealed(entry) for entry in entries
    ]
    lines = [json.dumps(entry, ensure_ascii=False, allow_nan=False) for entry in stored]
    return "".join(f"{line}\n" for line in lines).encode()


def _flat(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a header, those of its dicts as "dict: entry"."""
    flat: dict[str, Any] = {}
    for name, value in header.items():
        if isinstance(value, dict):
            flat |= {f"{name}: {key}": item for key, item in value.items()}
        else:
            flat[name] = value
    return flat
