"""A process that scores maps: `python -m ega_jax.evaluation.worker`, started by `pool.py`.

It reads pickled pairs of an `ImageMap` and thresholds from standard input until that is closed,
and answers each with a pickled pair: an `ImageOutcome` or None, and None or the exception. It
imports NumPy and OpenCV alone, so that it is there in a moment.
"""

import os
import pickle
import signal
import sys

import cv2

from ega_jax.localization import score_image


def main() -> None:
    """Answers until standard input ends, as it does when the process that asks is gone."""
    # Whoever stops the program stops the process that asks, which then closes the pipe.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(1)
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    while True:
        try:
            image, thresholds = pickle.load(questions)
        except EOFError:
            return
        try:
            answer = score_image(image, thresholds), None
        except Exception as error:  # raised again by the process that asks
            answer = None, error
        pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
        answers.flush()


if __name__ == "__main__":
    main()
