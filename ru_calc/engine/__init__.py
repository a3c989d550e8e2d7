"""The compiled engine: a SchNet as tables of its radial functions, evaluated by C++ passes."""
