"""Results of the nodes: found or measured, saved, carried with the workflow, and told.

result.py       the results of tasks: found, or measured now and saved
find.py         results that were measured before
measure.py      the measurement of a task
earlier.py      samplers of earlier results, which a new calibration races too
early_results.py results of measurements that ended early
save.py         results saved, or kept in memory until they can be
fitted_sampler.py a fitted sampler between optimizer, saved result and outputs
workflow_levels.py levels carried with a workflow
comparison.py   a comparison of schedules on a guided model
seed_pictures.py the same seed three times, for an optimisation
report.py       the report of an optimisation
summary.py      its two sentences that matter
compare_report.py the report of a comparison
shown_names.py  names of what was compared, as people know them
"""
