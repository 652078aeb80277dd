"""Write a small Llama as GGUF, read it through a memory map, and run it with llama.cpp.

usage: use_gguf.py write|read DIRECTORY

`write` makes the file with the `gguf` package, changes one tensor in place through a writable map
(as gguf_set_metadata does) and splits a second one into shards. `read` maps it, and lets llama.cpp
(xllamacpp) load it mapped, mapped and locked, read and with O_DIRECT. Prints one JSON line.
"""

import hashlib
import json
import os
import sys

import numpy as np
import xllamacpp
from gguf import GGUFReader, GGUFWriter, LlamaFileType, TokenType

LAYERS, WIDTH, FORWARD, HEADS = 2, 64, 128, 4
WORDS = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
WORDS += ["▁" + word for word in "every settled file is content addressed and read once".split()]


def tensors() -> dict[str, np.ndarray]:
    """A Llama of random weights (fixed seed), 1 MiB and a bit, so that it has several chunks."""
    random = np.random.default_rng(20260201)

    def weight(*shape: int) -> np.ndarray:
        return (random.standard_normal(shape) * 0.2).astype(np.float32)

    made = {"token_embd.weight": weight(len(WORDS), WIDTH), "output.weight": weight(len(WORDS), WIDTH)}
    made["output_norm.weight"] = np.ones(WIDTH, np.float32)
    for layer in range(LAYERS):
        for name, shape in {
            "attn_norm": (WIDTH,),
            "attn_q": (WIDTH, WIDTH),
            "attn_k": (WIDTH, WIDTH),
            "attn_v": (WIDTH, WIDTH),
            "attn_output": (WIDTH, WIDTH),
            "ffn_norm": (WIDTH,),
            "ffn_gate": (FORWARD * 4, WIDTH),
            "ffn_up": (FORWARD * 4, WIDTH),
            "ffn_down": (WIDTH, FORWARD * 4),
        }.items():
            made[f"blk.{layer}.{name}.weight"] = weight(*shape)
    return made


def write_model(path: str, **options) -> None:
    writer = GGUFWriter(path, "llama", **options)
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FORWARD * 4)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(WORDS))
    writer.add_file_type(LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(WORDS)
    writer.add_token_scores([0.0] * len(WORDS))
    kinds = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL] + [TokenType.BYTE] * 256
    writer.add_token_types(kinds + [TokenType.NORMAL] * (len(WORDS) - len(kinds)))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for name, tensor in tensors().items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def digest_of(path: str) -> str:
    whole = hashlib.sha256()
    for tensor in sorted(GGUFReader(path).tensors, key=lambda tensor: tensor.name):
        whole.update(tensor.name.encode())
        whole.update(tensor.data.tobytes())
    return whole.hexdigest()


def complete(path: str, mode: str) -> str:
    """What llama.cpp says after a prompt; the same weights say the same."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = path
    parameters.load_mode = getattr(xllamacpp.llama_load_mode, f"LLAMA_LOAD_MODE_{mode}")
    parameters.n_ctx = 64
    parameters.n_parallel = 1
    parameters.n_gpu_layers = 0
    parameters.warmup = False
    parameters.fit_params = False
    parameters.verbosity = -1
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(parameters)
    prompt = {"prompt": "every file is", "n_predict": 8, "temperature": 0, "max_tokens": 8, "seed": 1}
    answer = server.handle_completions(prompt)
    return answer["choices"][0]["text"]


def write(directory: str) -> dict:
    path = os.path.join(directory, "model.gguf")
    write_model(path)
    first = digest_of(path)
    write_model(os.path.join(directory, "split.gguf"), split_max_tensors=8)
    # Over the existing file, and then in place through a map that is both read and written.
    write_model(path)
    reader = GGUFReader(path, "r+")
    output = next(tensor for tensor in reader.tensors if tensor.name == "output.weight")
    output.data[:] = output.data[::-1].copy()
    reader.data.flush()
    return {"first": first, "changed": digest_of(path), "names": sorted(os.listdir(directory))}


def read(directory: str) -> dict:
    path = os.path.join(directory, "model.gguf")
    shards = sorted(name for name in os.listdir(directory) if name.startswith("split"))
    said = {mode: complete(path, mode) for mode in ("MMAP", "MMAP_MLOCK", "NONE", "DIRECT_IO")}
    return {
        "tensors": digest_of(path),
        "shards": {name: digest_of(os.path.join(directory, name)) for name in shards},
        "said": said,
        "split": complete(os.path.join(directory, shards[0]), "MMAP"),
    }


verb, place = sys.argv[1:]
print("\n" + json.dumps({"write": write, "read": read}[verb](place)))
