"""Benchmarks: data whose ideal denoiser is known, or learnt in minutes, and the runs over them.

Nothing here is imported by the node pack itself.
"""
