"""How sure we are that a label is wrong: calibrated error probabilities, and what a cut through them holds.

N images i with given labels g_i, K classes k, unknown true labels y_i. Everything starts from the out-of-fold
probabilities p_i(k), which model the labels *as given*.

1. `transition`: what true classes are given as, T(k, g) = P(g | y = k), counted where the network is surest;
   taken out of p_i, what is left is q_i(k), the network's belief about the *true* label.
2. `power`: how much of the doubt in q_i is the network's own. e_i(a) = P(y_i != g_i) with q_i raised to the
   power a; a_0 has the largest likelihood of the given labels. Noise that does not depend on the image beyond
   its class is all found by then.
3. `gain`: noise that does, errors on images which are hard anyway, looks to p_i like hard images. But a right
   label teaches the network what it could not know, a wrong one doesn't: trained on it, the margin rises by
   less. Planted wrong labels say by how much; that moves a.
4. `estimate`: out-of-fold and in-training evidence together, errors that the network agrees with, the noise
   rate with its interval. `cut` chooses the list.
"""

from labelscrub.detection.calibrated.cut import Cut, choose_cut, expect
from labelscrub.detection.calibrated.estimate import Estimate, calibrate

__all__ = ["Cut", "Estimate", "calibrate", "choose_cut", "expect"]
