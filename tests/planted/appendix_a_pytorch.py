"""Wrong answers to the exercises of appendix A; each must be caught.

PLANTED maps a check's name to its wrong answers by what is wrong with them:
either (old, new), a change to the solution, or a whole answer.
"""

PLANTED = {
    "softplus": {
        "the plain formula overflows": """
def softplus(x):
    power = math.exp(x.value)
    return Scalar(math.log(1 + power), ((x, power / (1 + power)),))
""",
        "overflow avoided for the value only": (
            "slope = (1.0 if x.value > 0 else small) / (1.0 + small)",
            "slope = math.exp(x.value) / (1 + math.exp(x.value))",
        ),
        "slope of the other sign": (
            "1.0 if x.value > 0 else small",
            "1.0 if x.value < 0 else small",
        ),
        "slope without the sign's case": (
            "(1.0 if x.value > 0 else small)",
            "1.0",
        ),
        "no input is remembered": (
            "return Scalar(value, ((x, slope),))",
            "return Scalar(value)",
        ),
        "only the part above zero": (
            "max(x.value, 0.0) + math.log1p(small)",
            "max(x.value, 0.0)",
        ),
        "x is not taken out of the logarithm": (
            "max(x.value, 0.0) + math.log1p(small)",
            "math.log1p(small)",
        ),
        "a straight line too early": (
            "slope = (1.0",
            "value = value if x.value < 2 else x.value\n    slope = (1.0",
        ),
        "the slope is the value": ("((x, slope),)", "((x, value),)"),
        "remembered twice": ("((x, slope),)", "((x, slope), (x, 0.0))"),
        "a plain number": (
            "return Scalar(value, ((x, slope),))",
            "return value",
        ),
        "slope times value": ("((x, slope),)", "((x, slope * x.value),)"),
    },
    "gradients": {
        "the last slope wins": (
            "grads[source] += slope",
            "grads[source] = slope",
        ),
        "in the order of the dictionary": (
            "for name in reversed(order):",
            "for name in graph:",
        ),
        "inputs before users": ("in reversed(order)", "in order"),
        "breadth first": """
def gradients(graph, result):
    grads, queue = dict.fromkeys(graph, 0.0), [result]
    grads[result] = 1.0
    for name in queue:
        for source, slope in graph[name]:
            grads[source] += slope * grads[name]
            if source not in queue:
                queue.append(source)
    return grads
""",
        "depth first, as it comes": """
def gradients(graph, result):
    grads, waiting, seen = dict.fromkeys(graph, 0.0), [result], set()
    grads[result] = 1.0
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for source, slope in graph[name]:
            grads[source] += slope * grads[name]
            waiting.append(source)
    return grads
""",
        "path by path": """
def gradients(graph, result):
    grads, waiting = dict.fromkeys(graph, 0.0), [(result, 1.0)]
    while waiting:
        name, part = waiting.pop()
        grads[name] += part
        waiting += [(source, part * slope) for source, slope in graph[name]]
    return grads
""",
        "by recursion": """
def gradients(graph, result):
    order = []
    def visit(name):
        if name not in order:
            for source, _ in graph[name]:
                visit(source)
            order.append(name)
    visit(result)
    grads = dict.fromkeys(graph, 0.0)
    grads[result] = 1.0
    for name in reversed(order):
        for source, slope in graph[name]:
            grads[source] += slope * grads[name]
    return grads
""",
        "only what the result depends on": (
            "grads = dict.fromkeys(graph, 0.0)",
            "grads = dict.fromkeys(order, 0.0)",
        ),
        "leaves only": (
            "    return grads\n",
            "    return {n: g for n, g in grads.items() if not graph[n]}\n",
        ),
        "an input that stands twice counts once": (
            "for source, slope in graph[name]:\n            grads",
            "for source, slope in dict(graph[name]).items():\n"
            "            grads",
        ),
        "slopes are added along a path": (
            "slope * grads[name]",
            "slope + grads[name]",
        ),
        "the result begins at zero": (
            "    grads[result] = 1.0\n",
            "",
        ),
        "inputs are used up": (
            "for source, slope in graph[name]:\n            grads",
            "while graph[name]:\n            source, slope = graph[name].pop()"
            "\n            grads",
        ),
    },
    "strides": {
        "first axis dense": (
            "return tuple(reversed(strides))",
            "return tuple(strides)",
        ),
        "column by column": (
            "    for size in reversed(shape):\n"
            "        strides.append(step)\n"
            "        step *= size\n    return tuple(reversed(strides))",
            "    for size in shape:\n        strides.append(step)\n"
            "        step *= size\n    return tuple(strides)",
        ),
        "own size included": (
            "        strides.append(step)\n        step *= size\n",
            "        step *= size\n        strides.append(step)\n",
        ),
        "only the neighbor's size": ("step *= size", "step = size"),
        "a list": (
            "return tuple(reversed(strides))",
            "return strides[::-1]",
        ),
        "offset forgotten": ("place = offset", "place = 0"),
        "negative indices left as they are": (
            "(i % size) * stride",
            "i * stride",
        ),
        "negative indices by their size": (
            "(i % size) * stride",
            "abs(i) * stride",
        ),
        "one too far is allowed": ("<= i < size", "<= i <= size"),
        "one too far below is allowed": (
            "-size <= i",
            "-size - 1 <= i",
        ),
        "out of range wraps around": (
            "if not -size <= i < size:",
            "if size < 0:",
        ),
        "the message names no size": (
            "is not within an axis of size {size}",
            "is out of range",
        ),
        "strides of a fresh tensor assumed": (
            "zip(index, shape, strides):",
            "zip(index, shape, row_major(shape)):",
        ),
        "first axis only": (
            "        place += (i % size) * stride\n    return place",
            "        place += (i % size) * stride\n        break\n"
            "    return place",
        ),
    },
    "broadcast_shape": {
        "flush left": (
            "for axis in range(-len(shape), 0):",
            "for axis in range(len(shape)):",
        ),
        "the larger size": (
            "            if shape[axis] == 1:\n                continue\n",
            "            if shape[axis] in (0, 1):\n"
            "                continue\n",
        ),
        "the shorter shape decides": ("max(map(len", "min(map(len"),
        "no error": ("not in (1, shape[axis])", "is None"),
        "a multiple fits": (
            "if result[axis] not in (1, shape[axis]):",
            "if shape[axis] % max(result[axis], 1) and "
            "result[axis] % max(shape[axis], 1):",
        ),
        "the last shape wins": (
            "            if shape[axis] == 1:\n                continue\n",
            "",
        ),
        "two shapes only": (
            "for shape in shapes:",
            "for shape in shapes[:2]:",
        ),
        "the error names one size": (
            'f"sizes {result[axis]} and {shape[axis]} do not fit"',
            'f"size {shape[axis]} does not fit"',
        ),
        "a list": ("return tuple(result)", "return result"),
        "nothing given": ("default=0", "default=1"),
        "equal numbers of axes demanded": (
            "    for shape in shapes:\n",
            "    if len(set(map(len, shapes))) > 1:\n"
            '        raise ValueError(f"axes: {shapes}")\n'
            "    for shape in shapes:\n",
        ),
        "ones fit only at the left": (
            "            if shape[axis] == 1:\n",
            "            if shape[axis] == 1 and axis < -1:\n",
        ),
    },
    "module": {
        "plain list": ("nn.ModuleList(nn", "list(nn"),
        "plain attributes": (
            'self.register_buffer("mean", mean.clone())\n'
            '        self.register_buffer("std", std.clone())',
            "self.mean, self.std = mean.clone(), std.clone()",
        ),
        "mean and std are learned": (
            'self.register_buffer("mean", mean.clone())\n'
            '        self.register_buffer("std", std.clone())',
            "self.mean = nn.Parameter(mean.clone())\n"
            "        self.std = nn.Parameter(std.clone())",
        ),
        "parameters that are frozen": (
            'self.register_buffer("mean", mean.clone())',
            "self.mean = nn.Parameter(mean.clone(), requires_grad=False)",
        ),
        "not saved": (
            'self.register_buffer("std", std.clone())',
            'self.register_buffer("std", std.clone(), persistent=False)',
        ),
        "the caller's tensors": (
            'self.register_buffer("mean", mean.clone())',
            'self.register_buffer("mean", mean)',
        ),
        "tanh after the last": (
            "return self.layers[-1](x)",
            "return torch.tanh(self.layers[-1](x))",
        ),
        "no tanh": ("x = torch.tanh(layer(x))", "x = layer(x)"),
        "tanh before the layer": (
            "x = torch.tanh(layer(x))",
            "x = layer(torch.tanh(x))",
        ),
        "relu": ("torch.tanh(layer(x))", "torch.relu(layer(x))"),
        "mean added": ("x - self.mean", "x + self.mean"),
        "divided by the variance": (
            "(x - self.mean) / self.std",
            "(x - self.mean) / self.std**2",
        ),
        "in place": (
            "x = (x - self.mean) / self.std",
            "x -= self.mean\n        x /= self.std",
        ),
        "one layer for all of a shape": (
            "nn.ModuleList(nn.Linear(a, b) for a, b in pairs)",
            "nn.ModuleList()\n        made = {}\n"
            "        for a, b in pairs:\n"
            "            made.setdefault((a, b), nn.Linear(a, b))\n"
            "            self.layers.append(made[a, b])",
        ),
        "the last layer is forgotten": (
            "return self.layers[-1](x)",
            "return x",
        ),
        "without biases": (
            "nn.Linear(a, b) for",
            "nn.Linear(a, b, False) for",
        ),
        "no gradient passes": (
            "return self.layers[-1](x)",
            "return self.layers[-1](x.detach())",
        ),
        "float32 inside": (
            "x = (x - self.mean) / self.std",
            "x = (x.float() - self.mean) / self.std\n"
            "        self.layers.float()\n"
            "        x = x.float()",
        ),
    },
    "train_step": {
        "no zero_grad": ("    optimizer.zero_grad()\n", ""),
        "zeroed only afterwards": (
            "    optimizer.zero_grad()\n"
            "    loss = (model(x)[:, 0] - y).square().mean()\n"
            "    loss.backward()\n    optimizer.step()\n",
            "    loss = (model(x)[:, 0] - y).square().mean()\n"
            "    loss.backward()\n    optimizer.step()\n"
            "    optimizer.zero_grad()\n",
        ),
        "zeroed before the step": (
            "    loss.backward()\n",
            "    loss.backward()\n    optimizer.zero_grad()\n",
        ),
        "all pairs": ("model(x)[:, 0] - y", "model(x) - y"),
        "a tensor is returned": ("loss.item()", "loss"),
        "a detached tensor": ("loss.item()", "loss.detach()"),
        "the loss after the step": (
            "return loss.item()",
            "return (model(x)[:, 0] - y).square().mean().item()",
        ),
        "sum for mean": (".square().mean()", ".square().sum()"),
        "absolute error": (".square().mean()", ".abs().mean()"),
        "evaluation mode": ("model.train()", "model.eval()"),
        "mode left as it is": ("    model.train()\n", ""),
        "two steps": (
            "    optimizer.step()\n",
            "    optimizer.step()\n    optimizer.step()\n",
        ),
        "step before backward": (
            "    loss.backward()\n    optimizer.step()\n",
            "    optimizer.step()\n    loss.backward()\n",
        ),
        "no step": ("    optimizer.step()\n", ""),
        "half of the square": (
            ".square().mean()",
            ".square().mean() / 2",
        ),
        "targets are centered in place": (
            "    model.train()\n",
            "    model.train()\n    y -= 0.1\n",
        ),
    },
}
