//! Watch, load, check, swap whole; on failure keep the old and say so.
