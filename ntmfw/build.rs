//! Gives the shared library its name and links it small.
//!
//! By arguments for all that is linked of this package: those for shared libraries alone would hold for the shared libraries
//! of packages that depend on it as well, and theirs have other names.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let target = |what| std::env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    if target("OS") == "linux" {
        // The first number of the version changes when a program must be linked anew.
        let major = std::env::var("CARGO_PKG_VERSION_MAJOR").expect("cargo sets it");
        println!("cargo:rustc-link-arg=-Wl,-soname,libntmfw.so.{major}");
    }
    if target("OS") == "linux" && target("ARCH") == "x86_64" {
        // rustc links with LLD here. Functions of equal code become one; none of ours is told apart by its address.
        println!("cargo:rustc-cdylib-link-arg=-Wl,--icf=all");
    }
}
