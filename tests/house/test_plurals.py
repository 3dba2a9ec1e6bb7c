"""Nobody reads "1 ranks": a message that counts takes its noun from `core.tables.counted` or `noun`, and in the browser from the translator's `_n`."""
import ast
import re
from pathlib import Path

import pytest

from lepton_bench.doctor.findings import judge_devices
from lepton_bench.display.progress import duration_text, waiting_text
from lepton_bench.resources.request import Request

ROOT = Path(__file__).parents[2]
# what follows a number, or a name; the verbs of the second kind
VERBS = """as across always belongs comes does exists frees gets gives goes has holds is its keeps leaves less lets lies makes means ms names needs reaches says
 sees shows stands starts stays steps still stops takes this thus travels unless wants was waits writes runs""".split()
# numbers that are constants above one, the names of things, and words that another program looks for
FINE = {("client.py", " seconds"), ("live_plot.py", " metrics"), ("page_connection.py", " topics"), ("files.py", " bytes"), ("leases.py", " bytes"),
        ("forkserver.py", " characters"), ("vision.py", " images")}
PLURAL = re.compile(r" (?:(?:more|other|different|free|new|parameter|simulated) )?[A-Za-z]*[A-Za-rt-z]s\b")
HAND = re.compile(r"""["']e?s["']\s*\*|\*\s*["']e?s["']|["']e?s["']\s+if\b|["']["']\s+if[^"'\n]+else\s+["']e?s["']""")


def hand_spelt(text: str, name: str = "") -> list[str]:
    "Messages in which a plural follows a number, or a letter s hangs on a condition."
    found = [f"{text[:m.start()].count(chr(10)) + 1}: {m[0]}" for m in HAND.finditer(text)]
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.JoinedStr): continue
        for number, rest in zip(node.values, node.values[1:]):
            if not isinstance(number, ast.FormattedValue) or not isinstance(rest, ast.Constant): continue
            m = PLURAL.match(rest.value)
            if m and m[0].split()[-1].lower() not in VERBS and (name, m[0]) not in FINE: found.append(f"{node.lineno}: {{{ast.unparse(number.value)}}}{m[0]}")
    return found


def test_python():
    slips = [f"{path.relative_to(ROOT)}:{slip}" for path in (ROOT/"lepton_bench").rglob("*.py") if path.name not in ("_modidx.py", "tables.py")
             for slip in hand_spelt(path.read_text(), path.name)]
    assert not slips, "use lepton_bench.core.tables.counted or noun:\n" + "\n".join(slips)


UNTRANSLATED = re.compile(r"""__\(\s*(['"`])(?:(?!\1).)*%\d (?:more |of %\d )?[A-Za-z]*[A-Za-rt-z]s\b(?!:)(?:(?!\1).)*\1""")
TEMPLATE = re.compile(r"\$\{[^{}]*\} (?:more )?[A-Za-z]*[A-Za-rt-z]s\b")


def hand_spelt_in_typescript(text: str) -> list[str]:
    found = [*UNTRANSLATED.finditer(text), *TEMPLATE.finditer(text), *re.finditer(r"""\?\s*['"]s['"]\s*:|\?\s*['"]['"]\s*:\s*['"]s['"]""", text)]
    def is_verb(m: re.Match) -> bool: return bool(re.search(rf"(%\d|}}) ({'|'.join(VERBS)})\b", m[0]))
    return [f"{text[:m.start()].count(chr(10)) + 1}: {m[0]}" for m in found if not is_verb(m)]


def test_typescript():
    slips = [f"{path.relative_to(ROOT)}:{slip}" for path in (ROOT/"extension"/"src").rglob("*.ts*") for slip in hand_spelt_in_typescript(path.read_text())]
    assert not slips, "use trans._n('%1 thing', '%1 things', count):\n" + "\n".join(slips)


@pytest.mark.parametrize("text", [
    'f"{n} ranks"', 'f"on {len(x):,} devices there"', 'f"{n} more metrics, x"', 'f"{n} GPUs"', 'f"{n} rank{\'s\' * (n > 1)}"', "x = 's' if n != 1 else ''",
    "x = '' if n == 1 else 's'", 'f"a {n} parameter sets"'])
def test_the_check_finds_them(text): assert hand_spelt(text)


@pytest.mark.parametrize("text", ['f"{run} has ended"', 'f"{counted(n, \'rank\')} on"', 'f"{name} is there"', 'f"ranks {n}"', 'f"{n} across"'])
def test_the_check_finds_nothing_else(text): assert not hand_spelt(text)


@pytest.mark.parametrize("text, slips", [
    ("trans.__('%1 points', n)", 1), ("trans.__('%1 of %2 devices held', a, b)", 1), ("`${n} sets`", 1), ("n === 1 ? '' : 's'", 1),
    ("trans._n('%1 run', '%1 runs', n)", 0), ("trans.__('Run %1 has begun.', id)", 0)])
def test_the_check_of_typescript(text, slips): assert len(hand_spelt_in_typescript(text)) == slips


def test_messages_of_one():
    assert str(Request(1)) == "1 device" and str(Request(2, kind="cuda")) == "2 cuda devices"
    assert waiting_text([3]) == "waiting for rank 3" and waiting_text([1, 2]) == "waiting for ranks 1, 2" and duration_text(100*3600) == "4 days"
    assert "1 core" in judge_devices("cpu", {"n1": {"cores": 1}}).found and "1 cores" not in judge_devices("cpu", {"n1": {"cores": 1}}).found
