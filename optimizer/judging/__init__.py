"""Judging: how far from many steps a schedule ends, by real runs.

judged_solver.py a solver under judgement, with all that must be known of it
references.py   fine-step end points, and how far from them other runs end
reference_steps.py number and levels of a reference's steps
fresh.py        runs on noise that no schedule is made from
select.py       the choice by paired end-point error
race.py         the race of fitted samplers and textbook pairs
end_points.py   end points of one noise that are kept to be looked at
distribution.py the choice by the distribution of a stochastic solver's samples
distribution_runs.py the runs it needs, along one Brownian path
"""
