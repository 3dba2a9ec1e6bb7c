"""Slips in what the user reads: an f-string without its f, words that run together over two lines, an exception raised without a word.

ruff's RUF027 looks for the first of these, and does not see it in a part of a longer string, where it was found.
"""
import ast
import builtins
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted([*ROOT.glob("lepton_bench/**/*.py"), *ROOT.glob("tests/**/*.py")])
PLACE = re.compile(r"(?<!\{)\{([A-Za-z_]\w*)((?:\.\w+|\([^{}]*\)|\[[^{}]*\])*)(?:![rsa])?(?::[^{}]*)?\}(?!\})")
# filled in elsewhere, by `.format` or `.replace`, or JavaScript
TEMPLATES = {("launch.py", "{folder!r}"), ("responsive.py", "{folder!r}"),
             ("test_dashboard.py", "{run}"), ("test_dashboard.py", "{theme}"), ("test_sweep.py", "{theme}"),
             ("test_devices.py", "{min(os.sched_getaffinity(0))}"), ("test_sweeps.py", "{x}"), ("test_stop.py", "{what}"),
             ("test_plurals.py", "{len(x):,}"), ("test_plurals.py", "{name}"), ("test_strict_json.py", "{name}"),
             ("test_start_variables.py", r'{hash(\"lepton\")}')}


@cache
def tokens_of(text: str) -> list[tokenize.TokenInfo]:
    return [t for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type not in (tokenize.NL, tokenize.COMMENT)]


@cache
def nodes_of(text: str) -> list[ast.AST]: return list(ast.walk(ast.parse(text)))


def plain_parts(text: str) -> Iterator[tuple[int, str]]:
    "Line and text of each part of a string that is no f-string and is not made into one by `.format`."
    tokens = tokens_of(text)
    strings = {tokenize.STRING, *(getattr(tokenize, name) for name in ("FSTRING_START", "FSTRING_MIDDLE", "FSTRING_END") if hasattr(tokenize, name))}
    for n, token in enumerate(tokens):
        if token.type != tokenize.STRING or "f" in (prefix := token.string[:token.string.index(token.string[-1])].lower()) or "b" in prefix: continue
        if token.string.endswith(('"""', "'''")): continue  # a docstring, or a program in another language
        after = n
        while tokens[after].type in strings: after += 1
        if [t.string for t in tokens[after:after + 2]] != [".", "format"]: yield token.start[0], token.string


def forgotten(text: str) -> list[str]:
    "Placeholders in plain strings whose name means something in the same file."
    nodes = nodes_of(text)
    known = {n.id for n in nodes if isinstance(n, ast.Name)} | {n.arg for n in nodes if isinstance(n, ast.arg)} | set(dir(builtins))
    known |= {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    return [f"{line}: {found[0]}" for line, part in plain_parts(text) for found in PLACE.finditer(part) if found[1] in known]


def glued(text: str) -> list[str]:
    "Parts of one string where the last word of a line and the first of the next have no blank between them."
    found, tokens = [], tokens_of(text)
    for one, two in zip(tokens, tokens[1:]):
        if one.type == two.type == tokenize.STRING and one.end[0] < two.start[0]:
            left, right = one.string[:-1], re.sub(r"^[A-Za-z]*[\"']", "", two.string)
            if re.search(r"[a-z]{2}[,.:]?$|[,:]$", left) and re.match(r"[A-Za-z]{2}", right): found.append(f"{one.end[0]}: ...{left[-20:]}|{right[:20]}...")
    return found


def wordless(text: str) -> list[str]:
    "Exceptions of ours that are raised without a message."
    ours = {"BenchError", "AllocationError", "DeviceError", "LaunchError", "RunError", "DamagedError", "SettingsError",
            "RunStopped", "BadRequest", "WrongState"}
    def name(node: ast.expr | None) -> str: return ast.unparse(node.func if isinstance(node, ast.Call) else node) if node else ""
    return [f"{n.lineno}: {ast.unparse(n)}" for n in nodes_of(text) if isinstance(n, ast.Raise) and name(n.exc) in ours
            and not (isinstance(n.exc, ast.Call) and (n.exc.args or n.exc.keywords))]


def percent(text: str) -> list[str]:
    "A text with %s in an exception or a print that nothing is put into."
    found = []
    for n in nodes_of(text):
        if not (isinstance(n, ast.Call) and ast.unparse(n.func).split(".")[-1].endswith(("Error", "print", "say", "warn"))): continue
        found += [f"{n.lineno}: {a.value}" for a in n.args if isinstance(a, ast.Constant) and isinstance(a.value, str) and re.search(r"%[sdr](?!\w)", a.value)]
    return found


@pytest.mark.parametrize("check", [forgotten, glued, wordless, percent])
def test_no_slip(check):
    slips = [f"{path.relative_to(ROOT)}:{slip}" for path in FILES if path.name not in ("_modidx.py", "test_messages.py") for slip in check(path.read_text())
             if (path.name, slip.partition(": ")[2]) not in TEMPLATES]
    assert not slips, "\n".join(slips)


@pytest.mark.parametrize("check, text, fine", [
    (forgotten, 'raise E("it does not end: process {_standing(path).pid}, or "\n f"{x}")\ndef _standing(path): pass',
     'def _standing(a): f"{{_standing}} {_standing(a)}"'),
    (forgotten, 'name = 1\nprint("hello {name!r:.80}")', 'name = 1\nprint("hello {name}".format(name=1), "{other}", "{{name}}", b"{name}")'),
    (glued, 'x = ("one two"\n "three four")', 'x = ("one two "\n "three four")'),
    (glued, 'x = ("one, two,"\n "three")', 'x = ("one",\n "three")'),
    (wordless, "raise BenchError", "raise BenchError('why')"),
    (wordless, "raise BenchError()", "raise"),
    (percent, "print('%s is gone')", "print('%s is gone' % x)")])
def test_the_checks_find_what_they_look_for(check, text, fine):
    assert check(text) and not check(fine)
