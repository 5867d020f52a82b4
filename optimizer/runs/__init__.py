"""Runs: batches of noise through a denoiser, counted, watched, recorded and shared out.

runner.py       runs of solvers on batch after batch
meter.py        the meter that every denoiser call passes through
conditions.py   conditions with which noises take turns
ledger.py       rows granted, spent, and left by a limit
finish.py       an early end, in rows
failures.py     schedules whose runs are no numbers
record.py       measurements recalled or made
journal.py      what an interrupted optimisation had measured
processes.py    what a process needs to know of others that share the work: rows, and a gathering
"""
