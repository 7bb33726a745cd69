"""What was done to a picture: y = A x + noise.

`dipddpm.degradation.noise` has the kinds of noise, `dipddpm.degradation.operators` the operators A, and
`dipddpm.degradation.problem` puts them together: a `Problem` is a picture that is to be restored, and `degrade` makes
one of a clean picture.
"""
