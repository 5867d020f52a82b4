"""Fitting: a schedule's levels, or a whole sampler, to what a denoiser really does.

multistep_fit.py levels, told levels and weights of a multistep sampler
bench.py        what a calibration runs: references, fits, a race
shared_references.py references that calibrations for several numbers of steps share
likely.py       which starts and which textbook pairs are likely to be good
growing_fit.py  a sampler fitted to more and more noises
other_counts.py the fitted sampler for other numbers of steps, without a call
refine.py       the inner levels of a schedule, by least squares
surrogate.py    a free model of a solver's error, from reference runs
correction.py   that model, put right by real runs
pool.py         candidates ranked and refined on it
"""
