"""The damage to a picture: y = A x + noise.

`dipddpm.degradation.noise` has the kinds of noise, and `dipddpm.degradation.operators` the operators A. A `Problem` of
`dipddpm.degradation.problem` is a picture to restore; `degrade` makes a problem of a clean picture.
"""
