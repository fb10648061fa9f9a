//! `libntmfw_java.so`: the library with a border to Java, for the class `ntmfw.internal.JniCalls`.
//!
//! | module | what |
//! |---|---|
//! | `calls` | the calls of `ntmfw.h` that take and give numbers only: what Java calls a native method is one call here |
//! | `memory` | native memory as Java's objects, and events |
//!
//! Addresses come from `ntmfw.internal.NativeBuffer`, whose memory lives as long as the Java object does; Java's side holds
//! that for the length of each call.
mod calls;
mod memory;
