# SPDX-License-Identifier: GPL-2.0-or-later
"""What bench/live measured: figures, one table, goals, a picture."""

import statistics
import subprocess

OURS = ("wrr", "spin", "least-load", "1000-rules")
QUEUED = (*OURS, "bare", "bare-spin", "bare-rules", "nfqlb")
FAILS_OPEN = tuple(name for name in QUEUED if name != "nfqlb")
KERNEL = ("nth", "nth-nft")  # whichever is better is what counts
OVERLOAD = 2  # times what userspace decides
COLORS = {"none": "#b9b9b9", "bare": "#777777", "nth": "#e69f00", "nth-nft": "#d55e00", "mwan3": "#cc79a7", "wrr": "#56b4e9",
          "least-load": "#0072b2", "1000-rules": "#003c64"}


def rate(key):
    """Per second, in thousands"""
    return lambda s: s[key] / s["seconds"] / 1000


def processor(s):
    """Microseconds of processor time per packet that the first hook saw, or that took the flowtable past it"""
    packets = max(s["offered"], s["arrived"])
    return 1e6 * s["busy"] / packets if packets else None


def own_processor(s):
    """The same of the sender, who does the router's softirq work, and of userspace: without other programs"""
    return 1e6 * (s["sender"] + s["used"]) / s["offered"] if s["offered"] else None


def too_little(s):
    """Was the offered load no overload?"""
    return s["offered"] < OVERLOAD * s["decided"]


def undecided(s):
    """UDP flows that neither userspace nor the fallback decided"""
    return s["offered"] - s["decided"] - s["fallback"]


def per_userspace_second(s):
    """Thousands of decisions per second of userspace's processor time: what it could do if it never waited"""
    return s["decided"] / s["used"] / 1000 if s["used"] else None


def per_sender_second(s):
    """Thousands of packets per second of the sender's processor time, most of which is the router's work"""
    return s["arrived"] / s["sender"] / 1000


# (measure, what, unit, format, figure of a sample); `lost` adds up, all others are medians
ROWS = [
    ("udp-1", "offered", "k/s", ".1f", rate("offered")),
    ("udp-1", "decided in userspace", "k/s", ".1f", rate("decided")),
    ("udp-1", "left to the fallback", "k/s", ".1f", rate("fallback")),
    ("udp-1", "decided per second of userspace", "k", ".1f", per_userspace_second),
    ("udp-1", "sender's processor time each", "us", ".2f", lambda s: 1e6 * s["sender"] / s["offered"]),
    ("udp-1", "carried", "k/s", ".1f", rate("arrived")),
    ("udp-1", "lost", "flows", ".0f", lambda s: s["lost"]),
    ("udp-2", "offered", "k/s", ".1f", rate("offered")),
    ("udp-2", "offered / decided", "", ".2f", lambda s: s["offered"] / s["decided"] if s["decided"] else None),
    ("udp-2", "decided in userspace", "k/s", ".1f", rate("decided")),
    ("udp-2", "left to the fallback", "k/s", ".1f", rate("fallback")),
    ("udp-2", "carried", "k/s", ".1f", rate("arrived")),
    ("udp-2", "lost", "flows", ".0f", lambda s: s["lost"]),
    ("tcp-1", "established", "k/s", ".2f", rate("established")),
    ("tcp-1", "processor time each", "us", ".2f", lambda s: 1e6 * s["busy"] / s["established"] if s["established"] else None),
    ("tcp-1", "failed or again", "conn.", ".0f", lambda s: s["failed"] + s["again"]),
    ("tcp-2", "established", "k/s", ".2f", rate("established")),
    ("tcp-2", "failed or again", "conn.", ".0f", lambda s: s["failed"] + s["again"]),
    ("connect", "p50", "us", ".1f", lambda s: s["p50"]),
    ("connect", "p99", "us", ".1f", lambda s: s["p99"]),
    ("connect-half", "p50", "us", ".1f", lambda s: s["p50"]),
    ("connect-half", "p99", "us", ".1f", lambda s: s["p99"]),
    ("connect-warm", "p50", "us", ".1f", lambda s: s["p50"]),
    ("cpu", "per new flow", "us", ".2f", processor),
    ("cpu", "per new flow, own", "us", ".2f", own_processor),
    ("stream-1", "throughput", "Gbit/s", ".2f", lambda s: s["bits"] / 1e9),
    ("stream-8", "throughput", "Gbit/s", ".2f", lambda s: s["bits"] / 1e9),
    ("datagrams-1", "carried", "k/s", ".1f", rate("arrived")),
    ("datagrams-8", "carried", "k/s", ".1f", rate("arrived")),
    ("packets-1", "carried", "k/s", ".1f", rate("arrived")),
    ("packets-1", "processor time each", "us", ".2f", processor),
    ("packets-1", "carried per second of the sender", "k/s", ".1f", per_sender_second),
    ("packets-256", "carried", "k/s", ".1f", rate("arrived")),
    ("packets-256", "processor time each", "us", ".2f", processor),
    ("packets-256", "carried per second of the sender", "k/s", ".1f", per_sender_second),
]
VERDICTS = {True: "reached", False: "MISSED", None: "(to compare)"}
SUMS = ("lost", "failed or again")


def spread(values):
    """Half the distance between the quartiles"""
    if len(values) < 2:
        return 0.0
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return (third - first) / 2


class Report:
    """The results of one run."""

    def __init__(self, kept):
        self.options = kept["options"]
        self.results = kept["results"]
        self.took = kept.get("took", 0)
        self.names = [name for name in self.options["contenders"] if any(r["contender"] == name for r in self.results)]
        self.missed = 0
        self.errors = []
        self._check()

    # ---- figures ----

    def samples(self, measure, name):
        """{round: sample}"""
        return {r["round"]: r for r in self.results if r["measure"] == measure and r["contender"] == name}

    def values(self, measure, name, figure):
        """{round: value}; processor time without the sender's"""
        found = {number: figure(sample) for number, sample in self.samples(measure, name).items()}
        if figure in (processor, own_processor):
            alone = self.samples(measure, "sender")
            found = {number: value - figure(alone[number]) for number, value in found.items() if number in alone}
        return {number: value for number, value in found.items() if value is not None}

    def ratio(self, measure, figure, ours, others, best=max):
        """Median over rounds of ours against the best of others in the same round, and the spread; or None"""
        mine = self.values(measure, ours, figure)
        theirs = [self.values(measure, other, figure) for other in others if other in self.names]
        ratios = [mine[number] / best(there) for number in mine
                  if (there := [values[number] for values in theirs if values.get(number)])]
        return (statistics.median(ratios), spread(ratios)) if ratios else None

    def others(self):
        """Share of all processors' time that went elsewhere during floods; a few percent are starting and counting"""
        shares = [(r["busy"] - r["sender"] - r["used"]) / (r["wall"] * self.options["processors"])
                  for r in self.results if "sender" in r]
        return max(0.0, statistics.median(shares)) if shares else 0.0

    # ---- what must add up ----

    def _check(self):
        """Samples that show nothing, and what was lost, in words."""
        for r in self.results:
            where = f"round {r['round'] + 1}, {r['measure']} of {r['contender']}"
            if r["measure"] == "udp-2" and r["contender"] in FAILS_OPEN and too_little(r):
                self.errors.append(f"{where}: load not reached, {r['offered']} offered, {r['decided']} decided")
            if r["measure"].startswith("udp") and r["contender"] in FAILS_OPEN and undecided(r) != r["lost"]:
                self.errors.append(f"{where}: {r['offered']} offered, {r['decided']} decided, {r['fallback']} left to the "
                                   f"fallback, but {r['lost']} lost")

    # ---- print ----

    def cell(self, measure, what, form, figure, name):
        """"126.4 ±3.0", or nothing"""
        values = list(self.values(measure, name, figure).values())
        if not values or ("userspace" in what or "fallback" in what or what == "offered / decided") and name not in QUEUED:
            return ""
        if what in SUMS:
            return f"{sum(values):{form}}"
        return f"{statistics.median(values):{form}} ±{spread(values):{form}}"

    def print(self):
        options = self.options
        print(f"{options['rounds']} rounds of {options['seconds']:g} s each, seed {options['seed']}, "
              f"{options.get('standing', 0)} connections standing, beside a load: {options.get('half', 0)} flows/s, took {self.took:.0f} s; "
              f"other programs had {100 * self.others():.0f} % of the processors")
        rows = []
        for measure, what, unit, form, figure in ROWS:
            cells = [self.cell(measure, what, form, figure, name) for name in self.names]
            if any(cells):
                rows.append([measure, f"{what} {unit and '(' + unit + ')'}", *cells])
        rows += self.memory_rows()
        head = ["", "", *self.names]
        widths = [max(len(row[n]) for row in [head, *rows]) for n in range(len(head))]
        last = None
        for row in [head, *rows]:
            first = row[0] if row[0] != last else ""
            last = row[0]
            print(f"{first:<{widths[0]}}  {row[1]:<{widths[1]}}  "
                  + "  ".join(f"{cell:>{width}}" for cell, width in zip(row[2:], widths[2:])))
        print()
        for error in self.errors:
            print(f"ERROR {error}")
        for text, value, held in self.goals():
            self.missed += held is False
            print(f"{text:<88} {value:>14}  {VERDICTS[held]}")

    def memory_of(self, name):
        """{"idle": bytes, "100000": bytes, ...}"""
        return next(iter(self.samples("memory", name).values()), {})

    def memory_rows(self):
        rows = []
        for key in ("idle", *map(str, self.options["tracked"])):
            cells = [f"{found / 2**20:.1f}" if (found := self.memory_of(name).get(key)) else "" for name in self.names]
            if any(cells):
                rows.append(["memory", (key if key == "idle" else f"{key} flows") + " (MiB)", *cells])
        return rows

    # ---- goals ----

    def goals(self):
        """(text, figure, reached? or None: no goal) of everything for which something was measured"""
        if self.options["quick"]:
            yield from self.bounds()
            return
        for name, least in (("wrr", 0.97), ("least-load", 0.90), ("1000-rules", 0.90)):
            yield from self.at_least("udp-1", rate("decided"), name, ("bare",), least, "decided in userspace")
            yield from self.at_least("udp-1", per_userspace_second, name, ("bare",), None, "decided per second of userspace")
        # where every processor sends, nth has them all, too: no goal
        for measure, senders, least in (("udp-1", "one processor sends", 1.25), ("udp-2", "every processor sends", None)):
            yield from self.at_least(measure, rate("arrived"), "bare", KERNEL, None, f"carried, {senders}")
            for name in ("wrr", "least-load", "1000-rules"):
                yield from self.at_least(measure, rate("arrived"), name, KERNEL, least, f"carried, {senders}")
        for measure in ("udp-1", "udp-2"):
            yield from self.nothing_lost(measure)
        for measure in ("connect", "connect-half"):
            for name in ("wrr", "least-load", "1000-rules"):
                yield from self.at_most(measure, lambda s: s["p50"], name, ("bare",), 1.05, "connect() p50")
            yield from self.at_most(measure, lambda s: s["p50"], "spin", KERNEL, 1.4, "connect() p50, polling", min)
        for name in ("bare-rules", "wrr", "least-load", "1000-rules"):
            yield from self.at_most("connect-warm", lambda s: s["p50"], name, ("bare",), None, "connect() p50, warm")
        for name in ("wrr", "least-load", "1000-rules"):
            yield from self.at_most("cpu", processor, name, ("bare",), 1.10, "processor time per new flow")
            yield from self.at_most("cpu", own_processor, name, ("bare",), None, "processor time per new flow, own")
        for name in ("wrr", "least-load", "offload"):
            for measure in ("stream-1", "stream-8"):
                yield from self.at_least(measure, lambda s: s["bits"], name, ("none",), 0.98, "established throughput")
            for measure in ("datagrams-1", "datagrams-8"):
                yield from self.at_least(measure, rate("arrived"), name, ("none",), 0.98, "established packet rate")
            for measure in ("packets-1", "packets-256"):
                yield from self.at_least(measure, rate("arrived"), name, ("none",), None, "packets forwarded")
                yield from self.at_least(measure, per_sender_second, name, ("none",), None, "packets per second of the sender")
        yield from self.memory_goals()

    def bounds(self):
        """Of --quick: far from the goals, and on what other programs hardly change; what is broken goes beyond."""
        for name, least, most in (("wrr", 0.70, 1.5), ("1000-rules", 0.25, 2.5)):
            yield from self.at_least("udp-1", rate("decided"), name, ("bare",), None, "decided in userspace")
            yield from self.at_least("udp-1", rate("arrived"), name, KERNEL, None, "carried, one processor sends")
            yield from self.at_least("udp-1", per_userspace_second, name, ("bare",), least, "decided per second of userspace")
            yield from self.at_most("cpu", own_processor, name, ("bare",), most, "processor time per new flow, own")
            yield from self.at_most("cpu", own_processor, name, KERNEL, 2 * most, "processor time per new flow, own", min)
            yield from self.at_most("connect", lambda s: s["p50"], name, ("bare",), 2.0, "connect() p50")
        for measure in ("udp-1", "udp-2"):
            yield from self.nothing_lost(measure)

    def at_least(self, measure, figure, name, others, bound, what):
        yield from self._compared(measure, figure, name, others, bound, what, "at least")

    def at_most(self, measure, figure, name, others, bound, what, best=max):
        yield from self._compared(measure, figure, name, others, bound, what, "at most", best)

    def _compared(self, measure, figure, name, others, bound, what, side, best=max):
        """One ratio, against a bound or (None) for the reader"""
        found = self.ratio(measure, figure, name, others, best)
        if found:
            text = f"{measure}: {name}, {what}, against {' or '.join(o for o in others if o in self.names)}"
            held = None if bound is None else found[0] >= bound if side == "at least" else 0 < found[0] <= bound
            yield text + (f": {side} {bound}" if bound else ""), f"{found[0]:.3f} ±{found[1]:.3f}", held

    def nothing_lost(self, measure):
        for name in OURS:
            samples = self.samples(measure, name).values()
            if samples:
                lost = sum(s["lost"] for s in samples)
                yield f"{measure}: {name}, lost of {sum(s['offered'] for s in samples)} flows: 0", str(lost), lost == 0

    def memory_goals(self):
        for name in OURS:
            for key, bound in (("idle", 8), ("1000000", 256)):
                found = self.memory_of(name).get(key)
                if found:
                    yield f"memory: {name}, {key}: at most {bound} MiB", f"{found / 2**20:.1f} MiB", found <= bound * 2**20

    def status(self):
        """Exit status: 2 when something was not measured as it should, 1 for a missed goal"""
        return 2 if self.errors else 1 if self.missed else 0

    # ---- picture ----

    def plot(self, path):
        """A panel of bars for each of six figures, a bar per contender."""
        wanted = [("udp-1", "carried", "UDP flows/s carried, one processor sends (k)"),
                  ("udp-2", "carried", "UDP flows/s carried, every processor sends (k)"),
                  ("tcp-1", "established", "TCP connections/s, one client (k)"),
                  ("connect", "p50", "connect(), median (us)"), ("cpu", "per new flow", "processor time per new flow (us)"),
                  ("packets-256", "carried", "packets/s of 256 established flows (k)")]
        figures = {(measure, what): figure for measure, what, _, _, figure in ROWS}
        blocks, panels = "", ""
        for number, (measure, what, title) in enumerate(wanted):
            rows = [(name, list(self.values(measure, name, figures[measure, what]).values())) for name in self.names]
            rows = [(name, values) for name, values in rows if values]
            if not rows:
                continue
            blocks += f"$data{number} << END\n" + "".join(
                f'"{name}" {statistics.median(values):.4f} {spread(values):.4f} {int(COLORS.get(name, "#c8dbe6")[1:], 16)}\n'
                for name, values in rows) + "END\n"
            panels += (f"set title '{title}'\nset xrange [-0.6:{len(rows) - 0.4}]\n"
                       f"plot $data{number} using 0:2:(0.8):4:xtic(1) with boxes linecolor rgb variable notitle, "
                       f"'' using 0:2:3 with yerrorbars linecolor rgb '#333333' pointsize 0 notitle\n")
        script = f"""set terminal pngcairo size 1500,800 font 'sans,10' background 'white'
set output '{path}'
{blocks}
set multiplot layout 2,3
set style fill solid noborder
set grid ytics linetype 1 linecolor rgb '#dddddd'
set yrange [0:*]
set xtics nomirror scale 0 rotate by -35 noenhanced
set ytics nomirror
set border 3
{panels}unset multiplot
"""
        subprocess.run(["gnuplot"], input=script, text=True, check=True)
