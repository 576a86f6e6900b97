"""Builds tiny random models with real architectures, a real byte-level tokenizer and real chat templates."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
N_LAYERS = 4

# Like SmolLM2's: a default system prompt, turns between two control tokens.
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Like DeepSeek-R1's distilled models: begins with the beginning-of-text token, drops earlier reasoning, opens the next.
THINK_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] }}"
    "{% elif message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}"
    "{% else %}{{ '<｜Assistant｜>' + message['content'].split('</think>')[-1] + '<｜end▁of▁sentence｜>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\n' }}{% endif %}"
)
_TEXT = [
    "What is asthma and how is it treated? Asthma is a chronic disease of the airways in the lungs.",
    "## Thinking\n\nOkay, the patient has chest pain.\n\n## Final Response\n\nIt may be a heart attack.",
    "system user assistant You help. The blood test shows a raised troponin, so call the doctor.",
]


def _tokenizer(kind: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if kind == "llama":
        special, bos, eos, template = (
            ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
            "<|im_start|>",
            "<|im_end|>",
            CHAT_TEMPLATE,
        )
        plain: list[str] = []
    else:
        bos, eos, template = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", THINK_TEMPLATE
        special, plain = [bos, eos, "<｜User｜>", "<｜Assistant｜>"], ["<think>", "</think>"]
        tokenizer.normalizer = normalizers.NFC()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXT, trainer)
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in plain])
    if kind == "qwen2":  # adds the beginning-of-text token to plain text, as the flagship's tokenizer does
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=bos, eos_token=eos, pad_token=eos, chat_template=template
    )


def build_base(folder: Path, kind: str, **changes: Any) -> Path:
    """Saves a random model of architecture `llama` or `qwen2` with its tokenizer; `changes` go to its config."""
    tokenizer = _tokenizer(kind)
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": N_LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.3,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": kind == "llama",
        **changes,
    }
    torch.manual_seed(11)
    model = LlamaForCausalLM(LlamaConfig(**shape)) if kind == "llama" else Qwen2ForCausalLM(Qwen2Config(**shape))
    for name, parameter in model.named_parameters():
        if name.endswith(".bias"):
            torch.nn.init.normal_(parameter, std=0.2)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def build_adapter(base: Path, folder: Path, *, zero: bool = False, seed: int = 5, **settings: Any) -> Path:
    """Saves a random LoRA for `base`; `settings` go to peft's `LoraConfig`."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = {"r": 4, "lora_alpha": 8, "target_modules": TARGETS, "task_type": "CAUSAL_LM", **settings}
    torch.manual_seed(seed)
    wrapped = get_peft_model(model, LoraConfig(**config))
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name and not zero:
            torch.nn.init.normal_(parameter, std=0.15)
        elif parameter.requires_grad and name.endswith(".bias") and "lora" not in name:
            parameter.data += 0.3 * torch.randn_like(parameter)
    wrapped.save_pretrained(folder)
    return folder
