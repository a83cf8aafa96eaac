"""Wrong answers to the exercises of appendix I; each must be caught.

PLANTED maps a check's name to its wrong answers by what is wrong with them:
either (old, new), a change to the solution, or a whole answer.
"""

PLANTED = {
    "expected_first_loss": {
        "ln V and no more": """
def expected_first_loss(weight, bias):
    return float(torch.tensor(float(len(weight))).log())
""",
        "one variance for all rows": """
def expected_first_loss(weight, bias):
    V, D = weight.shape
    half = D * weight.double().square().mean() / 2
    return float(torch.tensor(float(V)).log() + half)
""",
        "no half": ("sum(1) / 2", "sum(1)"),
        "the target's logit forgotten": (" - shift.mean()", ""),
        "bias ignored": (
            "if bias is None else bias",
            "if bias is None else 0 * bias",
        ),
        "length, not its square": (
            "weight.square().sum(1) / 2",
            "weight.norm(dim=1) / 2",
        ),
        "mean in place of sum": (
            ".logsumexp(0)",
            ".exp().mean().log()",
        ),
        "overflows": (".logsumexp(0)", ".exp().sum().log()"),
        "an even guess at the bias": (
            "shift.mean())",
            "(shift.softmax(0) * shift).sum())",
        ),
    },
    "first_leak": {
        "in training mode": ("    model.eval()\n", ""),
        "mode not put back": ("    model.train(mode)\n", ""),
        "the place itself counts": ("[:, :s]", "[:, : s + 1]"),
        "only the last id is moved": (
            "range(1, ids.size(1))",
            "range(ids.size(1) - 1, ids.size(1))",
        ),
        "the last id is never moved": (
            "range(1, ids.size(1))",
            "range(1, ids.size(1) - 1)",
        ),
        "only the first row": (
            "(model(changed) - before)[:, :s]",
            "(model(changed) - before)[:1, :s]",
        ),
        "sum of changes": (".abs().amax(dim=(0, 2))", ".sum((0, 2)).abs()"),
        "too coarse": ("> 1e-6", "> 1e-2"),
        "too fine": ("> 1e-6", "> 0"),
        "one change only": ("(1, 2, 3)", "(1,)"),
        "changes in place": (
            "changed = ids.clone()\n",
            "changed = ids\n",
        ),
        "the first found, not the smallest": (
            "min(leaks, default=None)",
            "leaks[-1] if leaks else None",
        ),
        "by gradient": """
def first_leak(model, ids, V):
    mode = model.training
    model.eval()
    kept = []
    table = model.table.detach()[ids].requires_grad_()
    x = table.cumsum(1) + model.leak(table, ids)
    model.train(mode)
    for t in range(ids.size(1) - 1):
        (g,) = torch.autograd.grad(x[:, t].square().sum(), table,
                                   retain_graph=True)
        if g[:, t + 1:].abs().max() > 1e-6:
            return t
    return None
""",
    },
    "linked_rows": {
        "who moves whom, turned round": ("[(a, b) for a", "[(b, a) for a"),
        "rows with themselves": (" if a != b and moves[a]", " if moves[a]"),
        "both ways at once": (
            "    return sorted(pairs)",
            "    both = {p for a, b in pairs for p in ((a, b), (b, a))}\n"
            "    return sorted(both)",
        ),
        "only the last place": (
            "(model(changed) - before)",
            "(model(changed) - before)[:, -1:]",
        ),
        "only the first place": (
            "(model(changed) - before)",
            "(model(changed) - before)[:, :1]",
        ),
        "too coarse": ("> 1e-6", "> 1e-1"),
        "too fine": ("> 1e-6", "> 0"),
        "changes pile up": (
            "    for b in range(len(ids)):\n        changed = ids.clone()\n",
            "    changed = ids.clone()\n    for b in range(len(ids)):\n",
        ),
        "changes in place": ("changed = ids.clone()", "changed = ids"),
        "not sorted": ("sorted(pairs)", "pairs"),
    },
    "dead_parts": {
        "missing gradients only": (
            "if g is None or not g.any()",
            "if g is None",
        ),
        "frozen ones too": (
            "    return [n for (n, _), g in zip(named, found)",
            "    rest = [n for n, w in model.named_parameters()\n"
            "            if not w.requires_grad]\n"
            "    return rest + [n for (n, _), g in zip(named, found)",
        ),
        "dropout on": ("    model.eval()\n", "    model.train()\n"),
        "mode not put back": ("    model.train(mode)\n", ""),
        "each name of a weight": (
            "model.named_parameters() if",
            "model.named_parameters(remove_duplicate=False) if",
        ),
        "by backward": """
def dead_parts(model, batch):
    ids, targets = batch
    mode = model.training
    model.eval()
    loss = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten())
    loss.backward()
    model.train(mode)
    return [
        n for n, w in model.named_parameters()
        if w.requires_grad and (w.grad is None or not w.grad.any())
    ]
""",
        "clears what was there": """
def dead_parts(model, batch):
    ids, targets = batch
    mode = model.training
    model.eval()
    model.zero_grad()
    loss = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten())
    loss.backward()
    model.train(mode)
    dead = [
        n for n, w in model.named_parameters()
        if w.requires_grad and (w.grad is None or not w.grad.any())
    ]
    model.zero_grad()
    return dead
""",
        "any zero is dead": ("not g.any()", "not g.all()"),
    },
    "fit": {
        "no biases": (
            "SGD(model.parameters(), lr=rate)",
            "SGD([w for w in model.parameters() if w.dim() > 1], lr=rate)",
        ),
        "gradients never cleared": (
            "        optimizer.zero_grad()\n        logits",
            "        logits",
        ),
        "cleared after backward": (
            "        F.cross_entropy(logits, targets.flatten()).backward()\n",
            "        F.cross_entropy(logits, targets.flatten()).backward()\n"
            "        optimizer.zero_grad()\n",
        ),
        "view for transpose": (
            "        logits = model(ids).flatten(0, 1)\n"
            "        F.cross_entropy(logits, targets.flatten()).backward()\n",
            "        z = model(ids)\n"
            "        logits = z.view(len(z), z.size(2), -1)\n"
            "        F.cross_entropy(logits, targets).backward()\n",
        ),
        "evaluated in train mode": ("    model.eval()\n", ""),
        "mode not put back": ("    model.train(mode)\n", ""),
        "mean of means": (
            "    return total / count",
            "    return sum(\n"
            "        F.cross_entropy(\n"
            "            (model.table[x] + model.bias).detach().flatten(0, 1),"
            "\n            y.flatten(),\n        ).item()\n"
            "        for x, y in held_out\n    ) / len(held_out)",
        ),
        "all targets counted": ("int((wanted != -100).sum())", "len(wanted)"),
        "loss summed": (
            "F.cross_entropy(logits, targets.flatten()).backward()",
            "F.cross_entropy(logits, targets.flatten(), "
            'reduction="sum").backward()',
        ),
        "gradients left at the end": (
            "    optimizer.zero_grad()\n    model.eval()",
            "    model.eval()",
        ),
        "trained in eval mode": (
            "    model.train()\n    for ids",
            "    model.eval()\n    for ids",
        ),
        "Adam in place of plain descent": ("optim.SGD", "optim.Adam"),
    },
}
