"""Wrong answers to the exercises of appendix E; each must be caught.

PLANTED maps a check's name to its wrong answers by what is wrong with them:
either (old, new), a change to the solution, or a whole answer.
"""

PLANTED = {
    "lora_forward": {
        "scaled by alpha alone": ("alpha / a.size(1)", "alpha"),
        "divided by the rank only": ("alpha / a.size(1)", "1 / a.size(1)"),
        "the width in the place of the rank": ("a.size(1)", "a.size(0)"),
        "divided by the root of the rank": (
            "alpha / a.size(1)",
            "alpha / a.size(1) ** 0.5",
        ),
        "the bias is forgotten": (
            "return y if bias is None else y + bias",
            "return y",
        ),
        "a bias is expected": (
            "return y if bias is None else y + bias",
            "return y + bias",
        ),
        "the weight is not turned": ("x @ weight.T", "x @ weight"),
        "the bias is scaled, too": """
def lora_forward(x, weight, bias, a, b, alpha):
    scale = alpha / a.size(1)
    y = x @ weight.T
    bias = 0 if bias is None else bias
    return y + scale * (x @ a @ b + bias)
""",
        "the update alone": """
def lora_forward(x, weight, bias, a, b, alpha):
    return alpha / a.size(1) * (x @ a @ b)
""",
        "the large matrix is made": (
            "(x @ a @ b)",
            "(x @ (a @ b))",
        ),
    },
    "factor_gradients": {
        "the scale is left out": (
            "scale = alpha / a.size(1)",
            "scale = 1.0",
        ),
        "scaled by alpha alone": ("alpha / a.size(1)", "alpha"),
        "the scale is forgotten at B": (
            "in_b = scale * (rows @ a)",
            "in_b = (rows @ a)",
        ),
        "x is reached through the weight alone": (
            "g @ weight + scale * (g @ b.T) @ a.T",
            "g @ weight",
        ),
        "x is reached through the factors alone": (
            "g @ weight + scale * (g @ b.T) @ a.T",
            "scale * (g @ b.T) @ a.T",
        ),
        "a mean over the rows": (
            "return in_a, in_b, in_x",
            "return in_a / len(rows), in_b / len(rows), in_x",
        ),
        "the factors change places": (
            "return in_a, in_b, in_x",
            "return in_b, in_a, in_x",
        ),
        "two dimensions only": (
            "rows, upstream = x.flatten(0, -2), g.flatten(0, -2)",
            "rows, upstream = x, g",
        ),
        "A's own gradient is taken of A": (
            "thin = scale * upstream @ b.T",
            "thin = scale * rows @ a",
        ),
    },
    "merged": {
        "the update is not turned": ("(a.float() @ b.float()).T", "(a @ b)"),
        "scaled by alpha alone": ("alpha / a.size(1)", "alpha"),
        "one rank for all": (
            "alpha / a.size(1)",
            "alpha / next(iter(factors.values()))[0].size(1)",
        ),
        "in place": (
            "new[name] = (weights[name].float() + update)"
            ".to(weights[name].dtype)",
            "new[name] += update.to(weights[name].dtype)",
        ),
        "the type is lost": (
            "(weights[name].float() + update).to(weights[name].dtype)",
            "weights[name].float() + update",
        ),
        "an unknown name is passed over": (
            'raise ValueError(f"there are factors for {name}, but no weight")',
            "return dict(weights)",
        ),
        "only what was changed comes back": (
            "new = dict(weights)",
            "new = {}",
        ),
        "the factors are rounded first": (
            "(a.float() @ b.float()).T",
            "(a.to(weights[name].dtype) @ b.to(weights[name].dtype)).T",
        ),
        "subtracted": (".float() + update)", ".float() - update)"),
    },
    "tuning_bytes": {
        "frozen weights take nothing": (
            "4 * whole + 16 * trained",
            "16 * trained",
        ),
        "the weights are counted twice": (
            "4 * whole + 16 * trained",
            "4 * (whole - trained) + 16 * trained",
        ),
        "frozen weights have gradients": (
            "4 * whole + 16 * trained",
            "8 * whole + 16 * trained",
        ),
        "one average": (
            "return whole, 16 * whole",
            "return whole, 12 * whole",
        ),
        "one block": ("trained = L * rank", "trained = rank"),
        "a square qkv": ('"qkv": 4 * D', '"qkv": 2 * D'),
        "the factors multiply": ('"up": 5 * D', '"up": 4 * D * D'),
        "a bias in any case": ("(13 if config.qkv_bias else 10)", "13"),
        "the head is counted, too": (
            "(config.vocab_size + config.context_length + 2)",
            "(2 * config.vocab_size + config.context_length + 2)",
        ),
        "without the last norm": (
            "config.context_length + 2)",
            "config.context_length)",
        ),
    },
    "best_factors": {
        "shares of the values, not of their squares": (
            "s.double().square()",
            "s.double()",
        ),
        "one direction too many": (
            "int(missing.sum()) + 1",
            "int(missing.sum()) + 2",
        ),
        "one direction too few": (
            "r = min(int(missing.sum()) + 1, len(s))",
            "r = max(1, int(missing.sum()))",
        ),
        "all of the length in one factor": (
            "return u[:, :r] * root, root[:, None] * v[:r]",
            "return u[:, :r] * s[:r], v[:r]",
        ),
        "no length at all": (
            "return u[:, :r] * root, root[:, None] * v[:r]",
            "return u[:, :r], v[:r]",
        ),
        "the last directions": (
            "return u[:, :r] * root, root[:, None] * v[:r]",
            "root = s[-r:].sqrt()\n"
            "    return u[:, -r:] * root, root[:, None] * v[-r:]",
        ),
        "rows in the place of columns": ("u[:, :r] * root", "u[:r].T * root"),
        "random directions": (
            "u, s, v = torch.linalg.svd(gap, full_matrices=False)",
            "_, s, v = torch.linalg.svd(gap, full_matrices=False)\n"
            "    u = torch.linalg.qr(torch.ones_like(gap).cumsum(0))[0]"
            "[:, : len(s)]",
        ),
        "as many directions as there are": (
            "r = min(int(missing.sum()) + 1, len(s))",
            "r = len(s)",
        ),
    },
}
