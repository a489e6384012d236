"""What XLA's CPU backend is slow at, formulated otherwise there and nowhere else.

Each function equals its plain formulation to rounding, forward and gradient. Which of the two is
compiled is chosen when a program is lowered for its platform, so that programs for TPUs and GPUs
are, operation by operation, what they are without this package. `docs/cpu.md` says what is chosen
where.
"""
