"""From a registered zip to an answer: groups, register, chunks, deploy as desired state, and predict."""
