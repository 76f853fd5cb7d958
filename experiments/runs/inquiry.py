"""One question that is asked of a run's states, with the place of its results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from experiments.designs import experiments_of
from experiments.designs.experiment import Experiment
from experiments.designs.setting import FOLDS, Setting, numbered
from experiments.options import DECLARED, Options, period_of
from experiments.runs.analysis import (
    CLEAN,
    CORE,
    LATER,
    MAIN,
    Analysis,
    find_analysis,
    in_words,
    noted_of,
    settings_asked,
    shown_name,
)
from experiments.runs.files import RunFile
from experiments.runs.periods import told_apart
from experiments.runs.questions import default_slot, held_out_slot, known_in
from experiments.runs.results import Columns
from experiments.runs.run import Run
from experiments.runs.sites import columns_of, layers_of, only
from experiments.runs.source import slots_beside
from extract import HiddenStates, UsageError

#: Options that were always a part of what tells results apart.
_ALWAYS = ("source", "destination", "distractor", "manifold")


@dataclass
class Inquiry:
    """A question asked of the states of a run.

    Attributes
    ----------
    run
        Whose states.
    command, asked
        What is asked for.
    options
        The same with the settings of the analysis.
    analysis
        Its settings, and where its results are.
    number
        Which of the questions of this call it is.
    """

    run: Run
    command: str
    asked: Options
    options: Options
    analysis: Analysis
    number: int = 0

    @classmethod
    def of(
        cls,
        command: str,
        asked: Options,
        run: Run,
        known: Mapping[str, Mapping[str, Any]],
        number: int = 0,
    ) -> Inquiry:
        """Find the place of a question, and check what it names; nothing is written.

        ``known`` are the settings of the analyses that are there, by name.

        Raises
        ------
        UsageError
            A name that is another question's; a word or a layer that is not there.
        """
        slot = default_slot(run.prompts)
        settings = settings_asked(command, asked, held_out_slot(asked, run.prompts))
        analysis = find_analysis(settings, asked.as_name, known, slot)
        if command == "figures" and analysis.is_new:
            raise UsageError(_none_of(run, asked, known))
        options = _with_settings(command, asked, analysis.settings)
        inquiry = cls(run, command, asked, options, analysis, number)
        _ = inquiry.columns, inquiry.layers  # a word or a layer that is not there
        return inquiry

    def say_where(self, known: Mapping[str, Mapping[str, Any]]) -> None:
        """Say where the results go, if that is neither ``results/`` nor known to the user."""
        analysis, asked = self.analysis, self.asked
        if not analysis.is_new or analysis.name == MAIN or asked.as_name is not None:
            return
        settings = settings_asked(self.command, asked, held_out_slot(asked, self.run.prompts))
        self.run.screen.note(
            f"{self.run.folder}: {in_words(settings, known[MAIN]) or analysis.name} – another "
            f"question of the same states: its results go to {analysis.results}"
        )

    def placed(self) -> Inquiry:
        """The inquiry at the place that is its own now; the manifest must be held.

        Another process may have taken the name for another question in the meantime, or have asked
        the same one first.
        """
        known = known_in(self.run)
        again = Inquiry.of(self.command, self.asked, self.run, known, self.number)
        if again.analysis.name != self.analysis.name:
            again.say_where(known)
        if again.analysis.is_new:
            places = [again.analysis.results, again.analysis.figures]
            self.run.folder.files.refuse_foreign(places)
        return again

    def register(self) -> None:
        """Note the analysis in the manifest, before anything of it is written."""
        is_new, budget = self.analysis.is_new, self.memory_budget
        self.analysis = replace(self.analysis, is_new=False)
        self._note_settings(self.analysis.settings)
        more = {"memory_budget": budget} if is_new or self.options.memory_budget else {}
        self.note(doing=self.command, **more)

    def done(self) -> None:
        """Note that nothing of it is under way."""
        self.note(doing=None)

    def note(self, **facts: Any) -> None:
        """Note facts of the analysis in the manifest."""
        folder, name = self.run.folder, self.analysis.name
        if name == MAIN:
            folder.note(**facts)
        elif name == CLEAN:
            folder.note(clean=dict(self.facts) | facts)
        else:
            folder.note(analyses=self._others | {name: dict(self.facts) | facts})

    def note_settings(self, **settings: Any) -> None:
        """Note settings once what they are of is computed."""
        whole = self.analysis.settings | settings
        self.analysis = replace(self.analysis, settings=whole)
        self._note_settings(whole)

    def _note_settings(self, settings: Mapping[str, Any]) -> None:
        # What is noted and left out of the settings, that no test was asked for, stays.
        if self.analysis.name == MAIN:
            self.note(main={**(self.facts.get("main") or {}), **settings})
        elif self.analysis.name != CLEAN:  # which earlier versions kept without a note
            self.note(settings={**self.facts.get("settings", {}), **settings})

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the manifest notes of the analysis."""
        return noted_of(self.run.manifest or {}, self.analysis.name)

    @property
    def _others(self) -> dict[str, Any]:
        noted: dict[str, Any] = (self.run.manifest or {}).get("analyses", {})
        return noted

    @property
    def results(self) -> Path:
        """Where the results are, for people."""
        return self.run.folder.path / self.analysis.results

    def result(self, name: str) -> RunFile:
        """A file of the results, such as ``reuse.csv``."""
        return self.run.folder.file(f"{self.analysis.results}{name}")

    def figure(self, name: str) -> RunFile:
        """A figure, such as ``reuse.png``."""
        return self.run.folder.file(f"{self.analysis.figures}{name}")

    @property
    def hold_out(self) -> str | None:
        """Slot whose values the clean protocol holds out."""
        return held_out_slot(self.options, self.run.prompts)

    @cached_property
    def held_out(self) -> dict[str, np.ndarray]:
        """What further experiments of the clean protocol hold out, by number."""
        if self.options.protocol != "clean":
            return {}
        groups = {"labels": numbered(told_apart(self.options, self.run.prompts.labels))}
        if self.hold_out is not None:
            groups["slot"] = numbered(np.array(self.run.prompts.slots[self.hold_out]))
        return {name: of for name, of in groups.items() if of.max() >= FOLDS - 1}

    @property
    def experiments(self) -> dict[str, Experiment]:
        """All experiments of the protocol asked for, by name."""
        return experiments_of(self.held_out, self.hold_out)

    @property
    def identity(self) -> dict[str, Any]:
        """What the results depend on."""
        # Results of before an option could be given are those of its default.
        asked = {"protocol": self.options.protocol} | {
            name: value
            for name, value in self._deciding.items()
            if name in _ALWAYS or value != getattr(Options, name)
        }
        return {"states": self.run.identity, "experiments": asked}

    @property
    def _deciding(self) -> dict[str, Any]:
        """The options on which results depend."""
        return {name: getattr(self.options, name) for name in CORE}

    @cached_property
    def identity_hash(self) -> str:
        """The identity in one word."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()

    def identity_of(self, experiment: Experiment) -> str:
        """What the results of an experiment depend on, in one word."""
        if experiment.holds_out == "slot":
            return hashlib.sha256(f"{self.identity_hash} {self.hold_out}".encode()).hexdigest()
        return self.identity_hash

    @property
    def memory_budget(self) -> int | None:
        """Bytes for the experiments; see :meth:`Run.budget`."""
        of_folder = (self.run.manifest or {}).get("memory_budget")
        return self.run.budget(self.facts.get("memory_budget", of_folder))

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers of the analysis; raises UsageError where one of them was not kept."""
        return layers_of(self.run, self.options.only_layers)

    @property
    def columns(self) -> Columns:
        """Names of the positions and the landmarks; raises UsageError for an unknown word."""
        return columns_of(self.run, self.options)

    def setting(self, states: HiddenStates) -> Setting:
        """What the experiments work on."""
        assert self.run.manifest is not None
        part = states if self.options.only_layers is None else only(states, self.layers)
        n_states = int(self.run.manifest["n_states"])
        return self.setting_of(part, part.layers, n_states, self.columns.landmarks["source"])

    def setting_of(
        self, states: Any, layers: tuple[int, ...], n_states: int, source: int
    ) -> Setting:
        """The setting of states that are not those of the run, such as a sample."""
        return Setting(
            states,
            self.run.prompts.labels,
            layers,
            n_states,
            source,
            self.options.manifold,
            self.run.device,
            self.memory_budget,
            self.options.protocol,
            numbered(np.array(self.run.prompts.texts)),
            self.held_out,
            self.hold_out,
            self.options.analysis_seed,
            self._deciding,
            self._beside,
            None if self.options.period is None else period_of(self.options.period),
        )

    @property
    def _beside(self) -> dict[str, np.ndarray] | None:
        """Numbers of the values of slots that do not hold the label; None for the study's own."""
        if not self.options.own_sentences:
            return None
        slots = slots_beside(self.options.source, self.run.prompts)
        return {slot: numbered(np.array(self.run.prompts.slots[slot])) for slot in slots}


def _none_of(run: Run, asked: Options, known: Mapping[str, Any]) -> str:
    """Why there is nothing to draw."""
    if not known:
        return f"{run.folder} holds no results yet: start with gpu-smds all"
    listed = ", ".join(map(shown_name, known))
    if asked.as_name is not None:
        return f"{run.folder} holds no analysis {asked.as_name}, but {listed}"
    return f"{run.folder} holds no analysis with these settings, but {listed}: name one with --as"


def _with_settings(command: str, asked: Options, settings: Mapping[str, Any]) -> Options:
    """The options with the settings of an analysis, as far as they have an effect on a command."""
    brought = {name: settings[name] for name in (*CORE, "hold_out") if name in settings}
    if command in DECLARED["protocol"].commands and "protocol" in settings:
        brought["protocol"] = settings["protocol"]
    for name in LATER[1:]:  # in the order in which they were named first
        if name in settings and command in ("discover", "figures"):
            value = settings[name]
            brought[name] = tuple(value) if isinstance(value, list) else value
    return replace(asked, **brought)
