"""Runs ``gpu-smds`` in children of one warm process, which can be killed at any moment.

Libraries are imported once; every run is a process of its own that begins there. Nothing has been
computed before the fork, so that no thread is lost in it.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

_SERVER = """
import gc, json, os, signal, sys, time
import experiments.commands, extract.capture, gpu_smds.sites.checkpoint
import matplotlib.pyplot, transformers
from transformers import AutoModel, AutoTokenizer, GPT2Model, LlamaModel
import {drawing}
from experiments.cli import main

# Every block is kept, and not those of a second.
gpu_smds.sites.checkpoint._EVERY = 0

# Children do not look through, and so copy, what is there now.
gc.collect()
gc.freeze()

for line in sys.stdin:
    arguments, folder, printed, seconds, watched, after = json.loads(line)
    clock = None if after else time.monotonic()
    started, seen = time.monotonic(), [None] * len(watched)
    child = os.fork()
    if not child:
        os.chdir(folder)
        output = os.open(printed, os.O_WRONLY | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.argv = ["gpu-smds", *arguments]
        main()
        os._exit(0)
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            break
        elapsed = time.monotonic() - started
        for i, path in enumerate(watched):
            if seen[i] is None and os.path.exists(path):
                seen[i] = elapsed
        if clock is None and os.path.exists(after):
            clock = time.monotonic()
        if seconds is not None and clock is not None and time.monotonic() - clock >= seconds:
            os.kill(child, signal.SIGKILL)
            seconds = None
        time.sleep(0.002)
    print(json.dumps([os.waitstatus_to_exitcode(status), seen]), flush=True)
"""
#: What stands for drawing: nothing, one small picture for every figure, or the figures.
DRAWING = {"none": "warm_no_figures", "small": "warm_small_figures", "whole": "json"}


class Server:
    """Runs ``gpu-smds`` in a process that can be killed."""

    def __init__(self, drawing: str = "none"):
        here = Path(__file__).parent
        self._printed = tempfile.NamedTemporaryFile("r")  # noqa: SIM115  closed by close()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SERVER.replace("{drawing}", DRAWING[drawing])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"COLUMNS": "200", "PYTHONPATH": f"{here}{os.pathsep}{here.parent}"},
        )

    def run(self, arguments, watched=(), seconds=None, after="", folder="."):
        """Exit code, and after how many seconds each of some files was there.

        The process is killed so many seconds after its start, or after a file is there.
        """
        arguments, watched = [str(part) for part in arguments], [str(path) for path in watched]
        line = [arguments, str(folder), self._printed.name, seconds, watched, str(after)]
        print(json.dumps(line), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    @property
    def output(self):
        """What the last run printed."""
        return Path(self._printed.name).read_text(errors="replace")

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self._printed.close()
