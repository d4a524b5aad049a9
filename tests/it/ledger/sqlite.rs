//! Real faults of a file.
