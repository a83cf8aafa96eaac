"""Wrong answers to the exercises of chapter 3; each must be caught.

PLANTED maps a check's name to its wrong answers by what is wrong with them:
either (old, new), a change to the solution, or a whole answer.
"""

PLANTED = {
    "softmax": {
        "overflow": ("z - peak", "z"),
        "largest of the whole tensor": (
            "z.amax(dim=dim, keepdim=True)",
            "z.max()",
        ),
        "largest along the last dimension": (
            "z.amax(dim=dim, keepdim=True)",
            "z.amax(dim=-1, keepdim=True)",
        ),
        "sum along the last dimension": (
            "powers.sum(dim=dim, keepdim=True)",
            "powers.sum(dim=-1, keepdim=True)",
        ),
        "divided by the sum of all": (
            "powers.sum(dim=dim, keepdim=True)",
            "powers.sum()",
        ),
        "clipped scores": (
            "powers = (z - peak).exp()",
            "powers = z.clamp(-50, 50).exp()",
        ),
        "empty slice forgotten": """
def softmax(z, dim):
    powers = (z - z.amax(dim=dim, keepdim=True)).exp()
    return powers / powers.sum(dim=dim, keepdim=True)
""",
        "NaN overwritten too late": """
def softmax(z, dim):
    powers = (z - z.amax(dim=dim, keepdim=True)).exp()
    return (powers / powers.sum(dim=dim, keepdim=True)).nan_to_num(0.0)
""",
        "only the difference repaired in time": (
            "powers / total.masked_fill(total == 0, 1.0)",
            "torch.where(total > 0, powers / total, 0.0)",
        ),
        "empty slice uniform": """
def softmax(z, dim):
    z = z.masked_fill(z == -math.inf, -1e30)
    powers = (z - z.amax(dim=dim, keepdim=True)).exp()
    return powers / powers.sum(dim=dim, keepdim=True)
""",
        "input changed": (
            "powers = (z - peak).exp()",
            "powers = z.sub_(peak).exp()",
        ),
        "PyTorch's own": """
def softmax(z, dim):
    empty = (z == -math.inf).all(dim=dim, keepdim=True)
    return z.masked_fill(empty, 0.0).softmax(dim).masked_fill(empty, 0.0)
""",
        "small number in the denominator": (
            "total.masked_fill(total == 0, 1.0)",
            "(total + 1e-8)",
        ),
        "gradient cut": ("(z - peak).exp()", "(z - peak).detach().exp()"),
        "softmin": """
def softmax(z, dim):
    empty = (z == -math.inf).all(dim=dim, keepdim=True)
    return F.softmin(-z.masked_fill(empty, 0.0), dim).masked_fill(empty, 0.0)
""",
        "denominator without gradient": (
            "total.masked_fill",
            "total.detach().masked_fill",
        ),
        "for three dimensions only": (
            "z - peak",
            'torch.einsum("abc->abc", z) - peak',
        ),
        "single precision": ("(z - peak)", "(z.float() - peak)"),
        "result in double precision": (
            "total.masked_fill(total == 0, 1.0)",
            "total.double().masked_fill(total == 0, 1.0)",
        ),
        "contiguous input only": (
            "powers = (z - peak).exp()",
            "powers = (z.view(-1).view(z.shape) - peak).exp()",
        ),
        "gradient right along the middle only": (
            "total.masked_fill",
            "(total if dim == 1 else total.detach()).masked_fill",
        ),
        "weights below 1e-13 dropped": (
            "return powers / total.masked_fill(total == 0, 1.0)",
            "w = powers / total.masked_fill(total == 0, 1.0)\n"
            "    return w * (w > 1e-13)",
        ),
    },
    "attend": {
        "no scale": (" / math.sqrt(q.size(-1))", ""),
        "scale by the width, not its root": (
            "math.sqrt(q.size(-1))",
            "q.size(-1)",
        ),
        "scale by the width of the values": ("q.size(-1)", "v.size(-1)"),
        "scale by the width of all heads": (
            "q.size(-1)",
            "q.size(-1) * q.size(1)",
        ),
        "scale by the number of keys": ("q.size(-1)", "k.size(-2)"),
        "softmax over the queries": ("softmax(dim=-1)", "softmax(dim=-2)"),
        "softmax over the heads": ("softmax(dim=-1)", "softmax(dim=1)"),
        "mask inverted": ("~mask", "mask"),
        "forbidden scores zero": ("-math.inf", "0.0"),
        "forbidden scores only low": ("-math.inf", "-1e4"),
        "masked after softmax": """
def attend(q, k, v, mask=None):
    weights = (q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))).softmax(-1)
    if mask is not None:
        weights = weights * mask
    return weights @ v, weights
""",
        "renormalized too late": """
def attend(q, k, v, mask=None):
    weights = (q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))).softmax(-1)
    if mask is not None:
        weights = weights * mask
        weights = weights / weights.sum(-1, keepdim=True)
    return weights @ v, weights
""",
        "mask ignored": ("if mask is not None:", "if False:"),
        "scores returned": (
            "return weights @ v, weights",
            "return weights @ v, scores",
        ),
        "order of the two": (
            "return weights @ v, weights",
            "return weights, weights @ v",
        ),
        "mixed only": ("return weights @ v, weights", "return weights @ v"),
        "mask changed": (
            "scores.masked_fill(~mask, -math.inf)",
            "scores.masked_fill(mask.logical_not_(), -math.inf)",
        ),
        "causal whatever the mask": (
            "masked_fill(~mask, -math.inf)",
            "masked_fill(~torch.ones_like(scores).tril().bool(), -math.inf)",
        ),
        "gradient cut": (
            "return weights @ v, weights",
            "return (weights @ v).detach(), weights.detach()",
        ),
        "gradient cut in the weights": (
            "return weights @ v, weights",
            "return weights.detach() @ v, weights",
        ),
        "first sentence's mask for all": (
            "~mask, -math.inf",
            "~mask.expand(scores.shape)[:1], -math.inf",
        ),
        "contiguous input only": (
            "q @ k.transpose(-2, -1)",
            "(q.view(-1, *q.shape[-2:]) @ k.view(-1, *k.shape[-2:]).mT)"
            ".view(*q.shape[:3], -1)",
        ),
        "table of -inf in double precision": (
            "scores = scores.masked_fill(~mask, -math.inf)",
            "table = torch.zeros(mask.shape).double()\n"
            "        scores = scores + table.masked_fill(~mask, -math.inf)",
        ),
        "scale by sentences times heads": (
            "math.sqrt(q.size(-1))",
            "math.sqrt(q.size(0) * q.size(1))",
        ),
        "forbidden -1e30": ("-math.inf", "-1e30"),
        "weights without gradient": (
            "return weights @ v, weights",
            "return weights @ v, weights.detach()",
        ),
    },
    "visible": {
        "off by one, sees the next": ("tril(S - T)", "tril(S - T + 1)"),
        "off by one, misses itself": (
            "tril(S - T)  # (T, S)\n"
            "    itself = torch.eye(S, dtype=torch.bool)[S - T :]  # (T, S)\n"
            "    return past & real[:, None, None, :] | itself",
            "tril(S - T - 1)\n    return past & real[:, None, None, :]",
        ),
        "upper left corner": ("tril(S - T)", "tril()"),
        "first rows of the identity": ("[S - T :]", "[:T]"),
        "inverted": (
            "return past & real[:, None, None, :] | itself",
            "return ~(past & real[:, None, None, :] | itself)",
        ),
        "upper triangle": ("tril(S - T)", "triu(S - T)"),
        "padding forgotten": (
            "past & real[:, None, None, :] | itself",
            "past.expand(len(real), 1, T, S)",
        ),
        "empty rows": (" | itself", ""),
        "padded queries see padding": (
            "real[:, None, None, :] | itself",
            "(real[:, None, None, :] | ~real[:, None, S - T :, None])",
        ),
        "padding of queries, not keys": (
            "real[:, None, None, :]",
            "real[:, None, S - T :, None]",
        ),
        "or for and": ("past & real", "past | real"),
        "brackets": (
            "past & real[:, None, None, :] | itself",
            "past & (real[:, None, None, :] | True)",
        ),
        "no dimension for heads": ("real[:, None, None, :]", "real[:, None]"),
        "first sentence for all": (
            "real[:, None, None, :]",
            "real[:1, None, None, :].expand(len(real), 1, 1, S)",
        ),
        "scores instead of booleans": (
            "return past & real[:, None, None, :] | itself",
            "return torch.where(\n"
            "        past & real[:, None, None, :] | itself, 0.0, -math.inf\n"
            "    )",
        ),
        "padding taken to stand in front": """
def visible(real, T):
    S = real.size(1)
    start = S - real.sum(1)
    s = torch.arange(S)
    past = torch.ones(T, S, dtype=torch.bool).tril(S - T)
    token = s >= start[:, None]
    itself = torch.eye(S, dtype=torch.bool)[S - T :]
    return past & token[:, None, None, :] | itself
""",
        "input changed": """
def visible(real, T):
    S = real.size(1)
    past = torch.ones(T, S, dtype=torch.bool).tril(S - T)
    real[:, S - T :] = True
    return past & real[:, None, None, :]
""",
        "itself only where nobody else": (
            "return past & real[:, None, None, :] | itself",
            "mask = past & real[:, None, None, :]\n"
            "    return mask | itself & ~mask.any(-1, keepdim=True)",
        ),
        "padded queries see only themselves": (
            "past & real[:, None, None, :]",
            "past & real[:, None, None, :] & real[:, None, S - T :, None]",
        ),
        "padding taken to stand behind": (
            "real[:, None, None, :]",
            "(torch.arange(S) < real.sum(1)[:, None])[:, None, None]",
        ),
        "contiguous input only": (
            "real[:, None, None, :]",
            "real.view(-1).view(real.size(0), 1, 1, S)",
        ),
        "from the first real token to the last": """
def visible(real, T):
    S = real.size(1)
    s = torch.arange(S)
    first = real.int().argmax(1, keepdim=True)
    last = S - 1 - real.flip(1).int().argmax(1, keepdim=True)
    token = (first <= s) & (s <= last)
    past = torch.ones(T, S, dtype=torch.bool).tril(S - T)
    itself = torch.eye(S, dtype=torch.bool)[S - T :]
    return past & token[:, None, None, :] | itself
""",
        "six positions": ("S = real.size(1)", "S = 6"),
        "three sentences": (
            "real[:, None, None, :]",
            "real.expand(3, -1)[:, None, None, :]",
        ),
    },
    "many_heads": {
        "view without transpose": (
            "y.view(B, T, n_heads, -1).transpose(1, 2)",
            "y.reshape(B, n_heads, T, -1)",
        ),
        "joined without transposing back": (
            "mixed.transpose(1, 2).reshape",
            "mixed.reshape",
        ),
        "heads cut in the wrong order": (
            "y.view(B, T, n_heads, -1).transpose(1, 2)",
            "y.view(B, T, -1, n_heads).permute(0, 3, 1, 2)",
        ),
        "heads joined in the wrong order": (
            "mixed.transpose(1, 2).reshape",
            "mixed.permute(0, 2, 3, 1).reshape",
        ),
        "no mask": (", is_causal=True", ""),
        "mask off by one": (
            "is_causal=True",
            "attn_mask=torch.ones(T, T).tril(1).bool()",
        ),
        "mask inverted": (
            "is_causal=True",
            "attn_mask=torch.ones(T, T).triu().bool()",
        ),
        "no scale": ("is_causal=True", "is_causal=True, scale=1.0"),
        "scale of all heads": (
            "is_causal=True",
            "is_causal=True, scale=d_out**-0.5",
        ),
        "no output bias": (" + b_o", ""),
        "no output projection": ("@ w_o + b_o", "+ b_o"),
        "output projection transposed": ("@ w_o", "@ w_o.T"),
        "weights transposed": ("split(x @ w_k)", "split(F.linear(x, w_k))"),
        "only for d_in = d_out": ("reshape(B, T, d_out)", "reshape(x.shape)"),
        "only for a batch of one": ("y.view(B, T,", "y.view(1, T,"),
        "keys and values exchanged": (
            "scaled_dot_product_attention(q, k, v",
            "scaled_dot_product_attention(q, v, k",
        ),
        "loop over the heads": """
def many_heads(x, w_q, w_k, w_v, w_o, b_o, n_heads):
    if w_q.size(1) % n_heads:
        raise ValueError(f"{n_heads} heads, width {w_q.size(1)}")
    parts = [(x @ w).chunk(n_heads, dim=-1) for w in (w_q, w_k, w_v)]
    heads = [
        F.scaled_dot_product_attention(q, k, v, is_causal=True)
        for q, k, v in zip(*parts)
    ]
    return torch.cat(heads, dim=-1) @ w_o + b_o
""",
        "no error": (
            'raise ValueError(f"{n_heads} heads cannot share a width of '
            '{d_out}")',
            "pass",
        ),
        "error without numbers": (
            'f"{n_heads} heads cannot share a width of {d_out}"',
            '"heads of unequal width"',
        ),
        "gradient cut": ("split(x @ w_q)", "split((x @ w_q).detach())"),
        "scale by d_in": (
            "is_causal=True",
            "is_causal=True, scale=(x.size(2) / n_heads) ** -0.5",
        ),
        "contiguous input only": (
            "split(x @ w_q)",
            "split((x.view(-1, x.size(-1)) @ w_q).view(*x.shape[:2], -1))",
        ),
        "torch's own function": """
def many_heads(x, w_q, w_k, w_v, w_o, b_o, n_heads):
    d_out = w_q.size(1)
    if d_out % n_heads:
        raise ValueError(f"{n_heads} heads cannot share a width of {d_out}")
    q, k, v = ((x @ w).transpose(0, 1) for w in (w_q, w_k, w_v))
    eye = torch.eye(d_out, dtype=x.dtype)
    T = x.size(1)
    out, _ = F.multi_head_attention_forward(
        q, k, v, d_out, n_heads, None, torch.zeros(3 * d_out, dtype=x.dtype),
        None, None, False, 0.0, w_o.T, b_o, need_weights=False,
        use_separate_proj_weight=True, q_proj_weight=eye,
        k_proj_weight=eye, v_proj_weight=eye,
        attn_mask=torch.ones(T, T).triu(1).bool())
    return out.transpose(0, 1)
""",
        "gradient of x cut in the queries": (
            "split(x @ w_q)",
            "split(x.detach() @ w_q)",
        ),
        "more heads than columns pass": (
            "if d_out % n_heads",
            "if d_out % n_heads and n_heads < d_out",
        ),
        "double precision only": (
            "@ w_o + b_o",
            "@ w_o.double() + b_o.double()",
        ),
    },
    "take_apart": {
        "each head with all three of its own": (
            "slice(i * d_out + h * d, i * d_out + (h + 1) * d)",
            "slice((3 * h + i) * d, (3 * h + i + 1) * d)",
        ),
        "heads interleaved": (
            "slice(i * d_out + h * d, i * d_out + (h + 1) * d)",
            "slice(i * d_out + h, (i + 1) * d_out, n_heads)",
        ),
        "keys and values exchanged": (
            "(head.query, head.key, head.value)",
            "(head.query, head.value, head.key)",
        ),
        "heads in reverse": ("return heads", "return heads[::-1]"),
        "rows of out": (
            "out.weight[:, h * d : (h + 1) * d]",
            "out.weight[h * d : (h + 1) * d].T",
        ),
        "columns of out interleaved": (
            "out.weight[:, h * d : (h + 1) * d]",
            "out.weight[:, h::n_heads]",
        ),
        "out not cut": (
            "head.out.weight.copy_(out.weight[:, h * d : (h + 1) * d])",
            "head.out = out",
        ),
        "bias forgotten": ("if bias:", "if False:"),
        "never a bias": (
            "bias = qkv.bias is not None",
            "bias = False",
        ),
        "always a bias": (
            "            if bias:\n"
            "                part.bias.copy_(qkv.bias[rows])\n",
            "            if bias:\n"
            "                part.bias.copy_(qkv.bias[rows])\n"
            "            else:\n"
            "                part.bias = nn.Parameter(torch.zeros(d))\n",
        ),
        "shared memory": (
            "part.weight.copy_(qkv.weight[rows])",
            "part.weight.data = qkv.weight.data[rows]",
        ),
        "only for d_in = d_out": (
            "Head(d_in, d, d_out, bias)",
            "Head(d_out, d, d_out, bias)",
        ),
        "d_out taken for the width of a head": (
            "d = d_out // n_heads",
            "d = d_out",
        ),
        "one head missing": ("range(n_heads)", "range(1, n_heads)"),
        "left as made": ("head.out.weight.copy_", "head.out.weight.add"),
        "one head does it all": (
            "heads.append(head)",
            "heads.append(head)\n"
            "        head.out.weight.mul_(n_heads if h == 0 else 0)",
        ),
        "bias shared": (
            "part.bias.copy_(qkv.bias[rows])",
            "part.bias.data = qkv.bias.data[rows]",
        ),
        "output bias in every head": (
            "heads.append(head)",
            "head.out.bias = nn.Parameter(out.bias / n_heads)\n"
            "        heads.append(head)",
        ),
        "frozen": (
            "(head)\n    return",
            "(head.requires_grad_(False))\n    return",
        ),
        "layer frozen": (
            "heads = []",
            "heads = []\n    qkv.requires_grad_(False)",
        ),
        "bias of zeros left out": (
            "bias = qkv.bias is not None",
            "bias = qkv.bias is not None and bool(qkv.bias.any())",
        ),
        "needs no_grad around it": ("@torch.no_grad()\n", ""),
        "layer put into evaluation mode": (
            "heads = []",
            "heads = []\n    out.eval()",
        ),
        "width of twelve": (
            "d_in, d_out = qkv.in_features, out.out_features",
            "d_in, d_out = qkv.in_features, 12",
        ),
        "one head alone not copied": (
            "heads = []",
            "heads = []\n    if n_heads == 1:\n"
            "        return [Head(d_in, d, d_out, bias)]",
        ),
    },
    "attention_cost": {
        "no output projection": (
            "3 * d_in * d_out + d_out**2",
            "3 * d_in * d_out",
        ),
        "square weights": ("3 * d_in * d_out", "3 * d_out**2"),
        "output projection from d_in": (
            "3 * d_in * d_out + d_out**2",
            "4 * d_in * d_out",
        ),
        "output bias forgotten": (
            "3 * d_out * qkv_bias + d_out",
            "3 * d_out * qkv_bias",
        ),
        "bias always": ("3 * d_out * qkv_bias", "3 * d_out"),
        "bias of one projection": ("3 * d_out * qkv_bias", "d_out * qkv_bias"),
        "heads multiply": ("4 * T**2 * d_out", "4 * T**2 * d_out * n_heads"),
        "heads divide": ("4 * T**2 * d_out", "4 * T**2 * (d_out // n_heads)"),
        "multiplications only": (
            "2 * T * weights + 4 * T**2 * d_out",
            "T * weights + 2 * T**2 * d_out",
        ),
        "half of the table": ("4 * T**2", "2 * T * (T + 1)"),
        "one product": ("4 * T**2", "2 * T**2"),
        "biases among the operations": (
            "2 * T * weights",
            "2 * T * (weights + biases)",
        ),
        "keys only": ('"cache": 2 * T * d_out', '"cache": T * d_out'),
        "width of one head in the cache": (
            '"cache": 2 * T * d_out',
            '"cache": 2 * T * d_out // n_heads',
        ),
        "queries in the cache": (
            '"cache": 2 * T * d_out',
            '"cache": 3 * T * d_out',
        ),
        "crossover as for D": ("weights / (2 * d_out)", "2.0 * d_out"),
        "crossover rounded": (
            "weights / (2 * d_out)",
            "weights // (2 * d_out)",
        ),
        "crossover left out": (
            '        "crossover": weights / (2 * d_out),\n',
            "",
        ),
        "cache of the input": (
            '"cache": 2 * T * d_out',
            '"cache": 2 * T * d_in',
        ),
        "crossover from the sum of the widths": (
            "weights / (2 * d_out)",
            "float(d_in + d_out)",
        ),
        "all biases or none": (
            "3 * d_out * qkv_bias + d_out",
            "4 * d_out if qkv_bias else 0",
        ),
        "crossover no shorter than the text": (
            "weights / (2 * d_out)",
            "max(weights / (2 * d_out), T)",
        ),
        "bias as wide as the wider": (
            "3 * d_out * qkv_bias",
            "3 * max(d_in, d_out) * qkv_bias",
        ),
        "last query free": (
            "4 * T**2 * d_out",
            "(4 * T**2 if T > 1 else 0) * d_out",
        ),
    },
    "attend_backward": {
        "scale forgotten on the way back": (
            "grad_scores = scale * a",
            "grad_scores = a",
        ),
        "scale forgotten on the way forward": (
            "scores = scale * q @",
            "scores = q @",
        ),
        "scale squared": (
            "grad_scores = scale * a",
            "grad_scores = scale**2 * a",
        ),
        "mean forgotten": ("(grad_a - mean)", "grad_a"),
        "diagonal of the Jacobian only": (
            "a * (grad_a - mean)",
            "a * (1 - a) * grad_a",
        ),
        "plain mean": (
            "(a * grad_a).sum(dim=-1, keepdim=True)",
            "grad_a.mean(dim=-1, keepdim=True)",
        ),
        "mean over the queries": (
            "(a * grad_a).sum(dim=-1, keepdim=True)",
            "(a * grad_a).sum(dim=-2, keepdim=True)",
        ),
        "mask forgotten": ("scores.masked_fill(~mask, -math.inf)", "scores"),
        "mask inverted": ("~mask", "mask"),
        "softmax over the queries": ("softmax(dim=-1)", "softmax(dim=-2)"),
        "queries and keys exchanged": (
            "        grad_scores @ k,\n"
            "        grad_scores.transpose(-2, -1) @ q,\n",
            "        grad_scores.transpose(-2, -1) @ q,\n"
            "        grad_scores @ k,\n",
        ),
        "values by their scores": (
            "a.transpose(-2, -1) @ grad,",
            "scores.transpose(-2, -1) @ grad,",
        ),
        "A not transposed for the values": (
            "a.transpose(-2, -1) @ grad,",
            "a @ grad,",
        ),
        "scale only for the queries": (
            "grad_scores.transpose(-2, -1) @ q,",
            "grad_scores.transpose(-2, -1) @ q / scale,",
        ),
        "autograd": """
def attend_backward(q, k, v, mask, grad):
    q, k, v = (x.detach().requires_grad_() for x in (q, k, v))
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return torch.autograd.grad(mixed, (q, k, v), grad)
""",
        "all sentences added up": (
            "a.transpose(-2, -1) @ grad,",
            "(a.transpose(-2, -1) @ grad).sum(0, keepdim=True).expand_as(v),",
        ),
        "autograd, enabled again": """
def attend_backward(q, k, v, mask, grad):
    with torch.enable_grad():
        q, k, v = (x.detach().requires_grad_() for x in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return torch.autograd.grad(mixed, (q, k, v), grad)
""",
        "mean not weighted": (
            "scale * a * (grad_a - mean)",
            "scale * (a * grad_a - mean)",
        ),
        "plain mean of the allowed": (
            "(a * grad_a).sum(dim=-1, keepdim=True)",
            "(mask * grad_a).sum(-1, True) / mask.sum(-1, True)",
        ),
        "softmax without the largest": (
            "a = scores.masked_fill(~mask, -math.inf).softmax(dim=-1)",
            "a = scores.exp() * mask\n    a = a / a.sum(-1, keepdim=True)",
        ),
        "autograd, inference mode switched off": """
def attend_backward(q, k, v, mask, grad):
    with torch.inference_mode(False):
        q, k, v = (x.detach().clone().requires_grad_() for x in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return torch.autograd.grad(mixed, (q, k, v), grad.clone())
""",
        "a loop over the queries": """
def attend_backward(q, k, v, mask, grad):
    scale = 1 / math.sqrt(q.size(-1))
    grad_q, grad_k, grad_v = map(torch.zeros_like, (q, k, v))
    for t in range(q.size(-2)):
        scores = scale * (k @ q[..., t, :, None])[..., 0]
        a = scores.masked_fill(~mask[t], -math.inf).softmax(-1)
        g = (v @ grad[..., t, :, None])[..., 0]
        h = scale * a * (g - (a * g).sum(-1, keepdim=True))
        grad_v += a[..., None] * grad[..., None, t, :]
        grad_q[..., t, :] = (h[..., None] * k).sum(-2)
        grad_k += h[..., None] * q[..., None, t, :]
    return grad_q, grad_k, grad_v
""",
        "torch.func.vjp": """
def attend_backward(q, k, v, mask, grad):
    def forward(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return torch.func.vjp(forward, q, k, v)[1](grad)
""",
        "contiguous input only": (
            "grad_a = grad @",
            "grad_a = grad.view(-1).view(grad.shape) @",
        ),
        "double precision only": (
            "grad_a = grad @ v",
            "grad_a = grad.double() @ v.double()",
        ),
        "forbidden -1e4": ("-math.inf", "-1e4"),
        "gradient clipped": (
            "(grad_a - mean)",
            "(grad_a - mean).clamp(-20, 20)",
        ),
    },
    "is_causal": {
        "always yes": """
def is_causal(layer, T, d_in):
    return True
""",
        "shape only": """
def is_causal(layer, T, d_in):
    return layer(torch.randn(2, T, d_in)).shape[:2] == (2, T)
""",
        "last token only": (
            "for t in range(T - 1):",
            "for t in [T - 2]:",
        ),
        "first output only": ("for t in range(T - 1):", "for t in [0]:"),
        "neighbors only": (
            "changed[:, t + 1 :] = 3 * future\n"
            "            moved = (layer(changed) - before)[:, : t + 1].abs()",
            "changed[:, t + 1] = 3 * future[:, 0]\n"
            "            moved = (layer(changed) - before)[:, [t]].abs()",
        ),
        "future shuffled": (
            "changed[:, t + 1 :] = 3 * future",
            "changed[:, t + 1 :] = x[:, t + 1 :].flip(1)",
        ),
        "one token changed, not all": (
            "changed[:, t + 1 :] = 3 * future\n"
            "            moved = (layer(changed) - before)[:, : t + 1].abs()",
            "changed[:, T - 1 :] = 3 * future[:, -1:]\n"
            "            moved = (layer(changed) - before)[:, : t + 1].abs()",
        ),
        "same number added to all features": (
            "= 3 * future",
            "+= 1.0",
        ),
        "first feature only": (
            "changed[:, t + 1 :] = 3 * future",
            "changed[:, t + 1 :, 0] = 3 * future[..., 0]",
        ),
        "token made longer": ("= 3 * future", "*= 3"),
        "small changes only": ("= 3 * future", "+= 1e-3 * future"),
        "exact": ("1e-5 * before.abs().max()", "0"),
        "absolute tolerance": ("1e-5 * before.abs().max()", "1e-5"),
        "generous tolerance": ("1e-5 *", "0.05 *"),
        "off by one, refuses its own token": (
            "changed[:, t + 1 :] = 3 * future",
            "changed[:, t:] = 3 * torch.randn(8, T - t, d_in)",
        ),
        "off by one, misses the next token": (
            "changed[:, t + 1 :] = 3 * future",
            "changed[:, t + 2 :] = 3 * future[:, 1:]",
        ),
        "compares everything": ("[:, : t + 1].abs()", ".abs()"),
        "dropout left on": ("module.training = False", "pass"),
        "left in evaluation mode": ("module.training = mode", "pass"),
        "all put in training mode": (
            "module.training = mode",
            "module.train()",
        ),
        "input not protected": ("layer(x.clone())", "layer(x)"),
        "returns a tensor": ("bool(near)", "near"),
        "functions have no eval": (
            "isinstance(layer, nn.Module)",
            "True",
        ),
        "gradient of the sum of features": """
def is_causal(layer, T, d_in):
    modules = list(layer.modules()) if isinstance(layer, nn.Module) else []
    modes = [module.training for module in modules]
    for module in modules:
        module.training = False
    x = torch.randn(2, T, d_in, requires_grad=True)
    out = layer(x.clone())
    causal = True
    for t in range(T - 1):
        if out.requires_grad:
            g, = torch.autograd.grad(out[:, t].sum(), x, retain_graph=True)
            causal = causal and bool(g[:, t + 1 :].abs().max() < 1e-5)
    for module, mode in zip(modules, modes):
        module.training = mode
    return causal
""",
        "NaN in the future": """
def is_causal(layer, T, d_in):
    modules = list(layer.modules()) if isinstance(layer, nn.Module) else []
    modes = [module.training for module in modules]
    for module in modules:
        module.training = False
    causal = True
    for t in range(T - 1):
        x = torch.randn(2, T, d_in)
        x[:, t + 1 :] = math.nan
        causal = causal and not bool(layer(x)[:, : t + 1].isnan().any())
    for module, mode in zip(modules, modes):
        module.training = mode
    return causal
""",
        "future cut off": """
def is_causal(layer, T, d_in):
    modules = list(layer.modules()) if isinstance(layer, nn.Module) else []
    modes = [module.training for module in modules]
    for module in modules:
        module.training = False
    x = torch.randn(2, T, d_in)
    with torch.no_grad():
        out = layer(x.clone())
        causal = all(
            torch.allclose(layer(x[:, :t].clone()), out[:, :t], rtol=1e-4)
            for t in range(1, T)
        )
    for module, mode in zip(modules, modes):
        module.training = mode
    return causal
""",
        "NaN passes": (
            "near = moved <= 1e-5 * before.abs().max()",
            "near = not moved > 1e-5 * before.abs().max()",
        ),
        "from zeros": (
            "x = torch.randn(8, T, d_in, generator=generator)",
            "x = torch.zeros(8, T, d_in)",
        ),
        "dropout set to zero for good": (
            "        module.training = False\n",
            "        module.training = False\n"
            "        if isinstance(module, nn.Dropout):\n"
            "            module.p = 0.0\n",
        ),
        "same noise instead of evaluation mode": """
def is_causal(layer, T, d_in):
    def run(x):
        torch.manual_seed(0)
        return layer(x)

    causal = True
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        x = torch.randn(8, T, d_in)
        before = run(x.clone())
        for t in range(T - 1):
            changed = x.clone()
            changed[:, t + 1 :] = 3 * torch.randn(8, T - 1 - t, d_in)
            moved = (run(changed) - before)[:, : t + 1].abs().max()
            causal = causal and bool(moved <= 1e-5 * before.abs().max())
    return causal
""",
        "leaves early, in evaluation mode": (
            "            causal = causal and bool(near)\n",
            "            if not near:\n                return False\n",
        ),
        "one sentence changed, and looked at": (
            "changed[:, t + 1 :] = 3 * future\n"
            "            moved = (layer(changed) - before)[:, : t + 1].abs()",
            "changed[0, t + 1 :] = 3 * future[0]\n"
            "            moved = (layer(changed) - before)[0, : t + 1].abs()",
        ),
        "positive futures only": ("= 3 * future", "= 3 * future.abs()"),
        "last token never changed alone": (
            "for t in range(T - 1)",
            "for t in range(T - 2)",
        ),
        "token 0 never alone": (
            "for t in range(T - 1)",
            "for t in range(1, T - 1)",
        ),
        "every other position": (
            "for t in range(T - 1)",
            "for t in range(0, T - 1, 2)",
        ),
        "a ten-thousandth allowed": ("1e-5 *", "1e-4 *"),
        "mean of the differences": (
            "[:, : t + 1].abs().max()",
            "[:, : t + 1].abs().mean()",
        ),
        "last feature of the output only": (
            "[:, : t + 1].abs()",
            "[:, : t + 1, -1:].abs()",
        ),
        "first outputs not copied": (
            "layer(x.clone()).clone()",
            "layer(x.clone())",
        ),
    },
}
