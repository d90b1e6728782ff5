# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo's picture: new connections per second and link over time, with what happened when."""

import subprocess

# distinguishable with any eyes (Okabe and Ito), and in grey
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
BIN = 0.5  # seconds


def rates(starts, end):
    """Connections per second in each bin from 0 to `end`; the last, cut bin is left out."""
    bins = [0] * int(end / BIN)
    for start in starts:
        index = int(start / BIN)
        if 0 <= index < len(bins):
            bins[index] += 1
    return [count / BIN for count in bins]


def _quote(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def script(path, links, starts, phases, end):
    """gnuplot's input. `links`: names; `starts`: name -> start times of its connections;
    `phases`: (time, caption, background) in order; captions may have several lines."""
    series = {link: rates(starts[link], end) for link in links}
    top = max([1.0] + [max(rate, default=0) for rate in series.values()])
    top *= 1.05
    lines = [
        'set terminal pngcairo size 1500,780 font "DejaVu Sans,13" background "#ffffff"',
        f"set output {_quote(path)}",
        "set encoding utf8",
        "set lmargin 9",
        "set rmargin 3",
        "set tmargin 8.5",
        "set bmargin 5.5",
        'set title "New connections per second and link, counted on the far side of the links"'
        ' font "DejaVu Sans Bold,16" offset 0,4.2',
        'set xlabel "seconds"',
        'set ylabel "new connections per second"',
        f"set xrange [0:{end:.2f}]",
        f"set yrange [0:{top:.1f}]",
        "set border 3 linecolor rgb '#555555'",
        "set tics nomirror out textcolor rgb '#333333'",
        "set xtics 5",
        "set grid ytics linecolor rgb '#dddddd' linetype 1 linewidth 0.6",
        "set key below horizontal samplen 3 spacing 1.2",
    ]
    for index, (begin, caption, background) in enumerate(phases):
        until = phases[index + 1][0] if index + 1 < len(phases) else end
        if background:
            lines.append(
                f"set object rectangle from first {begin:.2f}, graph 0 to first {until:.2f}, graph 1"
                f" fillcolor rgb '{background}' fillstyle solid noborder behind"
            )
        if index > 0:
            lines.append(
                f"set arrow from first {begin:.2f}, graph 0 to first {begin:.2f}, graph 1.16 nohead"
                " linecolor rgb '#444444' linewidth 1.2 dashtype (6,4) front"
            )
        lines.append(
            f"set label {_quote(caption)} at first {begin if index else 0:.2f}, graph 1.135 left offset 0.6,0"
            " font 'DejaVu Sans,11' textcolor rgb '#222222' front"
        )
    plots = []
    for link, colour in zip(links, COLOURS):
        lines.append(f"${link} << END")
        lines += [f"{(index + 0.5) * BIN} {rate}" for index, rate in enumerate(series[link])]
        lines.append("END")
        plots.append(f"${link} using 1:2 with lines linewidth 3 linecolor rgb '{colour}' title {_quote(link)}")
    lines.append("plot " + ", \\\n".join(plots))
    return "\n".join(lines) + "\n"


def draw(path, links, starts, phases, end):
    subprocess.run(["gnuplot"], input=script(path, links, starts, phases, end), text=True, check=True)
