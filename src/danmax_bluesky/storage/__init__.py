"""Everything that reads or writes files; the only importer of h5py."""
