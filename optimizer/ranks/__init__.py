"""Ranks: one optimisation on several processes of torch.distributed, each with its own device.

Nothing else of the optimizer knows of them: it asks for rows and gathers (runs/processes.py).

ranks.py      the processes of a group, for `optimize`
first.py      the first rank's journal and limit, which all of them follow
exchange.py   how ranks talk, and how they notice that one is gone
parts.py      what they have found of one batch: as bytes, and joined
"""
