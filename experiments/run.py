"""One model's run: sentences, states, experiments, figures, in one folder."""

from __future__ import annotations

import gc
import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import protocol
from experiments.console import Screen
from experiments.manifest import check_identity, read_manifest, versions, write_manifest
from experiments.options import Options
from experiments.protocol import Setting
from experiments.results import (
    EXPERIMENTS,
    Columns,
    compute_results,
    load_result,
    save_result,
)
from extract import HiddenStates, Prompts, UsageError, align, read_prompts, study_prompts, tokenize
from extract.models import (
    ModelSource,
    hub_token,
    load_config,
    load_model,
    load_tokenizer,
    resolve_device,
    resolve_model,
    tokenizer_facts,
)
from gpu_smds import ScoreMap, manifold_names
from gpu_smds.manifolds import resolve_manifold


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
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file: choose another --out")
        run = cls(source, prompts, folder, options, None, device, screen)
        found = None if options.force else read_manifest(folder)
        if found is not None:
            check_identity(folder, found["identity"], run.identity)
            run.manifest = found
        return run

    @property
    def quantize(self) -> str:
        """Quantisation asked for, or the model's own default."""
        return self.options.quantize or self.source.default_quantize

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
            },
            "experiments": {
                "manifold": options.manifold,
                "source": options.source,
                "destination": options.destination,
                "distractor": options.distractor,
                "protocol": "study",
            },
        }

    @property
    def identity_hash(self) -> str:
        """The identity in one word."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()

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
                kept = load_result(self.folder, name, self.identity_hash)
                if kept is not None:
                    results[name] = kept
        missing = [name for name in names if name not in results]
        together = [name for name in missing if name in protocol.ON_ALL_SITES]
        # The quick one first: it has a pass of its own, over one layer.
        for group in ([name for name in missing if name not in together], together):
            if not group:
                continue
            with self.screen.progress(_title(group), "sites") as report:
                found = compute_results(
                    group, self.setting(states, columns), columns, self.identity_hash, report
                )
            for name, scores in found.items():
                save_result(self.folder, name, scores)
            results |= found
        return {name: results[name] for name in names}

    def setting(self, states: HiddenStates, columns: Columns) -> Setting:
        """What the experiments work on."""
        assert self.manifest is not None
        return Setting(
            states,
            self.prompts.labels,
            states.layers,
            int(self.manifest["n_states"]),
            columns.landmarks["source"],
            self.options.manifold,
            self.device,
        )

    def plan(self) -> list[str]:
        """What a run would do, without loading the model's weights."""
        tokenizer, tokens, positions = self._aligned()
        del tokenizer
        from extract.capture import hidden_size, n_states, parse_layers

        config = load_config(self.source, hub_token(), self.options.trust_remote_code)
        layers = parse_layers(self.options.layers, n_states(config))
        itemsize = {"float32": 4, "float16": 2, "bfloat16": 2}.get(self.options.dtype or "", 4)
        size = len(tokens) * len(layers) * len(positions) * hidden_size(config) * itemsize
        existing = next(p for p in [self.folder, *self.folder.absolute().parents] if p.exists())
        free = shutil.disk_usage(existing).free
        lengths = [len(row) for row in tokens.ids]
        return [
            f"model      {self.source.name} ({self.source.kind}), quantisation {self.quantize}, "
            f"on {self.device}",
            f"sentences  {len(tokens)}, {min(lengths)} to {max(lengths)} tokens",
            f"positions  {len(positions)} ({positions.mode}): {' '.join(positions.words)}",
            f"layers     {len(layers)} of {n_states(config)} hidden states, width "
            f"{hidden_size(config)}",
            f"states     {size / 1e9:.2f} GB" + ("" if self.options.save else ", kept in memory"),
            f"disk       {free / 1e9:.1f} GB free at {existing}",
            f"folder     {self.folder}",
            *(f"note       {line}" for line in positions.report),
        ]

    def _aligned(self) -> tuple[Any, Any, Any]:
        tokenizer = load_tokenizer(self.source, hub_token(), self.options.trust_remote_code)
        tokens = tokenize(self.prompts, tokenizer)
        positions = align(
            self.prompts,
            tokens,
            self.options.positions,
            self.options.source,
            self.options.destination,
            self.options.distractor,
        )
        return tokenizer, tokens, positions

    def _extract(self) -> tuple[HiddenStates, Columns]:
        # Imported here, so that a run which only reads results need not load transformers.
        from extract.capture import (
            BATCH_SIZE,
            BATCH_SIZE_QUANTIZED,
            extract_states,
            n_states,
            parse_layers,
        )

        screen, options = self.screen, self.options
        screen.note(f"{self.source.name}: loading the tokenizer")
        tokenizer, tokens, positions = self._aligned()
        for line in positions.report:
            (screen.warn if line.startswith("raw positions") else screen.note)(line)
        screen.note(f"{self.source.name}: loading the model")
        model = load_model(
            self.source,
            self.device,
            options.dtype,
            self.quantize,
            hub_token(),
            options.trust_remote_code,
        )
        layers = parse_layers(options.layers, n_states(model.config))
        default = BATCH_SIZE if self.quantize == "none" else BATCH_SIZE_QUANTIZED
        batch_size = options.batch_size or default
        identity = self.identity
        self.manifest = {
            "format_version": 1,
            "identity": identity,
            "extracted": False,
            "model": self.source.fingerprint()
            | {
                "name": self.source.name,
                "commit": getattr(model.config, "_commit_hash", None),
                "type": model.config.model_type,
            },
            "n_states": n_states(model.config),
            "tokenizer": tokenizer_facts(tokenizer),
            "positions": positions.facts(),
            "batch_size": batch_size,
            "device": str(self.device),
            "versions": versions(),
        }
        if options.force or read_manifest(self.folder) is None:
            self._discard()
        write_manifest(self.folder, self.manifest)
        self.prompts.to_csv(self.folder / "prompts.csv")
        metadata = {
            "model": json.dumps(self.manifest["model"]),
            "revision": str(self.source.revision or self.manifest["model"]["commit"] or ""),
            "tokenizer": json.dumps(self.manifest["tokenizer"]),
            "prompts_hash": self.prompts.hash,
            "quantize": self.quantize,
        }
        with screen.progress(f"{self.source.name}: reading sentences", "sentences") as report:
            states = extract_states(
                model,
                tokens,
                positions,
                folder=self.folder / "states" if options.save else None,
                layers=layers,
                batch_size=batch_size,
                metadata=metadata,
                pad_token_id=tokenizer.pad_token_id,
                progress=report,
            )
        del model
        free_memory()
        bad = int(states.nonfinite.sum())
        if bad:
            sites = int((states.nonfinite > 0).sum())
            screen.warn(
                f"{bad} states are NaN or infinite, so {sites} sites are undefined: "
                f"{_overflow_advice(str(states.dtype))}"
            )
        self.manifest |= {
            "extracted": options.save,
            "dtype": str(states.dtype).removeprefix("torch."),
            "shape": list(states.shape),
            "nonfinite": bad,
        }
        write_manifest(self.folder, self.manifest)
        return states, columns_of(self.manifest)

    def _discard(self) -> None:
        """Remove what an earlier run left; files that are not ours stay."""
        for part in ("results", "figures", "states"):
            folder = self.folder / part
            if folder.is_dir():
                for file in folder.iterdir():
                    if file.suffix in (".safetensors", ".csv", ".png", ".json", ".partial"):
                        file.unlink()


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


def _overflow_advice(dtype: str) -> str:
    if dtype == "torch.float16":
        return "float16 overflows at 65504, use --dtype bfloat16"
    return "use --dtype float32, or look at the model"


def _title(names: Sequence[str]) -> str:
    if len(names) == 1:
        number, question = EXPERIMENTS[names[0]]
        return f"Exp {number} {names[0]}: {question}"
    listed = ", ".join(f"{EXPERIMENTS[name][0]} {name}" for name in names)
    return f"Exp {listed}: in one pass over the states"
