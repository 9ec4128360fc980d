"""Proof of work by training: an accurate network that carries the watermark of a block (Bouvard, 2020).

    challenge = Challenge(b"block 7, mined by alice", Difficulty(share=0.5, target=94))
    mined = mine(challenge, data, preset("demo", arch="freezenet", dataset="digits"))
    check(mined.solution, challenge, data).verified

The watermark follows from the block and a nonce of the miner's choice, by the whole SHA-256 digest. What a
solution does not prove:

- That any work was done, where the share is small. Any trained network can have its layers scaled up
  until the watermark's values are too small to matter, the watermark written over it, and its batch
  norms' statistics taken anew: `python -m experiments proof_of_work` measures what is left of the
  accuracy. A network of an old block can also be retrained (`python -m experiments freezenet_strong`). Ask
  for a share of a half or more, and for an accuracy that such networks do not have.
- That it knows more than the test images, if its miner could see them: they can be trained on. Publish
  them once all solutions are in, or keep them with the checker; a solution is bound to the training
  images alone.
- Who mined it. Whoever changes weights outside the watermark and keeps the accuracy has another valid
  solution of the same block: the block's bytes must name its miner.
- How long it took: seconds and attempts are the miner's word, and so is what it was trained on.
"""

from ticket_sig.proof_of_work.challenge import Challenge, Difficulty, watermark_of
from ticket_sig.proof_of_work.check import check
from ticket_sig.proof_of_work.mine import Attempt, Mined, mine
from ticket_sig.proof_of_work.solution import Solution, read_solution, write_solution

__all__ = [
    "Attempt",
    "Challenge",
    "Difficulty",
    "Mined",
    "Solution",
    "check",
    "mine",
    "read_solution",
    "watermark_of",
    "write_solution",
]
