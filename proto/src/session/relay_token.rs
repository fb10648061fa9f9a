//! CONTRACT: to be written.
