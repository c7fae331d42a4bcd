//! contiv-node: the one owner of VPP on its node.
