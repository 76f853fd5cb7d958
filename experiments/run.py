"""One model's run: sentences, states, experiments, figures, in one folder."""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments import protocol
from experiments.analysis import (
    MAIN,
    NAME_OF_MAIN,
    SETTINGS,
    Analysis,
    find_analysis,
    in_words,
    known_analyses,
    main_settings,
    named_settings,
    settings_of,
)
from experiments.console import Screen
from experiments.folder import RunFile, RunFolder
from experiments.manifest import check_states, versions
from experiments.options import Options
from experiments.plan import Plan, check_counts, check_samples, duration
from experiments.protocol import Setting
from experiments.results import (
    EVERY,
    EXPERIMENTS,
    Columns,
    compute_results,
    load_result,
    save_result,
)
from experiments.trial import sample_states, times
from extract import ExtractError, HiddenStates, Prompts, UsageError, read_prompts, study_prompts
from extract.alignment import first_columns, landmarks_of, slots_in_order
from extract.capture import extract_states
from extract.layer_file import dtype_named
from extract.models import QUANTIZATIONS, load_model, model_device, pinned, tokenizer_facts
from extract.reader import n_states
from extract.sources import ModelSource, hub_token, resolve_model
from extract.states import INDEX, layer_name
from gpu_smds import Checkpoint, ScoreMap, manifold_names
from gpu_smds._arguments import resolve_budget
from gpu_smds.geometry.manifold import resolve_manifold
from gpu_smds.maps.discovery import DEFAULT_MANIFOLDS

#: The study's slot of names.
NAME_SLOT = "Name"
#: Bytes of a model whose hash takes several seconds.
_LONG_TO_HASH = 4 * 10**9
#: Files of the states, beside those of the layers.
_OF_STATES = ("states/index.json", "states/progress.jsonl")


@dataclass
class Run:
    """A model, its sentences and the folder of its results.

    Attributes
    ----------
    source, prompts
        What to read and with which model.
    folder
        Where everything is kept.
    options
        What the user asked for.
    fresh
        Whether what the folder holds is of another run, and goes.
    analysis
        The question asked of the states, and where its results are.
    """

    source: ModelSource
    prompts: Prompts
    folder: RunFolder
    options: Options
    fresh: bool
    device: Any
    screen: Screen
    analysis: Analysis = field(default_factory=lambda: Analysis(MAIN, {}, True))
    _plan: Plan | None = None
    _saved: Callable[[], None] | None = None

    @classmethod
    def prepare(
        cls, command: str, model: str, options: Options, folder: RunFolder, screen: Screen
    ) -> Run:
        """Check everything that can be checked before any work; writes nothing.

        The folder has been looked at.

        Raises
        ------
        UsageError, ExtractError
            With what to do about it.
        """
        for name in (options.manifold, *(options.manifolds or ())):
            if name not in manifold_names():
                raise UsageError(
                    f"unknown manifold {name!r}: choose one of {', '.join(manifold_names())}"
                )
        device = model_device(options.device)
        source = resolve_model(model, options.revision)
        _check_inputs_outside(folder.path, options, source)
        quantize = options.quantize or source.default_quantize
        found = None if options.force_states else folder.manifest
        options = _with_settings_of_name(options, folder.manifest)
        reads = command != "figures" and not (found and found["extracted"])
        source = _pinned(source, found, screen)
        if (size := source.local_bytes) > _LONG_TO_HASH:
            screen.note(
                f"{source.name}: {size / 1e9:.0f} GB of files are hashed, unless they have been"
            )
        check_samples(source, options, quantize, device, folder.path, screen, reads)
        prompts = _prompts(options)
        if len(prompts) < protocol.MIN_SENTENCES:
            raise UsageError(
                f"{len(prompts)} sentences are too few: {protocol.FOLDS} folds need at least "
                f"{protocol.MIN_SENTENCES}, two to score in each"
            )
        if command == "discover":
            names = options.manifolds or DEFAULT_MANIFOLDS
            if not any(resolve_manifold(name).takes(prompts.labels) for name in names):
                raise UsageError(f"no manifold takes these labels, of {', '.join(names)}")
        else:
            try:
                resolve_manifold(options.manifold).check(prompts.labels)
            except ValueError as error:
                raise UsageError(f"{error}: choose another --manifold") from error
        if options.protocol == "clean":
            _check_clean(options, prompts)
        run = cls(source, prompts, folder, options, found is None, device, screen)
        if found is not None:
            check_states(folder.path, found["identity"]["states"], run.identity["states"])
            run._check_fingerprint(found)
            half_read = "states/progress.jsonl" in found["files"]
            if run.is_of_0_1_0 and half_read and command != "figures":
                screen.warn(
                    f"{folder}: the interrupted run of version 0.1.0 is begun again, since that "
                    "version could not tell whether the model had changed"
                )
                run, found = replace(run, fresh=True), None
        run.analysis = run._find_analysis(command, found)
        if found is not None and found["extracted"]:
            _ = run.columns  # a word that is not there
        if reads:
            screen.note(f"{source.name}: loading the tokenizer")
            run._plan = Plan.of(
                source,
                prompts,
                options,
                run.quantize,
                device,
                folder.path,
                run._batches_of(found),
            )
            if not options.dry_run:
                run._plan.check()
        return run

    @property
    def quantize(self) -> str:
        """Quantisation asked for, or the model's own default."""
        return self.options.quantize or self.source.default_quantize

    @property
    def memory_budget(self) -> int | None:
        """Bytes for the experiments: those of the first call, which decide on the blocks.

        Unless far less is free now.
        """
        found = self.manifest.get("memory_budget") if self.manifest else None
        budget = resolve_budget(None, self.device)
        return int(found) if found and found <= 1.5 * budget else budget

    @property
    def manifest(self) -> dict[str, Any] | None:
        """That of the folder, if it is of this run."""
        return None if self.fresh else self.folder.manifest

    @property
    def is_of_0_1_0(self) -> bool:
        """Whether the folder's states were told from others as version 0.1.0 did."""
        return self.manifest is not None and self.manifest.get("identity_of") == "0.1.0"

    def _check_fingerprint(self, found: dict[str, Any]) -> None:
        """Compare the whole model with the one that a folder of version 0.1.0 was first used with.

        Raises
        ------
        UsageError
            They differ.
        """
        noted = found.get("fingerprint")
        if self.is_of_0_1_0 and noted is not None and noted != self.source.fingerprint():
            raise UsageError(
                f"{self.folder} holds a run of another model: choose another --out, or "
                "--force-states to replace it"
            )

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What states and experiments depend on; two runs with the same one may be mixed."""
        options, source = self.options, self.source
        return {
            "states": {
                **(source.sampled_fingerprint() if self.is_of_0_1_0 else source.fingerprint()),
                "prompts": self.prompts.hash,
                "samples": len(self.prompts),
                "seed": None if options.prompts else options.seed,
                "positions": options.positions,
                "layers": options.layers,
                "quantize": self.quantize,
                "dtype": options.dtype,
                "final_norm": options.final_norm,
            },
            "experiments": {
                "manifold": options.manifold,
                "source": options.source,
                "destination": options.destination,
                "distractor": options.distractor,
                "protocol": options.protocol,
            },
        }

    def _find_analysis(self, command: str, found: dict[str, Any] | None) -> Analysis:
        options, named = self.options, self.options.as_name
        settings = settings_of(options, self.hold_out)
        main = main_settings(found or {})
        brought = named is not None and named in named_settings(found or {})
        if command == "discover" and main is not None and not brought:
            # It scores by a protocol of its own.
            settings |= {name: main[name] for name in ("protocol", "hold_out")}
        default = NAME_SLOT if NAME_SLOT in self.prompts.slots else None
        analysis = find_analysis(settings, named, found, default)
        known = [name or NAME_OF_MAIN for name in known_analyses(found or {}, default)]
        if command == "figures" and analysis.is_new and known:
            raise UsageError(
                f"{self.folder} holds no analysis with these settings, but {', '.join(known)}: "
                "name one with --as"
            )
        if analysis.is_new and analysis.name != MAIN and named is None and command != "extract":
            self.screen.note(
                f"{self.folder}: {in_words(settings, main or settings)} – another question of the "
                f"same states: its results go to {analysis.results}"
            )
        return analysis

    def register(self) -> None:
        """Note the analysis in the manifest, before anything of it is written."""
        analysis, manifest = self.analysis, self.manifest
        if not analysis.is_new or manifest is None:
            return
        self.folder.refuse_foreign([analysis.results, analysis.figures])
        if analysis.name == MAIN:
            self.folder.note(main=analysis.settings)
        else:
            others = manifest.get("analyses", {})
            own = {"settings": analysis.settings}
            self.folder.note(analyses={**others, analysis.name: own})
        self.analysis = replace(analysis, is_new=False)

    @property
    def analysis_facts(self) -> dict[str, Any]:
        """What the manifest notes of the analysis."""
        manifest = self.manifest or {}
        if self.analysis.name in manifest.get("analyses", {}):
            facts: dict[str, Any] = manifest["analyses"][self.analysis.name]
            return facts
        return manifest

    def note_analysis(self, **facts: Any) -> None:
        """Note facts of the analysis in the manifest."""
        manifest, name = self.manifest or {}, self.analysis.name
        if name in manifest.get("analyses", {}):
            facts = {"analyses": manifest["analyses"] | {name: manifest["analyses"][name] | facts}}
        self.folder.note(**facts)

    @property
    def results(self) -> Path:
        """Where the results of the analysis are, for people."""
        return self.folder.path / self.analysis.results

    def result(self, name: str) -> RunFile:
        """A file of the results of the analysis, such as ``reuse.csv``."""
        return self.folder.file(f"{self.analysis.results}{name}")

    def figure(self, name: str) -> RunFile:
        """One of its figures, such as ``reuse.png``."""
        return self.folder.file(f"{self.analysis.figures}{name}")

    @property
    def hold_out(self) -> str | None:
        """Slot whose values the clean protocol holds out."""
        if self.options.protocol != "clean":
            return None
        asked = self.options.hold_out
        return asked or (NAME_SLOT if NAME_SLOT in self.prompts.slots else None)

    @property
    def held_out(self) -> dict[str, np.ndarray]:
        """What further experiments of the clean protocol hold out, by number."""
        if self.options.protocol != "clean":
            return {}
        groups = {"unseen_labels": _numbered(self.prompts.labels)}
        if self.hold_out is not None:
            groups["unseen_names"] = _numbered(np.array(self.prompts.slots[self.hold_out]))
        return {name: of for name, of in groups.items() if of.max() >= protocol.FOLDS - 1}

    @property
    def experiment_names(self) -> list[str]:
        """All experiments of the protocol asked for."""
        return [*EXPERIMENTS, *self.held_out]

    @cached_property
    def identity_hash(self) -> str:
        """The identity in one word."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()

    def identity_of(self, experiment: str) -> str:
        """What the results of an experiment depend on, in one word."""
        if experiment == "unseen_names":
            return hashlib.sha256(f"{self.identity_hash} {self.hold_out}".encode()).hexdigest()
        return self.identity_hash

    def states(self) -> tuple[HiddenStates, Columns]:
        """Open the states of the folder, or extract them.

        Raises
        ------
        ExtractError
            Files that were altered, a full disk, a model that cannot be loaded.
        """
        if self.manifest is None or not self.manifest["extracted"]:
            return self._extract()
        states = self._open_states(self.manifest)
        if self.manifest.get("csv_as_is", False) != self.options.csv_as_is and self.options.force:
            self._write_prompts()
            self.folder.note(csv_as_is=self.options.csv_as_is)
        elif self.manifest.get("csv_as_is", False) != self.options.csv_as_is:
            self.screen.warn(
                "tables that are there stay as they are: --force makes them again, with "
                "--csv-as-is or without"
            )
        self.screen.note(f"{self.source.name}: states of {self.folder} are used again")
        if self.is_of_0_1_0 and "fingerprint" not in self.manifest:
            self.screen.note(
                f"{self.folder} is of version 0.1.0, which told models apart by the ends of their "
                "files; from now on the whole files are compared"
            )
            self.folder.note(fingerprint=self.source.fingerprint())
        if not self.folder.file("prompts.csv").is_listed():
            self._write_prompts()
        return states, self.columns

    def _open_states(self, manifest: dict[str, Any]) -> HiddenStates:
        """Open the states; raises ExtractError where they are not those of the manifest."""
        folder = self.folder.states()
        states = HiddenStates.open(folder)
        # The index tells whether the states were altered, and this whether the index was.
        noted = manifest.get("states_index")
        if noted is not None and noted != _sha256(folder.read(INDEX)):
            raise ExtractError(
                f"{folder.path / INDEX} was changed since it was written: extract again with "
                "--force-states"
            )
        n, layers, positions, _ = states.shape
        if (n, positions) != (len(self.prompts), len(manifest["positions"]["words"])):
            raise ExtractError(
                f"{folder.path} holds states of {n} sentences and {positions} positions, the run "
                f"has {len(self.prompts)} and {len(manifest['positions']['words'])}: extract again "
                "with --force-states"
            )
        if max(states.layers) >= manifest["n_states"] or len(set(states.layers)) < layers:
            raise ExtractError(
                f"{folder.path} holds layers that the model lacks: use --force-states"
            )
        return states

    def _write_prompts(self) -> None:
        self.prompts.to_csv(self.folder.file("prompts.csv"), as_is=self.options.csv_as_is)

    def experiments(
        self, names: Sequence[str], states: HiddenStates, columns: Columns
    ) -> dict[str, ScoreMap]:
        """Read the experiments' results from the folder, or compute them."""
        results: dict[str, ScoreMap] = {}
        if not self.options.force and self.manifest is not None:
            for name in names:
                kept = load_result(self.result(f"{name}.safetensors"), self.identity_of(name))
                if kept is not None:
                    results[name] = kept
                    if not self.result(f"{name}.csv").is_listed():
                        self._save(name, kept)
        missing = [name for name in names if name not in results]
        together = [name for name in missing if name in protocol.ON_ALL_SITES]
        every = [name for name in self.experiment_names if name in protocol.ON_ALL_SITES]
        if together and set(every) <= set(names) and self._partial(every).exists():
            # A pass over all of them was interrupted while their results were being written.
            together = every
        # The quick one first: it has a pass of its own, over one layer.
        for group in ([name for name in missing if name not in together], together):
            if not group:
                continue
            setting = self.setting(states, columns)
            # It stays until the results are kept, so that an interrupted pass can go on.
            checkpoint = Checkpoint(self._partial(group))
            with self.screen.progress(_title(group), "sites") as report:
                found = compute_results(
                    group, setting, columns, self.identity_hash, report, checkpoint
                )
            for name, scores in found.items():
                facts = {**scores.metadata, "identity": self.identity_of(name)}
                self._save(name, replace(scores, metadata=facts))
            checkpoint.remove()
            results |= found
        if set(names) == set(self.experiment_names):
            # Of other groups, which were interrupted and not taken up again.
            for name in EVERY:
                for key in self.folder.listed(f"{self.analysis.results}{name}", ".partial"):
                    self.folder.remove(key)
        return {name: results[name] for name in names}

    def _partial(self, group: Sequence[str]) -> RunFile:
        """What is done of some experiments' pass over the states."""
        return self.result("+".join(group) + ".partial")

    def _save(self, name: str, scores: ScoreMap) -> None:
        save_result(self.result, name, scores, csv_as_is=self.options.csv_as_is)

    def _batches_of(self, found: dict[str, Any] | None) -> list[int] | None:
        """Batches of an interrupted run, if they are what is asked for now."""
        options = self.options
        asked = [options.batch_size, options.batch_tokens]
        if found is None or found.get("batches_asked") != asked:
            return None
        return list(found["batches"]) if found.get("device") == str(self.device) else None

    @property
    def columns(self) -> Columns:
        """Names of the positions, and the landmarks of the analysis.

        Raises
        ------
        UsageError
            A word for a landmark that no position has.
        """
        assert self.manifest is not None
        facts, options = self.manifest["positions"], self.options
        asked = {"source": options.source, "destination": options.destination}
        asked |= {"distractor": options.distractor}
        noted = self.manifest["identity"]["experiments"]
        landmarks = dict(facts["landmarks"])
        if any(noted.get(role) != word for role, word in asked.items()):
            first = facts.get("first")
            if first is None and facts.get("mode") == "raw":
                raise UsageError(
                    f"{self.folder} is of an earlier version, which did not note the words of raw "
                    "positions: other ones can be asked for after --force-states"
                )
            first = first or first_columns(facts["words"])
            landmarks = landmarks_of(first, slots_in_order(self.prompts), **asked)
        return replace(columns_of(self.manifest), landmarks=landmarks)

    def setting(self, states: HiddenStates, columns: Columns) -> Setting:
        """What the experiments work on."""
        assert self.manifest is not None
        n_states = int(self.manifest["n_states"])
        return self._setting(states, states.layers, n_states, columns.landmarks["source"])

    def _setting(self, states: Any, layers: tuple[int, ...], n_states: int, source: int) -> Setting:
        return Setting(
            states,
            self.prompts.labels,
            layers,
            n_states,
            source,
            self.options.manifold,
            self.device,
            self.memory_budget,
            self.options.protocol,
            _numbered(np.array(self.prompts.texts)),
            self.held_out,
            self.hold_out,
        )

    @property
    def shape(self) -> tuple[int, int, int, int] | None:
        """``(n, layers, positions, d)`` of the states; None where nothing says it."""
        if self._plan is not None:
            return self._plan.shape
        if self.manifest is None or "shape" not in self.manifest:
            return None
        n, layers, positions, d = map(int, self.manifest["shape"])
        return n, layers, positions, d

    def check_counts(self, command: str) -> None:
        """Refuse permutations and shuffles that do not fit the memory; see ``check_counts``."""
        if self.shape is not None:
            check_counts(command, self.options, self.shape, self.memory_budget, self.device)

    def dry_run(self, command: str) -> None:
        """Print what a command would take; the model is loaded for a short trial."""
        screen, plan = self.screen, self._plan
        takes = []
        if plan is None:
            screen.note(f"{self.source.name}: finished states of {self.folder} would be used again")
            dtype = dtype_named(f"torch.{(self.manifest or {}).get('dtype', 'float32')}")
        else:
            for line in plan.lines():
                screen.note(line)
            plan.check()
        self.check_counts(command)
        if plan is not None:
            takes = [f"{duration(plan.reading_seconds(self._load()))} for the sentences"]
            dtype = plan.dtype
            release_memory()
        if self.shape is not None and command not in ("extract", "figures"):
            _, layers, positions, width = self.shape
            states = sample_states(len(self.prompts), width, dtype)
            setting = self._setting(states, (0,), 1, 0)
            takes += times(command, setting, layers, positions, self.options, screen)
        if takes:
            *most, last = takes
            listed = f"{', '.join(most)} and {last}" if most else last
            screen.note(f"time       about {listed}, as a short trial suggests")

    def saved(self) -> None:
        """Wait until the files of the states are complete, and note that they are.

        Raises
        ------
        ExtractError
            They could not be written; what else was computed is kept.
        """
        if self._saved is None or self.manifest is None:
            return
        self._saved()
        self._saved = None
        save, index = self.options.save, None
        if save:
            content = self.folder.states().read(INDEX)
            index, files = _sha256(content), json.loads(content)["files"]
            self.folder.note_states({name: facts["sha256"] for name, facts in files.items()})
        self.folder.note(extracted=save, states_index=index)

    def _load(self) -> Any:
        assert self._plan is not None
        self.screen.note(f"{self.source.name}: loading the model")
        return load_model(
            self.source,
            self.device,
            self.options.dtype,
            self.quantize,
            hub_token(),
            self.options.trust_remote_code,
            self._plan.config,
            self._plan.spread,
            self._plan.layers,
        )

    def _extract(self) -> tuple[HiddenStates, Columns]:
        assert self._plan is not None
        plan, screen, options = self._plan, self.screen, self.options
        for line in plan.positions.report:
            (screen.warn if line.startswith("raw positions") else screen.note)(line)
        fresh, load = self.fresh, self._load
        facts = self._facts(plan)
        if self.manifest is not None:
            if all(self.manifest.get(key) == facts[key] for key in ("model", "tokenizer")):
                # It goes on with its own blocks, so that its numbers are the same.
                facts["memory_budget"] = self.memory_budget
            else:
                fresh = True
        if fresh:
            # What there is goes only once the model is there.
            loaded = [self._load()]
            load = loaded.pop
        self.folder.begin(facts, fresh)
        if fresh:
            self.analysis = replace(self.analysis, is_new=True)
        for sentence in self.folder.said():
            screen.warn(sentence)
        self.fresh = False
        manifest = self.folder.manifest
        assert manifest is not None
        self._write_prompts()
        if options.save:
            layers = [layer_name(layer) for layer in plan.layers]
            names = [*layers, *(f"{name}.partial" for name in layers)]
            self.folder.list_files([*(f"states/{name}" for name in names), *_OF_STATES])
        metadata = {
            "model": json.dumps(manifest["model"]),
            "revision": str(self.source.revision or manifest["model"]["commit"] or ""),
            "tokenizer": json.dumps(manifest["tokenizer"]),
            "prompts_hash": self.prompts.hash,
            "quantize": self.quantize,
        }

        def replan(sizes: list[int]) -> None:
            self.folder.note(batches=sizes)

        with screen.progress(f"{self.source.name}: reading sentences", "sentences") as report:
            extracted = extract_states(
                load,
                plan.tokens,
                plan.positions,
                folder=self.folder.states() if options.save else None,
                layers=plan.layers,
                sizes=plan.sizes,
                metadata=metadata,
                pad_token_id=plan.tokenizer.pad_token_id,
                final_norm=options.final_norm,
                place=plan.place,
                replan=replan,
                progress=report,
            )
        release_memory()
        if extracted.damaged:
            screen.warn(
                f"{extracted.damaged} batches of the interrupted run were damaged: read again"
            )
        if extracted.hooked is False:
            screen.note(
                "the blocks of this model cannot be read one by one: all its hidden states are held"
            )
        states = extracted.states
        bad = int(states.nonfinite.sum())
        if bad:
            screen.warn(
                f"{bad} states are NaN or infinite, so {int((states.nonfinite > 0).sum())} sites "
                f"are undefined ({_named(states, plan.positions.words)}): "
                f"{_overflow_advice(str(states.dtype))}"
            )
        self.folder.note(
            dtype=str(states.dtype).removeprefix("torch."),
            shape=list(states.shape),
            nonfinite=bad,
        )
        self._saved = extracted.saved
        return states, self.columns

    def _facts(self, plan: Plan) -> dict[str, Any]:
        """What the manifest says of a run that begins."""
        config = plan.config
        return {
            "identity": self.identity,
            "extracted": False,
            "model": self.source.fingerprint()
            | {"name": self.source.name, "commit": self.source.commit, "type": config.model_type},
            "quantization": QUANTIZATIONS.get(self.quantize),
            "n_states": n_states(config),
            "tokenizer": tokenizer_facts(plan.tokenizer),
            "positions": plan.positions.facts(),
            "batches": plan.sizes,
            "batches_asked": [self.options.batch_size, self.options.batch_tokens],
            "memory_budget": resolve_budget(None, self.device),
            "device": str(self.device),
            "csv_as_is": self.options.csv_as_is,
            "main": None,
            "analyses": {},
            "versions": versions(),
        }


def columns_of(manifest: dict[str, Any]) -> Columns:
    """Names of the positions, and the landmarks of the first analysis, from a manifest."""
    facts = manifest["positions"]
    return Columns(tuple(facts["words"]), tuple(facts["tokens"]), dict(facts["landmarks"]))


def _with_settings_of_name(options: Options, found: dict[str, Any] | None) -> Options:
    """The options with the settings of the analysis that ``--as`` names, if it is there.

    Raises
    ------
    UsageError
        Others were given.
    """
    known = named_settings(found or {})
    if options.as_name is None or options.as_name not in known:
        return options
    settings = known[options.as_name]
    others = {key: getattr(options, key) for key in SETTINGS}
    given = {key: value for key, value in others.items() if key in options.given}
    if any(settings[key] != value for key, value in given.items()):
        raise UsageError(
            f"the analysis {options.as_name} has {in_words(settings, settings | given)}: choose "
            "another --as, or remove it first (gpu-smds remove)"
        )
    return replace(options, **settings)


def _pinned(source: ModelSource, found: dict[str, Any] | None, screen: Screen) -> ModelSource:
    """A hub model at the commit that its branch has now.

    Where the hub cannot be reached, and a finished run is there, at the commit of that run.
    """
    try:
        return pinned(source, hub_token())
    except UsageError:
        raise
    except ExtractError as error:
        commit = found["model"].get("commit") if found and found["extracted"] else None
        if commit is None:
            raise
        screen.warn(f"{error}; the finished run of commit {commit[:12]} is taken for it")
        return replace(source, commit=commit)


def _check_inputs_outside(folder: Path, options: Options, source: ModelSource) -> None:
    """Refuse to write among the files that are read: an input is never an output."""
    given = [] if options.prompts is None else [options.prompts]
    if source.kind != "hub":
        location = Path(source.location)
        given.append(location / source.gguf_file if source.gguf_file else location)
    real = folder.resolve()
    for path in given:
        if path.resolve().is_relative_to(real):
            raise UsageError(
                f"{path} lies in the folder of the run, {folder}: choose another --out"
            )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _numbered(values: np.ndarray) -> np.ndarray:
    """Numbers ``(n,)`` that equal values, or rows of values, share."""
    return np.unique(values, axis=0, return_inverse=True)[1].reshape(-1)


def release_memory() -> None:
    """Give back what a model held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def run_folder(model: str, options: Options) -> Path:
    """Folder of a model's run: ``runs/<model>``, ``--out``, or a folder in it for several."""
    # A file called "...gguf" must not become the folder above.
    name = resolve_model(model, options.revision).name.lstrip(".") or "model"
    if options.out is None:
        return Path("runs") / name
    return options.out / name if len(options.models) > 1 else options.out


def _check_clean(options: Options, prompts: Prompts) -> None:
    """Refuse what the clean protocol cannot hold out."""
    slots = prompts.slots
    asked = options.hold_out is not None and "hold_out" in options.given
    if asked and options.hold_out not in slots:
        raise UsageError(
            f"--hold-out {options.hold_out}: the sentences have no such slot, but "
            f"{', '.join(slots) or 'none'}"
        )
    values = len(set(slots.get(options.hold_out or "", ())))
    if asked and values < protocol.FOLDS:
        raise UsageError(
            f"--hold-out {options.hold_out}: the slot has {values} different values, and "
            f"{protocol.FOLDS} folds need as many"
        )
    different = len(set(prompts.texts))
    if different < protocol.MIN_SENTENCES:
        raise UsageError(
            f"{different} different sentences are too few for --protocol clean, which never splits "
            f"equal ones: at least {protocol.MIN_SENTENCES} are needed"
        )
    if options.manifold == "circular" and np.ptp(prompts.labels) > 1:
        raise UsageError(
            "--protocol clean takes circular labels as fractions of a turn, and these span "
            f"{np.ptp(prompts.labels):g}: divide them by their period"
        )


def _prompts(options: Options) -> Prompts:
    if options.prompts is None:
        if options.samples < 1:
            raise UsageError("--samples must be at least 1")
        return study_prompts(options.samples, options.seed)
    if options.positions == "raw":
        try:
            return read_prompts(options.prompts)
        except UsageError:
            return read_prompts(options.prompts, align=False)
    return read_prompts(options.prompts)


def _named(states: HiddenStates, words: Sequence[str]) -> str:
    """Where states are not finite: the first layers and words of it."""
    sites = [
        f"layer {states.layers[i]} {words[t]}" for i, t in np.argwhere(states.nonfinite).tolist()
    ]
    return ", ".join(sites[:3]) + (f" and {len(sites) - 3} more" if len(sites) > 3 else "")


def _overflow_advice(dtype: str) -> str:
    if dtype == "torch.float16":
        return "float16 overflows at 65504, use --dtype bfloat16"
    return "use --dtype float32, or look at the model"


def _title(names: Sequence[str]) -> str:
    if len(names) == 1:
        number, question = EVERY[names[0]]
        return f"Exp {number} {names[0]}: {question}"
    listed = ", ".join(f"{EVERY[name][0]} {name}" for name in names)
    return f"Exp {listed}: in one pass over the states"
