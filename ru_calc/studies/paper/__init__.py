"""The pipeline of the starting paper on our data, to reproduce and check its Table 1.

Sections 2.8, 2.9 and 3.1 of doi 10.36922/ijamd.8291: SOAP vectors of every atom; their principal components are the
inputs, energy and principal components of the forces the targets; five networks; mean absolute and mean squared errors
on 60 / 20 / 20 % of the frames.  These networks are not potentials: their forces are separate outputs and their
energies are not smooth, so they serve this table only.

Not stated in the paper, and chosen here:
- the resolution of the SOAP vectors, see `SoapSettings`; they are neither scaled nor normalised;
- the rows: each atom is one, with its frame's energy per atom and its own force; inputs and targets have mean 0 and
  variance 1 over the training rows;
- the size of a batch: in atoms, of whole frames;
- batch size and epochs of all but SchNet, which are SchNet's; patience 20; the loss, which is the mean squared error
  over all targets;
- the layers of the networks, see `networks.py`;
- the split of correlated frames: those of one simulation stay in one part.

Different from the paper:
- the data, and so the number of principal components: enough for 95 % of the variance, but at least the paper's three
  inputs;
- the GNN's max pooling is over an atom and its neighbours, as pooling over all atoms leaves one row per frame.
"""
