"""Ask what holds in a directory before relying on it."""

from safeatomic import doctor, inspect_guarantees

print(inspect_guarantees("state.json"))

report = doctor("state.json", destructive=True, require=["AtomicVisibility", "WriterExclusion"])
print(report.summary())
if not report.ok:
    raise SystemExit(1)
