"""What a start costs: processor time of `danmax --help` and of imports, beside that of click and rich."""

import os
import resource
import statistics
import subprocess
import sys

ROUNDS = 9
CASES = {
    "python -c pass": "pass",
    "import click, rich": "import click, rich",
    "import danmax_bluesky": "import danmax_bluesky",
    "danmax --help": "import sys; sys.argv = ['danmax', '--help']; from danmax_bluesky.cli import main; main()",
    "danmax settings": "import sys; sys.argv = ['danmax', 'settings']; from danmax_bluesky.cli import main; main()",
    "from danmax_bluesky import open_scan": "from danmax_bluesky import open_scan",
    "from danmax_bluesky import make_session": "from danmax_bluesky import make_session",
}


def processor_s(code: str) -> float:
    """User and system time of a process of its own that runs the code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(ROUNDS):  # interleaved, so that the machine's mood meets all of them
        for name, code in CASES.items():
            times[name].append(processor_s(code))
    base = statistics.median(times["import click, rich"])
    print(f"load {os.getloadavg()[0]:.1f}, {ROUNDS} interleaved rounds, processor time")
    print(f"{'start':42} {'median / s':>10} {'lowest / s':>10} {'of click, rich':>15}")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:42} {median:10.3f} {min(values):10.3f} {median / base:15.2f}")


if __name__ == "__main__":
    main()
