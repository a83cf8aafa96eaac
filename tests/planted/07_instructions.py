"""Wrong answers to the exercises of chapter 7; each must be caught.

PLANTED maps a check's name to its wrong answers by what is wrong with them:
either (old, new), a change to the solution, or a whole answer.
"""

EXAMPLE = """
def write_example(record, form, end):
    given = record.get("input") or ""
    kind = "both" if given.strip() else "alone"
    fields = {"instruction": record["instruction"], "input": given}
    prompt = form[kind].format(**fields)
    text = f"{prompt}{record['output']}{end}"
"""

TESTED = """
def is_sound(collate):
    rng = random.Random(0)
    for _ in range(200):
        shapes = [(rng.randint(1, 4), rng.randint(0, 4)) for _ in range(3)]
        shapes = shapes[: rng.randint(1, 3)]
        batch = [(rng.choices(range(4), k=p + r), p) for p, r in shapes]
        most, end = rng.choice([None, *range(1, 10)]), rng.randrange(4)
"""

ROWS = """
def respond_all(model, prompts, max_new_tokens, stop_id):
    rows = [list(prompt) for prompt in prompts]
    done = [False] * len(rows)
    for _ in range(max_new_tokens):
        if all(done):
            break
"""

CUT = """
    made = [row[len(prompt) :] for row, prompt in zip(rows, prompts)]
    return [new[: (*new, stop_id).index(stop_id)] for new in made]
"""

PLANTED = {
    "write_example": {
        "fields replaced one after the other": (
            "form[kind].format(**fields)",
            'form[kind].replace("{instruction}", record["instruction"])'
            '.replace("{input}", record.get("input") or "")',
        ),
        "the finished text is formatted": """
def write_example(record, form, end):
    given = record.get("input") or ""
    form = form["both" if given.strip() else "alone"]
    fields = {"instruction": record["instruction"], "input": given}
    text = (form + record["output"] + end).format(**fields)
    return text, len(text) - len(record["output"] + end)
""",
        "a record without the key": (
            'record.get("input") or ""',
            'record["input"] or ""',
        ),
        "an input of None": (
            'record.get("input") or ""',
            'record.get("input", "")',
        ),
        "white space is an input": ("if given.strip()", "if given"),
        "the input's heading stays": (
            "if given.strip()",
            'if "input" in record',
        ),
        "the input 0 is none": ("given.strip()", 'given.strip().strip("0")'),
        "fields stripped": (
            '"instruction": record["instruction"]',
            '"instruction": record["instruction"].strip()',
        ),
        "output stripped": ("record['output']", "record['output'].strip()"),
        "prompt stripped": ("(**fields)", "(**fields).strip()"),
        "no end mark": ("['output']}{end}", "['output']}"),
        "seam found by the heading": EXAMPLE
        + """
    mark = form[kind].rpartition("}")[2]
    return text, text.index(mark) + len(mark)
""",
        "seam found by the output": EXAMPLE
        + """
    return text, text.index(record["output"])
""",
        "seam found by the last output": EXAMPLE
        + """
    return text, text.rindex(record["output"])
""",
        "end mark forgotten when counting back": EXAMPLE
        + """
    return text, len(text) - len(record["output"])
""",
        "the template's own length": EXAMPLE
        + """
    return text, len(form[kind])
""",
    },
    "learned_tokens": {
        "characters taken for bytes": (
            "(len(text[:at].encode()) for at in (start, stop))",
            "(at for at in (start, stop))",
        ),
        "all of a token's bytes": ("append(any(", "append(all("),
        "the token's first byte decides": (
            "any(wanted[at : at + len(piece)])",
            "wanted[at]",
        ),
        "the token's last byte decides": (
            "any(wanted[at : at + len(piece)])",
            "wanted[at + len(piece) - 1]",
        ),
        "the token's middle decides": (
            "any(wanted[at : at + len(piece)])",
            "wanted[at + len(piece) // 2]",
        ),
        "one byte too many": (
            "any(wanted[at : at + len(piece)])",
            "any(wanted[at : at + len(piece) + 1])",
        ),
        "one byte before": (
            "any(wanted[at : at + len(piece)])",
            "any(wanted[max(0, at - 1) : at + len(piece)])",
        ),
        "first span only": ("in spans:", "in spans[:1]:"),
        "from the first span to the end": (
            "[first:end] = [True] * (end - first)",
            "[first:] = [True] * (len(data) - first)",
        ),
        "characters of each piece": """
def learned_tokens(pieces, text, spans):
    data = text.encode()
    if b"".join(pieces) != data:
        raise ValueError(f"{sum(map(len, pieces))} and {len(data)} bytes")
    learned, at = [], 0
    for piece in pieces:
        end = at + len(piece.decode(errors="replace"))
        learned.append(any(max(at, a) < min(end, b) for a, b in spans))
        at = end
    return learned
""",
        "touching is enough": """
def learned_tokens(pieces, text, spans):
    data = text.encode()
    if b"".join(pieces) != data:
        raise ValueError(f"{sum(map(len, pieces))} and {len(data)} bytes")
    ends = [[len(text[:i].encode()) for i in span] for span in spans]
    learned, at = [], 0
    for piece in pieces:
        end = at + len(piece)
        learned.append(any(max(at, a) <= min(end, b) for a, b in ends))
        at = end
    return learned
""",
        "found by content": """
def learned_tokens(pieces, text, spans):
    data = text.encode()
    if b"".join(pieces) != data:
        raise ValueError(f"{sum(map(len, pieces))} and {len(data)} bytes")
    said = [text[a:b].encode() for a, b in spans]
    return [any(piece in part for part in said) for piece in pieces]
""",
        "pieces that do not fit": (
            'if b"".join(pieces) != data:',
            "if False:",
        ),
        "only their number is compared": (
            'if b"".join(pieces) != data:',
            "if sum(map(len, pieces)) != len(data):",
        ),
        "the error counts characters": ("{len(data)} in", "{len(text)} in"),
    },
    "collate": {
        "masked by id": (
            "padding_value=-100),\n    )",
            "padding_value=-100)"
            ".masked_fill(pad_sequence(targets, batch_first=True, "
            "padding_value=pad_id) == pad_id, -100),\n    )",
        ),
        "one place too many masked": (
            "wanted[: max(0, n_prompt - 1)]",
            "wanted[:n_prompt]",
        ),
        "one place too few masked": (
            "max(0, n_prompt - 1)",
            "max(0, n_prompt - 2)",
        ),
        "no prompt, and nearly all masked": (
            "wanted[: max(0, n_prompt - 1)]",
            "wanted[: n_prompt - 1]",
        ),
        "prompt not masked": (
            "wanted[: max(0, n_prompt - 1)] = -100",
            "pass",
        ),
        "no end learned": (
            "n_targets = int",
            "wanted[-1] = -100\n        n_targets = int",
        ),
        "not shifted": (
            "wanted = row[1:].clone()",
            "wanted = row[:-1].clone()",
        ),
        "cut on the right": (
            "ids.append(row[:-1][-max_length:])\n"
            "        targets.append(wanted[-max_length:])",
            "ids.append(row[:-1][:max_length])\n"
            "        targets.append(wanted[:max_length])",
        ),
        "cut, then masked": """
def collate(items, end_id, pad_id, max_length):
    ids, targets = [], []
    for tokens, n_prompt in items:
        n = len(tokens) - max(n_prompt, 1) + 1
        if n > max_length:
            raise ValueError(f"{n} targets, max_length={max_length}")
        row = torch.tensor([*tokens, end_id])[-max_length - 1 :]
        wanted = row[1:].clone()
        wanted[: max(0, n_prompt - 1)] = -100
        ids.append(row[:-1])
        targets.append(wanted)
    return (
        pad_sequence(ids, batch_first=True, padding_value=pad_id),
        pad_sequence(targets, batch_first=True, padding_value=-100),
    )
""",
        "cut one token too early": (
            "row[:-1][-max_length:]",
            "row[:-1][-max_length + 1 :]",
        ),
        "padding learned": (
            "padding_value=-100",
            "padding_value=end_id",
        ),
        "filled up with the end": (
            "padding_value=pad_id",
            "padding_value=end_id",
        ),
        "as wide as max_length": (
            "    return (\n",
            "    ids[0] = torch.nn.functional.pad(\n"
            "        ids[0], (0, max_length - len(ids[0])), value=pad_id\n"
            "    )\n    return (\n",
        ),
        "padded on the left": (
            "    return (\n",
            '    return tuple(pad_sequence(x, True, v, "left") for x, v in '
            "((ids, pad_id), (targets, -100)))\n    return (\n",
        ),
        "columns for rows": (
            "pad_sequence(ids, batch_first=True, padding_value=pad_id)",
            "pad_sequence(ids, padding_value=pad_id)",
        ),
        "responses cut silently": ("if n_targets > max_length:", "if False:"),
        "refuses what just fits": (
            "n_targets > max_length",
            "n_targets >= max_length",
        ),
        "the end is not counted": (
            "(torch.arange(1, len(row)) >= n_prompt)",
            "(torch.arange(1, len(row) - 1) >= n_prompt)",
        ),
        "the caller's list grows": (
            "row = torch.tensor([*tokens, end_id])",
            "tokens.append(end_id)\n        row = torch.tensor(tokens)",
        ),
    },
    "is_sound": {
        "one example": """
def is_sound(collate):
    try:
        ids, targets = collate([([0, 1, 2, 3, 4], 2), ([5, 6], 1)], 99, None)
    except Exception:
        return False
    return ids.tolist()[0] == [0, 1, 2, 3, 4] and targets.tolist() == [
        [-100, 2, 3, 4, 99],
        [6, 99, -100, -100, -100],
    ]
""",
        "all are right": """
def is_sound(collate):
    return True
""",
        "all are broken": """
def is_sound(collate):
    return False
""",
        "no end among the ids": (
            "rng.randrange(4), max_length",
            "4, max_length",
        ),
        "no limit": ("rng.choice([None, *range(1, 10)])", "None"),
        "always a limit, never a small one": (
            "[None, *range(1, 10)]",
            "[None, *range(8, 12)]",
        ),
        "one row in a batch": ("rng.randint(1, 3)]", "1]"),
        "no empty response": ("rng.randint(0, 4))", "rng.randint(1, 4))"),
        "no prompt of one token": (
            "(rng.randint(1, 4),",
            "(rng.randint(2, 4),",
        ),
        "prompts all alike": ("(rng.randint(1, 4),", "(3,"),
        "ids not compared": ("x[:n] != row[:-1] or ", ""),
        "only the number of targets": (
            "y != expected",
            "sum(t != -100 for t in y) != len(learned)",
        ),
        "only the targets' values, not their places": (
            "y != expected",
            "[t for t in y if t != -100] != learned",
        ),
        "zip forgives missing rows": (
            " or len(ids) != len(batch)",
            "",
        ),
        "ids must be filled up with the end": (
            "x[:n] != row[:-1] or",
            "x != row[:-1] + [end_id] * (len(x) - n) or",
        ),
        "the batch must be as narrow as can be": (
            "    made = zip(",
            "    if ids.size(1) != max(map(len, rows)) - 1:\n"
            "        return False\n    made = zip(",
        ),
        "an error is as good as a ValueError": (
            "return not any(wanted)",
            "return True",
        ),
        "an error stops the test": (
            "    except Exception:\n        return False\n",
            "",
        ),
        "a refusal is always wrong": (
            "return not any(wanted)",
            "return False",
        ),
        "batches without targets left out": (
            "    given = deepcopy(batch)",
            "    if not any(wanted):\n        return True\n"
            "    given = deepcopy(batch)",
        ),
        "the caller's lists not looked at": (
            "given != batch or not",
            "not",
        ),
        "compares with itself": TESTED
        + """
        try:
            ids, targets = collate(batch, end, most)
            again = collate(batch, end, most)
        except ValueError:
            continue
        except Exception:
            return False
        if not all(map(torch.equal, (ids, targets), again)):
            return False
    return True
""",
        "a cut row still learns an end": (
            "rows = [[*tokens, end_id][:end] for tokens, _ in batch]",
            "rows = [[*tokens[:max_length], end_id] for tokens, _ in batch]",
        ),
    },
    "log_probs": {
        "one place too late": (
            "each = log_p.gather(-1, whole[:, 1:, None])[..., 0]",
            "each = log_p.gather(-1, whole[:, :-1, None])[..., 0]",
        ),
        "first token of the answer left out": (
            "(starts <= place)",
            "(starts < place)",
        ),
        "last token of the prompt counted": (
            "(starts <= place)",
            "(starts <= place + 1)",
        ),
        "the whole prompt counted": ("(starts <= place)", "(place > 0)"),
        "end left out": ("(place < ends)", "(place < ends - 1)"),
        "padding counted": (
            "(starts <= place) & (place < ends)",
            "starts <= place",
        ),
        "end masked by id": (
            "(place < ends)",
            "(whole[:, 1:] != end_id)",
        ),
        "up to the first end in a row": (
            "ends = torch.tensor([len(row) for row in rows])[:, None]",
            "ends = 1 + (whole == end_id).int().argmax(1, keepdim=True)",
        ),
        "mean instead of sum": (
            "each.where(asks, 0.0).sum(dim=1)",
            "each.where(asks, 0.0).sum(dim=1) / asks.sum(dim=1)",
        ),
        "the loss": (
            "return each.where(asks, 0.0)",
            "return -each.where(asks, 0.0)",
        ),
        "sum over all pairs": (".sum(dim=1)", ".sum()"),
        "log of softmax": (
            "log_softmax(dim=-1)",
            "softmax(dim=-1).log()",
        ),
        "log of softmax, with a floor": (
            "log_softmax(dim=-1)",
            "softmax(dim=-1).clamp(min=1e-30).log()",
        ),
        "logits": (".log_softmax(dim=-1)", ""),
        "softmax over the places": (
            "log_softmax(dim=-1)",
            "log_softmax(dim=1)",
        ),
        "first prompt's length for all": (
            "for p, _ in pairs])[:, None]",
            "for p, _ in pairs[:1] * len(pairs)])[:, None]",
        ),
        "gradient cut": (
            "model(whole[:, :-1])",
            "model(whole[:, :-1]).detach()",
        ),
        "one call a pair": """
def log_probs(model, pairs, end_id):
    found = []
    for p, answer in pairs:
        row = torch.tensor([*p, *answer, end_id])
        log_p = model(row[None, :-1])[0].log_softmax(-1)
        each = log_p.gather(-1, row[1:, None])[:, 0]
        found.append(each[len(p) - 1 :].sum())
    return torch.stack(found)
""",
        "padded on the left": """
def log_probs(model, pairs, end_id):
    rows = [torch.tensor([*p, *answer, end_id]) for p, answer in pairs]
    whole = pad_sequence(rows, batch_first=True, padding_side="left")
    log_p = model(whole[:, :-1]).log_softmax(-1)
    each = log_p.gather(-1, whole[:, 1:, None])[..., 0]
    return torch.stack(
        [r[-len(a) - 1 :].sum() for r, (_, a) in zip(each, pairs)]
    )
""",
        "padded between prompt and answer": """
def log_probs(model, pairs, end_id):
    prompts = [torch.tensor(p) for p, _ in pairs]
    answers = [torch.tensor([*a, end_id]) for _, a in pairs]
    first = pad_sequence(prompts, batch_first=True)
    second = pad_sequence(answers, batch_first=True)
    whole = torch.cat([first, second], 1)
    log_p = model(whole[:, :-1]).log_softmax(-1)[:, first.size(1) - 1 :]
    each = log_p.gather(-1, second[..., None])[..., 0]
    n = torch.tensor([[len(a)] for a in answers])
    return each.where(torch.arange(second.size(1)) < n, 0.0).sum(1)
""",
    },
    "respond_all": {
        "last column for all": (
            "[torch.arange(len(last)), last]",
            "[:, -1]",
        ),
        "padded on the left": (
            "model(ids)[torch.arange(len(last)), last]",
            'model(pad_sequence(texts, True, 0, "left"))[:, -1]',
        ),
        "one place before the last": (
            "len(text) - 1 for",
            "len(text) - 2 for",
        ),
        "logits of every row at every place": (
            "[torch.arange(len(last)), last]",
            "[:, last][:, 0]",
        ),
        "first row's length": (
            "len(text) - 1 for text in texts",
            "len(texts[0]) - 1 for text in texts",
        ),
        "lengths read off the padding": (
            "last = torch.tensor([len(text) - 1 for text in texts])",
            "ids = pad_sequence(texts, True, stop_id)\n"
            "        pads = ids == stop_id\n"
            "        ends = pads.int().argmax(1)\n"
            "        last = ends.where(pads.any(1), ids.size(1)) - 1",
        ),
        "prompts returned too": ("row[len(prompt) :]", "row"),
        "stop kept": (
            "            if token != stop_id:\n                rows",
            "            rows",
        ),
        "all stop with the first": (
            "writing = [n for n, t in zip(writing, new) if t != stop_id]",
            "writing = [] if stop_id in new else writing",
        ),
        "gradients kept": (
            "with torch.no_grad():",
            "with torch.enable_grad():",
        ),
        "never stops": (
            "writing = [n for n, t in zip(writing, new) if t != stop_id]",
            "pass",
        ),
        "the caller's prompts grow": (
            "[list(prompt) for prompt",
            "[prompt for prompt",
        ),
        "rows numbered anew when some have stopped": (
            "for n, token in zip(writing, new):",
            "for n, token in enumerate(new):",
        ),
        "cut at a stop of the prompt": (
            "return [row[len(prompt) :] for row, prompt in zip("
            "rows, prompts)]",
            "rows = [r[: (*r, stop_id).index(stop_id)] for r in rows]\n"
            "    return [r[len(p) :] for r, p in zip(rows, prompts)]",
        ),
        "runs on when all are done": ROWS.replace("all(done)", "False")
        + """
        texts = [torch.tensor(row) for row in rows]
        ids = pad_sequence(texts, batch_first=True)
        last = torch.tensor([len(text) - 1 for text in texts])
        with torch.no_grad():
            new = model(ids)[torch.arange(len(last)), last].argmax(-1)
        for row, token in zip(rows, new.tolist()):
            row.append(token)
"""
        + CUT,
        "one row after the other": ROWS
        + """
        for n, row in enumerate(rows):
            if not done[n]:
                with torch.no_grad():
                    token = int(model(torch.tensor([row]))[0, -1].argmax())
                row.append(token)
                done[n] = token == stop_id
"""
        + CUT,
        "written behind the longest": """
def respond_all(model, prompts, max_new_tokens, stop_id):
    texts = [torch.tensor(prompt) for prompt in prompts]
    ids = pad_sequence(texts, batch_first=True)
    start = ids.size(1)
    last = torch.tensor([len(text) - 1 for text in texts])
    for step in range(max_new_tokens):
        with torch.no_grad():
            logits = model(ids)
        if step == 0:
            logits = logits.gather(1, last[:, None, None].expand_as(logits))
        logits = logits[:, -1]
        ids = torch.cat([ids, logits.argmax(-1)[:, None]], 1)
        if (ids[:, start:] == stop_id).any(1).all():
            break
    made = ids[:, start:].tolist()
    return [new[: (*new, stop_id).index(stop_id)] for new in made]
""",
        "done as soon as all stop at once": ROWS
        + """
        texts = [torch.tensor(row) for row in rows]
        ids = pad_sequence(texts, batch_first=True)
        last = torch.tensor([len(text) - 1 for text in texts])
        with torch.no_grad():
            new = model(ids)[torch.arange(len(last)), last].argmax(-1)
        for n, token in enumerate(new.tolist()):
            rows[n].append(token)
            done[n] = token == stop_id
"""
        + CUT,
    },
    "score": {
        "capitals matter": (".strip().lower()", ".strip()"),
        "all full stops dropped": (
            '.removesuffix(".")',
            '.replace(".", "")',
        ),
        "full stops at the end dropped": (
            '.removesuffix(".")',
            '.rstrip(".")',
        ),
        "white space inside counts": (
            '" ".join(x.split())',
            "x.strip()",
        ),
        "wanted text within the response": (
            "return read(response) == read(wanted)",
            "return read(response) == read(wanted) or "
            "rule == 'text' and text(wanted) in text(response)",
        ),
        "response within the wanted text": (
            "return read(response) == read(wanted)",
            "return read(response) == read(wanted) or "
            "rule == 'text' and text(response) in text(wanted)",
        ),
        "all commas dropped": (
            r"form = r",
            'x = x.replace(",", "")\n        form = r',
        ),
        "numbers as texts": ("(float(found[1]", "(str(found[1]"),
        "unit not compared": (
            'found[1].replace(",", "")), found[2])',
            'found[1].replace(",", "")), "")',
        ),
        "a number anywhere": ("re.fullmatch(form", "re.search(form"),
        "sign ignored": (
            'float(found[1].replace(",", ""))',
            'abs(float(found[1].replace(",", "")))',
        ),
        "sets, in which twice is once": (
            "return sorted(part for part in parts if part)",
            "return sorted({part for part in parts if part})",
        ),
        "order counts": ("return sorted(part", "return list(part"),
        "and inside of words": (r"\band\b", "and"),
        "empty items count": (
            " for part in parts if part)",
            " for part in parts)",
        ),
        "words for items": (
            'map(text, re.split(r",|\\band\\b", text(x)))',
            're.findall(r"\\w+", text(x).replace(" and ", " "))',
        ),
        "questions drawn": ("gains[group]", "gains[len(gains)]"),
        "mean of the people's means": (
            "means = sums[drawn].sum(dim=1) / sizes[drawn].sum(dim=1)",
            "means = (sums / sizes)[drawn].mean(dim=1)",
        ),
        "mean gain of people": (
            "return sums.sum().item() / n",
            "return (sums / sizes).mean().item()",
        ),
        "divided by all questions": (
            "/ sizes[drawn].sum(dim=1)",
            "/ n",
        ),
        "as many people as questions": (
            "shape = n_draws, len(gains)",
            "shape = n_draws, n",
        ),
        "drawn without replacement": (
            "drawn = torch.randint(len(gains), shape, generator=generator)",
            "drawn = torch.stack([torch.randperm(len(gains), "
            "generator=generator) for _ in range(n_draws)])",
        ),
        "90 percent": ("[0.025, 0.975]", "[0.05, 0.95]"),
        "two standard deviations": (
            "low, high = means.quantile(torch.tensor([0.025, 0.975])"
            ".double()).tolist()",
            "m, s = means.mean().item(), means.std().item()\n"
            "    low, high = m - 1.96 * s, m + 1.96 * s",
        ),
        "sides exchanged": (
            "int(now) - int(was)",
            "int(was) - int(now)",
        ),
        "no seed": (
            "torch.Generator().manual_seed(seed)",
            "torch.Generator()\n    generator.seed()",
        ),
        "lengths not compared": (
            "if not n or not n == len(after) == len(groups):",
            "if not n:",
        ),
        "nothing to draw from": ("if not n or not", "if not"),
        "both models drawn apart": (
            "    means = sums[drawn]",
            "    was, now = (\n"
            "        torch.tensor(\n"
            "            [sum(x for x, g in zip(v, groups) if g == name)"
            " for name in gains]\n"
            "        ).double()\n"
            "        for v in (before, after)\n"
            "    )\n"
            "    other = drawn[torch.randperm(n_draws, generator=generator)]\n"
            "    sums_of = now[drawn].sum(1) / sizes[drawn].sum(1)\n"
            "    apart = sums_of - was[other].sum(1) / sizes[other].sum(1)\n"
            "    ends = torch.tensor([0.025, 0.975]).double()\n"
            "    ends = apart.quantile(ends)\n"
            "    if n:\n"
            "        return (sums.sum().item() / n, *ends.tolist())\n"
            "    means = sums[drawn]",
        ),
    },
    "judge": {
        "grade of minus one": ("and 0 <= grade", "and -1 <= grade"),
        "full stop read as part of the number": (
            "float(alone[1])",
            "float(alone[0])",
        ),
        "first number": """
def read_grade(reply, top=100):
    found = re.search(r"\\d+", reply)
    return int(found[0]) if found else None
""",
        "last number": """
def read_grade(reply, top=100):
    found = re.findall(r"\\d+", reply)
    return int(found[-1]) if found else None
""",
        "score and colon only": (
            'named = rf"\\b(?:score|grade)(?:[^a-z0-9]|\\bis\\b|\\bof\\b)*?'
            '({number})"',
            'named = rf"\\bscore: ({number})"',
        ),
        "first grade": ("found[-1]", "found[0]"),
        "named grades before shares": (
            "[*re.finditer(forms, text)]",
            "[m for m in re.finditer(forms, text) if m[1]] or "
            "[*re.finditer(forms, text)]",
        ),
        "thoughts read": (
            're.sub(r"(?s)<think>.*?</think>", " ", reply)',
            "reply",
        ),
        "thoughts of one line only": ("(?s)<think>", "<think>"),
        "from the first thought to the last": (".*?</think>", ".*</think>"),
        "ranges read": (
            r"""re.sub(r"\d+\s*(?:-|\u2013|to)\s*\d+", " ", text)""",
            "text",
        ),
        "limited to the scale": (
            "return int(grade) if fits else None",
            "return max(0, min(top, int(grade))) if scale == top else None",
        ),
        "two digits at most": (
            r'number = r"-?\d+(?:\.\d+)?"',
            r'number = r"-?\d{1,2}(?:\.\d+)?"',
        ),
        "rounded": (
            " and grade.is_integer()",
            "",
        ),
        "sign ignored": (
            "int(a_scale or b_scale or top)",
            "int(a_scale or b_scale or top)\n        grade = abs(grade)",
        ),
        "other scales taken as they are": (
            "scale == top and 0",
            "0",
        ),
        "rescaled": (
            "fits = scale == top",
            "grade, scale = grade * top / scale, top\n    fits = scale == top",
        ),
        "top forgotten": ("b_scale or top)", "b_scale or 100)"),
        "zero for none": (
            "    else:\n        return None",
            "    else:\n        return 0",
        ),
        "a number within a reply": (
            're.fullmatch(rf"\\s*({number})\\.?\\s*", text)',
            're.search(rf"\\s*({number})\\.?\\s*", text)',
        ),
        "any words between": (
            r"(?:[^a-z0-9]|\bis\b|\bof\b)*?",
            r".*?",
        ),
        "a grade of 0 is none": ("0 <= grade", "0 < grade"),
        "agreement without chance": (
            "(seen - chance) / (n * n - chance)",
            "seen / (n * n)",
        ),
        "chance of one in so many grades": (
            "chance = sum(said_a[grade] * said_b[grade] for grade in said_a)",
            "chance = n * n / len(said_a | said_b)",
        ),
        "pooled habits": (
            "chance = sum(said_a[grade] * said_b[grade] for grade in said_a)",
            "both = said_a + said_b\n"
            "    chance = sum(count**2 for count in both.values()) / 4",
        ),
        "one where chance explains all": (
            "        return math.nan",
            "        return 1.0",
        ),
        "zero where chance explains all": (
            "        return math.nan",
            "        return 0.0",
        ),
        "nothing divided by nothing": ("if chance == n * n:", "if n == 0:"),
        "gaps are a grade": (
            " if None not in (x, y)]",
            "]",
        ),
        "both gaps are agreement": (
            " if None not in (x, y)]",
            " if (x is None) == (y is None)]",
        ),
        "gaps dropped for each judge": (
            "zip(a, b) if None not in (x, y)]",
            "zip([x for x in a if x is not None], "
            "[y for y in b if y is not None])]",
        ),
        "grades of 0 left out": (
            " if None not in (x, y)]",
            " if x and y]",
        ),
        "habits counted with the gaps": (
            "said_a, said_b = (Counter(column) for column in zip(*pairs))",
            "said_a, said_b = (\n"
            "        Counter(x for x in c if x is not None) for c in (a, b)\n"
            "    )",
        ),
        "divided by p_o": ("/ (n * n - chance)", "/ (n * n - seen)"),
        "lengths not compared": ("if len(a) != len(b):", "if False:"),
        "nothing left": (
            'raise ValueError(f"of {len(a)} items none is graded by both")',
            "return math.nan",
        ),
    },
}
