"""Wrong answers to the exercises of chapter 5; each must be caught.

PLANTED maps a check's name to its wrong answers by what is wrong with them:
either (old, new), a change to the solution, or a whole answer.
"""

BIGRAM_LOSS = """
def table_loss(table, ids):
    return -table[ids[:-1], ids[1:]].log().mean().item()
"""

PLANTED = {
    "cross_entropy": {
        "log of softmax": ("log_softmax(dim=-1)", "softmax(dim=-1).log()"),
        "log of softmax, with a floor": (
            "log_softmax(dim=-1)",
            "softmax(dim=-1).clamp(min=1e-9).log()",
        ),
        "softmax over the targets": (
            "log_softmax(dim=-1)",
            "log_softmax(dim=0)",
        ),
        "sum instead of mean": ("-chosen.mean()", "-chosen.sum()"),
        "sign forgotten": ("-chosen.mean()", "chosen.mean()"),
        "bits": ("-chosen.mean()", "-chosen.mean() / math.log(2)"),
        "ignored targets in the divisor": (
            "-chosen.mean()",
            "-chosen.sum() / targets.numel()",
        ),
        "ignored targets count as token 0": """
def cross_entropy(logits, targets):
    if (targets == -100).all():
        raise ValueError("no target counts")
    log_p = logits.log_softmax(dim=-1)
    return -log_p.gather(-1, targets.clamp(min=0)[..., None]).mean()
""",
        "token 0 ignored too": ("targets != -100", "targets > 0"),
        "NaN where no target counts": (
            "if not counts.any():",
            "if targets.numel() == 0:",
        ),
        "one-hot times logarithm": """
def cross_entropy(logits, targets):
    counts = targets != -100
    if not counts.any():
        raise ValueError("no target counts")
    log_p = logits[counts].log_softmax(dim=-1)
    hot = F.one_hot(targets[counts], logits.size(-1))
    return -(hot * log_p).sum(-1).mean()
""",
        "three dimensions only": """
def cross_entropy(logits, targets):
    B, T, V = logits.shape
    logits, targets = logits.reshape(B * T, V), targets.reshape(B * T)
    counts = targets != -100
    if not counts.any():
        raise ValueError("no target counts")
    log_p = logits[counts].log_softmax(dim=-1)
    return -log_p.gather(-1, targets[counts][:, None]).mean()
""",
        "exponentials unprotected": """
def cross_entropy(logits, targets):
    counts = targets != -100
    if not counts.any():
        raise ValueError("no target counts")
    z = logits[counts]
    chosen = z.gather(-1, targets[counts][:, None])[:, 0]
    return (z.exp().sum(-1).log() - chosen).mean()
""",
        "one highest logit for all rows": """
def cross_entropy(logits, targets):
    counts = targets != -100
    if not counts.any():
        raise ValueError("no target counts")
    z = logits[counts] - logits[counts].max()
    chosen = z.gather(-1, targets[counts][:, None])[:, 0]
    return (z.exp().sum(-1).log() - chosen).mean()
""",
        "PyTorch's own": """
def cross_entropy(logits, targets):
    if (targets == -100).all():
        raise ValueError("no target counts")
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten())
""",
        "gradient cut": ("return -chosen", "return -chosen.detach()"),
        "targets changed": (
            "log_p = logits[counts]",
            "targets[~counts] = 0\n    log_p = logits[counts]",
        ),
        "in double precision": ("logits[counts].", "logits[counts].double()."),
        "a forbidden target costs a finite sum": (
            "logits[counts].log",
            "logits[counts].nan_to_num(neginf=-1e9).log",
        ),
        "a target that is sure costs nothing": (
            "return -chosen.mean()",
            "chosen = chosen.where(chosen < -0.01, 0.0)\n"
            "    return -chosen.mean()",
        ),
        "mean of the rows' means": """
def cross_entropy(logits, targets):
    counts = targets != -100
    if not counts.any():
        raise ValueError("no target counts")
    log_p = logits.log_softmax(dim=-1)
    chosen = log_p.gather(-1, targets.where(counts, 0)[..., None])[..., 0]
    n = counts.sum(-1)
    means = chosen.where(counts, 0.0).sum(-1) / n.clamp(min=1)
    return -means[n > 0].mean()
""",
    },
    "bigram": {
        "table turned": """
def bigram_table(ids, V, weights):
    tokens = torch.tensor(ids)
    single = tokens.bincount(minlength=V).double()
    places = tokens[1:] * V + tokens[:-1]
    pairs = places.bincount(minlength=V * V).view(V, V).double()
    p = (1 - weights[0]) / V + weights[0] * single / len(ids)
    followed = pairs.sum(dim=1, keepdim=True)
    mixed = (1 - weights[1]) * p + weights[1] * pairs / followed
    return torch.where(followed > 0, mixed, p)
"""
        + BIGRAM_LOSS,
        "divided by how often v occurs": (
            "followed = pairs.sum(dim=1, keepdim=True)",
            "followed = single[:, None]",
        ),
        "columns summed": (
            "pairs.sum(dim=1, keepdim=True)",
            "pairs.sum(dim=0, keepdim=True).T",
        ),
        "all pairs in the divisor": (
            "pairs / followed",
            "pairs / pairs.sum()",
        ),
        "rows never seen are NaN": (
            "return torch.where(followed > 0, mixed, p)",
            "return mixed",
        ),
        "rows never seen lack a share": (
            "return torch.where(followed > 0, mixed, p)",
            "return torch.where(followed > 0, mixed, (1 - weights[1]) * p)",
        ),
        "rows never seen are uniform": (
            "torch.where(followed > 0, mixed, p)",
            "torch.where(followed > 0, mixed, 1 / V)",
        ),
        "first token not counted": (
            "single = tokens.bincount",
            "single = tokens[1:].bincount",
        ),
        "one is added to each count": (
            "weights[1] * pairs / followed",
            "weights[1] * (pairs + 1) / (followed + V)",
        ),
        "weights exchanged": (
            "tokens = torch.tensor(ids)",
            "tokens, weights = torch.tensor(ids), weights[::-1]",
        ),
        "weights on the other side": (
            "(1 - weights[1]) * p + weights[1] * pairs",
            "weights[1] * p + (1 - weights[1]) * pairs",
        ),
        "no uniform share": ("(1 - weights[0]) / V +", "0 * V +"),
        "one share for ids that occur": (
            "(1 - weights[0]) / V",
            "(1 - weights[0]) / len(set(ids))",
        ),
        "single precision": (
            "return torch.where(followed > 0, mixed, p)",
            "return torch.where(followed > 0, mixed, p).float()",
        ),
        "pairs without overlap": (
            "tokens[:-1] * V + tokens[1:]",
            "tokens[: len(ids) // 2 * 2 : 2] * V + tokens[1::2]",
        ),
        "loss with rows and columns exchanged": (
            "table[ids[:-1], ids[1:]]",
            "table[ids[1:], ids[:-1]]",
        ),
        "loss of a whole block of the table": (
            "table[ids[:-1], ids[1:]]",
            "table[ids[:-1]][:, ids[1:]]",
        ),
        "loss divided by all ids": (
            ".log().mean().item()",
            ".log().sum().item() / len(ids)",
        ),
        "loss in bits": (".log().mean()", ".log2().mean()"),
        "loss with a floor": (
            "ids[1:]].log()",
            "ids[1:]].clamp(min=1e-10).log()",
        ),
        "loss is a tensor": (".mean().item()", ".mean()"),
        "logarithm of the mean": (".log().mean()", ".mean().log()"),
        "the text is a ring": (
            "tokens[:-1] * V + tokens[1:]",
            "tokens * V + tokens.roll(-1)",
        ),
        "the last token takes no part in p_1": (
            "single = tokens.bincount",
            "single = tokens[:-1].bincount",
        ),
        "what followed once is not trusted": (
            "torch.where(followed > 0",
            "torch.where(followed > 1",
        ),
        "the loss leaves out what is impossible": (
            "return -table[ids[:-1], ids[1:]].log().mean().item()",
            "p = table[ids[:-1], ids[1:]]\n"
            "    return -p[p > 0].log().mean().item()",
        ),
    },
    "evaluate": {
        "mean of batch means": """
def evaluate(model, batches):
    was_training = model.training
    model.eval()
    losses = []
    try:
        with torch.no_grad():
            for ids, targets in batches:
                if (targets != -100).any():
                    logits = model(ids).flatten(0, 1)
                    loss = F.cross_entropy(logits, targets.flatten())
                    losses.append(loss.item())
    finally:
        model.train(was_training)
    if not losses:
        raise ValueError("no target")
    return sum(losses) / len(losses)
""",
        "batch means weighted by rows": """
def evaluate(model, batches):
    was_training = model.training
    model.eval()
    total, rows = 0.0, 0
    try:
        with torch.no_grad():
            for ids, targets in batches:
                if (targets != -100).any():
                    logits = model(ids).flatten(0, 1)
                    loss = F.cross_entropy(logits, targets.flatten())
                    total += loss.item() * len(ids)
                    rows += len(ids)
    finally:
        model.train(was_training)
    if not rows:
        raise ValueError("no target")
    return total / rows
""",
        "batch means weighted by targets, one of them NaN": """
def evaluate(model, batches):
    was_training = model.training
    model.eval()
    total, n_targets = 0.0, 0
    try:
        with torch.no_grad():
            for ids, targets in batches:
                n = int((targets != -100).sum())
                logits = model(ids).flatten(0, 1)
                loss = F.cross_entropy(logits, targets.flatten())
                total += loss.item() * n
                n_targets += n
    finally:
        model.train(was_training)
    if not n_targets:
        raise ValueError("no target")
    return total / n_targets
""",
        "ignored targets counted": (
            "int((targets != -100).sum())",
            "targets.numel()",
        ),
        "in training mode": ("    model.eval()\n", ""),
        "left in evaluation mode": ("model.train(was_training)", "pass"),
        "left in training mode": (
            "model.train(was_training)",
            "model.train()",
        ),
        "mode not put back after an error": (
            """    finally:
        model.train(was_training)
""",
            """    except KeyboardInterrupt:
        pass
    model.train(was_training)
""",
        ),
        "mode not put back where there is no target": """
def evaluate(model, batches):
    was_training = model.training
    model.eval()
    total, n_targets = 0.0, 0
    with torch.no_grad():
        try:
            for ids, targets in batches:
                logits = model(ids).flatten(0, 1)
                total += F.cross_entropy(
                    logits, targets.flatten(), reduction="sum"
                ).item()
                n_targets += int((targets != -100).sum())
        except RuntimeError:
            model.train(was_training)
            raise
    if n_targets == 0:
        raise ValueError("no target")
    model.train(was_training)
    return total / n_targets
""",
        "gradients kept": ("torch.no_grad()", "torch.enable_grad()"),
        "gradients switched off for good": (
            "with torch.no_grad():",
            "torch.set_grad_enabled(False)\n        if True:",
        ),
        "zero where no target counts": (
            'raise ValueError("no target to evaluate on: '
            'need 1 or more, got 0")',
            "return 0.0",
        ),
        "NaN where no target counts": (
            'raise ValueError("no target to evaluate on: '
            'need 1 or more, got 0")',
            "return math.nan",
        ),
        "first batch only": (
            "n_targets += int((targets != -100).sum())",
            "n_targets += int((targets != -100).sum())\n                break",
        ),
        "walked through twice": (
            "total, n_targets = 0.0, 0",
            "total = 0.0\n"
            "    n_targets = sum(int((y != -100).sum()) for _, y in batches)",
        ),
        "logits turned": (
            "model(ids).flatten(0, 1)",
            "model(ids).transpose(0, 1).flatten(0, 1)",
        ),
        "perplexity": (
            "return total / n_targets",
            "return math.exp(total / n_targets)",
        ),
        "a tensor": (").item()", ")"),
        "probabilities for logits": (
            "model(ids).flatten(0, 1)",
            "model(ids).flatten(0, 1).softmax(-1)",
        ),
        "weights frozen for good": (
            "    model.eval()\n",
            "    model.eval().requires_grad_(False)\n",
        ),
        "mode put back after errors, not after an interruption": (
            """    finally:
        model.train(was_training)
""",
            """    except Exception:
        model.train(was_training)
        raise
    model.train(was_training)
""",
        ),
        "ten batches are enough": (
            "for ids, targets in batches:",
            "for (ids, targets), _ in zip(batches, range(10)):",
        ),
        "over at the first batch without a target": (
            "                logits = model(ids)",
            "                if (targets == -100).all():\n"
            "                    break\n"
            "                logits = model(ids)",
        ),
    },
    "training_step": {
        "gradients never emptied": """
def training_step(model, optimizer, parts, clip_norm):
    n_targets = sum(int((y != -100).sum()) for _, y in parts)
    if n_targets == 0:
        raise ValueError("no target")
    model.train()
    total = 0.0
    for ids, targets in parts:
        logits = model(ids).flatten(0, 1)
        loss = F.cross_entropy(logits, targets.flatten(), reduction="sum")
        (loss / n_targets).backward()
        total += loss.item()
    nn.utils.clip_grad_norm_(
        model.parameters(), clip_norm, error_if_nonfinite=True
    )
    optimizer.step()
    return total / n_targets
""",
        "emptied afterwards only": (
            "    model.train()\n    optimizer.zero_grad()\n",
            "    model.train()\n",
        ),
        "emptied before only": (
            "    optimizer.step()\n    optimizer.zero_grad()\n",
            "    optimizer.step()\n",
        ),
        "emptied for each part": (
            "        logits = model(ids)",
            "        optimizer.zero_grad()\n        logits = model(ids)",
        ),
        "emptied before the step": (
            "    optimizer.step()\n    optimizer.zero_grad()\n",
            "    optimizer.zero_grad()\n    optimizer.step()\n",
        ),
        "clipped after the step": """
def training_step(model, optimizer, parts, clip_norm):
    n_targets = sum(int((y != -100).sum()) for _, y in parts)
    if n_targets == 0:
        raise ValueError("no target")
    model.train()
    optimizer.zero_grad()
    total = 0.0
    for ids, targets in parts:
        logits = model(ids).flatten(0, 1)
        loss = F.cross_entropy(logits, targets.flatten(), reduction="sum")
        (loss / n_targets).backward()
        total += loss.item()
    optimizer.step()
    nn.utils.clip_grad_norm_(
        model.parameters(), clip_norm, error_if_nonfinite=True
    )
    optimizer.zero_grad()
    return total / n_targets
""",
        "clipped part by part": (
            "        total += loss.item()\n",
            "        total += loss.item()\n"
            "        weights = model.parameters()\n"
            "        nn.utils.clip_grad_norm_(weights, clip_norm)\n",
        ),
        "each weight clipped by itself": (
            "    nn.utils.clip_grad_norm_(",
            "    for w in model.parameters():\n"
            "        nn.utils.clip_grad_norm_([w], clip_norm)\n"
            "    nn.utils.clip_grad_norm_(",
        ),
        "each number clipped": (
            "    nn.utils.clip_grad_norm_(",
            "    nn.utils.clip_grad_value_(model.parameters(), clip_norm)\n"
            "    nn.utils.clip_grad_norm_(",
        ),
        "never clipped": (
            "model.parameters(), clip_norm,",
            "model.parameters(), math.inf,",
        ),
        "always scaled to clip_norm": (
            "    optimizer.step()\n",
            "    found = [w.grad for w in model.parameters() "
            "if w.grad is not None]\n"
            "    length = sum(g.square().sum() for g in found).sqrt()\n"
            "    for g in found if clip_norm < math.inf else []:\n"
            "        g.mul_(clip_norm / length)\n"
            "    optimizer.step()\n",
        ),
        "mean of the parts' means": (
            "(loss / n_targets).backward()",
            "n = int((targets != -100).sum())\n"
            "        (loss / max(n, 1) / len(parts)).backward()",
        ),
        "sum of the parts' means": (
            "(loss / n_targets).backward()",
            "(loss / max(1, int((targets != -100).sum()))).backward()",
        ),
        "sum instead of mean": (
            "(loss / n_targets).backward()",
            "loss.backward()",
        ),
        "ignored targets counted": (
            "int((targets != -100).sum())",
            "targets.numel()",
        ),
        "returns the sum": ("return total / n_targets", "return total"),
        "returns the last part's loss": (
            "return total / n_targets",
            "return loss.item() / n_targets",
        ),
        "returns the loss after the step": (
            "return total / n_targets",
            "return sum(F.cross_entropy(model(x).flatten(0, 1), y.flatten(),"
            " reduction='sum').item() for x, y in parts) / n_targets",
        ),
        "step forgotten": (
            "    optimizer.step()\n    optimizer.zero_grad()\n",
            "    optimizer.zero_grad()\n",
        ),
        "a step for each part": (
            "        total += loss.item()\n",
            "        total += loss.item()\n        optimizer.step()\n",
        ),
        "in evaluation mode": ("model.train()", "model.eval()"),
        "mode left as it was": ("    model.train()\n", ""),
        "all parts in memory": """
def training_step(model, optimizer, parts, clip_norm):
    n_targets = sum(int((y != -100).sum()) for _, y in parts)
    if n_targets == 0:
        raise ValueError("no target")
    model.train()
    optimizer.zero_grad()
    loss = sum(
        F.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="sum")
        for x, y in parts
    ) / n_targets
    loss.backward()
    nn.utils.clip_grad_norm_(
        model.parameters(), clip_norm, error_if_nonfinite=True
    )
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()
""",
        "NaN goes into the weights": (
            "clip_norm, error_if_nonfinite=True",
            "clip_norm",
        ),
        "no target, and a step all the same": (
            'raise ValueError("no target to learn from: '
            'need 1 or more, got 0")',
            "n_targets = 1",
        ),
        "ValueError after the step": """
def training_step(model, optimizer, parts, clip_norm):
    n_targets = sum(int((y != -100).sum()) for _, y in parts)
    model.train()
    optimizer.zero_grad()
    total = 0.0
    for ids, targets in parts:
        logits = model(ids).flatten(0, 1)
        loss = F.cross_entropy(logits, targets.flatten(), reduction="sum")
        (loss / max(n_targets, 1)).backward()
        total += loss.item()
    nn.utils.clip_grad_norm_(
        model.parameters(), clip_norm, error_if_nonfinite=True
    )
    optimizer.step()
    optimizer.zero_grad()
    if n_targets == 0:
        raise ValueError("no target")
    return total / n_targets
""",
        "clipped to the length of one part": (
            "model.parameters(), clip_norm, err",
            "model.parameters(), clip_norm * len(parts), err",
        ),
        "gradients of a part without targets skipped, and of the next": (
            "        logits = model(ids)",
            "        if (targets == -100).any() and total:\n"
            "            continue\n"
            "        logits = model(ids)",
        ),
        "NaN noticed, infinity not": (
            "    nn.utils.clip_grad_norm_(\n"
            "        model.parameters(), clip_norm, error_if_nonfinite=True\n"
            "    )\n",
            "    length = nn.utils.clip_grad_norm_("
            "model.parameters(), clip_norm)\n"
            "    if length.isnan():\n"
            '        raise RuntimeError("NaN in the gradient")\n',
        ),
        "the loss is asked whether it is finite": (
            "clip_norm, error_if_nonfinite=True\n    )",
            "clip_norm\n    )\n    if not math.isfinite(total):\n"
            '        raise RuntimeError("the loss is not finite")',
        ),
        "the largest number is clipped": (
            "error_if_nonfinite=True",
            "math.inf, True",
        ),
    },
    "next_probabilities": {
        "temperature multiplies": (") / temperature", ") * temperature"),
        "temperature after the cuts": """
def next_probabilities(logits, temperature=1.0, top_k=None, top_p=None):
    V = logits.size(-1)
    if not 0 <= temperature < math.inf:
        raise ValueError(f"{temperature}")
    if top_k is not None and not 1 <= top_k <= V:
        raise ValueError(f"{top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"{top_p}")
    if temperature == 0:
        temperature, top_k = 1.0, 1
    scores, ids = logits.double().sort(dim=-1, descending=True, stable=True)
    scores = scores - scores[:, :1]
    if top_k is not None:
        scores[:, top_k:] = -math.inf
    if top_p is not None and top_p < 1:
        p = scores.softmax(dim=-1)
        scores = scores.masked_fill(p.cumsum(-1) - p >= top_p, -math.inf)
    p = (scores / temperature).softmax(dim=-1)
    return torch.zeros_like(p).scatter(-1, ids, p).to(logits.dtype)
""",
        "temperature divides the probabilities": (
            "scores = (scores - scores[:, :1]) / temperature",
            "scores = (scores - scores[:, :1]).softmax(-1) / temperature",
        ),
        "highest logit not subtracted": (
            "(scores - scores[:, :1]) / temperature",
            "scores.float() / temperature",
        ),
        "temperature 0 divides": (
            "temperature, top_k = 1.0, 1",
            "temperature = 1e-9",
        ),
        "temperature 0 is 1": (
            "temperature, top_k = 1.0, 1",
            "temperature = 1.0",
        ),
        "ties share at temperature 0": (
            "    return torch.zeros_like(p)",
            "    if top_k == 1:\n"
            "        p = (logits == logits.max(-1, True).values).double()\n"
            "        return (p / p.sum(-1, True)).to(logits.dtype)\n"
            "    return torch.zeros_like(p)",
        ),
        "top_k keeps ties": (
            "scores[:, top_k:] = -math.inf",
            "scores[scores < scores[:, top_k - 1 : top_k]] = -math.inf",
        ),
        "top_k one too many": ("scores[:, top_k:]", "scores[:, top_k + 1 :]"),
        "top_k one too few": ("scores[:, top_k:]", "scores[:, top_k - 1 :]"),
        "top_k of the first row for all": """
def next_probabilities(logits, temperature=1.0, top_k=None, top_p=None):
    V = logits.size(-1)
    if not 0 <= temperature < math.inf:
        raise ValueError(f"{temperature}")
    if top_k is not None and not 1 <= top_k <= V:
        raise ValueError(f"{top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"{top_p}")
    if temperature == 0:
        temperature, top_k = 1.0, 1
    _, ids = logits[:1].double().sort(dim=-1, descending=True, stable=True)
    ids = ids.expand(len(logits), -1)
    scores = logits.double().gather(-1, ids)
    scores = (scores - scores.max(-1, True).values) / temperature
    if top_k is not None:
        scores[:, top_k:] = -math.inf
    p = scores.softmax(dim=-1)
    if top_p is not None and top_p < 1:
        before = p.cumsum(dim=-1) - p
        scores = scores.masked_fill(before >= top_p, -math.inf)
        p = scores.softmax(dim=-1)
    return torch.zeros_like(p).scatter(-1, ids, p).to(logits.dtype)
""",
        "cut logits become 0": (
            "scores[:, top_k:] = -math.inf",
            "scores[:, top_k:] = 0.0",
        ),
        "unstable sort": ("descending=True, stable=True", "descending=True"),
        "higher ids first among equals": """
def next_probabilities(logits, temperature=1.0, top_k=None, top_p=None):
    V = logits.size(-1)
    if not 0 <= temperature < math.inf:
        raise ValueError(f"{temperature}")
    if top_k is not None and not 1 <= top_k <= V:
        raise ValueError(f"{top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"{top_p}")
    if temperature == 0:
        temperature, top_k = 1.0, 1
    scores, ids = logits.double().sort(dim=-1, stable=True)
    scores, ids = scores.flip(-1), ids.flip(-1)
    scores = (scores - scores[:, :1]) / temperature
    if top_k is not None:
        scores[:, top_k:] = -math.inf
    p = scores.softmax(dim=-1)
    if top_p is not None and top_p < 1:
        before = p.cumsum(dim=-1) - p
        scores = scores.masked_fill(before >= top_p, -math.inf)
        p = scores.softmax(dim=-1)
    return torch.zeros_like(p).scatter(-1, ids, p).to(logits.dtype)
""",
        "top_p drops the token that crosses": (
            "before = p.cumsum(dim=-1) - p",
            "before = p.cumsum(dim=-1)",
        ),
        "top_p drops it, but never the first": (
            "scores.masked_fill(before >= top_p, -math.inf)",
            "scores.masked_fill((before + p >= top_p) & (before > 0), "
            "-math.inf)",
        ),
        "top_p goes on when reached": ("before >= top_p", "before > top_p"),
        "top_p is a least probability": (
            "before >= top_p",
            "p < p[:, :1] * (1 - top_p)",
        ),
        "top_p before top_k": """
def next_probabilities(logits, temperature=1.0, top_k=None, top_p=None):
    V = logits.size(-1)
    if not 0 <= temperature < math.inf:
        raise ValueError(f"{temperature}")
    if top_k is not None and not 1 <= top_k <= V:
        raise ValueError(f"{top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"{top_p}")
    if temperature == 0:
        temperature, top_k = 1.0, 1
    scores, ids = logits.double().sort(dim=-1, descending=True, stable=True)
    scores = (scores - scores[:, :1]) / temperature
    p = scores.softmax(dim=-1)
    if top_p is not None and top_p < 1:
        before = p.cumsum(dim=-1) - p
        scores = scores.masked_fill(before >= top_p, -math.inf)
    if top_k is not None:
        scores[:, top_k:] = -math.inf
    p = scores.softmax(dim=-1)
    return torch.zeros_like(p).scatter(-1, ids, p).to(logits.dtype)
""",
        "not renormalized": (
            "        p = scores.softmax(dim=-1)\n    return",
            "        p = p * scores.isfinite()\n    return",
        ),
        "top_p=1 cuts by rounding": (
            "if top_p is not None and top_p < 1:",
            "if top_p is not None:",
        ),
        "left in sorted order": (
            "torch.zeros_like(p).scatter(-1, ids, p)",
            "p",
        ),
        "gathered instead of scattered": (
            "torch.zeros_like(p).scatter(-1, ids, p)",
            "p.gather(-1, ids)",
        ),
        "double precision returned": (".to(logits.dtype)", ""),
        "input changed": (
            "V = logits.size(-1)",
            "V = logits.size(-1)\n    logits.sub_(logits.amax(-1, True))",
        ),
        "top_k above V taken for V": (
            "not 1 <= top_k <= V",
            "not 1 <= top_k",
        ),
        "negative temperature taken": (
            "not 0 <= temperature < math.inf",
            "temperature == math.inf or temperature != temperature",
        ),
        "top_p of 0 taken": ("not 0 < top_p <= 1", "not 0 <= top_p <= 1"),
        "NaN passes": (
            "not 0 <= temperature < math.inf",
            "temperature < 0 or temperature == math.inf",
        ),
        "not checked where temperature is 0": (
            "    V = logits.size(-1)\n",
            "    V = logits.size(-1)\n"
            "    if temperature == 0:\n"
            "        best = F.one_hot(logits.argmax(-1), V)\n"
            "        return best.to(logits.dtype)\n",
        ),
        "a least temperature": (
            ") / temperature",
            ") / max(temperature, 1e-3)",
        ),
        "top_p reached a little early": (
            "before >= top_p",
            "before >= top_p - 1e-3",
        ),
        "a single row loses its dimension": (
            "scatter(-1, ids, p).to",
            "scatter(-1, ids, p).squeeze(0).to",
        ),
        "nothing cut where one token is nearly sure": (
            "if top_p is not None and top_p < 1:",
            "if top_p is not None and top_p < 1 and p[0, 0] < 0.99999:",
        ),
        "top_k of all rows together": (
            "scores[:, top_k:] = -math.inf",
            "least = scores.flatten().topk(top_k * len(scores)).values[-1]\n"
            "        scores[scores < least] = -math.inf",
        ),
    },
    "write_all": {
        "one stop ends all": (
            "        if not writing:\n",
            "        if len(writing) < len(written):\n",
        ),
        "rows go on after their stop": (
            "on = [i for i, token in enumerate(new) if token not in stop_ids]",
            "on = list(range(len(new)))",
        ),
        "rows go on until all have stopped": """
def write_all(model, ids, max_new_tokens, stop_ids, choose, context_length):
    T, done = ids.size(1), [False] * len(ids)
    for _ in range(max_new_tokens):
        if all(done):
            break
        with torch.no_grad():
            chosen = choose(model(ids[:, -context_length:])[:, -1])
        ids = torch.cat([ids, chosen[:, None]], dim=1)
        done = [a or b in stop_ids for a, b in zip(done, chosen.tolist())]
    return ids[:, T:].tolist()
""",
        "right texts, computed in vain": """
def write_all(model, ids, max_new_tokens, stop_ids, choose, context_length):
    T, done = ids.size(1), [False] * len(ids)
    for _ in range(max_new_tokens):
        if all(done):
            break
        with torch.no_grad():
            chosen = choose(model(ids[:, -context_length:])[:, -1])
        ids = torch.cat([ids, chosen[:, None]], dim=1)
        done = [a or b in stop_ids for a, b in zip(done, chosen.tolist())]
    written = []
    for row in ids[:, T:].tolist():
        ends = [i for i, token in enumerate(row) if token in stop_ids]
        written.append(row[: ends[0] + 1] if ends else row)
    return written
""",
        "stop left out": (
            "        for row, token in zip(writing, new):\n"
            "            written[row].append(token)\n",
            "        for row, token in zip(writing, new):\n"
            "            if token not in stop_ids:\n"
            "                written[row].append(token)\n",
        ),
        "a stop in the prompt stops": (
            "writing = list(range(len(ids)))",
            "writing = [i for i in range(len(ids)) "
            "if not stop_ids & set(ids[i].tolist())]\n    ids = ids[writing]",
        ),
        "numbers of rows mixed up": (
            "writing = [writing[i] for i in on]",
            "writing = on",
        ),
        "texts not taken along": (
            "torch.cat([ids, chosen[:, None]], dim=1)[on]",
            "torch.cat([ids, chosen[:, None]], dim=1)[: len(on)]",
        ),
        "prompts returned too": (
            "[[] for _ in ids]",
            "[row.tolist() for row in ids]",
        ),
        "one list for all": ("[[] for _ in ids]", "[[]] * len(ids)"),
        "first tokens of the context": (
            "ids[:, -context_length:]",
            "ids[:, :context_length]",
        ),
        "window one too short": (
            "ids[:, -context_length:]",
            "ids[:, -max(1, context_length - 1) :]",
        ),
        "text cut to the context": (
            "        if not writing:\n",
            "        ids = ids[:, 1 - context_length :]\n"
            "        if not writing:\n",
        ),
        "no cropping": ("ids[:, -context_length:]", "ids"),
        "first position": ("[:, -1]  # (n, V)", "[:, 0]  # (n, V)"),
        "the likeliest, whatever choose says": (
            "chosen = choose(logits)",
            "chosen = logits.argmax(-1)",
        ),
        "choose is given all positions": (
            "logits = model(ids[:, -context_length:])[:, -1]  # (n, V)\n"
            "        chosen = choose(logits)",
            "logits = model(ids[:, -context_length:])\n"
            "        chosen = choose(logits)[:, -1]",
        ),
        "one stop only": (
            "if token not in stop_ids]",
            "if token != max(stop_ids, default=-1)]",
        ),
        "stop 0 taken for none": (
            "if token not in stop_ids]",
            "if not (token and token in stop_ids)]",
        ),
        "one token too many": (
            "range(max_new_tokens)",
            "range(max_new_tokens + 1)",
        ),
        "gradients kept": (
            "with torch.no_grad():",
            "with torch.enable_grad():",
        ),
        "called with no row": (
            "        if not writing:\n            break\n",
            "",
        ),
        "row by row": """
def write_all(model, ids, max_new_tokens, stop_ids, choose, context_length):
    written = []
    for row in ids:
        text, new = row[None], []
        while len(new) < max_new_tokens and not stop_ids & set(new[-1:]):
            with torch.no_grad():
                chosen = choose(model(text[:, -context_length:])[:, -1])
            text = torch.cat([text, chosen[:, None]], dim=1)
            new.append(chosen.item())
        written.append(new)
    return written
""",
        "choose is asked row by row": (
            "chosen = choose(logits)",
            "chosen = torch.cat([choose(row[None]) for row in logits])",
        ),
        "stop noticed one step late": (
            "on = [i for i, token in enumerate(new) if token not in stop_ids]",
            "late = len(written[0]) > 1\n"
            "        last = ids[:, -1].tolist() if late else [-1] * len(new)\n"
            "        on = [i for i, token in enumerate(last) "
            "if token not in stop_ids]",
        ),
        "length counted with the prompt": (
            "range(max_new_tokens)",
            "range(max_new_tokens - ids.size(1))",
        ),
    },
    "save_and_resume": {
        "optimizer forgotten": (
            '    run.optimizer.load_state_dict(state["optimizer"])\n',
            "",
        ),
        "rate warms up again": (
            '    run.schedule.load_state_dict(state["schedule"])\n',
            "",
        ),
        "schedule stepped, but the next rate is off": (
            'run.schedule.load_state_dict(state["schedule"])',
            'run.schedule.last_epoch = state["step"] + 1',
        ),
        "order of the windows forgotten": (
            '    run.order = state["order"]\n',
            "",
        ),
        "starts a new epoch": ('run.order = state["order"]', "run.order = []"),
        "stream that shuffles forgotten": (
            '    run.random.set_state(state["random"])\n',
            "",
        ),
        "stream that shuffles seeded anew": (
            'run.random.set_state(state["random"])',
            'run.random.manual_seed(state["step"])',
        ),
        "dropout forgotten": (
            '    torch.set_rng_state(state["dropout"])\n',
            "",
        ),
        "dropout seeded anew": (
            '    torch.set_rng_state(state["dropout"])\n',
            '    torch.manual_seed(state["step"])\n',
        ),
        "step forgotten": ('    run.step = state["step"]\n', ""),
        "weights forgotten": (
            '    run.model.load_state_dict(state["model"])\n',
            "",
        ),
        "buffers forgotten": (
            "run.model.state_dict(),",
            "dict(run.model.named_parameters()),",
        ),
        "buffers forgotten, and not asked for": (
            'run.model.load_state_dict(state["model"])',
            "for name, w in run.model.named_parameters():\n"
            '        w.data.copy_(state["model"][name])',
        ),
        "weights in half precision": (
            "run.model.state_dict(),",
            "{k: w.half() for k, w in run.model.state_dict().items()},",
        ),
        "written in place": (
            "torch.save(state, unfinished)\n"
            "        os.replace(unfinished, path)",
            "torch.save(state, path)",
        ),
        "older file removed first": (
            "        torch.save(state, unfinished)\n",
            "        path.unlink(missing_ok=True)\n"
            "        torch.save(state, unfinished)\n",
        ),
        "half a file left behind": (
            "        unfinished.unlink(missing_ok=True)\n",
            "        pass\n",
        ),
        "copied, not renamed": (
            "os.replace(unfinished, path)",
            "path.write_bytes(unfinished.read_bytes())\n"
            "        os.link(unfinished, path.with_name('backup'))",
        ),
        "errors kept": (
            "    finally:\n        unfinished",
            "    except OSError:\n        pass\n"
            "    finally:\n        unfinished",
        ),
        "any pickle is loaded": ("weights_only=True", "weights_only=False"),
        "a new model and optimizer in place of the old": (
            'run.model.load_state_dict(state["model"])',
            "for name, w in state['model'].items():\n"
            "        if name in dict(run.model.named_parameters()):\n"
            "            setattr(run.model, name, nn.Parameter(w))\n"
            "        else:\n"
            "            setattr(run.model, name, w)",
        ),
        "saving draws a number": (
            "    state = {\n",
            "    torch.rand(1)\n    state = {\n",
        ),
        "saving ends the epoch": (
            '"order": run.order,',
            '"order": [run.order.pop() for _ in run.order[:]][::-1],',
        ),
        "kept in memory": """
SAVED = {}

def save_run(run, path):
    SAVED["run"] = {k: v for k, v in vars(run).items()}
    path.write_text("saved")


def load_run(run, path):
    for name, value in SAVED["run"].items():
        setattr(run, name, value)
""",
        "whole objects pickled": """
def save_run(run, path):
    torch.save(run.model, path)


def load_run(run, path):
    run.model = torch.load(path, weights_only=False)
""",
        "written to another disk first": (
            'path.with_name(f"{path.name}.part")',
            "Path(__import__('tempfile').mkdtemp(), 'run.part')",
        ),
        "the file is used up": (
            "state = torch.load(path, weights_only=True)\n",
            "state = torch.load(path, weights_only=True)\n    path.unlink()\n",
        ),
        "the model is left half loaded": (
            "state = torch.load(path, weights_only=True)\n",
            "run.step = 0\n    state = torch.load(path, weights_only=True)\n",
        ),
        "weights only, and the rate": """
def save_run(run, path):
    unfinished = path.with_name(f"{path.name}.part")
    state = run.model.state_dict(), run.optimizer.param_groups[0]["lr"]
    torch.save([*state, run.step], unfinished)
    os.replace(unfinished, path)


def load_run(run, path):
    weights, rate, run.step = torch.load(path, weights_only=True)
    run.model.load_state_dict(weights)
    run.optimizer.param_groups[0]["lr"] = rate
    run.schedule.last_epoch = run.step
""",
    },
    "calibration_error": {
        "gaps keep their sign": (
            "gaps.abs().sum().item()",
            "abs(gaps.sum().item())",
        ),
        "absolute values before the sum": (
            "confidence - hits)",
            "(confidence - hits).abs())",
        ),
        "mean over bins": (
            "gaps.abs().sum().item() / len(hits)",
            "(gaps / bins.bincount(minlength=n_bins).clamp(min=1))"
            ".abs().mean().item()",
        ),
        "ignored targets in the divisor": (
            "/ len(hits)",
            "/ targets.numel()",
        ),
        "ignored targets count as wrong": (
            "counts = targets != -100\n",
            "counts = torch.ones_like(targets, dtype=torch.bool)\n"
            "    if (targets == -100).all():\n"
            "        raise ValueError\n",
        ),
        "probability of the target": (
            "confidence, favorite = p.max(dim=-1)\n",
            "favorite = p.argmax(dim=-1)\n"
            "    confidence = p.gather(-1, targets[counts][:, None])[:, 0]\n",
        ),
        "temperature multiplies": (
            ".double() / temperature",
            ".double() * temperature",
        ),
        "temperature after the softmax": (
            "(logits[counts].double() / temperature).softmax(dim=-1)",
            "logits[counts].double().softmax(dim=-1) ** (1 / temperature)",
        ),
        "temperature forgotten": (" / temperature)", ")"),
        "softmax over the places": ("softmax(dim=-1)", "softmax(dim=0)"),
        "a bin too many": (
            "(confidence * n_bins).ceil().long() - 1",
            "(confidence * (n_bins - 1)).ceil().long()",
        ),
        "confidence 1 forgotten": (
            "gaps.index_add_(0, bins, confidence - hits)",
            "keep = confidence < 1\n"
            "    gaps.index_add_(0, bins[keep], (confidence - hits)[keep])",
        ),
        "squared gaps": (
            "gaps.abs().sum().item() / len(hits)",
            "(gaps.square().sum().item()) ** 0.5 / len(hits)",
        ),
        "no error where nothing counts": (
            "if not counts.any():",
            "if targets.numel() == 0:",
        ),
    },
}
