"""usage: bert.py OUT: a BERT of random weights (fixed seed) in several safetensors shards."""

import sys

import torch
from tokenizer import make_tokenizer
from transformers import BertConfig, BertForSequenceClassification

torch.manual_seed(20260102)
config = BertConfig(
    vocab_size=128,
    hidden_size=128,
    num_hidden_layers=4,
    num_attention_heads=4,
    intermediate_size=256,
    max_position_embeddings=64,
)
model = BertForSequenceClassification(config)
model.save_pretrained(sys.argv[1], max_shard_size="700KB")
make_tokenizer().save_pretrained(sys.argv[1])
