"""Wrong answers to the exercise of appendix K; each must be caught.

PLANTED maps a check's name to its wrong answers by what is wrong with them:
either (old, new), a change to the solution, or a whole answer.
"""

PLANTED = {
    "adopt": {
        "KeyError without positions": (
            'for name in "wte.weight", "wpe.weight":',
            'for name in ("wte.weight",):',
        ),
        "width taken for a number of tokens": (
            "*found.shape[:1]",
            "*found.shape[:2]",
        ),
        "no transpose": (
            "            found = found.t()\n",
            "            found = found.reshape(weight.shape)\n",
        ),
        "square matrices not transposed": (
            "            found = found.t()\n",
            "            square = len(set(found.shape)) == 1\n"
            "            found = found if square and found.dim() == 2 "
            "else found.t()\n",
        ),
        "head transposed too": (
            "weight.data.copy_(found[: len(weight)])",
            "found = found[: len(weight)]\n"
            "        if name == 'lm_head.weight':\n"
            "            found = found.reshape(weight.shape[::-1]).t()\n"
            "        weight.data.copy_(found)",
        ),
        "columns not regrouped": (
            "found = by_head.transpose(0, 1).flatten(0, 2)",
            "found = by_head.flatten(0, 2)",
        ),
        "queries, keys and values taken head by head": (
            "found.unflatten(0, (n_heads, 3, -1))",
            "found.unflatten(0, (3, n_heads, -1))",
        ),
        "bias not regrouped": (
            'if "c_attn" in name:',
            'if "c_attn.weight" in name:',
        ),
        "keys before queries": (
            "by_head.transpose(0, 1).flatten(0, 2)",
            "by_head.transpose(0, 1)[[1, 0, 2]].flatten(0, 2)",
        ),
        "values before keys": (
            "by_head.transpose(0, 1).flatten(0, 2)",
            "by_head.transpose(0, 1)[[0, 2, 1]].flatten(0, 2)",
        ),
        "heads in reverse": (
            "by_head.transpose(0, 1).flatten(0, 2)",
            "by_head.flip(0).transpose(0, 1).flatten(0, 2)",
        ),
        "norms exchanged": (
            "name = name.replace(old, new)\n",
            "name = name.replace(old, new)\n"
            "        swap = {'ln_1': 'ln_2', 'ln_2': 'ln_1'}\n"
            "        part = name.split('.')[2] if name[:2] == 'h.' else ''\n"
            "        name = name.replace(part, swap.get(part, part))\n",
        ),
        "never tied": ("tie_weights=tied", "tie_weights=False"),
        "tied by a copy": (
            "return model.eval()",
            "if tied:\n"
            "        model.head.weight = torch.nn.Parameter(\n"
            "            model.token_embedding.weight.detach().clone())\n"
            "    return model.eval()",
        ),
        "always tied": ("tie_weights=tied", "tie_weights=True"),
        "padded rows kept": (
            "shape = vocab_size, C,",
            'shape = len(rest["wte.weight"]), C,',
        ),
        "last rows for the first": (
            "found[: len(weight)]",
            "found[-len(weight) :]",
        ),
        "layers counted as texts": (
            'L = rest["wpe.weight"].shape, 1 + max(layers, default=0)',
            'L = rest["wpe.weight"].shape, 1 + int(max(map(str, layers)))',
        ),
        "layers in the order of texts": (
            '    for name in "wte.weight", "wpe.weight":\n',
            "    order = sorted({k.split('.')[1] for k in rest if k[:2] == "
            "'h.'})\n"
            "    numbers = {f'h.{n}.': f'h.{i}.' "
            "for i, n in enumerate(order)}\n"
            "    rest = {next((k.replace(a, b) for a, b in numbers.items() if "
            "k.startswith(a)), k): w for k, w in rest.items()}\n"
            '    for name in "wte.weight", "wpe.weight":\n',
        ),
        "biases of c_attn thrown away with the masks": (
            'name.endswith(".attn.bias")',
            'name.endswith("attn.bias")',
        ),
        "masks are left over": (
            'if name.endswith(".attn.bias")]',
            'if name.endswith(".masked_bias")]',
        ),
        "prefix unknown": (
            'name.removeprefix("transformer.")',
            "name",
        ),
        "missing tensors stay random": (
            '            raise ValueError(f"{name} is missing")\n'
            "        found, expected",
            "            continue\n        found, expected",
        ),
        "KeyError for what is missing": (
            '            raise ValueError(f"{name} is missing")\n'
            "        found, expected",
            "            raise KeyError(name)\n        found, expected",
        ),
        "left over unnoticed": ("    if rest:\n", "    if not model:\n"),
        "shapes unchecked": (
            "if list(found.shape) != expected:",
            "if False:",
        ),
        "numbers of elements checked only": (
            "if list(found.shape) != expected:",
            "if found.numel() != torch.Size(expected).numel():",
        ),
        "shared memory": (
            "weight.data.copy_(found[: len(weight)])",
            "weight.data = found[: len(weight)].float()",
        ),
        "half precision kept": (
            "return model.eval()",
            "return model.to(next(iter(theirs.values())).dtype).eval()",
        ),
        "frozen": (
            "return model.eval()",
            "return model.eval().requires_grad_(False)",
        ),
        "in training mode": ("return model.eval()", "return model"),
        "file used up": (
            'rest = {name.removeprefix("transformer."): w '
            "for name, w in theirs.items()}",
            "rest = theirs\n"
            "    for name in list(rest):\n"
            '        rest[name.removeprefix("transformer.")] = rest.pop(name)',
        ),
        "any bias left over passes": (
            "    if rest:\n",
            '    if any(not name.endswith("bias") for name in rest):\n',
        ),
        "head padded at the other end": (
            "weight.data.copy_(found[: len(weight)])",
            "found = found.flip(0) if name[:2] == 'lm' else found\n"
            "        found = found[: len(weight)]\n"
            "        found = found.flip(0) if name[:2] == 'lm' else found\n"
            "        weight.data.copy_(found)",
        ),
        "biases of queries and keys left at zero": (
            "weight.data.copy_(found[: len(weight)])",
            "found = found[: len(weight)].clone()\n"
            "        if name.endswith('c_attn.bias'):\n"
            "            found[: len(found) * 2 // 3] = 0\n"
            "        weight.data.copy_(found)",
        ),
        "first block regrouped only": (
            'if "c_attn" in name:',
            'if "h.0.attn.c_attn" in name:',
        ),
    },
}
