"""One model's run: sentences, states, experiments, figures, in one folder."""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments import protocol
from experiments.console import Screen
from experiments.manifest import NAME as MANIFEST
from experiments.manifest import check_identity, read_manifest, versions, write_manifest
from experiments.options import Options
from experiments.plan import Plan, duration, sample_states, seconds_of
from experiments.protocol import Part, Setting
from experiments.results import (
    EVERY,
    EXPERIMENTS,
    Columns,
    compute_results,
    load_result,
    result_path,
    save_result,
)
from experiments.significance import LIGHT, PATIENCE, THOROUGH, seconds_of_test
from experiments.significance import NAME as TEST
from extract import HiddenStates, Prompts, UsageError, read_prompts, study_prompts
from extract.capture import extract_states
from extract.models import QUANTIZATIONS, load_model, resolve_device, tokenizer_facts
from extract.reader import n_states
from extract.sources import ModelSource, hub_token, resolve_model
from gpu_smds import Checkpoint, ScoreMap, manifold_names
from gpu_smds.budget import resolve_budget
from gpu_smds.manifolds import resolve_manifold

#: The study's slot of names.
NAME_SLOT = "Name"
_OURS = (".safetensors", ".csv", ".png", ".json", ".jsonl", ".partial")


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
    manifest
        As found in the folder, or None.
    """

    source: ModelSource
    prompts: Prompts
    folder: Path
    options: Options
    manifest: dict[str, Any] | None
    device: Any
    screen: Screen
    _plan: Plan | None = None
    _saved: Callable[[], None] | None = None

    @classmethod
    def prepare(
        cls, command: str, model: str, options: Options, folder: Path, screen: Screen
    ) -> Run:
        """Check everything that can be checked before any work; writes nothing.

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
        device = resolve_device(options.device)
        source = resolve_model(model, options.revision)
        prompts = _prompts(options)
        if len(prompts) < protocol.MIN_SENTENCES:
            raise UsageError(
                f"{len(prompts)} sentences are too few: {protocol.FOLDS} folds need at least "
                f"{protocol.MIN_SENTENCES}, two to score in each"
            )
        if command != "discover":
            try:
                resolve_manifold(options.manifold).check(prompts.labels)
            except ValueError as error:
                raise UsageError(f"{error}: choose another --manifold") from error
        if options.protocol == "clean":
            _check_clean(options, prompts)
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file: choose another --out")
        run = cls(source, prompts, folder, options, None, device, screen)
        found = None if options.force else read_manifest(folder)
        if found is not None:
            check_identity(folder, found["identity"], run.identity)
            run.manifest = found
        if command != "figures" and not (found and found.get("extracted")):
            screen.note(f"{source.name}: loading the tokenizer")
            run._plan = Plan.of(
                source,
                prompts,
                options,
                run.quantize,
                device,
                folder,
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
        free = resolve_budget(None, self.device)
        return int(found) if found and found <= 1.5 * free else free

    @property
    def identity(self) -> dict[str, Any]:
        """What states and experiments depend on; two runs with the same one may be mixed."""
        options = self.options
        return {
            "states": {
                **self.source.fingerprint(),
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

    @property
    def results(self) -> Path:
        """Folder of the results of the protocol asked for."""
        return self.folder / "results" / ("clean" if self.options.protocol == "clean" else "")

    @property
    def figures(self) -> Path:
        """Folder of its figures."""
        return self.folder / "figures" / ("clean" if self.options.protocol == "clean" else "")

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

    @property
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
        if self.manifest is not None and self.manifest.get("extracted"):
            states = HiddenStates.open(self.folder / "states")
            self.screen.note(f"{self.source.name}: states of {self.folder} are used again")
            return states, columns_of(self.manifest)
        return self._extract()

    def experiments(
        self, names: Sequence[str], states: HiddenStates, columns: Columns
    ) -> dict[str, ScoreMap]:
        """Read the experiments' results from the folder, or compute them."""
        results: dict[str, ScoreMap] = {}
        if not self.options.force and self.manifest is not None:
            for name in names:
                kept = load_result(self.results, name, self.identity_of(name))
                if kept is not None:
                    results[name] = kept
        missing = [name for name in names if name not in results]
        together = [name for name in missing if name in protocol.ON_ALL_SITES]
        every = [name for name in self.experiment_names if name in protocol.ON_ALL_SITES]
        if together and set(every) <= set(names) and self._checkpoint(every).path.exists():
            # A pass over all of them was interrupted while their results were being written.
            together = every
        # The quick one first: it has a pass of its own, over one layer.
        for group in ([name for name in missing if name not in together], together):
            if not group:
                continue
            setting = self.setting(states, columns)
            # It stays until the results are kept, so that an interrupted pass can go on.
            checkpoint = self._checkpoint(group)
            with self.screen.progress(_title(group), "sites") as report:
                found = compute_results(
                    group, setting, columns, self.identity_hash, report, checkpoint
                )
            for name, scores in found.items():
                facts = {**scores.metadata, "identity": self.identity_of(name)}
                save_result(self.results, name, replace(scores, metadata=facts))
            checkpoint.remove()
            results |= found
        if set(names) == set(self.experiment_names):
            # Of other groups, which were interrupted and not taken up again.
            for name in EVERY:
                for path in self.results.glob(f"{name}*.partial"):
                    path.unlink()
        return {name: results[name] for name in names}

    def _checkpoint(self, group: Sequence[str]) -> Checkpoint:
        """What is done of some experiments' pass over the states."""
        return Checkpoint(result_path(self.results, "+".join(group)).with_suffix(".partial"))

    def _batches_of(self, found: dict[str, Any] | None) -> list[int] | None:
        """Batches of an interrupted run, if they are what is asked for now."""
        options = self.options
        asked = [options.batch_size, options.batch_tokens]
        if found is None or found.get("batches_asked") != asked:
            return None
        return list(found["batches"]) if found.get("device") == str(self.device) else None

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

    def dry_run(self, command: str) -> None:
        """Print what a command would take; the model is loaded for a short trial."""
        screen = self.screen
        if self._plan is None:
            screen.note(f"{self.source.name}: finished states of {self.folder} would be used again")
            return
        for line in self._plan.lines():
            screen.console.print(line, markup=False, soft_wrap=True)
        self._plan.check()
        reading = self._plan.reading_seconds(self._load())
        free_memory()
        plan = self._plan
        setting = self._setting(sample_states(plan, len(self.prompts)), (0,), 1, 0)
        sites = len(plan.layers) * len(plan.positions)
        computing = seconds_of(
            lambda positions: protocol.on_all_sites(
                setting.experiments, replace(setting, states=Part(setting.states, None, positions))
            ),
            setting,
            sites,
        )
        count = self.options.permutations
        light = command != "significance"
        count = (LIGHT if light else THOROUGH) if count is None else count
        tested = ""
        if count and command in ("all", "significance"):
            try:
                testing = seconds_of_test(setting, count, sites)
            except ValueError as error:
                screen.warn(f"no permutation test: {error}")
            else:
                if light and testing > PATIENCE:  # the layers of the curves only
                    testing *= min(1.0, protocol.CURVES / len(plan.layers))
                tested = f" and {duration(testing)} for the permutation test"
        screen.console.print(
            f"time       about {duration(reading)} for the sentences, {duration(computing)} for "
            f"the experiments{tested}, as a short trial suggests",
            markup=False,
            soft_wrap=True,
        )

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
        self.manifest["extracted"] = self.options.save
        write_manifest(self.folder, self.manifest)

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
        )

    def _extract(self) -> tuple[HiddenStates, Columns]:
        assert self._plan is not None
        plan, screen, options = self._plan, self.screen, self.options
        for line in plan.positions.report:
            (screen.warn if line.startswith("raw positions") else screen.note)(line)
        config = plan.config
        manifest: dict[str, Any] = {
            "format_version": 1,
            "identity": self.identity,
            "extracted": False,
            "model": self.source.fingerprint()
            | {
                "name": self.source.name,
                "commit": getattr(config, "_commit_hash", None),
                "type": config.model_type,
            },
            "quantization": QUANTIZATIONS.get(self.quantize),
            "n_states": n_states(config),
            "tokenizer": tokenizer_facts(plan.tokenizer),
            "positions": plan.positions.facts(),
            "batches": plan.sizes,
            "batches_asked": [options.batch_size, options.batch_tokens],
            "memory_budget": resolve_budget(None, self.device),
            "device": str(self.device),
            "versions": versions(),
        }
        load = self._load
        found = self.manifest
        if found and all(found.get(key) == manifest[key] for key in ("model", "tokenizer")):
            # It goes on with its own blocks, so that its numbers are the same.
            manifest["memory_budget"] = self.memory_budget
            if TEST in found:
                manifest[TEST] = found[TEST]
        else:
            # What there is goes only once the model is there, and without a manifest is nobody's.
            loaded = [self._load()]
            load = loaded.pop
            (self.folder / MANIFEST).unlink(missing_ok=True)
            self._discard()
        self.manifest = manifest
        write_manifest(self.folder, manifest)
        self.prompts.to_csv(self.folder / "prompts.csv")
        metadata = {
            "model": json.dumps(manifest["model"]),
            "revision": str(self.source.revision or manifest["model"]["commit"] or ""),
            "tokenizer": json.dumps(manifest["tokenizer"]),
            "prompts_hash": self.prompts.hash,
            "quantize": self.quantize,
        }

        def replan(sizes: list[int]) -> None:
            manifest["batches"] = sizes
            write_manifest(self.folder, manifest)

        with screen.progress(f"{self.source.name}: reading sentences", "sentences") as report:
            extracted = extract_states(
                load,
                plan.tokens,
                plan.positions,
                folder=self.folder / "states" if options.save else None,
                layers=plan.layers,
                sizes=plan.sizes,
                metadata=metadata,
                pad_token_id=plan.tokenizer.pad_token_id,
                final_norm=options.final_norm,
                place=plan.place,
                replan=replan,
                progress=report,
            )
        free_memory()
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
        manifest |= {
            "dtype": str(states.dtype).removeprefix("torch."),
            "shape": list(states.shape),
            "nonfinite": bad,
        }
        write_manifest(self.folder, manifest)
        self._saved = extracted.saved
        return states, columns_of(manifest)

    def _discard(self) -> None:
        """Remove what an earlier run left; files that are not ours stay."""
        for part in ("results", "results/clean", "figures", "figures/clean", "states"):
            folder = self.folder / part
            if folder.is_dir():
                for file in folder.iterdir():
                    if file.suffix in _OURS:
                        file.unlink()


def _numbered(values: np.ndarray) -> np.ndarray:
    """Numbers ``(n,)`` that equal values, or rows of values, share."""
    return np.unique(values, axis=0, return_inverse=True)[1].reshape(-1)


def columns_of(manifest: dict[str, Any]) -> Columns:
    """Names and landmarks of the positions, from a manifest."""
    facts = manifest["positions"]
    return Columns(tuple(facts["words"]), tuple(facts["tokens"]), dict(facts["landmarks"]))


def free_memory() -> None:
    """Give back what a model held."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def run_folder(model: str, options: Options) -> Path:
    """Folder of a model's run: ``runs/<model>``, ``--out``, or a folder in it for several."""
    name = resolve_model(model, options.revision).name
    if options.out is None:
        return Path("runs") / name
    return options.out / name if len(options.models) > 1 else options.out


def _check_clean(options: Options, prompts: Prompts) -> None:
    """Refuse what the clean protocol cannot hold out."""
    slots = prompts.slots
    if options.hold_out is not None and options.hold_out not in slots:
        raise UsageError(
            f"--hold-out {options.hold_out}: the sentences have no such slot, but "
            f"{', '.join(slots) or 'none'}"
        )
    if options.hold_out is not None and len(set(slots[options.hold_out])) < protocol.FOLDS:
        raise UsageError(
            f"--hold-out {options.hold_out}: the slot has {len(set(slots[options.hold_out]))} "
            f"different values, and {protocol.FOLDS} folds need as many"
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
