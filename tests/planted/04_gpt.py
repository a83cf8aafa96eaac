"""Wrong answers to the exercises of chapter 4; each must be caught.

PLANTED maps a check's name to its wrong answers by what is wrong with them:
either (old, new), a change to the solution, or a whole answer.
"""

PLANTED = {
    "layer_norm": {
        "variance divided by D - 1": (
            "centered.square().mean(dim=-1, keepdim=True)",
            "x.var(dim=-1, keepdim=True)",
        ),
        "eps outside the root": (
            "torch.sqrt(variance + eps)",
            "(torch.sqrt(variance) + eps)",
        ),
        "eps squared": ("variance + eps)", "variance + eps**2)"),
        "eps fixed": ("variance + eps)", "variance + 1e-5)"),
        "no eps": ("variance + eps)", "variance)"),
        "another default": ("eps: float = 1e-5", "eps: float = 1e-6"),
        "over the tokens": (
            "x - x.mean(dim=-1, keepdim=True)\n"
            "    variance = centered.square().mean(dim=-1, keepdim=True)",
            "x - x.mean(dim=-2, keepdim=True)\n"
            "    variance = centered.square().mean(dim=-2, keepdim=True)",
        ),
        "over tokens and features": (
            "x - x.mean(dim=-1, keepdim=True)\n"
            "    variance = centered.square().mean(dim=-1, keepdim=True)",
            "x - x.mean(dim=(-2, -1), keepdim=True)\n"
            "    variance = centered.square().mean(dim=(-2, -1), "
            "keepdim=True)",
        ),
        "over the batch": (
            "x - x.mean(dim=-1, keepdim=True)\n"
            "    variance = centered.square().mean(dim=-1, keepdim=True)",
            "x - x.mean(dim=0, keepdim=True)\n"
            "    variance = centered.square().mean(dim=0, keepdim=True)",
        ),
        "for three dimensions only": (
            "x.mean(dim=-1, keepdim=True)",
            "x.mean(dim=2, keepdim=True)",
        ),
        "mean not subtracted": ("weight * centered", "weight * x"),
        "root mean square": (
            "x - x.mean(dim=-1, keepdim=True)",
            "x",
        ),
        "divided by the variance": (
            "torch.sqrt(variance + eps)",
            "(variance + eps)",
        ),
        "shift forgotten": (" + bias", ""),
        "shifted before scaled": (
            "weight * centered / torch.sqrt(variance + eps) + bias",
            "weight * (centered / torch.sqrt(variance + eps) + bias)",
        ),
        "weight counted from one": (
            "weight * centered",
            "(1 + weight) * centered",
        ),
        "squares minus square": (
            "centered.square().mean(dim=-1, keepdim=True)",
            "x.square().mean(-1, keepdim=True)"
            " - x.mean(-1, keepdim=True).square()",
        ),
        "mean without gradient": ("x.mean(dim=-1", "x.detach().mean(dim=-1"),
        "variance without gradient": (
            "centered.square()",
            "centered.detach().square()",
        ),
        "input changed": (
            "x - x.mean(dim=-1, keepdim=True)",
            "x.sub_(x.mean(dim=-1, keepdim=True))",
        ),
        "PyTorch's own": """
def layer_norm(x, weight, bias, eps=1e-5):
    return F.layer_norm(x, (x.size(-1),), weight, bias, eps)
""",
        "PyTorch's group norm": """
def layer_norm(x, weight, bias, eps=1e-5):
    flat = x.reshape(-1, x.size(-1))
    return F.group_norm(flat, 1, weight, bias, eps).view(x.shape)
""",
        "always in double precision": (
            "centered = x",
            "centered = x.double()",
        ),
        "by the mean distance": ("centered.square()", "centered.abs()"),
        "NaN gradient where entries are equal": (
            "torch.sqrt(variance + eps)",
            "torch.sqrt(variance.sqrt() ** 2 + eps)",
        ),
        "five features": (
            "centered.square().mean(dim=-1, keepdim=True)",
            "centered.square().sum(dim=-1, keepdim=True) / 5",
        ),
    },
    "gelu_with_slope": {
        "exact form": """
def gelu_with_slope(x):
    share = (1 + torch.erf(x / math.sqrt(2))) / 2
    density = torch.exp(-x.clamp(-20, 20) ** 2 / 2) / math.sqrt(2 * math.pi)
    return x * share, share + x.clamp(-20, 20) * density
""",
        "sigmoid form": """
def gelu_with_slope(x):
    share = torch.sigmoid(1.702 * x)
    return x * share, share + 1.702 * x.clamp(-50, 50) * share * (1 - share)
""",
        "exact slope": (
            "near / 2 * (1 - t**2) * inner_slope",
            "near * torch.exp(-(near**2) / 2) / math.sqrt(2 * math.pi)",
        ),
        "slope without the product rule": (
            " + near / 2 * (1 - t**2) * inner_slope",
            "",
        ),
        "slope without the inner derivative": (" * inner_slope", ""),
        "factor 3 forgotten": ("(1 + 3 * cubic", "(1 + cubic"),
        "square for cube": ("near**3", "near**2"),
        "root of pi / 2": ("math.sqrt(2 / math.pi)", "math.sqrt(math.pi / 2)"),
        "no root": ("math.sqrt(2 / math.pi)", "2 / math.pi"),
        "digits exchanged": ("0.044715", "0.047415"),
        "root missing in the slope": (
            "inner_slope = root * (1",
            "inner_slope = (1",
        ),
        "half forgotten": ("return x / 2 *", "return x *"),
        "slope of tanh forgotten": ("(1 - t**2)", "(1 - t)"),
        "huge numbers forgotten": ("x.clamp(-10, 10)", "x"),
        "NaN becomes 0": """
def gelu_with_slope(x):
    root, cubic = math.sqrt(2 / math.pi), 0.044715
    t = torch.tanh(root * (x + cubic * x**3))
    rise = root * (1 + 3 * cubic * x**2)
    slope = (1 + t) / 2 + x / 2 * (1 - t**2) * rise
    return x / 2 * (1 + t), slope.nan_to_num(0.0)
""",
        "value limited, too": ("return x / 2", "return near / 2"),
        "limited too early": ("clamp(-10, 10)", "clamp(-2, 2)"),
        "limited on the right only": ("clamp(-10, 10)", "clamp(max=10)"),
        "ReLU": """
def gelu_with_slope(x):
    return x.relu(), (x > 0).to(x.dtype)
""",
        "PyTorch's own, autograd": """
def gelu_with_slope(x):
    with torch.inference_mode(False), torch.enable_grad():
        leaf = x.clone().requires_grad_()
        value = F.gelu(leaf, approximate="tanh")
        return value.detach(), torch.autograd.grad(value.sum(), leaf)[0]
""",
        "by a small step": """
def gelu_with_slope(x):
    def gelu(x):
        near = x.clamp(-10, 10)
        u = math.sqrt(2 / math.pi) * (near + 0.044715 * near**3)
        return x / 2 * (1 + torch.tanh(u))

    return gelu(x), (gelu(x + 1e-4) - gelu(x - 1e-4)) / 2e-4
""",
        "order of the two": (
            "return x / 2 * (1 + t), slope",
            "return slope, x / 2 * (1 + t)",
        ),
        "input changed": ("x.clamp(", "x.clamp_("),
        "slope by a small step, in double precision": """
def gelu_with_slope(x):
    def share(near):
        u = math.sqrt(2 / math.pi) * (near + 0.044715 * near**3)
        return (1 + torch.tanh(u)) / 2

    near = x.double().clamp(-10, 10)
    h = 1e-5
    up, down = (near + h) * share(near + h), (near - h) * share(near - h)
    return x * share(near).to(x.dtype), ((up - down) / (2 * h)).to(x.dtype)
""",
    },
    "block": {
        "norm after the addition": """
def block(x, w, n_heads):
    B, T, D = x.shape
    norm = lambda x, n: F.layer_norm(
        x, (D,), w[f"{n}.weight"], w[f"{n}.bias"])
    linear = lambda x, n: x @ w[f"{n}.weight"] + w[f"{n}.bias"]
    qkv = linear(x, "attn.c_attn")
    q, k, v = qkv.view(B, T, 3, n_heads, -1).permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    mixed = mixed.transpose(1, 2).reshape(B, T, D)
    x = norm(x + linear(mixed, "attn.c_proj"), "ln_1")
    hidden = F.gelu(linear(x, "mlp.c_fc"), approximate="tanh")
    return norm(x + linear(hidden, "mlp.c_proj"), "ln_2")
""",
        "shortcut carries the norm": (
            'qkv = linear(norm(x, "ln_1"), "attn.c_attn")',
            'x = norm(x, "ln_1")\n    qkv = linear(x, "attn.c_attn")',
        ),
        "second shortcut carries the norm": (
            'hidden = F.gelu(linear(norm(x, "ln_2"), "mlp.c_fc")',
            'x = norm(x, "ln_2")\n    hidden = F.gelu(linear(x, "mlp.c_fc")',
        ),
        "no norm before attention": ('linear(norm(x, "ln_1")', "linear(x"),
        "no norm before feed-forward": ('linear(norm(x, "ln_2")', "linear(x"),
        "same norm twice": ('norm(x, "ln_2")', 'norm(x, "ln_1")'),
        "branches side by side": (
            '    x = x + linear(mixed, "attn.c_proj")\n'
            '    hidden = F.gelu(linear(norm(x, "ln_2"), "mlp.c_fc"), '
            'approximate="tanh")\n'
            '    return x + linear(hidden, "mlp.c_proj")',
            '    hidden = F.gelu(linear(norm(x, "ln_2"), "mlp.c_fc"), '
            'approximate="tanh")\n'
            '    return x + linear(mixed, "attn.c_proj") + linear(\n'
            '        hidden, "mlp.c_proj")',
        ),
        "first shortcut missing": (
            'x = x + linear(mixed, "attn.c_proj")',
            'x = linear(mixed, "attn.c_proj")',
        ),
        "second shortcut missing": (
            'return x + linear(hidden, "mlp.c_proj")',
            'return linear(hidden, "mlp.c_proj")',
        ),
        "no mask": (", is_causal=True", ""),
        "mask off by one": (
            "is_causal=True",
            "attn_mask=torch.ones(T, T).tril(1).bool()",
        ),
        "exact GELU": (', approximate="tanh")', ")"),
        "ReLU": (
            'F.gelu(linear(norm(x, "ln_2"), "mlp.c_fc"), approximate="tanh")',
            'F.relu(linear(norm(x, "ln_2"), "mlp.c_fc"))',
        ),
        "no bend": (
            'F.gelu(linear(norm(x, "ln_2"), "mlp.c_fc"), approximate="tanh")',
            'linear(norm(x, "ln_2"), "mlp.c_fc")',
        ),
        "square matrix transposed": (
            'linear(mixed, "attn.c_proj")',
            'F.linear(mixed, w["attn.c_proj.weight"], w["attn.c_proj.bias"])',
        ),
        "all transposed, as in nn.Linear": (
            'return x @ w[f"{name}.weight"] + w[f"{name}.bias"]',
            'return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])',
        ),
        "biases forgotten": (
            'return x @ w[f"{name}.weight"] + w[f"{name}.bias"]',
            'return x @ w[f"{name}.weight"]',
        ),
        "heads first, then queries, keys and values": (
            "qkv.view(B, T, 3, n_heads, -1).permute(2, 0, 3, 1, 4)",
            "qkv.view(B, T, n_heads, 3, -1).permute(3, 0, 2, 1, 4)",
        ),
        "heads interleaved": (
            "qkv.view(B, T, 3, n_heads, -1).permute(2, 0, 3, 1, 4)",
            "qkv.view(B, T, 3, -1, n_heads).permute(2, 0, 4, 1, 3)",
        ),
        "joined without transposing": (
            "mixed.transpose(1, 2).reshape",
            "mixed.reshape",
        ),
        "keys first": ("q, k, v = qkv", "k, q, v = qkv"),
        "scale of all heads": (
            "is_causal=True",
            "is_causal=True, scale=D**-0.5",
        ),
        "scaled twice": ("(q, k, v, is", "(q / q.size(-1) ** 0.5, k, v, is"),
        "eps of 1e-12": (
            'w[f"{name}.bias"])\n\n    def linear',
            'w[f"{name}.bias"], 1e-12)\n\n    def linear',
        ),
        "input changed": (
            'x = x + linear(mixed, "attn.c_proj")',
            'x += linear(mixed, "attn.c_proj")',
        ),
        "gradient cut in a branch": (
            'norm(x, "ln_1"), "attn',
            'norm(x.detach(), "ln_1"), "attn',
        ),
        "dropout by habit": (
            'x = x + linear(mixed, "attn.c_proj")',
            'x = x + F.dropout(linear(mixed, "attn.c_proj"), 0.1)',
        ),
        "heads of width four": (
            "qkv.view(B, T, 3, n_heads, -1)",
            "qkv.view(B, T, 3, -1, 4)",
        ),
        "double precision only": (
            'return x @ w[f"{name}.weight"] +',
            'return x.double() @ w[f"{name}.weight"].double() +',
        ),
    },
    "count": {
        "tied head counted twice": ("0 if tied else V * D", "V * D"),
        "head never counted": ("0 if tied else V * D", "0"),
        "tied turned round": ("0 if tied", "0 if not tied"),
        "head with a bias": ("else V * D", "else V * D + V"),
        "positions forgotten": ("+ C * D ", ""),
        "positions in every block": (
            "+ C * D + L * block",
            "+ L * (block + C * D)",
        ),
        "final norm forgotten": (" + 2 * D + head", " + head"),
        "one number a norm": (
            "12 * D**2 + 10 * D + 3",
            "12 * D**2 + 8 * D + 3",
        ),
        "qkv bias always": ("3 * D * qkv_bias", "3 * D"),
        "one bias for three": ("3 * D * qkv_bias", "D * qkv_bias"),
        "output projection's bias switched, too": (
            "10 * D + 3 * D * qkv_bias",
            "9 * D + 4 * D * qkv_bias",
        ),
        "feed-forward without biases": ("10 * D + 3", "5 * D + 3"),
        "no output projection": ("12 * D**2 + 10 * D", "11 * D**2 + 9 * D"),
        "feed-forward of twice the width": ("12 * D**2", "8 * D**2"),
        "mask counted": ("block = 12", "block = C**2 + 12"),
        "less than the budget": ("<= budget", "< budget"),
        "one step too far": ("return D\n", "return D + H\n"),
        "one step too few": ("    return D\n", "    return max(D - H, H)\n"),
        "steps of one": ("D += H", "D += 1"),
        "no error": (
            'raise ValueError(f"a budget of {budget} is too small for any '
            'width")',
            "pass",
        ),
        "error without the budget": (
            'f"a budget of {budget} is too small for any width"',
            '"budget too small"',
        ),
        "always tied": (
            "count(V, C, D + H, L, qkv_bias, tied) <=",
            "count(V, C, D + H, L, qkv_bias, True) <=",
        ),
        "one layer": (
            "count(V, C, D + H, L, qkv_bias, tied) <=",
            "count(V, C, D + H, 1, qkv_bias, tied) <=",
        ),
        "at most 64 steps": (
            "    while count(V, C, D + H, L, qkv_bias, tied) <= budget:",
            "    def fits(D: int) -> bool:\n"
            "        return count(V, C, D, L, qkv_bias, tied) <= budget\n\n"
            "    while D < 64 * H and fits(D + H):",
        ),
    },
    "TiedModel": {
        "values copied": (
            "self.head.weight = self.token_embedding.weight",
            "self.head.weight = nn.Parameter(\n"
            "            self.token_embedding.weight.detach().clone())",
        ),
        "copied at the end": (
            "            nn.init.normal_(table.weight, std=0.02)\n",
            "            nn.init.normal_(table.weight, std=0.02)\n"
            "        self.head.weight = nn.Parameter(\n"
            "            self.token_embedding.weight.detach().clone())\n",
        ),
        "copied with copy_": (
            "self.head.weight = self.token_embedding.weight",
            "self.head.weight.data.copy_(self.token_embedding.weight.data)",
        ),
        "memory shared, parameters not": (
            "self.head.weight = self.token_embedding.weight",
            "self.head.weight.data = self.token_embedding.weight.data",
        ),
        "not tied": (
            "        self.head.weight = self.token_embedding.weight\n",
            "",
        ),
        "tied in forward only": """
class TiedModel(nn.Module):
    def __init__(self, V, C, D, body):
        super().__init__()
        self.token_embedding = nn.Embedding(V, D)
        self.position_embedding = nn.Embedding(C, D)
        self.body = body
        self.head = nn.Linear(D, V, bias=False)
        for table in (self.token_embedding, self.position_embedding):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, ids):
        T, C = ids.size(1), self.position_embedding.num_embeddings
        if T > C:
            raise ValueError(f"{T} tokens, at most {C}")
        self.head.weight = self.token_embedding.weight
        x = self.token_embedding(ids) + self.position_embedding.weight[:T]
        return self.head(self.body(x))
""",
        "head closes over the table": """
class TiedModel(nn.Module):
    def __init__(self, V, C, D, body):
        super().__init__()
        self.token_embedding = table = nn.Embedding(V, D)
        self.position_embedding = nn.Embedding(C, D)
        self.body = body
        self.head = nn.Linear(D, V, bias=False)
        self.head.weight = table.weight
        self.head.forward = lambda x: x @ table.weight.T
        for part in (self.token_embedding, self.position_embedding):
            nn.init.normal_(part.weight, std=0.02)

    def forward(self, ids):
        T, C = ids.size(1), self.position_embedding.num_embeddings
        if T > C:
            raise ValueError(f"{T} tokens, at most {C}")
        x = self.token_embedding(ids) + self.position_embedding.weight[:T]
        return self.head(self.body(x))
""",
        "embedding starts as the head": (
            "self.head.weight = self.token_embedding.weight\n"
            "        for table in (self.token_embedding, "
            "self.position_embedding):\n"
            "            nn.init.normal_(table.weight, std=0.02)",
            "self.token_embedding.weight = self.head.weight",
        ),
        "head starts as the embedding": (
            "        for table in (self.token_embedding, "
            "self.position_embedding):\n"
            "            nn.init.normal_(table.weight, std=0.02)\n",
            "",
        ),
        "positions start from N(0, 1)": (
            "for table in (self.token_embedding, self.position_embedding):",
            "for table in (self.token_embedding,):",
        ),
        "variance for standard deviation": ("std=0.02", "std=0.02**2"),
        "uniform": (
            "nn.init.normal_(table.weight, std=0.02)",
            "nn.init.uniform_(table.weight, -0.0346, 0.0346)",
        ),
        "body drawn anew": (
            "            nn.init.normal_(table.weight, std=0.02)\n",
            "            nn.init.normal_(table.weight, std=0.02)\n"
            "        for p in self.parameters():\n"
            "            nn.init.normal_(p, std=0.02)\n",
        ),
        "head with a bias": ("D, V, bias=False", "D, V"),
        "body left out": ("self.head(self.body(x))", "self.head(x)"),
        "positions left out": (
            " + self.position_embedding.weight[:T]",
            "",
        ),
        "positions after the body": (
            "x = self.token_embedding(ids) + "
            "self.position_embedding.weight[:T]\n"
            "        return self.head(self.body(x))",
            "x = self.body(self.token_embedding(ids))\n"
            "        return self.head(x + self.position_embedding.weight[:T])",
        ),
        "positions from the end": ("weight[:T]", "weight[-T:]"),
        "ids for positions": (
            "self.position_embedding.weight[:T]",
            "self.position_embedding(ids % T)",
        ),
        "logits scaled": (
            "return self.head(self.body(x))",
            "return self.head(self.body(x)) / x.size(-1) ** 0.5",
        ),
        "embedding scaled": (
            "x = self.token_embedding(ids)",
            "x = 5 * self.token_embedding(ids)",
        ),
        "head learns nothing": (
            "self.head(self.body(x))",
            "self.body(x) @ self.head.weight.detach().T",
        ),
        "embedding learns nothing": (
            "self.token_embedding(ids) +",
            "self.token_embedding(ids).detach() +",
        ),
        "no error": ("T > C", "False"),
        "error one too late": ("T > C", "T > C + 1"),
        "error one too early": ("T > C", "T >= C"),
        "positions learn nothing": (
            "self.position_embedding.weight[:T]",
            "self.position_embedding.weight[:T].detach()",
        ),
        "same start each time": (
            "        self.token_embedding = nn.Embedding(V, D)\n",
            "        torch.manual_seed(0)\n"
            "        self.token_embedding = nn.Embedding(V, D)\n",
        ),
        "body frozen": (
            "self.body = body",
            "self.body = body.requires_grad_(False)",
        ),
        "body copied": (
            "self.body = body",
            "import copy\n        self.body = copy.deepcopy(body)",
        ),
    },
    "run_parts": {
        "embeddings forgotten": ('    x = F.dropout(x, p["embedding"])\n', ""),
        "attention forgotten": (', dropout_p=p["attention"]', ""),
        "first branch forgotten": ('F.dropout(mixed, p["branch"])', "mixed"),
        "second branch forgotten": (
            'F.dropout(thought, p["branch"])',
            "thought",
        ),
        "on in evaluation mode": ("rate * model.training", "rate"),
        "attention on in evaluation mode": (
            'dropout_p=p["attention"]',
            'dropout_p=rates["attention"]',
        ),
        "off in training mode": (
            "rate * model.training",
            "rate * (not model.training)",
        ),
        "one rate for all": (
            "rate * model.training",
            'rates["branch"] * model.training',
        ),
        "rates exchanged": (
            'dropout_p=p["attention"]',
            'dropout_p=p["branch"]',
        ),
        "share to keep for share to drop": (
            "rate * model.training",
            "(1 - rate) * model.training",
        ),
        "token vectors only": (
            "x = model.token_embedding(ids) + "
            "model.position_embedding.weight[:T]\n"
            '    x = F.dropout(x, p["embedding"])',
            'x = F.dropout(model.token_embedding(ids), p["embedding"])\n'
            "    x = x + model.position_embedding.weight[:T]",
        ),
        "tokens and positions apart": (
            "x = model.token_embedding(ids) + "
            "model.position_embedding.weight[:T]\n"
            '    x = F.dropout(x, p["embedding"])',
            'x = F.dropout(model.token_embedding(ids), p["embedding"])\n'
            "    place = model.position_embedding.weight[:T]\n"
            '    x = x + F.dropout(place, p["embedding"])',
        ),
        "stream dropped, not the branch": (
            'x = x + F.dropout(mixed, p["branch"])',
            'x = F.dropout(x + mixed, p["branch"])',
        ),
        "second sum dropped, not the branch": (
            'x = x + F.dropout(thought, p["branch"])',
            'x = F.dropout(x + thought, p["branch"])',
        ),
        "inside the feed-forward network": (
            'F.gelu(hidden, approximate="tanh"))\n'
            '        x = x + F.dropout(thought, p["branch"])',
            'F.dropout(F.gelu(hidden, approximate="tanh"), p["branch"]))\n'
            "        x = x + thought",
        ),
        "mixed values dropped, not weights": (
            '            q, k, v, is_causal=True, dropout_p=p["attention"]\n'
            "        )",
            "            q, k, v, is_causal=True\n"
            "        )\n"
            '        mixed = F.dropout(mixed, p["attention"])',
        ),
        "values dropped, not weights": (
            "q, k, v, is_causal=True, dropout_p=",
            'q, k, F.dropout(v, p["attention"]), is_causal=True, '
            "dropout_p=0 * ",
        ),
        "scores dropped, not weights": (
            "        mixed = F.scaled_dot_product_attention(\n"
            '            q, k, v, is_causal=True, dropout_p=p["attention"]\n'
            "        )\n",
            "        scores = q @ k.transpose(-2, -1) / q.size(-1) ** 0.5\n"
            '        scores = F.dropout(scores, p["attention"])\n'
            "        hidden = torch.ones(T, T).triu(1).bool()\n"
            "        weights = scores.masked_fill(hidden, -math.inf)\n"
            "        mixed = weights.softmax(-1) @ v\n",
        ),
        "weights renormalized after": (
            "        mixed = F.scaled_dot_product_attention(\n"
            '            q, k, v, is_causal=True, dropout_p=p["attention"]\n'
            "        )\n",
            "        scores = q @ k.transpose(-2, -1) / q.size(-1) ** 0.5\n"
            "        hidden = torch.ones(T, T).triu(1).bool()\n"
            "        a = scores.masked_fill(hidden, -math.inf).softmax(-1)\n"
            '        a = F.dropout(a, p["attention"])\n'
            "        total = a.sum(-1, keepdim=True).clamp(min=1e-9)\n"
            "        mixed = a / total @ v\n",
        ),
        "same dice for both branches": """
def run_parts(model, ids, rates):
    p = {name: rate * model.training for name, rate in rates.items()}
    B, T = ids.shape
    x = model.token_embedding(ids) + model.position_embedding.weight[:T]
    x = F.dropout(x, p["embedding"])
    for part in model.blocks:
        dice = F.dropout(torch.ones_like(x), p["branch"])
        qkv = part["qkv"](part["attention_norm"](x))
        q, k, v = qkv.view(B, T, 3, model.n_heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(
            q, k, v, is_causal=True, dropout_p=p["attention"]
        )
        x = x + dice * part["out"](mixed.transpose(1, 2).reshape(B, T, -1))
        hidden = part["up"](part["feed_forward_norm"](x))
        x = x + dice * part["down"](F.gelu(hidden, approximate="tanh"))
    return model.head(model.final_norm(x))
""",
        "whole tokens dropped": (
            'x = F.dropout(x, p["embedding"])',
            'x = x * F.dropout(torch.ones_like(x[..., :1]), p["embedding"])',
        ),
        "same dice for all texts": (
            'x = F.dropout(x, p["embedding"])',
            'x = x * F.dropout(torch.ones_like(x[:1]), p["embedding"])',
        ),
        "whole features dropped": (
            'x = x + F.dropout(thought, p["branch"])',
            "x = x + thought * F.dropout(\n"
            '            torch.ones_like(x[:, :1]), p["branch"])',
        ),
        "survivors not scaled up": (
            'x = F.dropout(x, p["embedding"])',
            'x = F.dropout(x, p["embedding"]) * (1 - p["embedding"])',
        ),
        "survivors divided by p": (
            'F.dropout(mixed, p["branch"])',
            'F.dropout(mixed, p["branch"]) * (1 - p["branch"])'
            ' / (p["branch"] or 1)',
        ),
        "same dice at every call": (
            "    B, T = ids.shape\n",
            "    torch.manual_seed(0)\n    B, T = ids.shape\n",
        ),
        "exact GELU": (', approximate="tanh"))', "))"),
        "no mask": ("is_causal=True, ", ""),
        "no final norm": ("model.final_norm(x)", "x"),
        "mode changed": (
            "    B, T = ids.shape\n",
            "    model.train()\n    B, T = ids.shape\n",
        ),
        "same dice in all blocks": """
def run_parts(model, ids, rates):
    p = {name: rate * model.training for name, rate in rates.items()}
    B, T = ids.shape
    x = model.token_embedding(ids) + model.position_embedding.weight[:T]
    x = F.dropout(x, p["embedding"])
    dice = [F.dropout(torch.ones_like(x), p["branch"]) for _ in range(2)]
    for part in model.blocks:
        qkv = part["qkv"](part["attention_norm"](x))
        q, k, v = qkv.view(B, T, 3, model.n_heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(
            q, k, v, is_causal=True, dropout_p=p["attention"]
        )
        mixed = part["out"](mixed.transpose(1, 2).reshape(B, T, -1))
        x = x + dice[0] * mixed
        hidden = part["up"](part["feed_forward_norm"](x))
        x = x + dice[1] * part["down"](F.gelu(hidden, approximate="tanh"))
    return model.head(model.final_norm(x))
""",
        "gradient cut in a branch": (
            'part["attention_norm"](x)',
            'part["attention_norm"](x.detach())',
        ),
    },
    "write": {
        "cropped from the wrong end": (
            "ids[:, -context_length:]",
            "ids[:, :context_length]",
        ),
        "not cropped": ("ids[:, -context_length:]", "ids"),
        "window one too short": (
            "-context_length:",
            "-(context_length - 1) or None :",
        ),
        "window one too long": ("-context_length:", "-context_length - 1 :"),
        "text cropped with the window": (
            "logits = model(ids[:, -context_length:])",
            "ids = ids[:, -context_length:]\n"
            "                logits = model(ids)",
        ),
        "prompt cropped only": """
def write(model, ids, max_new_tokens, context_length):
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            x = ids[:, -context_length:]
            for _ in range(max_new_tokens):
                best = model(x)[:, -1].argmax(dim=-1, keepdim=True)
                x = torch.cat([x, best], dim=1)
                ids = torch.cat([ids, best], dim=1)
    finally:
        model.train(was_training)
    return ids
""",
        "new tokens only": (
            "    return ids\n",
            "    return ids[:, -max_new_tokens:] if max_new_tokens else "
            "ids[:, :0]\n",
        ),
        "first position's logits": ("[:, -1]  # (B, V)", "[:, 0]"),
        "all positions' best": ("[:, -1]  # (B, V)", ".amax(dim=1)"),
        "best over the texts": ("argmax(dim=-1", "argmax(dim=0"),
        "likeliest by size": ("logits.argmax", "logits.abs().argmax"),
        "drawn at random": (
            "logits.argmax(dim=-1, keepdim=True)",
            "torch.multinomial(logits.softmax(-1), 1)",
        ),
        "one text only": (
            "logits.argmax(dim=-1, keepdim=True)",
            "logits[:1].argmax(dim=-1, keepdim=True).expand(len(ids), 1)",
        ),
        "one too many": (
            "range(max_new_tokens)",
            "range(max_new_tokens + 1)",
        ),
        "one too few": ("range(max_new_tokens)", "range(max_new_tokens - 1)"),
        "in front": ("[ids, best]", "[best, ids]"),
        "training mode": ("    model.eval()\n", ""),
        "mode not put back": ("model.train(was_training)", "pass"),
        "always training mode after": ("train(was_training)", "train()"),
        "no finally": """
def write(model, ids, max_new_tokens, context_length):
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for _ in range(max_new_tokens):
            logits = model(ids[:, -context_length:])[:, -1]
            best = logits.argmax(dim=-1, keepdim=True)
            ids = torch.cat([ids, best], dim=1)
    model.train(was_training)
    return ids
""",
        "error swallowed": (
            "    finally:\n",
            "    except RuntimeError:\n        pass\n    finally:\n",
        ),
        "gradients kept": ("with torch.no_grad():", "if True:"),
        "prompt changed": (
            "    was_training = model.training\n",
            "    was_training = model.training\n    ids[:, 0] = 0\n",
        ),
        "called twice a token": (
            "            for _ in range(max_new_tokens):\n",
            "            for _ in range(max_new_tokens):\n"
            "                model(ids[:, -context_length:])\n",
        ),
        "stops at the context": (
            "range(max_new_tokens)",
            "range(min(max_new_tokens, max(0, context_length - ids.size(1))))",
        ),
        "mode put back after some errors only": (
            "    finally:\n        model.train(was_training)\n",
            "    except RuntimeError:\n"
            "        model.train(was_training)\n"
            "        raise\n"
            "    model.train(was_training)\n",
        ),
        "gradients off for good": (
            "        with torch.no_grad():\n",
            "        torch.set_grad_enabled(False)\n        if True:\n",
        ),
        "at most nine": (
            "range(max_new_tokens)",
            "range(min(max_new_tokens, 9))",
        ),
    },
    "is_faithful": {
        "always yes": """
def is_faithful(model, V, C):
    return True
""",
        "best tokens only": (
            "off = (found - wanted).abs().max()",
            "off = (found.argmax(-1) != wanted.argmax(-1)).float().max()",
        ),
        "last tokens only": (
            "off = (found - wanted).abs().max()",
            "off = (found - wanted)[:, -1].abs().max()",
        ),
        "one token at a time": (
            "    def same()",
            "    cuts = [[1] * C]\n\n    def same()",
        ),
        "two pieces at most": (
            "    def same()",
            "    cuts = [[n, C - n] for n in range(1, C)]\n\n    def same()",
        ),
        "prompt, then one token at a time": (
            "    def same()",
            "    cuts = [[n] + [1] * (C - n) for n in range(1, C)]\n\n"
            "    def same()",
        ),
        "not to the end": (
            "    def same()",
            "    cuts = [cut[:-1] for cut in cuts]\n\n    def same()",
        ),
        "one text at a time": (
            "    def same()",
            "    texts = texts[:1]\n\n    def same()",
        ),
        "single texts only": ("for B in (3, 1)", "for B in (1, 1)"),
        "one long batch, one text at a time": (
            "caches = [model.new_cache() for _ in texts]",
            "caches = [model.new_cache()] * 2",
        ),
        "whole text not copied": ("model(ids).clone()", "model(ids)"),
        "nothing read in between without a cache": (
            "                model(texts[0])\n",
            "",
        ),
        "NaN passes": ("if not off <=", "if off >"),
        "exact": ("<= 1e-5 * logits.abs().max()", "<= 0"),
        "absolute tolerance": ("1e-5 * logits.abs().max()", "1e-5"),
        "generous tolerance": ("<= 1e-5", "<= 1e-2"),
        "mean difference": (".abs().max()\n", ".abs().mean()\n"),
        "difference with its sign": (
            "(found - wanted).abs().max()",
            "(found - wanted).max()",
        ),
        "error is success": (
            "except Exception:\n        return False",
            "except Exception:\n        return True",
        ),
        "error not caught": ("except Exception:", "except KeyError:"),
        "dropout left on": (
            "        module.training = False\n",
            "        pass\n",
        ),
        "left in evaluation mode": ("module.training = mode", "pass"),
        "all in training mode after": (
            "module.training = mode",
            "module.train()",
        ),
        "returns a tensor": (
            "            return same()\n",
            "            return torch.tensor(same())\n",
        ),
        "one cache for all cuts": (
            "        for cut in cuts:\n"
            "            caches = [model.new_cache() for _ in texts]\n",
            "        caches = [model.new_cache() for _ in texts]\n"
            "        for cut in cuts:\n",
        ),
        "cached against cached": (
            "whole = [model(ids).clone() for ids in texts]",
            "whole = [model(ids, model.new_cache()).clone() for ids in texts]",
        ),
        "few ids": ("torch.randint(V, (B", "torch.randint(2, (B"),
        "context of eight": (
            "    def same() -> bool:",
            "    cuts = [[1] * 8, [3, 1, 4], [1, 2, 5], [7, 1], [3, 2, 3]]\n"
            "    cuts += [[1, 4, 3], [1, 5, 2], [1, 6, 1]]\n"
            "\n"
            "    def same() -> bool:",
        ),
        "batches of three only": ("for B in (3, 1)", "for B in (3, 3)"),
        "longest second piece four": (
            "for b in range(1, C - a)]",
            "for b in range(1, C - a) if b < 5]",
        ),
    },
}
