"""Wrong answers to the exercises of appendix C; each must be caught.

PLANTED maps a check's name to its wrong answers by what is wrong with them:
either (old, new), a change to the solution, or a whole answer.
"""

PLANTED = {
    "slipped": {
        "not put back": ("                node.ops[n] = op\n", ""),
        "first of a chain only": (
            "enumerate(node.ops)",
            "enumerate(node.ops[:1])",
        ),
        "chains left alone": (
            "if not isinstance(node, ast.Compare):",
            "if not isinstance(node, ast.Compare) or len(node.ops) > 1:",
        ),
        "turned round": (
            "{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, "
            "ast.GtE: ast.Gt}",
            "{ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, "
            "ast.GtE: ast.LtE}",
        ),
        "one way only": ("ast.LtE: ast.Lt, ", ""),
        "equality too": (
            "swap = {ast.Lt: ast.LtE",
            "swap = {ast.Eq: ast.NotEq, ast.Lt: ast.LtE",
        ),
        "top level only": ("ast.walk(tree)", "ast.iter_child_nodes(tree)"),
        "trees": ("ast.unparse(tree)", "tree"),
        "all at once": (
            "                sources.append(ast.unparse(tree))\n"
            "                node.ops[n] = op\n"
            "    return sources",
            "    return [ast.unparse(tree)]",
        ),
        "in the text": """def slipped(source):
    found = []
    for n, sign in enumerate(source):
        if sign in "<>":
            rest = source[n + 1 :]
            rest = rest[1:] if rest[:1] == "=" else "=" + rest
            found.append(source[: n + 1] + rest)
    return found""",
    },
    "is_right": {
        "one example": """def is_right(best):
    return best([0.5, 2.0, 1.0], 2) == [1, 2]""",
        "errors not caught": (
            "                try:\n"
            "                    found = best(given, k)\n"
            "                except Exception:\n"
            "                    return False\n",
            "                found = best(given, k)\n",
        ),
        "errors spared": (
            "                except Exception:\n"
            "                    return False\n",
            "                except Exception:\n"
            "                    continue\n",
        ),
        "input not compared": (
            "                if given != list(scores):\n"
            "                    return False\n",
            "",
        ),
        "tuples spared": (
            "not isinstance(found, list) or found != order[:k]",
            "list(found) != order[:k]",
        ),
        "no ties": (
            "            for k in range(length + 3):",
            "            for k in range(length + 3) "
            "if len({*scores}) == length else ():",
        ),
        "k never too large": ("range(length + 3)", "range(length + 1)"),
        "k never zero": ("range(length + 3)", "range(1, length + 3)"),
        "never without scores": (
            "for length in range(5)",
            "for length in range(1, 5)",
        ),
        "no negative scores": ("(-2.5, 0.0, 1.5)", "(0.5, 1.0, 1.5)"),
        "compares as sets": (
            "found != order[:k]",
            "{*found} != {*order[:k]}",
        ),
        "lengths only": ("found != order[:k]", "len(found) != len(order[:k])"),
        "ties the other way": ("(-scores[i], i)", "(-scores[i], -i)"),
        "tells nothing apart": (
            "    for length in range(5):\n",
            "    for length in range(0):\n",
        ),
        "rejects everything": ("    return True\n", "    return False\n"),
        "asks for more than the task": (
            "range(length + 3)",
            "range(-1, length + 3)",
        ),
        "stops at the first list": (
            "                if given != list(scores):\n",
            "                if length:\n"
            "                    return True\n"
            "                if given != list(scores):\n",
        ),
    },
    "discrimination": {
        "itself among the others": (
            "item.sum(axis=1, keepdims=True) - item",
            "item.sum(axis=1, keepdims=True) + 0 * item",
        ),
        "over exercises": ("rest.mean(axis=0)", "rest.mean(axis=1)[:, None]"),
        "covariance": ("(x * y).sum(axis=0) / size", "(x * y).mean(axis=0)"),
        "zero for NaN": (
            "/ size",
            "/ np.where(size > 0, size, np.inf)",
        ),
        "not centered": (
            "x, y = item - item.mean(axis=0), rest - rest.mean(axis=0)",
            "x, y = item, rest",
        ),
        "no square root": (
            "np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))",
            "(x**2).sum(axis=0) * (y**2).sum(axis=0)",
        ),
        "mean of the others over all": (
            "rest - rest.mean(axis=0)",
            "rest - rest.mean()",
        ),
        "absolute": (
            "return (x * y).sum(axis=0)",
            "return abs(x * y).sum(axis=0)",
        ),
        "changes its input": (
            "item = solved.astype(float)",
            "solved -= 0 * solved + 1 if solved.dtype == float else 0\n"
            "    item = solved.astype(float)",
        ),
        "whole table NaN": (
            "/ size",
            "/ (size if size.all() else np.nan)",
        ),
        "difference of the halves": """def discrimination(solved):
    item = solved.astype(float)
    rest = item.sum(axis=1, keepdims=True) - item
    good = rest > np.median(rest, axis=0)
    halves = np.where(good, item, 0), np.where(good, 0, item)
    n = np.maximum(good.sum(0), 1), np.maximum((~good).sum(0), 1)
    return halves[0].sum(0) / n[0] - halves[1].sum(0) / n[1]""",
    },
}
