"""All that a GPU is wanted for, in one command with a limit of time: for a machine that is lent for minutes.

    make gpu DATA=DIR RUN=RUN OUT=OUT [MINUTES=9] [RESUME=FOLDER] [STEPS=find] [FIND="--seed 1"]
    python benchmarks/gpu.py --minutes 9 --data DIR --run RUN --out OUT [--resume FOLDER] [-- --seed 1]

It runs the tests that need a GPU and the epoch benchmark, each for a third of the time at most, and for the
time that is left a slice of `find --preset paper`; options after `--` are find's own. OUT is all that has to
be kept, at most 8 files of at most 16 MiB: report.json (what was run and what was not), log.txt, epoch.json
and the packed run. They are written as it goes: a kill leaves what was done so far. With --resume, the
search goes on from the files of an earlier call, on the same kind of machine with the same bits.

Nothing is installed: it runs with the Python it is started with, and says which package a step lacks.
Exit codes: 0 all done, or the search stopped when its time was up; 1 something failed or was not run.
"""

from __future__ import annotations

import argparse
import configparser
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from packed_run import pack, unpack  # noqa: E402

from ticket_sig.errors import InputError, bad_input  # noqa: E402
from ticket_sig.files import clear_partials, read_json, write_json  # noqa: E402

STEPS = ("tests", "epoch", "find")
SHARE = 1 / 3  # of the whole time: what the tests and the benchmark may take each
_LISTEN = 0.2  # seconds until a signal is heard
DONE, FAILED, STOPPED, RUNNING, NOT_RUN = "done", "failed", "stopped", "running", "not run"
_DEVICE = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else 'none')"
_FIND = "from ticket_sig.cli.app import main; main()"


@dataclass(frozen=True)
class Sizes:
    """How much is done: what a GPU is wanted for, or a rehearsal that takes a CPU seconds."""

    epoch: tuple[str, ...]
    find: tuple[str, ...]
    pack_seconds: float
    needs_gpu: bool


PAPER = Sizes(
    # The compiler comes last: what it may break is measured by then.
    epoch=("--runs", "5", "--modes", "eager", "captured", "compiled"),
    find=("--preset", "paper", "--arch", "resnet20", "--dataset", "cifar10", "--checkpoint-every", "10"),
    pack_seconds=30.0,
    needs_gpu=True,
)
SMALL = Sizes(
    epoch=("--runs", "2", "--modes", "eager", "captured", "--images", "128"),
    find=("--preset", "demo", "--epochs", "1", "--rounds", "2", "--checkpoint-every", "0"),
    pack_seconds=0.2,
    needs_gpu=False,
)


@dataclass(frozen=True)
class Outcome:
    """What became of a step, and what there is to say of it."""

    status: str
    detail: str
    facts: dict[str, Any] = field(default_factory=dict)


class Report:
    """OUT/report.json and OUT/log.txt: on disk at any moment, what was run and what was not."""

    def __init__(self, out: Path, minutes: float, steps: Sequence[str]) -> None:
        out.mkdir(parents=True, exist_ok=True)
        clear_partials(out)
        self.log, self._path = out / "log.txt", out / "report.json"
        started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._value: dict[str, Any] = {"started": started, "minutes": minutes, "steps": {}}
        for name in steps:
            self.step(name, Outcome(NOT_RUN, "not reached"))

    def say(self, line: str) -> None:
        """Prints a line, and keeps it in the log."""
        print(line, flush=True)
        with self.log.open("a", encoding="utf-8") as log:
            log.write(line + "\n")

    def keep(self, **facts: Any) -> None:
        """Keeps what is known of the machine."""
        self._value |= facts
        write_json(self._path, self._value)

    def step(self, name: str, outcome: Outcome) -> None:
        """Keeps what became of a step."""
        said = {"status": outcome.status, "detail": outcome.detail, **outcome.facts}
        self._value["steps"][name] = said
        self.keep()


class Lease:
    """The time there is, and the one process that runs in it."""

    def __init__(self, minutes: float, report: Report) -> None:
        self.seconds, self.report = 60 * minutes, report
        # What it takes to stop a search and to pack it.
        self.reserve = min(20.0, self.seconds / 10)
        self.end = time.monotonic() + self.seconds - self.reserve

    def run(
        self,
        command: Sequence[object],
        share: float = 1.0,
        *,
        every: float = 60.0,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> tuple[int | None, str]:
        """Runs Python with these arguments, for this share of the whole time and what is left at most.

        Returns:
            Its exit code, None where its time was up; and what it said.
        """
        until = min(self.end, time.monotonic() + share * self.seconds)
        paths = (str(ROOT), os.environ.get("PYTHONPATH"))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        with self.report.log.open("ab") as log:
            begin = log.tell()
            process = subprocess.Popen(
                [sys.executable, "-u", *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        next_time = time.monotonic() + every
        try:
            while process.poll() is None and (left := min(until, self.end) - time.monotonic()) > 0:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(min(_LISTEN, left))
                if time.monotonic() >= next_time:
                    meanwhile()
                    next_time = time.monotonic() + every
            code = process.poll()
        finally:
            self._stop(process)
        return code, self.report.log.read_bytes()[begin:].decode(errors="replace")

    def end_now(self, *_: object) -> None:
        """Ends the time now, as a signal asks. A handler that raised could be lost, in a destructor say."""
        self.end = time.monotonic()

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        """Asks first. Files are written whole: a kill costs only what was done since the last checkpoint."""
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(self.reserve / 2)
            process.kill()
            process.wait()


def run_tests(lease: Lease) -> Outcome:
    """The tests with the marker `gpu`; to collect other files would only cost time, and need packages."""
    every = sorted((ROOT / "tests").rglob("test_*.py"))
    files = [path for path in every if "mark.gpu" in path.read_text(encoding="utf-8")]
    options = ("-m", "gpu", "--continue-on-collection-errors", "-p", "no:cacheprovider")
    code, said = lease.run(["-m", "pytest", *options, *files], SHARE)
    if code is None:
        return Outcome(STOPPED, "its time was up")
    summary, reason = _last_line(said), _reason(said)
    if code:
        return Outcome(FAILED, summary if reason == summary else f"{reason}; {summary}")
    return Outcome(DONE if "passed" in summary else NOT_RUN, summary)


def run_epoch(lease: Lease, sizes: Sizes, out: Path) -> Outcome:
    """The epoch benchmark; all its numbers are in OUT/epoch.json."""
    numbers = out / "epoch.json"
    numbers.unlink(missing_ok=True)
    code, said = lease.run([ROOT / "benchmarks/gpu_epoch.py", "--json", numbers, *sizes.epoch], SHARE)
    modes = read_json(numbers)["modes"] if numbers.exists() else {}
    medians = {m: round(f["seconds"], 4) if "seconds" in f else f["not run"] for m, f in modes.items()}
    facts = {"seconds": medians}
    if code is None:
        return Outcome(STOPPED, "its time was up", facts)
    if code:
        return Outcome(FAILED, _reason(said), facts)
    return Outcome(DONE, f"median seconds an epoch: {medians}", facts)


def run_find(lease: Lease, sizes: Sizes, options: argparse.Namespace) -> Outcome:
    """A slice of the search, packed as it goes."""
    run: Path = options.run
    data = ("--data", options.data) if options.data else ()

    def keep(status: str = RUNNING, detail: str = "") -> Outcome:
        try:
            packed = pack(run, options.out)
        except InputError as error:
            packed = f"not packed: {error}"
        results = (read_json(path) for path in sorted(run.glob("levels/*/result.json")))
        levels = [{k: v for k, v in result.items() if k != "made_with"} for result in results]
        outcome = Outcome(status, f"{detail}{packed}", {"levels": levels})
        lease.report.step("find", outcome)
        return outcome

    command = ["-c", _FIND, "find", *sizes.find, *data, "--out", run, *options.find]
    code, said = lease.run(command, every=sizes.pack_seconds, meanwhile=keep)
    if code is None:
        return keep(STOPPED, f"its time was up, it goes on with --resume {options.out}; ")
    return keep(FAILED, f"{_reason(said)}; ") if code else keep(DONE, "finished; ")


def _last_line(said: str) -> str:
    return next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "nothing was said")


def _reason(said: str) -> str:
    """Why a process failed, in one line: the packages it lacks, or what it said last."""
    lacking = sorted(set(re.findall(r"No module named '?([\w.]+)", said)))
    return f"not installed: {', '.join(lacking)}" if lacking else _last_line(said)


def packages() -> dict[str, str | None]:
    """The versions of all that setup.cfg requires, and of what tests and data need; None: not installed."""
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg")
    names = re.findall(r"^[\w-]+", setup["options"]["install_requires"], re.MULTILINE)
    found: dict[str, str | None] = dict.fromkeys([*names, "pyarrow", "pytest", "hypothesis"])
    for name in found:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def look_around(lease: Lease, needs_gpu: bool) -> str:
    """Keeps and says what the machine is; returns why nothing can run on it, or nothing."""
    report, found = lease.report, packages()
    code, said = lease.run(["-c", _DEVICE], SHARE)
    gpu = _last_line(said) if code == 0 else _reason(said)
    report.keep(gpu=gpu, python=sys.version.split()[0], packages=found)
    report.say(f"GPU: {gpu}; Python {sys.version.split()[0]}")
    if lacking := [name for name, installed in found.items() if installed is None]:
        report.say(f"not installed: {', '.join(lacking)}; what needs them is not run")
    return f"no GPU: {gpu}" if code or (needs_gpu and gpu == "none") else ""


def prepare(options: argparse.Namespace) -> str:
    """Looks for the data and unpacks the run; returns why the search cannot begin, or nothing."""
    try:
        if options.data and not options.data.is_dir():
            raise bad_input(options.data, "data folder", "one that is there", "none")
        if options.resume:
            unpack(options.resume, options.run)
    except (InputError, OSError) as error:
        return str(error)
    return ""


def arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=9.0, help="the limit of time of the whole call")
    parser.add_argument("--data", type=Path, help="folder of the data set")
    parser.add_argument("--run", type=Path, required=True, help="run folder of the search")
    parser.add_argument("--out", type=Path, required=True, help="folder of all that has to be kept")
    parser.add_argument("--resume", type=Path, help="folder with the packed run of an earlier call")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--small", action="store_true", help="a rehearsal: seconds on a CPU; for tests")
    parser.add_argument("find", nargs="*", metavar="-- FIND OPTIONS", help="more options of find")
    return parser.parse_args()


def main() -> None:
    """Runs the steps, one after the other; one that fails does not stop the next."""
    options = arguments()
    sizes = SMALL if options.small else PAPER
    report = Report(options.out, options.minutes, options.steps)
    lease = Lease(options.minutes, report)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lease.end_now)
    steps: dict[str, Callable[[], Outcome]] = {
        "tests": lambda: run_tests(lease),
        "epoch": lambda: run_epoch(lease, sizes, options.out),
        "find": lambda: run_find(lease, sizes, options),
    }
    obstacle = look_around(lease, sizes.needs_gpu)
    obstacles = dict.fromkeys(STEPS, obstacle)
    if "find" in options.steps and not obstacle:
        obstacles["find"] = prepare(options)
    good = True
    for name in options.steps:
        outcome = attempt(name, steps[name], obstacles[name], lease)
        report.step(name, outcome)
        report.say(f"{name}: {outcome.status}: {outcome.detail}")
        good = good and (outcome.status == DONE or (name == "find" and outcome.status == STOPPED))
    sys.exit(0 if good else 1)


def attempt(name: str, step: Callable[[], Outcome], obstacle: str, lease: Lease) -> Outcome:
    """Runs a step, if nothing stands in its way and there is time."""
    if obstacle or time.monotonic() >= lease.end:
        return Outcome(NOT_RUN, obstacle or "no time was left")
    lease.report.step(name, Outcome(RUNNING, ""))
    try:
        return step()
    except (InputError, OSError) as error:
        return Outcome(FAILED, str(error))


if __name__ == "__main__":
    main()
