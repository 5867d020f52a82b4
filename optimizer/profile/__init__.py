"""The profile of a denoiser, and the schedules of least KLUB that it suggests: the paper's method.

profile.py      Profile: what a denoiser does along forward noising paths
profile_runs.py measuring it within a budget, by all processes
klub.py         the KLUB of a schedule, read off a profile
paths.py        the schedule of least cost for any number of steps, a shortest path
algorithm_1.py  the paper's own search and its subdivision
candidates.py   the schedules that a profile suggests, the most promising first
"""
