"""Many random commands in one home, some of them killed: nothing that is not ours may change."""

import random
import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from hostile.home import harm, make_home, random_command, snapshot
from tiny_models import save_tiny
from warm import Server


@dataclass
class Outcome:
    """How many commands ended how, and what they did that they must not do."""

    codes: Counter = field(default_factory=Counter)
    harm: list[str] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)
    runs: int = 0


def random_commands(folder: Path, count: int, seed: int, report=lambda done: None) -> Outcome:
    """Give ``count`` random commands, about a third of which are killed at a random moment."""
    draw = random.Random(seed)
    models = [save_tiny(folder / "models" / "one"), save_tiny(folder / "models" / "two", "llama")]
    # Several models with "--out .." make their folders here, as they are told to.
    above = folder / "above"
    home = above / "home"
    make_home(home)
    (above / "mine.txt").write_text("mine")
    before, found = snapshot(home), Outcome()
    server = Server("small")
    try:
        for number in range(count):
            arguments, where = random_command(draw, models)
            place = home / where
            if not place.is_dir():
                place = home
            seconds = draw.uniform(0, 1.5) if draw.random() < 0.35 else None
            code, _ = server.run(arguments, folder=place, seconds=seconds)
            found.codes["killed" if code == -signal.SIGKILL else code] += 1
            said = f"{' '.join(map(repr, arguments))} in {where}"
            found.harm += [f"{what}: {said}" for what in harm(before, snapshot(home))]
            strange = {p.name for p in above.iterdir()} - {"home", "mine.txt", "one", "two"}
            strange = {name for name in strange if not name.startswith("comparison")}
            found.harm += [f"{name} appeared above: {said}" for name in sorted(strange)]
            if {p.name for p in folder.iterdir()} != {"above", "models"}:
                found.harm.append(f"something appeared two folders above: {said}")
            if (above / "mine.txt").read_text() != "mine":
                found.harm.append(f"the file above was changed: {said}")
            if "Traceback" in server.output or "run again with --debug" in server.output:
                found.tracebacks.append(f"{said}: {server.output[-600:]}")
            if found.harm or code not in (0, 1, 2, -signal.SIGKILL):
                found.harm += [] if found.harm else [f"ended with {code}: {said}"]
                break
            report(number + 1)
    finally:
        server.close()
    found.runs = len(list(home.rglob("manifest.json"))) - 1
    return found
