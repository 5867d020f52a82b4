"""Inputs of the nodes: declared, checked, and turned into what is asked.

schema.py       inputs and schema fields that several nodes share
optimization.py those of an optimisation alone
limits.py       what inputs may be, checked before a node works
request.py      what is asked of an optimisation, and what makes two results the same
task.py         one optimisation that is asked for, and what is answered
guidance.py     the guidance and the guided model that inputs stand for
prompts.py      the prompts that one measurement takes turns with
candidates.py   the schedules that an optimisation starts with
ways.py         what is compared: levels by name, and the sampler that runs each
choose.py       what a name in the schedule drop-down means for a model
schedule_list.py the schedules that a list of names stands for
sigmas_inputs.py a growing list of SIGMAS inputs
profile.py      profiles on a link
"""
