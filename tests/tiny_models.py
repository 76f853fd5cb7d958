"""Small randomly initialised language models with tokenizers of the real kinds."""

import json
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModel,
    GPT2Config,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from extract.prompts import study_prompts

# How GPT-2 and Llama 3 group digits ("20" is one token) and how Qwen2 and SmolLM2 do ("2", "0").
_SPLIT = {
    "together": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "split": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
}


def config(architecture: str, vocabulary: int):
    sizes = {"vocab_size": vocabulary}
    if architecture == "gpt2":
        return GPT2Config(**sizes, n_embd=32, n_layer=3, n_head=4, n_positions=96)
    sizes |= {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 96,
    }
    return {"llama": LlamaConfig, "qwen2": Qwen2Config}[architecture](**sizes)


def save_tiny(
    folder: Path, architecture: str = "gpt2", digits: str = "together", bos: bool = False
) -> Path:
    """Save a model and its tokenizer as a local folder, as a download from the hub would be."""
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
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    AutoModel.from_config(config(architecture, tokenizer.get_vocab_size())).save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["model_type"] == architecture
    return folder
