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
from experiments.designs.held_out import NAME_SLOT
from experiments.designs.setting import FOLDS, Setting
from experiments.options import Options
from experiments.runs.analysis import (
    BASE,
    CLEAN,
    MAIN,
    NAME_OF_MAIN,
    Analysis,
    agree,
    find_analysis,
    in_words,
    known_analyses,
    settings_asked,
)
from experiments.runs.files import RunFile
from experiments.runs.results import Columns
from experiments.runs.run import Run
from experiments.runs.sites import columns_of, layers_of, only
from extract import HiddenStates, Prompts, UsageError


@dataclass
class Inquiry:
    """A question asked of the states of a run.

    Attributes
    ----------
    run
        Whose states.
    command, options
        What is asked for, with the settings of the analysis.
    analysis
        Its settings, and where its results are.
    """

    run: Run
    command: str
    options: Options
    analysis: Analysis

    @classmethod
    def of(
        cls, command: str, options: Options, run: Run, known: Mapping[str, Mapping[str, Any]]
    ) -> Inquiry:
        """Find the place of a question, and check what it names; nothing is written.

        ``known`` are the settings of the analyses that are there, by name.

        Raises
        ------
        UsageError
            A name that is another question's; a word or a layer that is not there.
        """
        options = with_settings_of_name(command, options, known)
        hold_out = held_out_slot(options, run.prompts)
        asked = settings_asked(command, options, hold_out)
        analysis = find_analysis(asked, options.as_name, known, default_slot(run.prompts))
        names = (name for name in BASE if name in analysis.settings)
        options = replace(options, **{name: analysis.settings[name] for name in names})
        inquiry = cls(run, command, options, analysis)
        if command == "figures" and analysis.is_new and known:
            listed = ", ".join(name or NAME_OF_MAIN for name in known)
            raise UsageError(
                f"{run.folder} holds no analysis with these settings, but {listed}: name one with "
                "--as"
            )
        if run.has_states or run.plan is not None:
            _ = inquiry.columns  # a word that is not there
            _ = inquiry.layers
        return inquiry

    def say_where(self, known: Mapping[str, Mapping[str, Any]]) -> None:
        """Say where the results go, if that is neither ``results/`` nor known to the user."""
        analysis = self.analysis
        if not analysis.is_new or analysis.name == MAIN or self.options.as_name is not None:
            return
        self.run.screen.note(
            f"{self.run.folder}: {in_words(analysis.settings, known[MAIN]) or analysis.name} – "
            f"another question of the same states: its results go to {analysis.results}"
        )

    def register(self) -> None:
        """Note the analysis in the manifest, before anything of it is written.

        Another process may have taken the name for another question in the meantime; this one then
        gets another name.
        """
        folder = self.run.folder
        with folder.alone():
            known = known_analyses(folder.manifest, default_slot(self.run.prompts))
            analysis = find_analysis(
                settings_asked(self.command, self.options, self.hold_out),
                self.options.as_name,
                known,
                default_slot(self.run.prompts),
            )
            if analysis.name != self.analysis.name:
                self.analysis = analysis
                self.say_where(known)
            if analysis.is_new:
                folder.files.refuse_foreign([analysis.results, analysis.figures])
            self.analysis = replace(analysis, is_new=False)
            if analysis.is_new or analysis.settings != known[analysis.name]:
                self._note_settings(analysis.settings)

    def _note_settings(self, settings: Mapping[str, Any]) -> None:
        folder, name = self.run.folder, self.analysis.name
        if name == MAIN:
            folder.note(main=dict(settings))
        elif name != CLEAN:  # which earlier versions kept without a note
            own = self.others.get(name, {}) | {"settings": dict(settings)}
            folder.note(analyses=self.others | {name: own})

    @property
    def others(self) -> dict[str, Any]:
        """What the manifest notes of analyses in folders of their own."""
        noted: dict[str, Any] = (self.run.manifest or {}).get("analyses", {})
        return noted

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the manifest notes of the analysis."""
        found: Mapping[str, Any] = self.others.get(self.analysis.name, self.run.manifest or {})
        return found

    def note(self, **facts: Any) -> None:
        """Note facts of the analysis in the manifest."""
        name = self.analysis.name
        if name in self.others:
            facts = {"analyses": self.others | {name: self.others[name] | facts}}
        self.run.folder.note(**facts)

    def note_settings(self, **settings: Any) -> None:
        """Note settings that are known once they have been used."""
        whole = self.analysis.settings | settings
        if whole != self.analysis.settings:
            self.analysis = replace(self.analysis, settings=whole)
            self._note_settings(whole)

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
        groups = {"labels": _numbered(self.run.prompts.labels)}
        if self.hold_out is not None:
            groups["slot"] = _numbered(np.array(self.run.prompts.slots[self.hold_out]))
        return {name: of for name, of in groups.items() if of.max() >= FOLDS - 1}

    @property
    def experiments(self) -> dict[str, Experiment]:
        """All experiments of the protocol asked for, by name."""
        return experiments_of(self.held_out, self.hold_out)

    @property
    def identity(self) -> dict[str, Any]:
        """What the results depend on."""
        options = self.options
        asked: dict[str, str | int] = {
            "manifold": options.manifold,
            "source": options.source,
            "destination": options.destination,
            "distractor": options.distractor,
            "protocol": options.protocol,
        }
        # Results of before these could be asked for are those of their defaults.
        more = {"only_layers": options.only_layers, "analysis_seed": options.analysis_seed}
        asked |= {name: value for name, value in more.items() if value is not None}
        return {"states": self.run.identity, "experiments": asked}

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
            self.run.memory_budget,
            self.options.protocol,
            _numbered(np.array(self.run.prompts.texts)),
            self.held_out,
            self.hold_out,
            self.options.analysis_seed,
        )


def held_out_slot(options: Options, prompts: Prompts) -> str | None:
    """Slot whose values the clean protocol holds out."""
    if options.protocol != "clean":
        return None
    return options.hold_out or default_slot(prompts)


def with_settings_of_name(
    command: str, options: Options, known: Mapping[str, Mapping[str, Any]]
) -> Options:
    """The options with the settings of the analysis that ``--as`` names, if it is there.

    Raises
    ------
    UsageError
        Others were given.
    """
    name = options.as_name
    settings = known.get(MAIN if name == NAME_OF_MAIN else name or "\0")
    if settings is None:
        return options
    given = {key: getattr(options, key) for key in settings if key in options.given}
    if isinstance(given.get("manifolds"), tuple):
        given["manifolds"] = list(given["manifolds"])
    if not agree(settings, given):
        raise UsageError(
            f"the analysis {name} has {in_words(settings, given)}: choose another --as, or remove "
            "it first (gpu-smds remove)"
        )
    brought = {key: value for key, value in settings.items() if key != "permutations"}
    if isinstance(brought.get("manifolds"), list):
        brought["manifolds"] = tuple(brought["manifolds"])
    return replace(options, **brought)


def default_slot(prompts: Prompts) -> str | None:
    """Slot whose values are held out where none is named."""
    return NAME_SLOT if NAME_SLOT in prompts.slots else None


def _numbered(values: np.ndarray) -> np.ndarray:
    """Numbers ``(n,)`` that equal values, or rows of values, share."""
    return np.unique(values, axis=0, return_inverse=True)[1].reshape(-1)
