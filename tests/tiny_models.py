"""Small randomly initialised language models with tokenizers of the real kinds."""

import json
from pathlib import Path

import torch
import transformers
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoModel, PreTrainedTokenizerFast

from extract.prompts import study_prompts

# How GPT-2 and Llama 3 group digits ("20" is one token) and how Qwen2 and SmolLM2 do ("2", "0").
_SPLIT = {
    "together": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "split": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
}
TOKENIZERS = (*_SPLIT, "pieces")
# ChatML, as of Qwen and SmolLM2, in the special tokens of these models.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|begin|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|begin|>assistant\n{% endif %}"
)

_COMMON = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 96,
}
_GROUPED = {**_COMMON, "num_key_value_heads": 2}
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}

# architecture → configuration class and its arguments.
ARCHITECTURES = {
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 96}),
    "llama": ("LlamaConfig", _GROUPED),
    "qwen2": ("Qwen2Config", _GROUPED),
    "qwen3": ("Qwen3Config", {**_GROUPED, "head_dim": 8}),
    "mistral": ("MistralConfig", {**_GROUPED, "head_dim": 8, "sliding_window": 8}),
    "gemma2": ("Gemma2Config", {**_GROUPED, "head_dim": 8, "sliding_window": 8}),
    "gemma3_text": (
        "Gemma3TextConfig",
        {**_GROUPED, "head_dim": 8, "sliding_window": 8, "sliding_window_pattern": 2},
    ),
    "phi3": ("Phi3Config", {**_GROUPED, "pad_token_id": 0}),
    "gpt_neox": ("GPTNeoXConfig", _COMMON),
    "olmo2": ("Olmo2Config", _GROUPED),
    "opt": (
        "OPTConfig",
        {**_COMMON, "ffn_dim": 48, "word_embed_proj_dim": 32, "intermediate_size": None},
    ),
    "bloom": ("BloomConfig", {"hidden_size": 32, "n_layer": 3, "n_head": 4}),
    "falcon": ("FalconConfig", {**_COMMON, "alibi": False, "intermediate_size": None}),
    "mixtral": ("MixtralConfig", {**_GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen3_moe": ("Qwen3MoeConfig", {**_GROUPED, **_EXPERTS, "head_dim": 8, "num_experts": 4}),
    "mamba": ("MambaConfig", {"hidden_size": 32, "num_hidden_layers": 3, "state_size": 8}),
}


def config(architecture: str, vocabulary: int):
    kind, arguments = ARCHITECTURES[architecture]
    given = {name: value for name, value in arguments.items() if value is not None}
    return getattr(transformers, kind)(vocab_size=vocabulary, **given)


def save_tiny(
    folder: Path,
    architecture: str = "gpt2",
    digits: str = "together",
    bos: bool = False,
    chat: str | None = None,
) -> Path:
    """Save a model and its tokenizer as a local folder, as a download from the hub would be."""
    tokenizer = _pieces() if digits == "pieces" else _bytes(digits)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<|begin|> $A",
            special_tokens=[("<|begin|>", tokenizer.token_to_id("<|begin|>"))],
        )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|end|>",
        bos_token="<|begin|>",
        clean_up_tokenization_spaces=False,
        chat_template=chat,
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    model = AutoModel.from_config(config(architecture, tokenizer.get_vocab_size()))
    model.save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["model_type"] == architecture
    return folder


def _bytes(digits: str) -> Tokenizer:
    """Byte-level BPE, as of GPT-2, Llama 3 and Qwen."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT[digits]), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<|end|>", "<|begin|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(study_prompts(200, seed=0).texts, trainer)
    return tokenizer


def _pieces() -> Tokenizer:
    """SentencePiece-style, as of Llama 2, Mistral and Gemma: ▁ for spaces, single digits."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("▁", behavior="merged_with_next"),
            pre_tokenizers.Punctuation(),
            pre_tokenizers.Digits(individual_digits=True),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<unk>", "<|end|>", "<|begin|>", *(f"<0x{i:02X}>" for i in range(256))],
        show_progress=False,
    )
    tokenizer.train_from_iterator(study_prompts(200, seed=0).texts, trainer)
    return tokenizer
