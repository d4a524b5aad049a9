"""Tables of measurements in Markdown: medians over the repetitions, and ratios within each repetition."""

from statistics import median

from edge.machine import MAX_DISTURBANCE


def _group(rows):
    cells = {}
    for row in rows:
        cells.setdefault((row["what"], row["name"]), []).append(row)
    return cells


def _notes(rows):
    notes = []
    wrong = sum(row["wrong"] for row in rows)
    if wrong:
        notes.append(f"{wrong} wrong answers")
    noisy = sum(row["others"] >= MAX_DISTURBANCE for row in rows)
    if noisy:
        notes.append(f"{noisy} of {len(rows)} runs disturbed")
    return ", ".join(notes)


def throughput(title, rows, reference):
    """Prints requests a second, beside a reference."""
    print(f"\n### {title}\n")
    print(f"| | requests/s (min to max) | × {reference} | CPU µs/request | p50 ms | p99 ms | |")
    print("|---|---|---|---|---|---|---|")
    cells = _group(rows)
    for (what, name), runs in sorted(cells.items(), key=lambda cell: -median(r["rps"] for r in cell[1])):
        speeds = [run["rps"] for run in runs]
        reference_rps = {run["rep"]: run["rps"] for run in cells.get((what, reference), [])}
        ratios = [run["rps"] / reference_rps[run["rep"]] for run in runs if run["rep"] in reference_rps]
        ratio = f"{median(ratios):.2f}" if ratios else "–"
        cpu = f"{median(r['cpu_us'] for r in runs):.1f}" if name != "direct" else "–"
        print(
            f"| {name} | {median(speeds):,.0f} ({min(speeds):,.0f} to {max(speeds):,.0f}) | {ratio} | {cpu} "
            f"| {median(r['p50'] for r in runs) / 1e3:.2f} | {median(r['p99'] for r in runs) / 1e3:.2f} "
            f"| {_notes(runs)} |"
        )


def latency(title, rows):
    """Prints quantiles of the latency at a fixed rate, and what each contestant adds to the backend's own."""
    print(f"\n### {title}\n")
    print("| | p50 ms | added to direct | p90 ms | p99 ms | added to direct | |\n|---|---|---|---|---|---|---|")
    cells = _group(rows)
    for (what, name), runs in sorted(cells.items(), key=lambda cell: median(r["p50"] for r in cell[1])):
        direct = {run["rep"]: run for run in cells.get((what, "direct"), [])}

        def added(quantile):
            if name == "direct" or not direct:
                return "–"
            differences = [run[quantile] - direct[run["rep"]][quantile] for run in runs if run["rep"] in direct]
            return f"{median(differences) / 1e3:+.3f}"

        p50, p90, p99 = (median(run[q] for run in runs) / 1e3 for q in ("p50", "p90", "p99"))
        print(f"| {name} | {p50:.3f} | {added('p50')} | {p90:.3f} | {p99:.3f} | {added('p99')} | {_notes(runs)} |")


def memory(rows):
    """Prints the memory of each contestant, idle and with idle connections."""
    print("\n### Memory (PSS of all its processes, MiB)\n")
    print("| | idle | 1,000 idle connections |\n|---|---|---|")
    for row in rows:
        print(f"| {row['name']} | {row['idle']:.1f} | {row['held']:.1f} |")


def queued(rows, backlog):
    """Prints what queueing events costs, and how fast a backlog of them drains."""

    def figures(name):
        values = [row[name] for row in rows]
        return f"{median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"

    def ratio(name, reference):
        return f"{median(row[name] / row[reference] for row in rows):.2f}"

    print(f"\n### Queued events of 2 KiB on SQLite, and a backlog of {backlog:,}\n")
    print("| | a second (min to max) | |\n|---|---|---|")
    print(f"| write and fsync of the same payload, one after the other | {figures('fsync')} | |")
    print(f"| queued and acknowledged, 64 at once | {figures('accepted')} | {ratio('accepted', 'fsync')} × fsync |")
    print(f"| inline, ledger `none`, 8 at once | {figures('plain')} | |")
    print(f"| the backlog drained, 8 at once | {figures('drained')} | {ratio('drained', 'plain')} × inline |")
    print(f"\nMemory at most {max(row['memory'] for row in rows):.0f} MiB.")


def replicas(rows, backlog):
    """Prints how fast one replica and two drain a backlog."""
    print(f"\n### A backlog of {backlog:,} on Redis, drained by one replica and by two\n")
    print("| replicas | a second (min to max) | × one |\n|---|---|---|")
    for count in (1, 2):
        values = [row[count] for row in rows]
        ratio = median(row[count] / row[1] for row in rows)
        print(f"| {count} | {median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f}) | {ratio:.2f} |")
