//! Frames: what a data datagram carries once opened (DESIGN 4.3).
