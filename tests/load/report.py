"""The page and the plot that the bench writes from its results, whichever of its tables there are.
`report.py RESULTS FOLDER` writes them again from the results of an earlier run."""
import json
import pathlib
import sys
from html import escape

HEAD = """# Benchmarks

Made by `make bench` in {minutes:.0f} minutes{partly}; nothing here is typed by hand.
{system}, {apache}, {processors} processors ({cpu}), Linux {kernel}, client
and server on the same machine.

The sides of a table are measured in turn, up to {rounds} rounds of {seconds:g} s each, forwards and backwards.
A ratio is the median over the rounds of what a side did beside what the first side did in the same
round; the least and the most stand behind it. Each table has its first side twice: a difference
smaller than between those two says nothing. CPU is utime and stime of all processes of the server, a
request; p50 and p99 are wrk's, from 32 connections kept alive where nothing else is said. Absolute figures move by 15 % from hour
to hour; ratios stay.
{busy}
"""

PLOT = "![requests a second beside an empty handler](benchmarks.svg)\n"
STATUS = "status, CORS and a rule"
MIB = 2 ** 20
# The two ways in which the bench asks during a flood; the words stand after "the four".
FLOODS = (("paced", "ask again 10 ms after an answer"), ("fast", "ask as fast as they are answered"))


def table(rows, columns):
    lines = ["| " + " | ".join(columns) + " |",
             "|---" + "|---:" * (len(columns) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def side_rows(sides):
    return [[name, f"{s['rate']:.0f}", f"{s['ratio']:.2f} ({s['low']:.2f}–{s['high']:.2f})",
             f"{s['cpu_us']:.0f} µs", f"{s['cpu_ratio']:.2f}", f"{s['p50'] / 1000:.2f} ms",
             f"{s['p99'] / 1000:.2f} ms"] for name, s in sides.items()]


SIDE_COLUMNS = ("side", "requests/s", "ratio", "CPU", "ratio by CPU", "p50", "p99")


class Goals:
    """[goal, what was measured, reached], of the tables that there are."""

    def __init__(self):
        self.rows = []

    def add(self, text, value, least=None, most=None, unit="", digits=2):
        reached = (least is None or value >= least) and (most is None or value <= most)
        self.rows.append([text, f"{value:.{digits}f}{unit}", "yes" if reached else "**no**"])


def goals_of_requests(goals, r):
    if "requests" in r:
        sides = r["requests"]
        goals.add("status with CORS and a rule ≥ 1.10 of an empty handler", sides[STATUS]["ratio"],
                  1.10)
    if "others" in r:
        for name, least in (("http", 5), ("ASGI", 2)):
            side = next(s for n, s in r["others"].items() if name in n and "FastAPI" in n)
            goals.add(f"the same ≥ {least} × FastAPI with its limiter as {name} middleware",
                      1 / side["ratio"], least, unit=" ×", digits=1)
    if "requests" in r:
        goals.add("a refusal (429) ≥ 1.15 of an empty handler", sides["a refusal: 429"]["ratio"], 1.15)
        goals.add("signed-in me on SQLite ≥ 0.75 of an empty handler",
                  sides["GET /auth/me, SQLite"]["ratio"], 0.75)
    if "mongo" in r:
        goals.add("signed-in me on MongoDB ≥ 0.8 of a bare libmongoc loop", r["mongo"]["ratio"], 0.8)


def goals_of_limits(goals, r):
    for live in r["limiter"]["live"] if "limiter" in r else []:
        goals.add(f"a decision among 1 000 000 live addresses ≤ 300 ns ({live['slots']} places, "
                  f"{live['processes']} at once; one read of that memory: {live['read']} ns)",
                  live["ns"], most=300, unit=" ns", digits=0)
    if "memory" in r:
        goals.add(f"{r['memory']['addresses']} addresses let no process grow by more than 2 MiB",
                  r["memory"]["growth"] / MIB, most=2, unit=" MiB")
    if "exactness" in r:
        ours = r["exactness"]["mod_bizapi"]
        windows = 1 + int(ours["seconds"] // 60)
        goals.add(f"of {ours['requests']} requests within {ours['seconds']:.0f} s at most "
                  f"{windows * ours['limit']} are let through", ours["through"],
                  most=windows * ours["limit"], digits=0)
    if "redis" in r:
        shared, gone = r["redis"]["shared memory"], r["redis"]["Redis gone"]
        goals.add("Redis gone adds ≤ 1 ms (p50)", (gone["p50"] - shared["p50"]) / 1000, most=1,
                  unit=" ms")


def goals_of_load(goals, r):
    if "login" in r:
        goals.add("logins ≥ 0.9 of the bare hash on all processors", r["login"]["ratio"], 0.9)
    if "flood" in r:
        for name, words in FLOODS:
            goals.add(f"p99 of status during a flood of logins ≤ 3 × idle, where four {words}",
                      r["flood"][name]["ratio"], most=3, unit=" ×", digits=1)
    for name, kind in r["growth"]["kinds"].items() if "growth" in r else []:
        goals.add(f"{name}: {r['growth']['many']} accounts and bookings ≤ 1.2 × {r['growth']['few']}",
                  kind["large"] / kind["small"], most=1.2, unit=" ×")


def goals_of(r):
    goals = Goals()
    for each in (goals_of_requests, goals_of_limits, goals_of_load):
        each(goals, r)
    return goals.rows


# ---- the sections ----

def requests(sides):
    return "One Apache: event, 4 children of 25 threads, no access log.\n\n" + table(
        side_rows(sides), SIDE_COLUMNS)


def others(sides):
    return ("The same kind of answer with somebody else's limiter before it. FastAPI runs on two uvicorn "
            "workers with uvloop; nginx has two workers and a file.\n\n" + table(
                side_rows(sides), SIDE_COLUMNS))


def exactness(sides):
    return ("One address, as fast as it can, against a limit a minute. A side that is too slow for all "
            "requests got what fits into 40 s.\n\n" + table(
                [[name, str(e["requests"]), f"{e['seconds']:.0f} s", str(e["limit"]), str(e["through"])]
                 for name, e in sides.items()],
                ("limiter", "requests", "within", "limit", "let through")))


def login(r):
    failed = f"\n{r['failed']} of them failed.\n" if r["failed"] else ""
    return f"argon2id (19 MiB, 2 passes) on {r['processors']} processors.\n\n" + table([
        ["the bare hash, all processors", f"{r['bare']:.1f}", "1.00"],
        ["the bare hash, again", "", f"{r['again']:.2f}"],
        ["POST /auth/login", f"{r['login']:.1f}", f"{r['ratio']:.2f}"]],
        ("side", "a second", "ratio")) + failed


def flood(paces):
    text = ("Status from four connections, whose process goes before the server's as if it had a machine "
            "of its own, while 64 connections do nothing but sign in.\n")
    for name, words in FLOODS:
        r = paces[name]
        rows = [[meanwhile, f"{r['p50'][key] / 1000:.2f} ms", f"{r['p99'][key] / 1000:.2f} ms",
                 f"{r['rate'][key]:.0f}", ratio]
                for meanwhile, key, ratio in (("idle", "idle", "1.00"),
                                              ("idle, again", "again", f"{r['again']:.2f}"),
                                              ("flood", "flood", f"{r['ratio']:.2f}"))]
        text += (f"\nThe four {words}; the 64 get {r['logins']:.0f} sign-ins a second through and "
                 f"{r['refused']:.0f} answers that the server is busy:\n\n" +
                 table(rows, ("meanwhile", "p50", "p99", "requests/s", "ratio of p99")))
    return text


def mongo(r):
    return (f"The database is {r['server']}; the bare loop reads the same two documents by id with "
            "libmongoc, from as many threads as there are connections.\n\n" + table(
                [["libmongoc alone", f"{r['bare']:.0f}", "1.00"],
                 ["libmongoc alone, again", "", f"{r['again']:.2f}"],
                 ["GET /auth/me", f"{r['me']:.0f}", f"{r['ratio']:.2f}"]],
                ("side", "a second", "ratio")))


def redis(sides):
    return ("Status again, from one connection: what a decision in Redis takes, and what is left of it "
            "when Redis has gone.\n\n" + table(side_rows(sides), SIDE_COLUMNS))


def memory(r):
    return (f"What each of the {len(r['before'])} workers has for itself alone: "
            f"{r['before'][0] / MIB:.1f} to {r['before'][-1] / MIB:.1f} MiB before and "
            f"{r['after'][0] / MIB:.1f} to {r['after'][-1] / MIB:.1f} MiB after {r['addresses']} requests "
            f"from as many addresses; the greatest growth is {r['growth'] / 1024:.0f} KiB. The limiter's "
            f"table of 2 097 152 places is 512 MiB that all share, as long as the server runs "
            f"({r['shared'] / MIB:.0f} MiB of shared memory in use).\n")


def growth(r):
    return (f"Medians over one kept connection, in an order by chance: {r['few']} accounts and bookings in "
            f"SQLite, twice, and {r['many']}.\n\n" + table(
                [[name, f"{k['small']:.2f} ms", f"{k['again'] / k['small']:.2f}",
                  f"{k['large']:.2f} ms", f"{k['large'] / k['small']:.2f}"]
                 for name, k in r["kinds"].items()],
                ("request", f"{r['few']}", "again", f"{r['many']}", "ratio")))


def limiter(r):
    return ("A table for so many addresses is in no cache, so a decision is one read of main memory and "
            "what it takes when all is near.\n\n```\n" + r["text"].strip("\n") + "\n```\n")


SECTIONS = (("requests", "Requests", requests), ("others", "Beside others", others),
            ("exactness", "How exact a limit is", exactness), ("login", "Signing in", login),
            ("flood", "Others during a flood of sign-ins", flood),
            ("mongo", "Signed in, on MongoDB", mongo), ("redis", "Limits in Redis", redis),
            ("growth", "A million accounts and bookings", growth), ("memory", "Memory", memory),
            ("limiter", "The limiter alone", limiter))


def page(r):
    runs = r.get("runs", {})
    load = max((run["load"] for run in runs.values()), default=0)
    partly = "" if r.get("whole") else ", the tables not all in one run"
    rounds = max((run["rounds"] for run in runs.values()), default=0)
    seconds = max((run["seconds"] for run in runs.values()), default=0)
    busy = ("" if runs and rounds >= 5 else "\n**A try, of too few rounds to say anything.**\n")
    text = HEAD.format(minutes=r.get("minutes", 0), partly=partly, rounds=rounds, seconds=seconds,
                       busy=busy, **r["machine"])
    text += PLOT if "requests" in r else ""
    text += "\n## The goals\n\n" + table(goals_of(r), ("goal", "measured", "reached"))
    for name, title, section in SECTIONS:
        if name in r:
            text += f"\n## {title}\n\n" + section(r[name])
    return text + f"\nLoad of the machine, with the bench's own: {load:.1f} at most.\n"


# ---- the plot ----

STYLE = ("text{fill:#24292f;font:12px sans-serif}.t{font-weight:bold}.g{fill:#8c959f}.o{fill:#1f6feb}"
         ".f{fill:#bf8700}.l{stroke:#57606a;stroke-dasharray:3 3}"
         "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.l{stroke:#8b949e}}")


def plot(r):
    """Bars of the ratio to the empty handler; those of the other table by way of our status."""
    ours = r["requests"][STATUS]["ratio"]
    bars = [(name, s["ratio"], "g" if name.startswith("empty") else "o")
            for name, s in r["requests"].items()]
    bars += [(name, s["ratio"] * ours, "f") for name, s in list(r.get("others", {}).items())[2:]]
    left, width, height, top = 270, 380, 22, 34
    most = max(value for _, value, _ in bars) * 1.05
    total, line = top + height * len(bars) + 14, left + width / most
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 60} {total}">',
             "<title>Requests a second beside an empty handler of the same Apache</title>",
             f"<style>{STYLE}</style>",
             '<text class="t" x="10" y="18">Requests a second, an empty handler of the same Apache '
             "being 1</text>"]
    for number, (name, value, kind) in enumerate(bars):
        y, long = top + number * height, width * value / most
        lines += [f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>',
                  f'<rect class="{kind}" x="{left}" y="{y + 3}" width="{long:.1f}" height="15"/>',
                  f'<text x="{left + long + 6:.1f}" y="{y + 15}">{value:.2f}</text>']
    lines += [f'<line class="l" x1="{line:.1f}" x2="{line:.1f}" y1="{top}" y2="{total - 12}"/>',
              "</svg>"]
    return "\n".join(lines) + "\n"


def write(results, folder):
    folder = pathlib.Path(folder)
    (folder / "BENCHMARKS.md").write_text(page(results), encoding="utf-8")
    if "requests" in results:
        (folder / "benchmarks.svg").write_text(plot(results), encoding="utf-8")


if __name__ == "__main__":
    write(json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8")), sys.argv[2])
