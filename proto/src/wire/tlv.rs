//! Type-length-value coding of the signalling messages.
