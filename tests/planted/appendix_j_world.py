"""Wrong answers to the exercises of appendix J; each must be caught.

PLANTED maps a check's name to its wrong answers by what is wrong with them:
either (old, new), a change to the solution, or a whole answer.
"""

PLANTED = {
    "two_terms": {
        "stops at a text that never occurs": ("continue", "break"),
        "weighed by the model": (
            "divergence += p * math.log(p / q)",
            "divergence += q * math.log(p / q)",
        ),
        "the other way round": (
            "divergence += p * math.log(p / q)",
            "divergence += q * math.log(q / p)",
        ),
        "cross-entropy for divergence": ("math.log(p / q)", "-math.log(q)"),
        "in bits": (
            "entropy -= p * math.log(p)",
            "entropy -= p * math.log2(p)",
        ),
        "impossible texts skipped": ("if q else math.inf", "if q else 0.0"),
        "zeros not skipped": ("if p == 0:", "if p is None:"),
        "a mean over texts": (
            "return entropy, divergence",
            "return entropy, divergence / len(truth)",
        ),
        "the model's texts only": (
            "in truth.items()",
            "in ((x, truth.get(x, 0)) for x in model)",
        ),
    },
    "probability": {
        "weights for probabilities": (
            "weight / total * rest",
            "weight * rest",
        ),
        "the best derivation only": (
            "return sum(\n            weight",
            "return max(\n            weight",
        ),
        "a beginning is enough": (
            "return float(at == len(words))",
            "return 1.0",
        ),
        "all alternatives equal": (
            "weight / total * rest",
            "1 / len(rules[first]) * rest",
        ),
        "what comes after a rule forgotten": (
            "rest((*parts, *others), at)",
            "rest((*parts,), at)",
        ),
        "words skipped": (
            "return rest(tuple(others), at + 1) if agrees else 0.0",
            "return rest(tuple(others), at + agrees)",
        ),
        "always from STORY": (
            "return rest((start,), 0)",
            'return rest(("STORY",), 0)',
        ),
        "equal ways counted once": """
def probability(words, rules, start):
    def rest(todo, at):
        if not todo:
            return float(at == len(words))
        first, *others = todo
        if first not in rules:
            agrees = at < len(words) and words[at] == first
            return rest(tuple(others), at + 1) if agrees else 0.0
        total = sum(weight for weight, _ in rules[first])
        ways = {w / total * rest((*x, *others), at) for w, x in rules[first]}
        return sum(ways)

    return rest((start,), 0)
""",
    },
    "grammar_entropy": {
        "the choice only": (
            "+ sum(entropy.get(part, 0.0) for part in parts))",
            ")",
        ),
        "parts not weighed": (
            """weight / total * (
                    math.log(total / weight)
                    + sum(entropy.get(part, 0.0) for part in parts))""",
            """weight / total * math.log(total / weight)
                + sum(entropy.get(part, 0.0) for part in parts)""",
        ),
        "a rule named twice counted once": (
            "for part in parts))",
            "for part in {*parts}))",
        ),
        "one round": ("range(500)", "range(1)"),
        "in bits": ("math.log(total / weight)", "math.log2(total / weight)"),
        "weights not divided": (
            "weight / total * (",
            "weight * (",
        ),
        "the wrong rule": (
            "return entropy[start]",
            "return max(entropy.values())",
        ),
        "the longest alternative": (
            "new[name] = sum(\n",
            "new[name] = max(\n",
        ),
    },
    "best_predictor": {
        "not divided": ("{word: p / mass.total() for", "{word: p for"),
        "no end": (
            "if p and text[:n] == prefix:",
            "if p and text[:n] == prefix and len(text) > n:",
        ),
        "counts for probabilities": ("] += p", "] += 1"),
        "words begun count": (
            "text[:n] == prefix",
            '" ".join(text).startswith(" ".join(prefix))',
        ),
        "the prefix anywhere": (
            "text[:n] == prefix",
            "set(prefix) <= set(text)",
        ),
        "the impossible listed": ("if p and text", "if text"),
        "nothing for an unknown prefix": (
            'raise ValueError(f"no text begins with {prefix}")',
            "return {}",
        ),
        "no surprise at the end": (
            'enumerate([*text, ""])',
            "enumerate(text)",
        ),
        "bits": ("-math.log(", "-math.log2("),
        "probabilities for surprises": (
            "-math.log(next_words(truth, text[:n])[word])",
            "next_words(truth, text[:n])[word]",
        ),
    },
    "my_world": {
        "no guard": ("{if p.trade} {p} is a", "{p} is a"),
        "one wording": (
            "  {if p.trade} who needs a {p.trade} asks for {p}.\n",
            "",
        ),
        "the trade not marked": ("trade!", "trade"),
        "the pets never told": (
            "has {p.pet}. {p.he} takes it to",
            "has a pet. {p.he} takes it to",
        ),
        "everybody has a pet": (
            "clockmaker,\nVera,she,driver,a lizard\nLeon,he,plumber,",
            "clockmaker,a newt\nVera,she,driver,a lizard\nLeon,he,cook,a hen",
        ),
        "a trade as plain text": (
            "nobody minded.",
            "nobody minded but the plumber.",
        ),
        "two ways to say the same": (
            "  nobody minded.\n",
            "  nobody [minded|minded].\n",
        ),
        "nobody comes back": (
            "  {p:person where pet} has",
            "  it rained.\n  {p:person where pet} has",
        ),
        "too few texts": (
            " on [Monday|Friday]. {p.he} [had run|2: was tired].",
            ". {p.he} was tired.",
        ),
        "a column that is not there": ("{p.pet}.", "{p.dog}."),
        "a rule that is not there": ("about(p)\n  {if", "tells(p)\n  {if"),
    },
}
