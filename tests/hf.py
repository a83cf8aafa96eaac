"""Hugging Face's GPT-2 as an oracle for `lib.gpt`, and the way to its weights.

Not a test: `oracle` builds their model in the shape of one of our
configurations, with every weight random, and `our_weights` names its tensors
as `GPT` does.
"""

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from lib.gpt import GPT, GPTConfig

OUTSIDE = {  # our names: theirs, outside the blocks
    "token_embedding.weight": "transformer.wte.weight",
    "position_embedding.weight": "transformer.wpe.weight",
    "final_norm.weight": "transformer.ln_f.weight",
    "final_norm.bias": "transformer.ln_f.bias",
    "head.weight": "lm_head.weight",
}
IN_A_BLOCK = {
    "attention_norm": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.out": "attn.c_proj",
    "feed_forward_norm": "ln_2",
    "feed_forward.up": "mlp.c_fc",
    "feed_forward.down": "mlp.c_proj",
}


def oracle(config: GPTConfig, seed: int = 0) -> GPT2LMHeadModel:
    """Build their model with random weights, norms and biases included."""
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config.vocab_size,
            n_positions=config.context_length,
            n_embd=config.d_model,
            n_layer=config.n_layers,
            n_head=config.n_heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            tie_word_embeddings=config.tie_weights,
            attn_implementation="eager",
            bos_token_id=None,
            eos_token_id=None,
        )
    )
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.normal_(std=0.2, generator=random)
            if ".ln_" in name and name.endswith("weight"):
                weight += 1
            if name.endswith("c_attn.bias") and not config.qkv_bias:
                weight.zero_()
    return model.eval()


def our_weights(model: GPT2LMHeadModel) -> dict[str, Tensor]:
    """Return their tensors as a state dict for `GPT`.

    Their linear layers in the blocks hold (in, out), ours (out, in).
    """
    theirs = model.state_dict()
    ours = {name: theirs[other] for name, other in OUTSIDE.items()}
    for layer in range(model.config.n_layer):
        for name, other in IN_A_BLOCK.items():
            for kind in ("weight", "bias"):
                value = theirs[f"transformer.h.{layer}.{other}.{kind}"]
                ours[f"blocks.{layer}.{name}.{kind}"] = value.t()
    return ours


def pair(config: GPTConfig, seed: int = 0) -> tuple[GPT, GPT2LMHeadModel]:
    """Return our model and theirs, with the same random weights."""
    theirs = oracle(config, seed)
    weights = our_weights(theirs)
    if not config.qkv_bias:
        weights = {n: w for n, w in weights.items() if "qkv.bias" not in n}
    ours = GPT(config).eval()
    ours.load_state_dict(weights)
    return ours, theirs
