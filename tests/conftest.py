"""How the suite runs: the same examples every time, on one thread.

``--hypothesis-profile=thorough`` looks at fresh examples, and at more of them.
"""

import torch
from hypothesis import settings

torch.set_num_threads(1)  # on tensors this small, waiting for a busy core costs ten times more
settings.register_profile("ci", deadline=None, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=500)
settings.load_profile("ci")
