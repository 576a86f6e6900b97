"""Records the run that the Ask page shows before anything is asked: `python docs/record_example.py`."""

import gzip
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from core import load_pair  # noqa: E402
from core.generate.worker import Worker  # noqa: E402
from core.pair.prompts import Message  # noqa: E402
from core.present.hybrids import Hybrid  # noqa: E402
from core.present.live import start  # noqa: E402
from core.present.report import to_json  # noqa: E402
from core.present.runs import RunSettings  # noqa: E402

QUESTION = "What are the complications of type 2 diabetes and how can they be prevented?"


def main() -> None:
    """Runs the demo pair and writes `assets/recorded/example.json.gz`."""
    worker = Worker(load_pair("demo"))
    settings = RunSettings(hybrids=(Hybrid(layers="20-29"),), max_new_tokens=90)
    run = start(worker, (Message(role="user", content=QUESTION),), settings, "")
    run.request.wait()
    target = ROOT / "assets" / "recorded" / "example.json.gz"
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(gzip.compress(to_json(run.report()).encode(), mtime=0))
    for lane in run.report().lanes:
        print(f"{lane.answer.name}: {lane.answer.text}\n")


if __name__ == "__main__":
    main()
