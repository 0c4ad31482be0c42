"""The page and the plot that the bench writes from its results. `report.py RESULTS FOLDER` writes them
again from the results of an earlier run."""
import json
import pathlib
import sys
from html import escape

HEAD = """# Benchmarks

Made by `make bench`, which needs {minutes} minutes and the machine for itself; nothing here is typed by
hand. {system}, {apache}, {processors} processors ({cpu}), client and server on the same machine.

The sides of a table are measured in turn, {rounds} rounds of {seconds:g} s each, forwards and backwards.
A ratio is the median over the rounds of what a side did beside what the first side did in the same
round; the least and the most stand behind it. Each table has its first side twice: a difference
smaller than between those two says nothing. CPU is utime and stime of all processes of the server, a
request; p50 and p99 are wrk's, from {connections} connections kept alive. Absolute figures move by 15 %
from hour to hour; ratios stay.

![requests a second beside an empty handler](benchmarks.svg)
"""


def table(rows, columns):
    lines = ["| " + " | ".join(columns) + " |",
             "|---" + "|---:" * (len(columns) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def side_rows(sides):
    return [[name, f"{s['rate']:.0f}", f"{s['ratio']:.2f} ({s['low']:.2f}–{s['high']:.2f})",
             f"{s['cpu_us']:.0f} µs", f"{s['cpu_ratio']:.2f}", f"{s['p50'] / 1000:.2f} ms",
             f"{s['p99'] / 1000:.2f} ms"] for name, s in sides.items()]


SIDE_COLUMNS = ("side", "requests/s", "ratio", "CPU", "ratio by CPU", "p50", "p99")


def goals(r):
    """[(goal, what was measured, reached)]"""
    requests, others, login, mongo = r["requests"], r["others"], r["login"], r["mongo"]
    status = requests["status, CORS and a rule"]
    found = []

    def goal(text, value, least=None, most=None, unit=""):
        reached = (least is None or value >= least) and (most is None or value <= most)
        found.append([text, f"{value:.2f}{unit}", "yes" if reached else "**no**"])

    goal("status with CORS and a rule ≥ 1.10 of an empty handler", status["ratio"], 1.10)
    goal("the same by CPU", status["cpu_ratio"], 1.10)
    for name, least in (("http", 5), ("ASGI", 2)):
        side = next(s for n, s in others.items() if name in n and "FastAPI" in n)
        goal(f"≥ {least} × FastAPI with the limiter as {name} middleware", 1 / side["ratio"], least,
             unit=" ×")
    goal("a refusal ≥ 1.15 of an empty handler", requests["a refusal: 429"]["ratio"], 1.15)
    goal("signed-in me on SQLite ≥ 0.75 of an empty handler",
         requests["GET /auth/me, SQLite"]["ratio"], 0.75)
    goal("signed-in me on MongoDB ≥ 0.8 of a bare libmongoc loop", mongo["ratio"], 0.8)
    goal("logins ≥ 0.9 of the bare hash on all processors", login["ratio"], 0.9)
    goal("p99 of status during a flood of logins ≤ 3 × idle",
         login["flood_p99"] / login["idle_p99"], most=3, unit=" ×")
    goal("a million addresses let no process grow by more than 2 MiB",
         r["memory"]["growth"] / 2 ** 20, most=2, unit=" MiB")
    through = r["exactness"]["mod_bizapi"]
    goal(f"exactly {through['limit']} of 200 000 requests let through", through["through"],
         through["limit"], through["limit"])
    return found


def page(r):
    m, login, mongo, memory = r["machine"], r["login"], r["mongo"], r["memory"]
    text = HEAD.format(minutes=12, connections=32, rounds=r["rounds"], seconds=r["seconds"], **m)
    text += "\n## The goals\n\n" + table(goals(r), ("goal", "measured", "reached"))
    text += "\n## Requests\n\nOne Apache: event, 4 children of 25 threads, no access log.\n\n"
    text += table(side_rows(r["requests"]), SIDE_COLUMNS)
    text += ("\n## Beside others\n\nThe same kind of answer with somebody else's limiter before it. "
             "FastAPI runs on two uvicorn workers with uvloop; nginx has two workers and a file.\n\n")
    text += table(side_rows(r["others"]), SIDE_COLUMNS)
    text += ("\n## How exact a limit is\n\nOne address, as fast as it can, against 60 a minute. A side "
             "that is too slow for 200 000 requests got what fits into 40 s.\n\n")
    text += table([[name, str(e["requests"]), f"{e['seconds']:.0f} s", str(e["limit"]),
                    str(e["through"])] for name, e in r["exactness"].items()],
                  ("limiter", "requests", "within", "limit", "let through"))
    text += (f"\n## Signing in\n\nargon2id (19 MiB, 2 passes) on {login['processors']} processors.\n\n")
    text += table([
        ["the bare hash, all processors", f"{login['bare']:.1f}", "1.00"],
        ["the bare hash, again", "", f"{login['again']:.2f}"],
        ["POST /auth/login", f"{login['login']:.1f}", f"{login['ratio']:.2f}"]],
        ("side", "a second", "ratio"))
    text += (f"\nStatus from 4 connections: p99 {login['idle_p99'] / 1000:.2f} ms when idle, "
             f"{login['flood_p99'] / 1000:.2f} ms while 64 connections do nothing but sign in.\n")
    text += (f"\n## Signed in, on MongoDB\n\nThe database is {mongo['server']}; the bare loop reads the "
             "same two documents by id with libmongoc, from as many threads as there are connections.\n\n")
    text += table([["libmongoc alone", f"{mongo['bare']:.0f}", "1.00"],
                   ["libmongoc alone, again", "", f"{mongo['again']:.2f}"],
                   ["GET /auth/me", f"{mongo['me']:.0f}", f"{mongo['ratio']:.2f}"]],
                  ("side", "a second", "ratio"))
    text += (f"\n## Memory\n\nWhat each of the {len(memory['before'])} workers has for itself alone: "
             f"{memory['before'][-1] / 2 ** 20:.1f} MiB at most before and "
             f"{memory['after'][-1] / 2 ** 20:.1f} MiB after {memory['addresses']} requests from as many "
             f"addresses. The table of 2 097 152 places, which all share, has "
             f"{memory['shared'] / 2 ** 20:.0f} MiB of its 512 in use then.\n")
    text += "\n## The limiter alone\n\n```\n" + r["limiter"].strip("\n") + "\n```\n"
    return text


def plot(r):
    """Bars of the ratio to the empty handler; those of the other table by way of our status."""
    ours = r["requests"]["status, CORS and a rule"]["ratio"]
    bars = [(name, s["ratio"]) for name, s in r["requests"].items()]
    bars += [(name, s["ratio"] * ours) for name, s in list(r["others"].items())[2:]]
    left, width, height, top = 290, 400, 22, 34
    most = max(value for _, value in bars) * 1.05
    total = top + height * len(bars) + 14
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 60} {total}" '
             'font-family="sans-serif" font-size="12">',
             "<title>Requests a second beside an empty handler of the same Apache</title>",
             f'<rect width="{left + width + 60}" height="{total}" fill="#fff"/>',
             f'<text x="10" y="18" font-weight="bold">Requests a second, an empty handler being 1'
             "</text>"]
    for number, (name, value) in enumerate(bars):
        y = top + number * height
        color = "#9aa5b1" if name.startswith("empty") else "#1f6feb" if number < len(
            r["requests"]) else "#c98a2b"
        lines += [f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>',
                  f'<rect x="{left}" y="{y + 3}" width="{width * value / most:.1f}" height="15" '
                  f'fill="{color}"/>',
                  f'<text x="{left + width * value / most + 6:.1f}" y="{y + 14}">{value:.2f}</text>']
    x = left + width / most
    lines += [f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{total - 12}" stroke="#555" '
              'stroke-dasharray="3 3"/>', "</svg>"]
    return "\n".join(lines) + "\n"


def write(results, folder):
    folder = pathlib.Path(folder)
    (folder / "BENCHMARKS.md").write_text(page(results), encoding="utf-8")
    (folder / "benchmarks.svg").write_text(plot(results), encoding="utf-8")


if __name__ == "__main__":
    write(json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8")), sys.argv[2])
