"""usage: gpt2.py OUT: a GPT-2 of random weights (fixed seed), 13 MB in one file, several extents."""

import sys

import torch
from tokenizer import make_tokenizer
from transformers import GPT2Config, GPT2LMHeadModel

torch.manual_seed(20260103)
config = GPT2Config(n_layer=4, n_head=4, n_embd=256, vocab_size=128, n_positions=64, bos_token_id=2, eos_token_id=3)
model = GPT2LMHeadModel(config)
model.save_pretrained(sys.argv[1])
make_tokenizer().save_pretrained(sys.argv[1])
