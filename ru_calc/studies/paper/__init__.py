"""The starting paper's own pipeline on our data, so that its Table 1 can be produced and checked.

Sections 2.8, 2.9 and 3.1 of doi 10.36922/ijamd.8291: SOAP vectors of every atom; their principal components are the
inputs, energy and principal components of the forces the targets; five networks; mean absolute and mean squared errors
on 60 / 20 / 20 % of the frames.  The networks here are no potentials: their forces are outputs of their own, their
energies jump, and nothing but this table is made with them.

Not given in the paper, and chosen here:
- resolution of the SOAP vectors, see `SoapSettings`; they are taken as DScribe gives them, neither scaled nor
  normalised before the components are found;
- energies and forces of what: here each atom is a row, with its frame's energy per atom and its own force; means, axes
  and scales are those of the training rows, and all inputs and targets have mean 0 and variance 1 there;
- what a batch counts: here atoms, of frames that stay whole;
- batch size and epochs of all but SchNet, which are SchNet's; patience 20; the loss, here the mean squared error over
  all targets;
- layers of the networks, see `networks.py`;
- what the frames of one simulation do in the split: here they stay on one side.

Differs from the paper in:
- the data, and with them the number of principal components: as many as carry 95 % of the variance, but no fewer
  inputs than the paper's three;
- the GNN's max pooling is over an atom and its neighbours, since one over all atoms leaves one row per frame.
"""
