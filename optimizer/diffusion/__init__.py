"""Diffusion, as the mathematics needs it: noise levels, noise, solvers and multistep samplers.

coordinate.py   the host's noise levels and the EDM noise levels
noise.py        unit noise by seed, stream and index
brownian.py     fresh noise for stochastic solvers, whatever their levels
solvers.py      the built-in solvers, for use without a host
multistep.py    one-call multistep samplers as plain numbers, and the textbook ones
gaussian.py     closed forms for Gaussian data
"""
