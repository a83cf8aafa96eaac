"""Wrong answers to the exercises of appendix B; each must be caught.

PLANTED maps a check's name to its wrong answers by what is wrong with them:
either (old, new), a change to the solution, or a whole answer.
"""

PLANTED = {
    "best_temperature": {
        "gives beta": (
            "math.exp(-(low + high) / 2)",
            "math.exp((low + high) / 2)",
        ),
        "eight halvings": ("range(60)", "range(8)"),
        "searches the wrong half": ("slope > 0", "slope < 0"),
        "a little beyond the range": ("math.log(100.0)", "math.log(101.0)"),
        "target's logit left out": (
            "((p * z).sum(-1) - right).mean()",
            "(p * z).sum(-1).mean()",
        ),
        "mean probability in place of mean ln p": """
def best_temperature(logits, targets):
    grid = torch.logspace(-2, 2, 20_000, dtype=torch.float64)
    def miss(t):
        p = (logits.double() / t).softmax(-1)
        return -p.gather(1, targets[:, None]).mean().log().item()
    return min(grid[::20].tolist(), key=miss)
""",
        "a coarse grid": """
def best_temperature(logits, targets):
    grid = [0.01 * 1.1**i for i in range(97)] + [100.0]
    entropy = torch.nn.functional.cross_entropy
    return min(grid, key=lambda t: entropy(logits / t, targets).item())
""",
        "the range of the picture": (
            "math.log(0.01), math.log(100.0)",
            "math.log(0.1), math.log(10.0)",
        ),
        "mean of each place's own": """
def best_temperature(logits, targets):
    grid = torch.logspace(-2, 2, 400, dtype=torch.float64)
    found = []
    for z, y in zip(logits.double(), targets):
        losses = [-(z / t).log_softmax(-1)[y] for t in grid[::8]]
        found.append(grid[::8][int(torch.stack(losses).argmin())].item())
    return sum(found) / len(found)
""",
    },
    "beam_search": {
        "probabilities added": (
            "log_p + more))",
            "math.log(math.exp(log_p) + math.exp(more))))",
        ),
        "last token's alone": ("log_p + more))", "more))"),
        "extends what has ended": ("if ids[-1:] == [end]:", "if False:"),
        "drops what has ended": (
            "wider.append((ids, log_p))\n                continue",
            "continue",
        ),
        "looks for the end in the prompt": (
            "if ids[-1:] == [end]:",
            "if end in prompt + ids:",
        ),
        "mean by length": (
            "key=lambda beam: -beam[1])",
            "key=lambda beam: -beam[1] / len(beam[0]))",
        ),
        "forgets the prompt": (
            "next_log_probs(prompt + ids)",
            "next_log_probs(ids)",
        ),
        "never cuts": ("[:width]", "[:]"),
        "greedy": ("[:width]", "[:1]"),
        "cuts each parent's children": (
            "            for token, more in enumerate(after):\n",
            "            one = max(enumerate(after), key=lambda a: a[1])\n"
            "            for token, more in [one]:\n",
        ),
        "returns the prompt too": (
            "return beams[0]",
            "return prompt + beams[0][0], beams[0][1]",
        ),
        "one step too many": ("range(n)", "range(n + 1)"),
        "the unlikeliest": ("-beam[1]", "beam[1]"),
        "stops at the first end": (
            "if all(ids[-1:]",
            "if any(ids[-1:]",
        ),
    },
    "choices": {
        "nan where impossible": (
            "torch.where(log_p.isneginf(), 0.0, -log_p.exp() * log_p)",
            "-log_p.exp() * log_p",
        ),
        "the entropy": (".sum(-1).exp()", ".sum(-1)"),
        "one number for all": (".sum(-1).exp()", ".sum(-1).mean().exp()"),
        "two to the nats": (".sum(-1).exp()", ".sum(-1).exp2()"),
        "first axis": (".sum(-1)", ".sum(0)"),
        "sign": ("-log_p.exp()", "log_p.exp()"),
        "inverse of the likeliest": """
def choices(log_p):
    return 1 / log_p.exp().amax(-1)
""",
        "inverse of the sum of squares": """
def choices(log_p):
    return 1 / log_p.exp().square().sum(-1)
""",
        "counts what is possible": """
def choices(log_p):
    return (log_p > -20).sum(-1).to(log_p.dtype)
""",
    },
    "spearman": {
        "ranks by order": (
            "rank = below + (same + 1) / 2",
            "rank = x.argsort(stable=True).argsort().double()",
        ),
        "lowest rank for all": (
            "below + (same + 1) / 2",
            "(below + 1).double()",
        ),
        "highest rank for all": (
            "below + (same + 1) / 2",
            "(below + same).double()",
        ),
        "ranks without gaps": (
            "rank = below + (same + 1) / 2",
            "rank = x.unique(return_inverse=True)[1].double()",
        ),
        "argsort once": (
            "rank = below + (same + 1) / 2",
            "rank = x.argsort().double()",
        ),
        "values in place of ranks": (
            "rank = below + (same + 1) / 2",
            "rank = x",
        ),
        "the formula without ties": (
            "return ((u @ v) / (u.norm() * v.norm())).item()",
            "n = len(u)\n"
            "    return (1 - 6 * (u - v).square().sum() / (n**3 - n)).item()",
        ),
        "not centred": ("(rank - rank.mean()).double()", "rank.double()"),
        "a constant row is nan": (
            "if (x == x[0]).all():",
            "if False:",
        ),
        "single precision": ("dtype=torch.float64", "dtype=torch.float32"),
        "second row not looked at": (
            "if (x == x[0]).all():",
            "if row is a and (x == x[0]).all():",
        ),
        "cuts to the shorter": (
            "if len(a) != len(b) or len(a) < 2:",
            "a, b = a[: len(b)], b[: len(a)]\n    if len(a) < 2:",
        ),
    },
}
